//! The way from the run to its reporters: a channel that never holds the run
//! up, and one task that feeds every reporter in order. Of what was sent before
//! `finish` only lines of output may be left out, and that is said: what waits
//! for a terminal that stands still (see [`waiting`]).

mod waiting;

use super::Reporter;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use vdeploy_core::event::RunEvent;
use waiting::Waiting;

/// Most events handed over at once.
const BATCH: usize = 256;

/// Feeds reporters. A reporter that panics is left out from then on; the run
/// and the others go on.
#[derive(Debug)]
pub struct EventBus {
    sender: mpsc::UnboundedSender<RunEvent>,
    close: oneshot::Sender<()>,
    feeding: JoinHandle<()>,
}

impl EventBus {
    /// Starts the task. Needs a tokio runtime.
    pub fn start(reporters: Vec<Box<dyn Reporter>>) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (close, closed) = oneshot::channel();
        let feeding = tokio::spawn(feed(receiver, closed, reporters));
        Self {
            sender,
            close,
            feeding,
        }
    }

    /// A sender for the run. A send after [`EventBus::finish`] fails and may be
    /// ignored.
    pub fn sender(&self) -> mpsc::UnboundedSender<RunEvent> {
        self.sender.clone()
    }

    /// Waits until every event sent so far was shown, then drops the
    /// reporters. Senders that still exist do not hold it up.
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

/// Takes events off the channel at once, whatever the reporters do, so that
/// what waits is counted.
async fn feed(
    mut receiver: mpsc::UnboundedReceiver<RunEvent>,
    mut closed: oneshot::Receiver<()>,
    reporters: Vec<Box<dyn Reporter>>,
) {
    let mut waiting = Waiting::default();
    let mut idle = Some(reporters);
    let mut showing: Option<JoinHandle<Vec<Box<dyn Reporter>>>> = None;
    let (mut open, mut more) = (true, true);
    let mut arrived = Vec::new();
    loop {
        if showing.is_none() && !waiting.is_empty() {
            let Some(reporters) = idle.take() else { return };
            let events = waiting.take(BATCH);
            // A terminal that is stopped may block: not on a runtime thread.
            showing = Some(spawn_blocking(move || show(reporters, &events)));
        }
        if !more && showing.is_none() {
            return;
        }
        tokio::select! {
            biased;
            // First: a run that sends all the time must not keep the reporters idle.
            left = shown(&mut showing), if showing.is_some() => {
                showing = None;
                match left {
                    Ok(left) => idle = Some(left),
                    // The runtime is shutting down.
                    Err(_) => return,
                }
            }
            count = receiver.recv_many(&mut arrived, BATCH), if more => {
                more = count > 0;
                arrived.drain(..).for_each(|event| waiting.add(event));
            }
            // Also when the bus was dropped: then the senders decide the end.
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

fn show(mut reporters: Vec<Box<dyn Reporter>>, events: &[RunEvent]) -> Vec<Box<dyn Reporter>> {
    for event in events {
        let shown = |mut reporter: Box<dyn Reporter>| {
            let call = AssertUnwindSafe(|| {
                reporter.event(event);
                reporter
            });
            catch_unwind(call).ok()
        };
        reporters = reporters.into_iter().filter_map(shown).collect();
    }
    reporters
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<String>>>);

    impl Reporter for Seen {
        fn event(&mut self, event: &RunEvent) {
            if let RunEvent::Doing { text } = event {
                self.0.lock().unwrap().push(text.clone());
            }
        }
    }

    struct Panics;

    impl Reporter for Panics {
        fn event(&mut self, event: &RunEvent) {
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
        // `sender` lives on: a task of the run that was not ended.
        bus.finish().await;
        let expected: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
        assert_eq!(*first.0.lock().unwrap(), expected);
        assert_eq!(*last.0.lock().unwrap(), expected);
        assert!(sender.send(doing(0)).is_err());
    }

    /// A terminal that stands still until it is told to go on.
    struct Stopped(Seen, std::sync::mpsc::Receiver<()>);

    impl Reporter for Stopped {
        fn event(&mut self, event: &RunEvent) {
            // An error is that it goes on for good.
            let _ = self.1.recv();
            self.0.event(event);
            if let RunEvent::Log { message, .. } = event {
                self.0.0.lock().unwrap().push(message.clone());
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_terminal_that_stands_still_holds_nothing_up_and_costs_only_output() {
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
