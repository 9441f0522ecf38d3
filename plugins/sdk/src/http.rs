//! HTTP requests from the host, outside the target.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Secret, backend};

/// A request before it is sent.
#[derive(Debug, Clone)]
pub(crate) struct RequestSpec {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub secret_headers: Vec<(String, String, Secret)>,
    pub body: Option<Vec<u8>>,
    pub timeout: Option<Duration>,
    pub max_response: Option<u64>,
    pub read_back: Option<(String, String)>,
}

/// Builds a request. GET and HEAD are probes, every other method is a change.
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until `send`"]
pub struct RequestBuilder {
    spec: RequestSpec,
    failed: Option<Error>,
}

impl RequestBuilder {
    pub(crate) fn new(method: &str, url: &str) -> Self {
        Self {
            spec: RequestSpec {
                method: method.to_owned(),
                url: url.to_owned(),
                headers: Vec::new(),
                secret_headers: Vec::new(),
                body: None,
                timeout: None,
                max_response: None,
                read_back: None,
            },
            failed: None,
        }
    }

    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.spec
            .headers
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// `authorization: Bearer SECRET`.
    pub fn bearer(self, secret: &Secret) -> Self {
        self.secret_header("authorization", "Bearer ", secret)
    }

    /// A header whose value is `prefix` followed by the secret.
    pub fn secret_header(
        mut self,
        name: impl AsRef<str>,
        prefix: impl AsRef<str>,
        secret: &Secret,
    ) -> Self {
        self.spec.secret_headers.push((
            name.as_ref().to_owned(),
            prefix.as_ref().to_owned(),
            secret.clone(),
        ));
        self
    }

    /// A JSON body and its content type. `send` reports a value that cannot be
    /// encoded.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => self.spec.body = Some(bytes),
            Err(error) => self.failed = Some(Error::from(error).context("encode request body")),
        }
        self.header("content-type", "application/json")
    }

    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.spec.body = Some(bytes.into());
        self
    }

    /// For the whole exchange. Default 30 s.
    pub fn timeout(mut self, duration: Duration) -> Self {
        self.spec.timeout = Some(duration);
        self
    }

    /// Limit of the body. Default 1 MiB; a longer one is `http.too-large`.
    pub fn max_response(mut self, bytes: u64) -> Self {
        self.spec.max_response = Some(bytes);
        self
    }

    /// How the host reads back a change in doubt after an interruption: GET `url`
    /// with the headers of this request. If the body contains `text`, the change
    /// arrived and `send` returns that answer. Without the text, or on 404, the
    /// host sends the request.
    pub fn read_back(mut self, url: impl AsRef<str>, text: impl AsRef<str>) -> Self {
        self.spec.read_back = Some((url.as_ref().to_owned(), text.as_ref().to_owned()));
        self
    }

    /// A status of 400 or more is a [`Response`], not an error.
    ///
    /// # Errors
    /// `http.denied`, `http.invalid`, `http.dns`, `http.connect`, `http.tls`,
    /// `http.timeout`, `http.too-large`, `http.closed`, `json.invalid`.
    pub fn send(self) -> Result<Response, Error> {
        match self.failed {
            Some(error) => Err(error),
            None => backend::http(&self.spec),
        }
    }
}

/// Sends in parallel; returns one answer each, in order.
pub(crate) fn send_all(requests: Vec<RequestBuilder>) -> Vec<Result<Response, Error>> {
    let (mut specs, mut slots) = (Vec::new(), Vec::new());
    for request in requests {
        match request.failed {
            Some(error) => slots.push(Some(error)),
            None => {
                specs.push(request.spec);
                slots.push(None);
            }
        }
    }
    let mut answers = backend::http_all(&specs).into_iter();
    slots
        .into_iter()
        .map(|slot| match slot {
            Some(error) => Err(error),
            None => answers.next().unwrap_or_else(|| {
                Err(Error::failed(
                    "http.closed",
                    "the host gave no answer to a request",
                ))
            }),
        })
        .collect()
}

#[derive(Debug)]
pub struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) headers: backend::Headers,
}

impl Response {
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is 200 to 299.
    pub fn ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first value of a header, name in any case.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name)
    }

    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// # Errors
    /// `json.invalid`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}
