//! The forms of the API's answers: not every error is JSON, and not every
//! success has a body.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

/// An answer.
#[derive(Debug)]
pub struct Reply {
    status: u16,
    kind: Option<&'static str>,
    body: String,
    retry_after: Option<u32>,
}

impl Reply {
    /// JSON with any status.
    pub fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            kind: Some("application/json"),
            body: body.to_string(),
            retry_after: None,
        }
    }

    /// An application error: JSON with `success`.
    pub fn error(status: u16, text: &str) -> Self {
        Self::json(status, &json!({ "error": text, "success": false }))
    }

    /// Plain text; `typed` says so.
    pub fn text(status: u16, text: &str, typed: bool) -> Self {
        Self {
            status,
            kind: typed.then_some("text/plain; charset=utf-8"),
            body: text.to_owned(),
            retry_after: None,
        }
    }

    /// Nothing but a status.
    pub fn empty(status: u16) -> Self {
        Self::text(status, "", false)
    }

    /// What stands before the platform answers when that is away.
    pub fn page(status: u16) -> Self {
        Self {
            status,
            kind: Some("text/html"),
            body: format!("<html><body><h1>{status}</h1></body></html>"),
            retry_after: None,
        }
    }

    /// 429.
    pub fn too_many(seconds: u32) -> Self {
        let mut reply = Self::text(429, "Too Many Requests", true);
        reply.retry_after = Some(seconds);
        reply
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// For the server.
    pub fn into_response(self) -> Response<Full<Bytes>> {
        let mut builder = Response::builder().status(self.status);
        if let Some(kind) = self.kind {
            builder = builder.header("Content-Type", kind);
        }
        if let Some(seconds) = self.retry_after {
            builder = builder.header("Retry-After", seconds);
        }
        let made = builder.body(Full::new(Bytes::from(self.body)));
        made.unwrap_or_else(|_| {
            let mut plain = Response::new(Full::default());
            *plain.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            plain
        })
    }
}
