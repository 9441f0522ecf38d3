//! Sends one request, hop by hop.

use super::failure::{
    classify, denied, inside_addresses, invalid, leads_inside, literal, shown, timed_out, too_large,
};
use super::resolver::{CheckedNames, Lookup, Refuses, of_this_machine};
use async_trait::async_trait;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, ClientBuilder, Method, RequestBuilder};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use url::{Origin, Url};
use vdeploy_core::backoff::deadline;
use vdeploy_core::capability::http::{HeaderText, HopPolicy, Http, Nearness, Request, Response};
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;
use vdeploy_net::resolve::{inside, is_link_local};
use vdeploy_net::tls::Tls;
use zeroize::Zeroizing;

/// Redirects followed for one probe.
const MOST_REDIRECTS: usize = 5;

/// Headers of the connection, or that choose the site; a plugin must not set them
/// past its grant.
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

/// Headers that are never sent on to another site, even without a secret.
const PRIVATE: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// Sends requests over the network. Uses no proxy and keeps no cookies.
#[derive(Clone, Debug)]
pub struct ReqwestHttp {
    /// For all other hosts: the machine's certificates, and names that resolve to
    /// public addresses.
    strict: Client,
    /// For the target and its platform: the target's TLS settings, and names that
    /// resolve to any but link-local addresses.
    target: Client,
    /// Further hosts that the target's settings apply to.
    platform: Vec<Origin>,
    /// Of the strict client.
    tls: Tls,
}

/// The set-up of all clients.
fn builder(tls: &Tls) -> ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured((*tls.config()).clone())
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        // Services close idle connections after a few seconds, and a change sent
        // into that would be in doubt.
        .pool_idle_timeout(Duration::from_secs(2))
        .connect_timeout(Duration::from_secs(30))
        .user_agent(concat!("vdeploy/", env!("CARGO_PKG_VERSION")))
}

fn cannot_start(error: reqwest::Error) -> EffectError {
    invalid(format!("the HTTP client cannot be set up: {error}"))
}

impl ReqwestHttp {
    /// Uses `target` for the run's target and the addresses in `platform`, and `tls`
    /// for all other hosts. Fails only if the library cannot start.
    pub fn new(tls: &Tls, target: &Tls, platform: &[Url]) -> Result<Self, EffectError> {
        Self::with_names(tls, target, platform, of_this_machine)
    }

    /// The same with another resolver.
    pub(super) fn with_names(
        tls: &Tls,
        target: &Tls,
        platform: &[Url],
        lookup: Lookup,
    ) -> Result<Self, EffectError> {
        let client = |tls, refuses| {
            builder(tls)
                .dns_resolver(Arc::new(CheckedNames(refuses, lookup)))
                .build()
                .map_err(cannot_start)
        };
        Ok(Self {
            strict: client(tls, Refuses::Inside)?,
            target: client(target, Refuses::LinkLocal)?,
            platform: platform.iter().map(Url::origin).collect(),
            tls: tls.clone(),
        })
    }

    /// Whether the target's settings apply to `url`.
    fn is_targets(&self, url: &Url, policy: &dyn HopPolicy) -> bool {
        policy.nearness(url) == Nearness::Origin || self.platform.contains(&url.origin())
    }

    /// Sends one request without following a redirect.
    async fn hop(
        &self,
        request: &Request,
        policy: &dyn HopPolicy,
        (method, url, headers): (&Method, &Url, HeaderMap),
    ) -> Result<reqwest::Response, EffectError> {
        let by_target = self.is_targets(url, policy);
        let fail = |error: reqwest::Error| classify(request, url, &error, by_target);
        if by_target {
            let sending = prepared(&self.target, request, method, url, headers).send();
            return sending.await.map_err(fail);
        }
        if let Some(ip) = literal(url) {
            check_address(request, policy, url, ip)?;
        }
        let sending = prepared(&self.strict, request, method, url, headers.clone()).send();
        let error = match sending.await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        // Nothing was sent: the name has addresses that are not public.
        let (Some(all), Some(host)) = (inside_addresses(&error), url.host_str()) else {
            return Err(fail(error));
        };
        for address in all.iter().filter(|a| inside(a.ip()).is_some()) {
            check_address(request, policy, url, address.ip())?;
        }
        // A separate client: another plugin's request to that name must not reuse
        // the connection, and the name is not resolved again.
        let pinned = builder(&self.tls)
            .resolve_to_addrs(host, all)
            .build()
            .map_err(cannot_start)?;
        let sending = prepared(&pinned, request, method, url, headers).send();
        sending.await.map_err(fail)
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
            let headers = headers(request, &url, hop > 0, &first, policy)?;
            let hop = self.hop(request, policy, (&method, &url, headers));
            let response = match timeout_at(deadline, hop).await {
                Ok(response) => response?,
                Err(_) => return Err(timed_out(request, &url)),
            };
            match redirect(request, &url, &response) {
                Some(next) => url = next,
                None => {
                    let by_target = self.is_targets(&url, policy);
                    return timeout_at(deadline, read(request, &url, response, by_target))
                        .await
                        .unwrap_or_else(|_| Err(timed_out(request, &url)));
                }
            }
        }
        Err(EffectError::new(
            ErrorKind::Failed,
            codes::HTTP_REDIRECTS,
            format!(
                "{} redirects more than {MOST_REDIRECTS} times, lastly to {}; ask the final \
                 address",
                shown(&request.url),
                shown(&url)
            ),
        ))
    }
}

fn prepared(
    client: &Client,
    request: &Request,
    method: &Method,
    url: &Url,
    headers: HeaderMap,
) -> RequestBuilder {
    client
        .request(method.clone(), url.clone())
        .headers(headers)
        .body(request.body.clone())
}

/// Whether a request may go to `ip`, the address of the host of `url`. The operator
/// chooses the target's host, but not that its name resolves to a metadata service.
fn check_address(
    request: &Request,
    policy: &dyn HopPolicy,
    url: &Url,
    ip: IpAddr,
) -> Result<(), EffectError> {
    if inside(ip).is_none() {
        return Ok(());
    }
    let chosen = policy.nearness(url) != Nearness::Elsewhere;
    if chosen && (literal(url).is_some() || !is_link_local(ip)) {
        return Ok(());
    }
    policy
        .names_address(&request.method, url, ip)
        .map_err(|line| leads_inside(url, ip, &line))
}

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

/// The headers for this hop. A secret that may not go there is an error on the
/// first hop, and left out on later ones.
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

/// The target of a redirect that a probe follows.
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
    by_target: bool,
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
            Err(error) => return Err(classify(request, url, &error, by_target)),
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
