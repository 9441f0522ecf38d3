//! http: building requests and sending them.

use super::error;
use crate::bindings::vdeploy::plugin::{http, types};
use crate::call::state::{HANDLE, HostState};
use std::time::Duration;
use url::Url;
use vdeploy_core::capability::http::{HeaderText, ReadBack, Request, Response};
use vdeploy_core::capability::secrets::Secret;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;
use wasmtime::Result;
use wasmtime::component::Resource;

/// Without a word of the plugin.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_RESPONSE: usize = 1 << 20;
const MAX_RESPONSE: usize = 16 << 20;

/// A request being built by a plugin; checked when it is sent.
#[derive(Debug)]
pub struct RequestDraft {
    method: String,
    url: String,
    headers: Vec<(String, HeaderText)>,
    body: Vec<u8>,
    timeout: Duration,
    max_response: usize,
    read_back: Option<(String, String)>,
    held: usize,
}

/// What a response takes in the host.
fn size(response: &Response) -> usize {
    let headers = response.headers.iter();
    let headers: usize = headers.map(|(n, v)| HANDLE + n.len() + v.len()).sum();
    HANDLE + headers + response.body.len()
}

/// Longest URL, in bytes.
const MAX_URL: usize = 8 << 10;

impl RequestDraft {
    fn finish(self) -> std::result::Result<Request, EffectError> {
        let invalid = |message| EffectError::new(ErrorKind::Invalid, codes::HTTP_INVALID, message);
        let method = self.method.to_ascii_uppercase();
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        if !known.contains(&method.as_str()) {
            return Err(invalid(format!(
                "method `{}` is not one of {}",
                self.method,
                known.join(", ")
            )));
        }
        let absolute = |text: &str| match Url::parse(text) {
            _ if text.len() > MAX_URL => Err(invalid(format!(
                "a URL of {} bytes is too long: at most {MAX_URL}",
                text.len()
            ))),
            Err(e) => Err(invalid(format!("`{text}` is no absolute URL: {e}"))),
            Ok(url) if !matches!(url.scheme(), "http" | "https") => {
                Err(invalid(format!("`{text}` is neither http nor https")))
            }
            Ok(url) => Ok(url),
        };
        let url = absolute(&self.url)?;
        let read_back = match self.read_back {
            Some((url, text)) => Some(ReadBack {
                url: absolute(&url)?,
                text,
            }),
            None => None,
        };
        Ok(Request {
            method,
            url,
            headers: self.headers,
            body: self.body,
            timeout: self.timeout,
            max_response: self.max_response,
            read_back,
        })
    }
}

impl http::HostRequest for HostState {
    async fn new(&mut self, method: String, url: String) -> Result<Resource<RequestDraft>> {
        let held = HANDLE + method.len() + url.len();
        self.hold(held)?;
        Ok(self.table.push(RequestDraft {
            method,
            url,
            headers: Vec::new(),
            body: Vec::new(),
            timeout: DEFAULT_TIMEOUT,
            max_response: DEFAULT_RESPONSE,
            read_back: None,
            held,
        })?)
    }
    async fn header(
        &mut self,
        request: Resource<RequestDraft>,
        name: String,
        value: String,
    ) -> Result<()> {
        let bytes = HANDLE + name.len() + value.len();
        let headers = &mut self.grow_request(&request, bytes)?.headers;
        headers.push((name, HeaderText::Plain(value)));
        Ok(())
    }
    async fn secret_header(
        &mut self,
        request: Resource<RequestDraft>,
        name: String,
        prefix: String,
        value: Resource<Secret>,
    ) -> Result<()> {
        let secret = self.table.get(&value)?.clone();
        let bytes = HANDLE + name.len() + prefix.len();
        let headers = &mut self.grow_request(&request, bytes)?.headers;
        headers.push((name, HeaderText::Secret { prefix, secret }));
        Ok(())
    }
    async fn body(&mut self, request: Resource<RequestDraft>, bytes: Vec<u8>) -> Result<()> {
        let draft = self.grow_request(&request, bytes.len())?;
        draft.body = bytes;
        Ok(())
    }
    async fn timeout_ms(&mut self, request: Resource<RequestDraft>, duration: u64) -> Result<()> {
        self.table.get_mut(&request)?.timeout = Duration::from_millis(duration);
        Ok(())
    }
    async fn max_response_bytes(
        &mut self,
        request: Resource<RequestDraft>,
        limit: u64,
    ) -> Result<()> {
        self.table.get_mut(&request)?.max_response =
            usize::try_from(limit).map_or(MAX_RESPONSE, |l| l.min(MAX_RESPONSE));
        Ok(())
    }
    async fn read_back(
        &mut self,
        request: Resource<RequestDraft>,
        url: String,
        text: String,
    ) -> Result<()> {
        let draft = self.grow_request(&request, url.len() + text.len())?;
        draft.read_back = Some((url, text));
        Ok(())
    }
    async fn drop(&mut self, request: Resource<RequestDraft>) -> Result<()> {
        self.take(request)?;
        Ok(())
    }
}

