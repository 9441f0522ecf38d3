//! `http.send` and `http.send-all` through the gate.

use super::call::{Call, Effect, Unknown};
use super::pass::{Gate, denied};
use super::recall;
use super::ssh::text;
use crate::capability::grant::Grants;
use crate::capability::http::{HeaderText, HopPolicy, Request, Response};
use crate::capability::{EffectError, ErrorKind};
use futures_util::future::join_all;
use serde_json::json;
use url::Url;

impl Gate {
    /// Sends one request.
    pub async fn http(&self, mut request: Request) -> Result<Response, EffectError> {
        request.timeout = request.timeout.min(self.time_left());
        let call = Call {
            function: "http.send",
            action: format!("http {} {}", request.method, request.url),
            request: json!({
                "method": request.method,
                "url": request.url.as_str(),
                "headers": request
                    .headers
                    .iter()
                    .map(|(name, value)| match value {
                        HeaderText::Plain(text) => json!([name, text]),
                        HeaderText::Secret { prefix, secret } => {
                            json!([name, prefix, { "secret": secret.name }])
                        }
                    })
                    .collect::<Vec<_>>(),
                "body": text(&self.shared.masker.mask_bytes(&request.body)),
            }),
            effect: self.http_effect(&request),
            grant: self.http_grant(&request),
            quiet: false,
            lasting: false,
            unknown: match honours_a_key(&request) {
                true => Unknown::Again,
                false => Unknown::Tell,
            },
        };
        let pretend = || {
            Ok(Response {
                status: 200,
                ..Response::default()
            })
        };
        self.pass(call, pretend, async |_| {
            let mut response = self.send(&request).await?;
            let masker = &self.shared.masker;
            response.body = masker.mask_bytes(&response.body).into_owned();
            for (_, value) in &mut response.headers {
                *value = masker.mask(value).into_owned();
            }
            Ok(recall::response(response))
        })
        .await
    }

    /// Sends all at once. The calls are numbered in order before the first is
    /// sent, so the order of answers never depends on the network.
    pub async fn http_all(&self, requests: Vec<Request>) -> Vec<Result<Response, EffectError>> {
        if requests.iter().any(|r| !r.is_probe()) {
            return requests
                .iter()
                .map(|_| {
                    Err(EffectError::new(
                        ErrorKind::Invalid,
                        "http.invalid",
                        "send-all takes probes only (GET, HEAD); send changes one by one",
                    ))
                })
                .collect();
        }
        join_all(requests.into_iter().map(|r| self.http(r))).await
    }

    fn http_effect(&self, request: &Request) -> Effect {
        if request.is_probe() {
            Effect::Probe
        } else if self.is_target(&request.url) {
            Effect::ChangeTarget
        } else {
            Effect::Change
        }
    }

    /// Whether the URL is on the run's target: its URL's host.
    fn is_target(&self, url: &Url) -> bool {
        let facts = self.shared.target();
        facts
            .url
            .and_then(|target| Url::parse(&target).ok())
            .is_some_and(|target| target.host_str() == url.host_str())
    }

    fn http_grant(&self, request: &Request) -> Result<(), EffectError> {
        self.allows(&request.method, &request.url)?;
        for (_, value) in &request.headers {
            if let HeaderText::Secret { secret, .. } = value
                && !self.allows_secret(&secret.name, &request.url)
            {
                let host = request.url.host_str().unwrap_or_default();
                let target = self.shared.target().url;
                return Err(denied(
                    "secret.denied",
                    &format!("the secret `{}` in a header to {host}", secret.name),
                    &Grants::line_for_secret_to_url(
                        &self.plugin,
                        &secret.name,
                        &request.url,
                        target.as_deref(),
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// Whether the server recognises a request that it gets twice: the plugin says
/// so by giving it a key.
fn honours_a_key(request: &Request) -> bool {
    let mut names = request.headers.iter().map(|(name, _)| name);
    names.any(|name| name.eq_ignore_ascii_case("idempotency-key"))
}

impl HopPolicy for Gate {
    fn allows(&self, method: &str, url: &Url) -> Result<(), EffectError> {
        let target = self.shared.target().url;
        if self.grants.allows_http(method, url, target.as_deref()) {
            return Ok(());
        }
        Err(denied(
            "http.denied",
            &format!("{method} {url}"),
            &Grants::line_for_http(&self.plugin, method, url, target.as_deref()),
        ))
    }

    fn allows_secret(&self, name: &str, url: &Url) -> bool {
        let target = self.shared.target().url;
        self.grants
            .allows_secret_to_url(name, url, target.as_deref())
    }

    fn allows_link_local(&self, url: &Url) -> bool {
        self.grants.names_literal_host(url)
    }
}
