//! What a command has printed, masked and bounded, and the errors that quote it.

use super::capture::Capture;
use vdeploy_core::capability::mask::{MaskedStream, Masker};
use vdeploy_core::capability::ssh::Stream;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;

/// One stream's output, masked before it is cut: half a secret is not hidden
/// by a search for the whole.
pub(crate) struct MaskedCapture {
    mask: MaskedStream,
    capture: Capture,
}

impl MaskedCapture {
    pub(crate) fn new(limit: usize, masker: &Masker) -> Self {
        Self {
            mask: masker.stream(),
            capture: Capture::new(limit),
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let masked = self.mask.push(bytes);
        self.capture.push(&masked);
    }

    pub(crate) fn finish(&mut self) {
        let rest = self.mask.finish();
        self.capture.push(&rest);
    }

    pub(crate) fn truncated(&self) -> bool {
        self.capture.truncated()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.capture.is_empty()
    }

    /// Takes the bytes out.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::replace(&mut self.capture, Capture::new(0)).into_bytes()
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.capture.into_bytes()
    }
}

/// The server answers and runs no commands.
pub(crate) fn refused() -> EffectError {
    EffectError::new(
        ErrorKind::Failed,
        codes::SSH_REFUSED,
        "the target's SSH server refused to run a command; check that the user has a shell and no \
         forced command",
    )
}

/// `text` and the last lines of the output, of the stream that printed last.
pub(crate) fn with_last_output(
    text: &str,
    last: Stream,
    stdout: &MaskedCapture,
    stderr: &MaskedCapture,
) -> String {
    let (first, second) = match last {
        Stream::Stdout => (stdout, stderr),
        Stream::Stderr => (stderr, stdout),
    };
    let mut words = first.capture.last_lines(3);
    if words.is_empty() {
        words = second.capture.last_lines(3);
    }
    match words.is_empty() {
        true => format!("{text}; it had printed nothing"),
        false => format!("{text}; last output: {words}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vdeploy_core::capability::secrets::SecretValue;

    #[test]
    fn a_secret_at_the_cut_is_hidden_whole() {
        let secret = SecretValue::new("abcdefghij".to_owned());
        let masker = Masker::new([&secret]).unwrap();
        let mut kept = MaskedCapture::new(8, &masker);
        // The head ends, and the tail begins, in the middle of the secret.
        for piece in ["xxabcd", "efghijyyyyyy", "yyabcdef", "ghijz"] {
            kept.push(piece.as_bytes());
        }
        kept.finish();
        let text = String::from_utf8(kept.capture.into_bytes()).unwrap();
        for part in ["ab", "bc", "ef", "ij"] {
            assert!(!text.contains(part), "{text}");
        }
    }
}
