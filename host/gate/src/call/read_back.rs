//! What came of an HTTP change whose answer an earlier process of the run did
//! not get: its declared read-back tells.

use crate::call::pass::{Gate, unanswered};
use std::time::Duration;
use vdeploy_core::capability::EffectError;
use vdeploy_core::capability::http::{ReadBack, Request, Response};

/// So long after it was sent a change may still be on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(10);
/// Time between two looks.
const AGAIN: Duration = Duration::from_secs(1);
/// Most looks: clocks may be wrong.
const LOOKS: usize = 11;

/// What one look says.
enum Seen {
    Arrived(Response),
    NotYet,
    Unknown(String),
}

impl Gate {
    /// The answer of the read-back, when the request has arrived that was sent
    /// at `since` (milliseconds since 1970). None: it has not, and is to be sent.
    pub(crate) async fn arrived(
        &self,
        request: &Request,
        since: u64,
    ) -> Result<Option<Response>, EffectError> {
        let Some(read_back) = request.read_back.as_ref().filter(|_| !request.has_key()) else {
            return Ok(None);
        };
        let probe = probe(request, read_back);
        let clock = &self.shared.world.clock;
        for look in 1..=LOOKS {
            match self.look(&probe, &read_back.text).await {
                Seen::Arrived(response) => return Ok(Some(response)),
                Seen::Unknown(why) => {
                    let action = format!("http {} {}", request.method, request.url);
                    let mut error = unanswered(&action);
                    error
                        .message
                        .push_str(&format!("; its read-back does not tell: {why}"));
                    return Err(error);
                }
                Seen::NotYet => {
                    let ago = clock.now_unix_ms().saturating_sub(since);
                    if Duration::from_millis(ago) >= ON_ITS_WAY || look == LOOKS {
                        break;
                    }
                    clock.sleep(AGAIN).await;
                }
            }
        }
        Ok(None)
    }

    async fn look(&self, probe: &Request, text: &str) -> Seen {
        match self.shared.world.http.send(probe, self).await {
            Ok(response) if (200..300).contains(&response.status) => {
                match String::from_utf8_lossy(&response.body).contains(text) {
                    true => Seen::Arrived(response),
                    false => Seen::NotYet,
                }
            }
            Ok(response) if response.status == 404 => Seen::NotYet,
            Ok(response) => Seen::Unknown(format!("GET {} answers {}", probe.url, response.status)),
            Err(error) => Seen::Unknown(error.to_string()),
        }
    }
}

/// The read-back as a request.
fn probe(request: &Request, read_back: &ReadBack) -> Request {
    let is_body = |name: &str| name.to_ascii_lowercase().starts_with("content-");
    let headers = request.headers.iter().filter(|(name, _)| !is_body(name));
    Request {
        method: "GET".to_owned(),
        url: read_back.url.clone(),
        headers: headers.cloned().collect(),
        body: Vec::new(),
        timeout: request.timeout,
        max_response: request.max_response,
        read_back: None,
    }
}
