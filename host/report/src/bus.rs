//! From the run to its reporters: a channel that never blocks the run, and one
//! task that folds each event into the model and calls every reporter in order.
//! A stopped terminal costs only lines of output (see [`waiting`]), and one line
//! says how many.

mod waiting;

use crate::{Reporter, RunModel};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use vdeploy_core::event::RunEvent;
use waiting::Waiting;

/// Most events for one call of the blocking task.
const BATCH: usize = 256;

/// A reporter that panics is dropped; the run and the other reporters continue.
#[derive(Debug)]
pub struct EventBus {
    sender: mpsc::UnboundedSender<RunEvent>,
    close: oneshot::Sender<()>,
    feeding: JoinHandle<()>,
}

impl EventBus {
    /// Needs a tokio runtime.
    pub fn start(reporters: Vec<Box<dyn Reporter>>) -> Self {
        Self::start_with(reporters, |_| {})
    }

    /// `edit` changes each event before anyone sees it.
    pub fn start_with(
        reporters: Vec<Box<dyn Reporter>>,
        edit: impl Fn(&mut RunEvent) + Send + 'static,
    ) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (close, closed) = oneshot::channel();
        let audience = Audience {
            edit: Box::new(edit),
            model: RunModel::default(),
            reporters,
        };
        let feeding = tokio::spawn(feed(receiver, closed, audience));
        Self {
            sender,
            close,
            feeding,
        }
    }

    /// A send after [`EventBus::finish`] fails; the run ignores that.
    pub fn sender(&self) -> mpsc::UnboundedSender<RunEvent> {
        self.sender.clone()
    }

    /// Waits until every event sent so far is shown, then drops the reporters.
    /// It does not wait for senders that still exist.
    pub async fn finish(self) {
        let Self {
            sender,
            close,
            feeding,
        } = self;
        drop(sender);
        // The task may have ended with the last sender.
        let _ = close.send(());
        let _ = feeding.await;
    }
}

/// Empties the channel whatever the reporters do, so that the backlog is bounded.
async fn feed(
    mut receiver: mpsc::UnboundedReceiver<RunEvent>,
    mut closed: oneshot::Receiver<()>,
    audience: Audience,
) {
    let mut waiting = Waiting::default();
    let mut idle = Some(audience);
    let mut showing: Option<JoinHandle<Audience>> = None;
    let (mut open, mut more) = (true, true);
    let mut arrived = Vec::new();
    loop {
        if showing.is_none() && !waiting.is_empty() {
            let Some(audience) = idle.take() else { return };
            let events = waiting.take(BATCH);
            // A terminal that is stopped may block: not on a runtime thread.
            showing = Some(spawn_blocking(move || audience.show(events)));
        }
        if !more && showing.is_none() {
            return;
        }
        tokio::select! {
            biased;
            // First, so that a run that never stops sending cannot keep the
            // reporters idle.
            audience = shown(&mut showing), if showing.is_some() => {
                showing = None;
                match audience {
                    Ok(audience) => idle = Some(audience),
                    // The runtime is shutting down.
                    Err(_) => return,
                }
            }
            count = receiver.recv_many(&mut arrived, BATCH), if more => {
                more = count > 0;
                arrived.drain(..).for_each(|event| waiting.add(event));
            }
            // An error: the bus was dropped, and the senders decide the end.
            end = &mut closed, if open => {
                open = false;
                if end.is_ok() {
                    receiver.close();
                }
            }
        }
    }
}

async fn shown<T>(showing: &mut Option<JoinHandle<T>>) -> Result<T, JoinError> {
    match showing {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

struct Audience {
    edit: Box<dyn Fn(&mut RunEvent) + Send>,
    model: RunModel,
    reporters: Vec<Box<dyn Reporter>>,
}

impl fmt::Debug for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audience")
            .field("reporters", &self.reporters.len())
            .finish_non_exhaustive()
    }
}

