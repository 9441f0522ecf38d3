//! Lines to a stream that may go away.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};
use vdeploy_core::clean;

/// How long a pipe in non-blocking mode may stay full.
const FULL_PIPE_TIMEOUT: Duration = Duration::from_secs(10);

/// Each line is flushed. After the first error (a closed pipe, a terminal that
/// went away) every line is dropped.
pub struct Sink {
    out: Option<Box<dyn Write + Send>>,
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink")
            .field("open", &self.out.is_some())
            .finish()
    }
}

impl Sink {
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self {
            out: Some(Box::new(out)),
        }
    }

    pub fn stdout() -> Self {
        Self::new(std::io::stdout())
    }

    pub fn stderr() -> Self {
        Self::new(std::io::stderr())
    }

    /// Adds the line end. Of the sequences that a terminal acts on, only the
    /// reports' own colours are written.
    pub fn line(&mut self, text: &str) {
        let Some(out) = &mut self.out else { return };
        let text = clean::painted(text);
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(b'\n');
        if write_all(out.as_mut(), &bytes).is_err() {
            self.out = None;
        }
    }
}

/// Like `Write::write_all`, but waits while a non-blocking pipe is full: some CI
/// runners pass one on.
fn write_all(out: &mut dyn Write, mut bytes: &[u8]) -> std::io::Result<()> {
    let deadline = Instant::now() + FULL_PIPE_TIMEOUT;
    let mut wait = Duration::from_millis(1);
    loop {
        let tried = if bytes.is_empty() {
            out.flush().map(|()| 0)
        } else {
            out.write(bytes)
        };
        match tried {
            Ok(0) if bytes.is_empty() => return Ok(()),
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                std::thread::sleep(wait);
                wait = (wait * 2).min(Duration::from_millis(50));
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// What was written, for the tests of all reporters.
    #[derive(Clone, Default)]
    pub(crate) struct Kept(pub Arc<Mutex<Vec<u8>>>);

    impl Kept {
        pub fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Fails once with each error, then takes one byte a call.
    struct Moody(Vec<ErrorKind>, Kept);

    impl Write for Moody {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            match self.0.pop() {
                Some(kind) => Err(kind.into()),
                None => self.1.write(&bytes[..1]),
            }
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_pipe_is_waited_for_and_a_closed_one_silences_the_sink() {
        let kept = Kept::default();
        let moody = Moody(
            vec![ErrorKind::WouldBlock, ErrorKind::Interrupted],
            kept.clone(),
        );
        Sink::new(moody).line("hello");
        assert_eq!(kept.text(), "hello\n");

        let kept = Kept::default();
        Sink::new(kept.clone()).line("\x1b[31ma\x1b[0m\x1b[8mb\nc");
        assert_eq!(kept.text(), "\x1b[31ma\x1b[0m[8mb c\n");

        let kept = Kept::default();
        let mut sink = Sink::new(Moody(vec![ErrorKind::BrokenPipe], kept.clone()));
        sink.line("lost");
        sink.line("and nothing after it");
        assert_eq!(kept.text(), "");
    }
}
