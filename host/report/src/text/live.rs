//! A live terminal: finished steps stay, and one line at the bottom shows what
//! runs, and for how long. The line is cut to the terminal's width.
//!
//! The progress bar draws only the live line and drops errors; the lines that
//! stay go through a [`Sink`]. So a terminal that goes away ends the display and
//! not the run.

use super::lines::{Detail, LineRenderer};
use crate::{Reporter, RunModel, Sink, wording};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt;
use std::time::Duration;
use vdeploy_core::clean;
use vdeploy_core::event::{Phase, RunEvent, Section};
use vdeploy_core::ids::StepId;

/// Between two frames of the spinner.
const TICK: Duration = Duration::from_millis(100);

pub struct LiveReporter {
    lines: LineRenderer,
    colour: bool,
    bar: ProgressBar,
    sink: Sink,
    /// The parts of the live line, from left to right.
    place: String,
    action: String,
    output: String,
}

impl fmt::Debug for LiveReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveReporter")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl LiveReporter {
    pub fn stdout(colour: bool, verbose: bool) -> Self {
        let target = ProgressDrawTarget::stdout();
        Self::new(target, Sink::stdout(), colour, verbose)
    }

    /// Draws the live line on `target` and writes all other lines to `sink`: the
    /// same terminal. With `verbose` the lines are those of the plain form.
    pub fn new(target: ProgressDrawTarget, sink: Sink, colour: bool, verbose: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, target);
        // The template is a constant, and a test draws it.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
            bar.set_style(style.tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
        }
        bar.enable_steady_tick(TICK);
        Self {
            lines: LineRenderer::new(if verbose {
                Detail::Verbose
            } else {
                Detail::Live
            }),
            colour,
            bar,
            sink,
            place: String::new(),
            action: String::new(),
            output: String::new(),
        }
    }

    fn update_live_line(&mut self, model: &RunModel, event: &RunEvent) {
        match event {
            RunEvent::Doing { text } => {
                self.place = clean::line(text).into_owned();
                self.action.clear();
                self.output.clear();
                self.bar.reset_elapsed();
            }
            RunEvent::StepStarted {
                step,
                section,
                phase,
                attempt,
            } => {
                self.place = place_of(model, step, *section, *phase, *attempt);
                self.action.clear();
                self.output.clear();
                self.bar.reset_elapsed();
            }
            RunEvent::CallStarted { action, .. } => {
                self.action = clean::line(action).into_owned();
                self.output.clear();
            }
            RunEvent::CallFinished { .. } => {
                self.action.clear();
                self.output.clear();
            }
            RunEvent::Output { line, .. } => {
                self.output = clean::output(line).into_owned();
            }
            RunEvent::StepFailed {
                retry_in_ms: Some(_),
                ..
            } => {
                self.action = "waiting to retry".to_owned();
                self.output.clear();
            }
            RunEvent::StepFinished { .. } | RunEvent::StepFailed { .. } => {
                self.place.clear();
                self.action.clear();
                self.output.clear();
            }
            _ => return,
        }
        self.place = clean::line(&self.place).into_owned();
        let parts = [&self.place, &self.action, &self.output];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let message: Vec<_> = parts.iter().map(|part| part.as_str()).collect();
        self.bar.set_message(message.join(" · "));
    }
}

/// For example `[2/7] git-pull` or `rollback verify`.
fn place_of(
    model: &RunModel,
    step: &StepId,
    section: Section,
    phase: Phase,
    attempt: u32,
) -> String {
    let mut place = match model.position(step) {
        Some((number, count)) if section == Section::Steps && phase != Phase::Undo => {
            format!("[{number}/{count}] ")
        }
        _ => wording::section(section).to_owned(),
    };
    match phase {
        Phase::Check => place.push_str("check "),
        Phase::Undo => place.push_str("undo "),
        Phase::Run => {}
    }
    place.push_str(step.as_str());
    if attempt > 1 {
        place.push_str(&format!(" (attempt {attempt})"));
    }
    place
}

impl Reporter for LiveReporter {
    fn event(&mut self, model: &RunModel, event: &RunEvent) {
        let lines = self.lines.render(model, event);
        if let RunEvent::RunFinished { .. } = event {
            self.bar.finish_and_clear();
        }
        if !lines.is_empty() {
            let (bar, sink, colour) = (&self.bar, &mut self.sink, self.colour);
            bar.suspend(|| lines.iter().for_each(|line| sink.line(&line.paint(colour))));
        }
        self.update_live_line(model, event);
    }
}

