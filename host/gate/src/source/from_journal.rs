//! Answers of calls, back from the form that they have in the journal.

use crate::call::pass::CallResult;
use base64::Engine as _;
use serde_json::{Value, json};
use vdeploy_core::capability::http::Response;
use vdeploy_core::capability::secrets::Secret;
use vdeploy_core::capability::ssh::Output;
use vdeploy_core::ids::{SnapshotId, VmId};

/// An answer that the journal can give again.
pub(crate) trait FromJournal: Sized {
    /// From what was journaled; none when the journal does not have it whole.
    fn from_journal(journal: &Value) -> Option<Self>;
    /// Whether the journal never has it: then the call is made again, which
    /// changes nothing.
    const NEVER_RECORDED: bool = false;
}

/// Bytes for the journal, masked before: text as it is, anything else as
/// Base64.
pub(crate) fn bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => json!({ "base64": base64::engine::general_purpose::STANDARD.encode(bytes) }),
    }
}

fn bytes_back(journal: &Value) -> Option<Vec<u8>> {
    match journal {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Object(object) => {
            let encoded = object.get("base64")?.as_str()?;
            base64::engine::general_purpose::STANDARD
                .decode(encoded)
                .ok()
        }
        _ => None,
    }
}

/// What the journal keeps of a command's output.
pub(crate) fn output(output: Output) -> CallResult<Output> {
    CallResult {
        journal: json!({
            "exit-code": output.exit_code,
            "signal": output.signal,
            "stdout": bytes(&output.stdout),
            "stderr": bytes(&output.stderr),
            "truncated": output.truncated,
        }),
        value: output,
    }
}

impl FromJournal for Output {
    fn from_journal(journal: &Value) -> Option<Self> {
        let exit_code = match journal.get("exit-code")? {
            Value::Null => None,
            code => Some(u32::try_from(code.as_u64()?).ok()?),
        };
        Some(Self {
            exit_code,
            signal: journal.get("signal")?.as_str().map(str::to_owned),
            stdout: bytes_back(journal.get("stdout")?)?,
            stderr: bytes_back(journal.get("stderr")?)?,
            truncated: journal.get("truncated")?.as_bool()?,
        })
    }
}

/// What the journal keeps of a response.
pub(crate) fn response(response: Response) -> CallResult<Response> {
    CallResult {
        journal: json!({
            "status": response.status,
            "headers": response.headers,
            "body": bytes(&response.body),
        }),
        value: response,
    }
}

impl FromJournal for Response {
    fn from_journal(journal: &Value) -> Option<Self> {
        Some(Self {
            status: u16::try_from(journal.get("status")?.as_u64()?).ok()?,
            headers: serde_json::from_value(journal.get("headers")?.clone()).ok()?,
            body: bytes_back(journal.get("body")?)?,
        })
    }
}

impl FromJournal for Option<Vec<u8>> {
    fn from_journal(journal: &Value) -> Option<Self> {
        match journal {
            Value::Null => Some(None),
            other => bytes_back(other).map(Some),
        }
    }
}

impl FromJournal for () {
    fn from_journal(_: &Value) -> Option<Self> {
        Some(())
    }
}

impl FromJournal for u64 {
    fn from_journal(journal: &Value) -> Option<Self> {
        journal.as_u64()
    }
}

impl FromJournal for bool {
    fn from_journal(journal: &Value) -> Option<Self> {
        journal.as_bool()
    }
}

impl FromJournal for SnapshotId {
    fn from_journal(journal: &Value) -> Option<Self> {
        journal.get("snapshot")?.as_str().map(Self::new)
    }
}

impl FromJournal for VmId {
    fn from_journal(journal: &Value) -> Option<Self> {
        journal.get("vm")?.as_str().map(Self::new)
    }
}

/// No secret is in the journal.
impl FromJournal for Secret {
    fn from_journal(_: &Value) -> Option<Self> {
        None
    }
    const NEVER_RECORDED: bool = true;
}

/// A revealed secret.
impl FromJournal for String {
    fn from_journal(_: &Value) -> Option<Self> {
        None
    }
    const NEVER_RECORDED: bool = true;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plugin_saw_comes_back_byte_for_byte() {
        for stdout in [
            b"".to_vec(),
            b"text\n".to_vec(),
            vec![0, 0xff, 7],
            vec![b'x'; 1 << 20],
        ] {
            let seen = Output {
                exit_code: Some(3),
                signal: None,
                stdout,
                stderr: b"\xc3".to_vec(),
                truncated: true,
            };
            let journal = output(seen.clone()).journal;
            assert_eq!(Output::from_journal(&journal), Some(seen));
        }
        let killed = Output {
            signal: Some("KILL".to_owned()),
            ..Output::default()
        };
        let journal = output(killed.clone()).journal;
        assert_eq!(Output::from_journal(&journal), Some(killed));
        let seen = Response {
            status: 404,
            headers: vec![("content-type".to_owned(), "text/html".to_owned())],
            body: b"<p>no".to_vec(),
        };
        let back = Response::from_journal(&response(seen.clone()).journal).unwrap();
        assert_eq!(
            (back.status, &back.headers, &back.body),
            (seen.status, &seen.headers, &seen.body)
        );
        for value in [None, Some(Vec::new()), Some(vec![0xff])] {
            let journal = value.as_deref().map_or(Value::Null, bytes);
            assert_eq!(Option::<Vec<u8>>::from_journal(&journal), Some(value));
        }
    }

    #[test]
    fn what_is_not_whole_does_not_come_back() {
        let cut = json!({ "exit-code": 0, "signal": null, "stderr": "", "truncated": false,
            "stdout": { "first": "a", "last": "z", "bytes": 9 } });
        assert_eq!(Output::from_journal(&cut), None);
        assert_eq!(u64::from_journal(&Value::Null), None);
        assert_eq!(SnapshotId::from_journal(&json!({})), None);
    }
}