impl http::HostResponse for HostState {
    async fn status(&mut self, response: Resource<Response>) -> Result<u16> {
        Ok(self.table.get(&response)?.status)
    }
    async fn header(
        &mut self,
        response: Resource<Response>,
        name: String,
    ) -> Result<Option<String>> {
        let headers = &self.table.get(&response)?.headers;
        let found = headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(&name));
        Ok(found.map(|(_, value)| value.clone()))
    }
    async fn body(&mut self, response: Resource<Response>) -> Result<Vec<u8>> {
        Ok(self.table.get(&response)?.body.clone())
    }
    async fn drop(&mut self, response: Resource<Response>) -> Result<()> {
        let held = size(&self.table.delete(response)?);
        self.release(held);
        Ok(())
    }
}

type Answered = std::result::Result<Resource<Response>, types::Error>;

impl HostState {
    /// The draft, for a part that takes `bytes`.
    fn grow_request(
        &mut self,
        request: &Resource<RequestDraft>,
        bytes: usize,
    ) -> Result<&mut RequestDraft> {
        self.hold(bytes)?;
        let draft = self.table.get_mut(request)?;
        draft.held += bytes;
        Ok(draft)
    }

    fn take(&mut self, request: Resource<RequestDraft>) -> Result<RequestDraft> {
        let draft = self.table.delete(request)?;
        self.release(draft.held);
        Ok(draft)
    }

    async fn sent_alone(&mut self, request: Request) -> std::result::Result<Response, EffectError> {
        let room = request.max_response;
        self.reserve(room)?;
        let answer = self.gate.http(request).await;
        self.release(room);
        answer
    }

    /// One answer for each. All are refused when there is no room for all.
    async fn sent_at_once(
        &mut self,
        requests: Vec<Request>,
    ) -> Vec<std::result::Result<Response, EffectError>> {
        let rooms = requests.iter().map(|request| request.max_response);
        let room = rooms.fold(0_usize, usize::saturating_add);
        if let Err(error) = self.reserve(room) {
            return requests.iter().map(|_| Err(error.clone())).collect();
        }
        let answers = self.gate.http_all(requests).await;
        self.release(room);
        answers
    }

    fn answer(&mut self, answer: std::result::Result<Response, EffectError>) -> Result<Answered> {
        match answer {
            Ok(response) => {
                self.hold(size(&response))?;
                Ok(Ok(self.table.push(response)?))
            }
            Err(e) => Ok(Err(error(e))),
        }
    }
}

impl http::Host for HostState {
    async fn send(&mut self, request: Resource<RequestDraft>) -> Result<Answered> {
        let draft = self.take(request)?;
        self.last_call = Some(format!("http {} {}", draft.method, draft.url));
        let answer = match draft.finish() {
            Ok(request) => self.sent_alone(request).await,
            Err(e) => Err(e),
        };
        self.answer(answer)
    }

    async fn send_all(&mut self, requests: Vec<Resource<RequestDraft>>) -> Result<Vec<Answered>> {
        self.last_call = Some(format!("http, {} requests at once", requests.len()));
        let mut valid = Vec::new();
        let mut slots = Vec::new();
        for request in requests {
            match self.take(request)?.finish() {
                Ok(request) => {
                    slots.push(None);
                    valid.push(request);
                }
                Err(e) => slots.push(Some(Err(e))),
            }
        }
        let mut answers = self.sent_at_once(valid).await.into_iter();
        let mut all = Vec::with_capacity(slots.len());
        for slot in slots {
            let lost = || {
                Err(EffectError::new(
                    ErrorKind::Failed,
                    codes::HTTP_CLOSED,
                    "the request got no answer",
                ))
            };
            let answer = slot.or_else(|| answers.next()).unwrap_or_else(lost);
            all.push(self.answer(answer)?);
        }
        Ok(all)
    }
}
