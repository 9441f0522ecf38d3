//! The checks from outside the target, at the address that agents use.

use std::time::Duration;

use vdeploy_plugin::{Cx, Error, ErrorKind, RequestBuilder, Response, Secret};
use vdeploy_service::endpoints::{Credential, Endpoint, begin_of};
use vdeploy_service::shape::Shape;

use crate::report::{Report, Verdict};
use crate::{Config, OTHER_TOKEN};

/// For one request.
const TIMEOUT: Duration = Duration::from_secs(15);
/// A wrong token.
const WRONG: &str = "Bearer this-is-not-the-token";

/// Health at the address of the target. The network can need a moment after a
/// restart, so a missing answer is retried; an answer is final.
pub(crate) fn health(cx: &Cx<Config>, hint: &str) -> Result<Verdict, Error> {
    let config = cx.config();
    let url = cx.target_endpoint(&config.health)?;
    let mut last = String::new();
    let answer = cx.wait_until(
        Duration::from_secs(config.outside_timeout),
        "an answer from outside",
        || match cx.http("GET", &url).timeout(TIMEOUT).send() {
            // A gateway answers so without its service.
            Ok(answer) if matches!(answer.status(), 502..=504) => {
                last = format!("{}: {}", answer.status(), begin_of(answer.body()));
                Ok(None)
            }
            Ok(answer) => Ok(Some(answer)),
            Err(error) if may_pass(&error) => {
                last = error.message;
                Ok(None)
            }
            Err(error) => Err(error),
        },
    );
    match answer {
        Ok(answer) => Ok(judge_health(config, &answer)),
        Err(error) if error.code == "wait.timeout" => Ok(Verdict::Failed(format!(
            "expected an answer from {url}, found none in {} s: {last}{hint}",
            config.outside_timeout
        ))),
        Err(error) if matches!(error.kind, ErrorKind::Cancelled | ErrorKind::Denied) => Err(error),
        Err(error) => Ok(Verdict::Failed(format!(
            "expected an answer from {url}, found: {error}"
        ))),
    }
}

fn may_pass(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Timeout)
        || error.code.starts_with("http.c")
        || error.code == "http.dns"
}

fn judge_health(config: &Config, answer: &Response) -> Verdict {
    let health = Endpoint {
        path: config.health.clone(),
        expect: config.health_expect.clone(),
        auth: false,
    };
    health
        .judge(Credential::None, answer.status(), answer.body())
        .into()
}

/// Asks every endpoint with the token, without one and with a wrong one, in
/// parallel. `other_token`: the service has another token.
pub(crate) fn endpoints(
    cx: &Cx<Config>,
    token: &Secret,
    other_token: bool,
    report: &mut Report<'_, Config>,
) -> Result<(), Error> {
    let asked: Vec<(&Endpoint, Credential)> = cx
        .config()
        .endpoints
        .iter()
        .flat_map(|endpoint| {
            endpoint
                .credentials()
                .iter()
                .map(move |&credential| (endpoint, credential))
        })
        .collect();
    let requests = asked
        .iter()
        .map(|(endpoint, credential)| request(cx, token, endpoint, *credential))
        .collect::<Result<Vec<_>, Error>>()?;
    let answers = cx.http_all(requests);
    for ((endpoint, credential), answer) in asked.iter().zip(answers) {
        let name = format!("GET {} {}", endpoint.path, credential.describe());
        let verdict = match answer {
            Ok(answer)
                if other_token && *credential == Credential::Valid && answer.status() == 401 =>
            {
                report.add(&name, Verdict::Skipped(OTHER_TOKEN.to_owned()));
                continue;
            }
            Ok(answer) => endpoint.judge(*credential, answer.status(), answer.body()),
            Err(error) if matches!(error.kind, ErrorKind::Cancelled | ErrorKind::Denied) => {
                return Err(error);
            }
            Err(error) => Err(format!("expected an answer, found: {error}")),
        };
        report.add(&name, verdict);
    }
    Ok(())
}

fn request(
    cx: &Cx<Config>,
    token: &Secret,
    endpoint: &Endpoint,
    credential: Credential,
) -> Result<RequestBuilder, Error> {
    let request = cx
        .http("GET", cx.target_endpoint(&endpoint.path)?)
        .timeout(TIMEOUT);
    Ok(match credential {
        Credential::Valid => request.bearer(token),
        Credential::None => request,
        Credential::Wrong => request.header("authorization", WRONG),
    })
}

/// # Errors
/// `config.invalid` for an endpoint or shape that cannot be used.
pub(crate) fn validate(config: &Config) -> Result<(), Error> {
    let shapes = config.endpoints.iter().map(Endpoint::validate);
    let health = Shape::parse(&config.health_expect).map(drop);
    for result in shapes.chain([health]) {
        result.map_err(|why| Error::invalid("config.invalid", why))?;
    }
    Ok(())
}