impl Audience {
    fn show(mut self, events: Vec<RunEvent>) -> Self {
        for mut event in events {
            (self.edit)(&mut event);
            self.model.apply(&event);
            let model = &self.model;
            let shown = |mut reporter: Box<dyn Reporter>| {
                let call = AssertUnwindSafe(|| {
                    reporter.event(model, &event);
                    reporter
                });
                catch_unwind(call).ok()
            };
            self.reporters = self.reporters.into_iter().filter_map(shown).collect();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<String>>>);

    impl Reporter for Seen {
        fn event(&mut self, _: &RunModel, event: &RunEvent) {
            if let RunEvent::Doing { text } = event {
                self.0.lock().unwrap().push(text.clone());
            }
        }
    }

    struct Panics;

    impl Reporter for Panics {
        fn event(&mut self, _: &RunModel, event: &RunEvent) {
            if *event == doing(3) {
                panic!("a broken reporter");
            }
        }
    }

    fn doing(number: usize) -> RunEvent {
        RunEvent::Doing {
            text: number.to_string(),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn everything_arrives_in_order_whatever_else_happens() {
        let (first, last) = (Seen::default(), Seen::default());
        let bus = EventBus::start(vec![
            Box::new(first.clone()),
            Box::new(Panics),
            Box::new(last.clone()),
        ]);
        let sender = bus.sender();
        for number in 0..1000 {
            sender.send(doing(number)).unwrap();
        }
        // `sender` still exists, as in a task of the run that did not end.
        bus.finish().await;
        let expected: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
        assert_eq!(*first.0.lock().unwrap(), expected);
        assert_eq!(*last.0.lock().unwrap(), expected);
        assert!(sender.send(doing(0)).is_err());
    }

    /// A terminal that is stopped until the channel closes.
    struct Stopped(Seen, std::sync::mpsc::Receiver<()>);

    impl Reporter for Stopped {
        fn event(&mut self, model: &RunModel, event: &RunEvent) {
            // The error is the closed channel.
            let _ = self.1.recv();
            self.0.event(model, event);
            if let RunEvent::Log { message, .. } = event {
                self.0.0.lock().unwrap().push(message.clone());
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_stopped_terminal_blocks_nothing_and_costs_only_output() {
        let seen = Seen::default();
        let (go_on, stopped) = std::sync::mpsc::channel();
        let bus = EventBus::start(vec![Box::new(Stopped(seen.clone(), stopped))]);
        let sender = bus.sender();
        let lines = 3 * waiting::MAX_LINES;
        for number in 0..lines {
            if number == lines / 2 {
                sender.send(doing(0)).unwrap();
            }
            sender.send(waiting::tests::output("line")).unwrap();
        }
        sender.send(doing(1)).unwrap();
        drop(go_on);
        bus.finish().await;
        let seen = seen.0.lock().unwrap();
        let doings: Vec<_> = seen.iter().filter(|text| text.len() == 1).collect();
        assert_eq!(doings, ["0", "1"]);
        let left_out = seen.iter().find(|text| text.contains("were left out"));
        assert!(left_out.is_some(), "{seen:?}");
    }

    /// Notes the outcome as the model and as the event have it.
    struct Ends(Arc<Mutex<Vec<String>>>);

    impl Reporter for Ends {
        fn event(&mut self, model: &RunModel, event: &RunEvent) {
            if let (Some(end), RunEvent::RunFinished { message, .. }) = (&model.end, event) {
                let mut seen = self.0.lock().unwrap();
                seen.extend([end.message.clone(), message.clone()]);
            }
        }
    }

    #[tokio::test]
    async fn the_edit_comes_before_the_model_and_the_reporters() {
        let seen = Arc::default();
        let bus = EventBus::start_with(vec![Box::new(Ends(Arc::clone(&seen)))], |event| {
            if let RunEvent::RunFinished { message, .. } = event {
                message.push_str(" (edited)");
            }
        });
        for event in crate::script::unchanged() {
            bus.sender().send(event).unwrap();
        }
        bus.finish().await;
        let edited = "infra runs def456 already (edited)";
        assert_eq!(*seen.lock().unwrap(), [edited, edited]);
    }

    #[tokio::test]
    async fn a_dropped_bus_shows_what_its_senders_send() {
        let seen = Seen::default();
        let bus = EventBus::start(vec![Box::new(seen.clone())]);
        let sender = bus.sender();
        let EventBus {
            sender: own,
            close,
            feeding,
        } = bus;
        drop((own, close));
        sender.send(doing(1)).unwrap();
        tokio::task::yield_now().await;
        sender.send(doing(2)).unwrap();
        drop(sender);
        feeding.await.unwrap();
        assert_eq!(*seen.0.lock().unwrap(), ["1", "2"]);
    }
}
