//! Rules for the endpoints that a smoke test asks: 200 and a shape with the
//! token, 401 without a token and with a wrong one. Pure: judges answers and
//! sends nothing.
//!
//! This module must not know how a request is sent.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::shape::Shape;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Endpoint {
    /// With its leading slash.
    pub path: String,
    /// Shape of the answer, in the grammar of [`crate::shape`].
    #[serde(default = "any")]
    pub expect: String,
    /// Whether it must reject a request without the right token.
    #[serde(default = "yes")]
    pub auth: bool,
}

fn any() -> String {
    "any".to_owned()
}

fn yes() -> bool {
    true
}

/// The token in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    Valid,
    None,
    Wrong,
}

impl Credential {
    /// For the name of a check: `with the token`.
    pub fn describe(self) -> &'static str {
        match self {
            Credential::Valid => "with the token",
            Credential::None => "without a token",
            Credential::Wrong => "with a wrong token",
        }
    }
}

impl Endpoint {
    fn new(path: &str, expect: &str) -> Self {
        Self {
            path: path.to_owned(),
            expect: expect.to_owned(),
            auth: true,
        }
    }

    /// The four endpoints of the runbook.
    pub fn defaults() -> Vec<Endpoint> {
        vec![
            Endpoint::new("/board/tasks", "{tasks: array, count: number}"),
            // A bare array today; later versions wrap it.
            Endpoint::new("/feed/events", "array | {events: array, count: number}"),
            Endpoint::new("/registry/vms", "{vms: array, count: number}"),
            Endpoint::new("/commits", "{commits: array, count: number}"),
        ]
    }

    /// # Errors
    /// The endpoint and what is wrong with it.
    pub fn validate(&self) -> Result<(), String> {
        if !self.path.starts_with('/') {
            return Err(format!("the endpoint `{}` must begin with `/`", self.path));
        }
        match Shape::parse(&self.expect) {
            Ok(_) => Ok(()),
            Err(why) => Err(format!("the endpoint `{}`: {why}", self.path)),
        }
    }

    /// One request each.
    pub fn credentials(&self) -> &'static [Credential] {
        match self.auth {
            true => &[Credential::Valid, Credential::None, Credential::Wrong],
            false => &[Credential::None],
        }
    }

    /// # Errors
    /// What was expected and what was found.
    pub fn judge(&self, credential: Credential, status: u16, body: &[u8]) -> Result<(), String> {
        if self.auth && credential != Credential::Valid {
            return judge_refusal(credential, status);
        }
        match status {
            200 => {}
            401 if credential == Credential::Valid => {
                return Err(
                    "expected 200 with the token, found 401: the service rejects the token of the project; they differ"
                        .to_owned(),
                );
            }
            _ => return Err(format!("expected 200, found {status}: {}", begin_of(body))),
        }
        let shape = Shape::parse(&self.expect)?;
        let value: Value = serde_json::from_slice(body).map_err(|_| {
            format!(
                "expected JSON of the shape {shape}, found no JSON: {}",
                begin_of(body)
            )
        })?;
        shape
            .check(&value)
            .map_err(|why| format!("expected {shape}, but {why}"))
    }
}

fn judge_refusal(credential: Credential, status: u16) -> Result<(), String> {
    match status {
        401 => Ok(()),
        200..300 => Err(format!(
            "expected 401 {}, found {status}: the server is open to everybody",
            credential.describe()
        )),
        _ => Err(format!(
            "expected 401 {}, found {status}",
            credential.describe()
        )),
    }
}

/// The first 120 characters of a body, on one line.
pub fn begin_of(body: &[u8]) -> String {
    const MOST: usize = 120;
    let text = String::from_utf8_lossy(body);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default()),
        None if line.is_empty() => "(empty)".to_owned(),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Endpoint {
        Endpoint::defaults().remove(0)
    }

    #[test]
    fn the_defaults_are_valid_and_accept_an_empty_service() {
        let bodies = [
            r#"{"tasks":[],"count":0}"#,
            "[]",
            r#"{"vms":[],"count":0}"#,
            r#"{"commits":[],"count":0}"#,
        ];
        for (endpoint, body) in Endpoint::defaults().iter().zip(bodies) {
            assert_eq!(endpoint.validate(), Ok(()));
            assert_eq!(
                endpoint.judge(Credential::Valid, 200, body.as_bytes()),
                Ok(())
            );
        }
    }

    #[test]
    fn a_401_with_the_right_token_is_a_failure_and_named() {
        let why = board().judge(Credential::Valid, 401, b"{}").unwrap_err();
        assert!(
            why.contains("found 401: the service rejects the token"),
            "{why}"
        );
    }

    #[test]
    fn an_open_server_is_named_whether_a_token_is_absent_or_wrong() {
        for credential in [Credential::None, Credential::Wrong] {
            assert_eq!(board().judge(credential, 401, b""), Ok(()));
            let why = board().judge(credential, 200, b"{}").unwrap_err();
            assert!(why.contains("open to everybody"), "{why}");
            assert!(board().judge(credential, 404, b"").is_err());
        }
    }

    #[test]
    fn a_page_or_a_wrong_shape_is_no_answer() {
        let page = board()
            .judge(Credential::Valid, 200, b"<html>\n login")
            .unwrap_err();
        assert!(page.ends_with("found no JSON: <html> login"), "{page}");
        let shape = board()
            .judge(Credential::Valid, 200, br#"{"items":[]}"#)
            .unwrap_err();
        assert!(shape.contains("no key `tasks`, only: items"), "{shape}");
        let broken = board()
            .judge(Credential::Valid, 500, b"Internal")
            .unwrap_err();
        assert_eq!(broken, "expected 200, found 500: Internal");
    }

    #[test]
    fn an_endpoint_for_everybody_is_asked_once_without_a_token() {
        let page = Endpoint {
            auth: false,
            ..board()
        };
        assert_eq!(page.credentials(), [Credential::None]);
        assert_eq!(
            page.judge(Credential::None, 200, br#"{"tasks":[],"count":1}"#),
            Ok(())
        );
    }

    #[test]
    fn an_endpoint_that_cannot_work_is_refused() {
        assert!(Endpoint::new("board", "any").validate().is_err());
        assert!(Endpoint::new("/board", "{").validate().is_err());
    }

    #[test]
    fn a_long_body_is_cut_between_characters() {
        let text = begin_of("ä".repeat(500).as_bytes());
        assert_eq!(text.chars().count(), 121);
    }
}