impl Drop for LiveReporter {
    fn drop(&mut self) {
        // A bar that panicked panics again, and twice is an abort.
        if !std::thread::panicking() {
            self.bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{self, Show as _};
    use indicatif::TermLike;
    use std::io;
    use std::sync::{Arc, Mutex};

    /// A terminal without moves: text and line ends as they were written, and
    /// a cleared line is forgotten.
    #[derive(Clone, Debug)]
    struct Screen {
        width: u16,
        gone: bool,
        lines: Arc<Mutex<Vec<String>>>,
        /// The live line as it was drawn.
        drawn: Arc<Mutex<Vec<String>>>,
    }

    impl Screen {
        fn new(width: u16) -> Self {
            Self {
                width,
                gone: false,
                lines: Arc::new(Mutex::new(vec![String::new()])),
                drawn: Arc::default(),
            }
        }

        fn answer(&self) -> io::Result<()> {
            match self.gone {
                true => Err(io::ErrorKind::BrokenPipe.into()),
                false => Ok(()),
            }
        }

        fn text(&self) -> String {
            let lines = self.lines.lock().unwrap();
            let lines: Vec<_> = lines.iter().map(|line| line.trim_end()).collect();
            lines.join("\n")
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            self.width
        }
        fn move_cursor_up(&self, n: usize) -> io::Result<()> {
            let mut lines = self.lines.lock().unwrap();
            let keep = lines.len().saturating_sub(n).max(1);
            lines.truncate(keep);
            self.answer()
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            self.answer()
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            self.answer()
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            self.answer()
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)?;
            self.lines.lock().unwrap().push(String::new());
            self.answer()
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            let mut lines = self.lines.lock().unwrap();
            for (index, part) in text.split('\n').enumerate() {
                if index > 0 {
                    lines.push(String::new());
                }
                lines.last_mut().unwrap().push_str(part);
            }
            self.drawn.lock().unwrap().push(text.trim_end().to_owned());
            self.answer()
        }
        fn clear_line(&self) -> io::Result<()> {
            self.lines.lock().unwrap().last_mut().unwrap().clear();
            self.answer()
        }
        fn flush(&self) -> io::Result<()> {
            self.answer()
        }
    }

    impl io::Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_str(std::str::from_utf8(bytes).unwrap())?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            self.answer()
        }
    }

    fn reporter(screen: &Screen, colour: bool) -> LiveReporter {
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 255);
        LiveReporter::new(target, Sink::new(screen.clone()), colour, false)
    }

    fn show(screen: &Screen, events: &[RunEvent], colour: bool) {
        reporter(screen, colour).show(events);
    }

    #[test]
    fn the_lines_that_stay() {
        let screen = Screen::new(100);
        show(&screen, &script::success(), false);
        let expected = "\
run 01K0RUN: plan default on infra (vm-1)
steps: git-pull, smoke
  snapshot c-1 taken
✓ checked 2 steps  2.5s
  warning: git-pull: 2 files were changed by hand
✓ git-pull  1.2s  abc123 to def456
✓ smoke  1.2s  1 check passed

done: the live version is verified
  live      the result of this run, verified
  vm        vm-1
  snapshot  c-1
  url       https://vm-1.example
  run       01K0RUN (1m 05s, exit code 0)
  next      vdeploy rollback 01K0RUN";
        assert_eq!(screen.text().trim_end(), expected);
    }

    #[test]
    fn colour_is_for_marks_and_failures() {
        let screen = Screen::new(100);
        show(&screen, &script::rolled_back(), true);
        let text = screen.text();
        for expected in [
            "\x1b[31m✗\x1b[0m smoke: run failed",
            "\x1b[31m  FAIL auth (35ms): expected 401, found 200\x1b[0m",
            "\x1b[33mrolled back: the target is as it was before the run, verified\x1b[0m",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }

    #[test]
    fn a_narrow_terminal_and_one_that_is_gone_do_no_harm() {
        for width in [1, 10, 30] {
            let screen = Screen::new(width);
            show(&screen, &script::rolled_back(), false);
            assert!(screen.text().contains("rolled back: the target"), "{width}");
        }
        let mut gone = Screen::new(80);
        gone.gone = true;
        show(&gone, &script::rolled_back(), true);
    }

    #[test]
    fn the_live_line_fits() {
        let screen = Screen::new(40);
        let mut reporter = reporter(&screen, false);
        reporter.show(&[
            script::run_started(&["a", "smoke"], false),
            script::started("smoke", Section::Steps, Phase::Run),
            script::call("smoke", 1, &"very long ".repeat(20)),
        ]);
        reporter.bar.force_draw();
        let drawn = screen.drawn.lock().unwrap();
        let live = drawn.iter().rfind(|text| text.contains("[2/2] smoke"));
        let width = live.unwrap().chars().count();
        assert!((30..=40).contains(&width), "{width}: {live:?}");
    }

    #[test]
    fn wide_characters_take_two_columns_of_the_live_line() {
        use unicode_width::UnicodeWidthStr as _;
        for action in ["漢字".repeat(30), "🚀".repeat(60), "e\u{301}".repeat(80)] {
            let screen = Screen::new(40);
            let mut reporter = reporter(&screen, false);
            reporter.show(&[
                script::run_started(&["a", "smoke"], false),
                script::started("smoke", Section::Steps, Phase::Run),
                script::call("smoke", 1, &action),
            ]);
            reporter.bar.force_draw();
            let drawn = screen.drawn.lock().unwrap();
            let live = drawn.iter().rfind(|text| text.contains("[2/2] smoke"));
            let width = live.unwrap().width();
            assert!((38..=40).contains(&width), "{width}: {live:?}");
        }
    }
}
