//! Sending one request, hop by hop.

use super::failure::{classify, denied, invalid, shown, timed_out, too_large};
use super::names::{LocalNames, NoLinkLocal};
use crate::backoff::deadline;
use crate::capability::http::{HeaderText, HopPolicy, Http, Request, Response};
use crate::capability::{EffectError, ErrorKind};
use crate::resolve::is_link_local;
use crate::tls::Tls;
use async_trait::async_trait;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, Method};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use url::{Host, Origin, Url};
use zeroize::Zeroizing;

/// Redirects followed for one probe.
const MOST_REDIRECTS: usize = 5;

/// Headers that belong to the connection or decide which site is asked; a
/// plugin must not set them past its grant.
const RESERVED: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers that are not for another site, even in the clear.
const PRIVATE: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// Sends requests over the network. Uses no proxy and keeps no cookies.
#[derive(Clone, Debug)]
pub struct ReqwestHttp {
    /// Refuses names that lead to link-local addresses.
    strict: Client,
    /// For hosts whose grant allows them.
    link_local: Client,
}

impl ReqwestHttp {
    /// A client with this TLS set-up; fails only if the library cannot start.
    pub fn new(tls: &Tls) -> Result<Self, EffectError> {
        let builder = || {
            Client::builder()
                .tls_backend_preconfigured((*tls.config()).clone())
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                // Services close idle connections after a few seconds, and a change sent
                // into that would be in doubt.
                .pool_idle_timeout(Duration::from_secs(2))
                .connect_timeout(Duration::from_secs(30))
                .user_agent(concat!("vdeploy/", env!("CARGO_PKG_VERSION")))
        };
        let fail = |e: reqwest::Error| invalid(format!("the HTTP client cannot be set up: {e}"));
        Ok(Self {
            strict: builder()
                .dns_resolver(Arc::new(NoLinkLocal))
                .build()
                .map_err(fail)?,
            link_local: builder()
                .dns_resolver(Arc::new(LocalNames))
                .build()
                .map_err(fail)?,
        })
    }

    /// The client for this hop, if the address may be connected to at all.
    fn client(&self, url: &Url, policy: &dyn HopPolicy) -> Result<&Client, EffectError> {
        if policy.allows_link_local(url) {
            return Ok(&self.link_local);
        }
        let literal = match url.host() {
            Some(Host::Ipv4(ip)) => Some(ip.into()),
            Some(Host::Ipv6(ip)) => Some(ip.into()),
            _ => None,
        };
        match literal {
            Some(ip) if is_link_local(ip) => Err(denied(format!(
                "{ip} is a link-local or metadata address; only a grant that names it allows it"
            ))),
            _ => Ok(&self.strict),
        }
    }

    async fn follow(
        &self,
        request: &Request,
        policy: &dyn HopPolicy,
        deadline: Instant,
    ) -> Result<Response, EffectError> {
        let method = Method::from_bytes(request.method.as_bytes())
            .ok()
            .filter(|_| request.method.chars().all(|c| c.is_ascii_uppercase()))
            .ok_or_else(|| invalid(format!("`{}` is not an HTTP method", request.method)))?;
        let first = request.url.origin();
        let mut url = request.url.clone();
        for hop in 0..=MOST_REDIRECTS {
            check(&url)?;
            policy.allows(&request.method, &url)?;
            let client = self.client(&url, policy)?;
            let headers = headers(request, &url, hop > 0, &first, policy)?;
            let sending = client
                .request(method.clone(), url.clone())
                .headers(headers)
                .body(request.body.clone())
                .send();
            let response = match timeout_at(deadline, sending).await {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => return Err(classify(request, &url, &error)),
                Err(_) => return Err(timed_out(request, &url)),
            };
            match redirect(request, &url, &response) {
                Some(next) => url = next,
                None => {
                    return timeout_at(deadline, read(request, &url, response))
                        .await
                        .unwrap_or_else(|_| Err(timed_out(request, &url)));
                }
            }
        }
        Err(EffectError::new(
            ErrorKind::Failed,
            "http.redirects",
            format!(
                "{} redirects more than {MOST_REDIRECTS} times, lastly to {}; ask the final \
                 address",
                shown(&request.url),
                shown(&url)
            ),
        ))
    }
}

/// Whether the address is one that can be asked.
fn check(url: &Url) -> Result<(), EffectError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid(format!(
            "`{}` is neither http nor https",
            shown(url)
        )));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid(format!(
            "the address {} holds a user name or password; send a header with a secret instead",
            shown(url)
        )));
    }
    Ok(())
}

/// The headers for this hop. On a later hop a secret that may not go there is
/// left out; on the first one that is an error.
fn headers(
    request: &Request,
    url: &Url,
    redirected: bool,
    first: &Origin,
    policy: &dyn HopPolicy,
) -> Result<HeaderMap, EffectError> {
    let elsewhere = redirected && url.origin() != *first;
    let mut headers = HeaderMap::new();
    for (name, text) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| invalid(format!("`{name}` is not a header's name")))?;
        if RESERVED.contains(&name.as_str()) {
            return Err(invalid(format!(
                "the header `{name}` is set by vdeploy itself"
            )));
        }
        let value = match text {
            HeaderText::Plain(_) if elsewhere && PRIVATE.contains(&name.as_str()) => continue,
            HeaderText::Plain(text) => HeaderValue::from_bytes(text.as_bytes())
                .map_err(|_| invalid(format!("the value of the header `{name}` is malformed")))?,
            HeaderText::Secret { prefix, secret } => {
                if !policy.allows_secret(&secret.name, url) {
                    if redirected {
                        continue;
                    }
                    return Err(denied(format!(
                        "the secret `{}` may not be sent to {}; grant it for that host",
                        secret.name,
                        shown(url)
                    )));
                }
                let text = Zeroizing::new(format!("{prefix}{}", secret.value.expose()));
                let mut value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| {
                    invalid(format!(
                        "the secret `{}` has characters that a header cannot hold",
                        secret.name
                    ))
                })?;
                value.set_sensitive(true);
                value
            }
        };
        headers.append(name, value);
    }
    Ok(headers)
}

/// Where a probe is sent on to.
fn redirect(request: &Request, url: &Url, response: &reqwest::Response) -> Option<Url> {
    if !request.is_probe() || !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    url.join(location).ok()
}

async fn read(
    request: &Request,
    url: &Url,
    mut response: reqwest::Response,
) -> Result<Response, EffectError> {
    let mut answer = Response {
        status: response.status().as_u16(),
        headers: response
            .headers()
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect(),
        body: Vec::new(),
    };
    let announced = response.content_length().unwrap_or(0);
    if request.method != "HEAD" && announced > request.max_response as u64 {
        return Err(too_large(request, url));
    }
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if answer.body.len() + chunk.len() > request.max_response => {
                return Err(too_large(request, url));
            }
            Ok(Some(chunk)) => answer.body.extend_from_slice(&chunk),
            Ok(None) => return Ok(answer),
            Err(error) => return Err(classify(request, url, &error)),
        }
    }
}

#[async_trait]
impl Http for ReqwestHttp {
    async fn send(
        &self,
        request: &Request,
        policy: &dyn HopPolicy,
    ) -> Result<Response, EffectError> {
        let deadline = deadline(request.timeout);
        self.follow(request, policy, deadline).await
    }
}
