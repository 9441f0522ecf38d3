//! `http.send` and `http.send-all` through the gate.

use crate::call::pass::{CallContext, Gate, denied, refused};
use crate::call::ssh::text;
use crate::call::{Call, Effect, WhenInDoubt};
use crate::source::from_journal;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::net::IpAddr;
use url::Url;
use vdeploy_core::capability::function::HostFunction;
use vdeploy_core::capability::http::{HeaderText, HopPolicy, Nearness, Request, Response};
use vdeploy_core::capability::http_rules;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;
use vdeploy_scope::Grants;
use vdeploy_scope::address::same_origin;

impl Gate {
    /// Sends one request.
    pub async fn http(&self, mut request: Request) -> Result<Response, EffectError> {
        request.timeout = request.timeout.min(self.time_left());
        let call = Call {
            function: HostFunction::HttpSend,
            action: format!("http {} {}", request.method, request.url),
            request: self.http_arguments(&request),
            effect: self.http_effect(&request),
            grant: self.http_grant(&request),
            quiet: false,
            lasting: false,
            in_doubt: match request.has_key() || request.read_back.is_some() {
                true => WhenInDoubt::Retry,
                false => WhenInDoubt::Report,
            },
        };
        let pretend = || {
            Ok(Response {
                status: 200,
                ..Response::default()
            })
        };
        self.pass(call, pretend, async |context: CallContext| {
            let arrived = match context.asked_before {
                Some(since) => self.arrived(&request, since).await?,
                None => None,
            };
            let mut response = match arrived {
                Some(response) => response,
                None => {
                    let _turn = self.budget.turn().await;
                    let timeout = request.timeout.min(self.time_left());
                    self.send(&Request { timeout, ..request }).await?
                }
            };
            let masker = &self.shared.masker;
            response.body = masker.mask_bytes(&response.body).into_owned();
            for (_, value) in &mut response.headers {
                *value = masker.mask(value).into_owned();
            }
            Ok(from_journal::response(response))
        })
        .await
    }

    /// Sends all at once, as far as the budget lets them. The calls are numbered in order before the first is
    /// sent, so the order of answers never depends on the network.
    pub async fn http_all(&self, requests: Vec<Request>) -> Vec<Result<Response, EffectError>> {
        if requests.iter().any(|r| !r.is_probe()) {
            return requests
                .iter()
                .map(|_| {
                    Err(EffectError::new(
                        ErrorKind::Invalid,
                        codes::HTTP_INVALID,
                        "send-all takes probes only (GET, HEAD); send changes one by one",
                    ))
                })
                .collect();
        }
        join_all(requests.into_iter().map(|r| self.http(r))).await
    }

    /// For the journal. A read-back stands in it only where there is one, so
    /// that older recordings stay as they are.
    fn http_arguments(&self, request: &Request) -> Value {
        let headers = request.headers.iter().map(|(name, value)| match value {
            HeaderText::Plain(text) => json!([name, text]),
            HeaderText::Secret { prefix, secret } => {
                json!([name, prefix, { "secret": secret.name }])
            }
        });
        let mut arguments = json!({
            "method": request.method,
            "url": request.url.as_str(),
            "headers": headers.collect::<Vec<_>>(),
            "body": text(&self.shared.masker.mask_bytes(&request.body)),
        });
        if let (Some(read_back), Some(members)) = (&request.read_back, arguments.as_object_mut()) {
            let value = json!({ "url": read_back.url.as_str(), "text": read_back.text });
            members.insert("read-back".to_owned(), value);
        }
        arguments
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
        http_rules::check(request)?;
        self.http_grant_to(request, &request.method, &request.url)?;
        match &request.read_back {
            Some(read_back) => self.http_grant_to(request, "GET", &read_back.url),
            None => Ok(()),
        }
    }

    /// Whether it may go there, with its secrets.
    fn http_grant_to(&self, request: &Request, method: &str, url: &Url) -> Result<(), EffectError> {
        self.allows(method, url)?;
        for (_, value) in &request.headers {
            if let HeaderText::Secret { secret, .. } = value
                && !self.allows_secret(&secret.name, url)
            {
                let host = url.host_str().unwrap_or_default();
                let target = self.shared.target().url;
                return Err(denied(
                    codes::SECRET_DENIED,
                    &format!("the secret `{}` in a header to {host}", secret.name),
                    &Grants::line_for_secret_to_url(
                        &self.plugin,
                        &secret.name,
                        url,
                        target.as_deref(),
                    ),
                ));
            }
        }
        Ok(())
    }
}

impl HopPolicy for Gate {
    fn allows(&self, method: &str, url: &Url) -> Result<(), EffectError> {
        let target = self.shared.target().url;
        if self.grants.allows_http(method, url, target.as_deref()) {
            return Ok(());
        }
        let advice = Grants::advice_for_http(&self.plugin, method, url, target.as_deref());
        Err(refused(
            codes::HTTP_DENIED,
            &format!("{method} {url}"),
            &advice,
        ))
    }

    fn allows_secret(&self, name: &str, url: &Url) -> bool {
        let target = self.shared.target().url;
        self.grants
            .allows_secret_to_url(name, url, target.as_deref())
    }

    fn nearness(&self, url: &Url) -> Nearness {
        match self.shared.target().url {
            Some(target) if same_origin(url, &target) => Nearness::Origin,
            _ if self.is_target(url) => Nearness::Host,
            _ => Nearness::Elsewhere,
        }
    }

    fn names_address(&self, method: &str, url: &Url, ip: IpAddr) -> Result<(), String> {
        let target = self.shared.target().url;
        let target = target.as_deref();
        let by_address = Grants::by_address(url, ip);
        match self.grants.allows_http(method, &by_address, target) {
            true => Ok(()),
            false => Err(Grants::advice_for_http(
                &self.plugin,
                method,
                &by_address,
                target,
            )),
        }
    }
}
