//! Errors of a request, with the contract's codes.

use super::resolver::NameError;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use url::{Host, Url};
use vdeploy_core::capability::http::Request;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;
use vdeploy_net::resolve::inside;
use vdeploy_net::tls::{cause, find_rustls_error};

/// An address without its private parts: query, fragment, user.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

pub(super) fn invalid(message: String) -> EffectError {
    EffectError::new(ErrorKind::Invalid, codes::HTTP_INVALID, message)
}

pub(super) fn denied(message: String) -> EffectError {
    EffectError::new(ErrorKind::Denied, codes::HTTP_DENIED, message)
}

/// A change without an answer is in doubt.
fn maybe(request: &Request, error: EffectError) -> EffectError {
    match request.is_probe() {
        true => error,
        false => error.in_doubt(),
    }
}

pub(super) fn timed_out(request: &Request, url: &Url) -> EffectError {
    let text = format!(
        "{} did not answer within {} s; check that it runs, or allow more time",
        shown(url),
        request.timeout.as_secs_f64()
    );
    maybe(
        request,
        EffectError::new(ErrorKind::Timeout, codes::HTTP_TIMEOUT, text),
    )
}

pub(super) fn too_large(request: &Request, url: &Url) -> EffectError {
    let text = format!(
        "the answer of {} is longer than {} bytes; ask for less, or allow more",
        shown(url),
        request.max_response
    );
    maybe(
        request,
        EffectError::new(ErrorKind::Failed, codes::HTTP_TOO_LARGE, text),
    )
}

/// The host of `url` resolves to an address that is not public. The grant `line`
/// would allow it.
pub(super) fn leads_inside(url: &Url, ip: IpAddr, line: &str) -> EffectError {
    let host = url.host_str().unwrap_or_default();
    let what = inside(ip).unwrap_or("no public address");
    let leads = match literal(url) {
        Some(_) => format!("{ip} is {what}"),
        None => format!("{host} leads to {ip}, {what}"),
    };
    denied(format!(
        "{leads}, and nothing was sent there; where it is meant, the grants name the address \
         too, beside their other scopes;\n{line}"
    ))
}

/// An error of the HTTP library. `by_target`: the target's own TLS settings
/// applied.
pub(super) fn classify(
    request: &Request,
    url: &Url,
    error: &reqwest::Error,
    by_target: bool,
) -> EffectError {
    let at = shown(url);
    let host = url.host_str().unwrap_or_default();
    let unavailable = |code, text| EffectError::new(ErrorKind::Unavailable, code, text);
    if error.is_builder() {
        return invalid(format!(
            "the request to {at} cannot be built: {}",
            cause(error)
        ));
    }
    match find::<NameError>(error) {
        Some(NameError::Inside { ip, .. }) => {
            return denied(format!(
                "{host} leads to {ip}, {}; where it is meant, write the address itself as the \
                 target's `url`",
                inside(*ip).unwrap_or("no public address")
            ));
        }
        Some(NameError::Unknown(why)) => {
            let text = format!("the name {host} cannot be resolved ({why}); check it");
            return unavailable(codes::HTTP_DNS, text);
        }
        None => {}
    }
    if let Some(why) = find_rustls_error(error) {
        let help = match by_target {
            true => "check the certificate, and set `ca-file` for a private CA",
            false => {
                "check the certificate; a private CA must be trusted by this machine: `ca-file` and \
                 `tls-verify` of a target count for the target only"
            }
        };
        let text = format!("TLS with {at} failed ({why}); {help}");
        let error = EffectError::new(ErrorKind::Failed, codes::HTTP_TLS, text);
        // The handshake precedes the request; later failures do not.
        return match why {
            rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_) => error,
            _ => maybe(request, error),
        };
    }
    if error.is_connect() {
        let text = format!(
            "no connection to {at} ({}); check that it runs",
            cause(error)
        );
        return unavailable(codes::HTTP_CONNECT, text);
    }
    if error.is_timeout() {
        return timed_out(request, url);
    }
    let text = format!(
        "{at} closed the connection before its answer was complete ({})",
        cause(error)
    );
    maybe(request, unavailable(codes::HTTP_CLOSED, text))
}

/// The host of `url`, if it is an address.
pub(super) fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
        Host::Domain(_) => None,
    }
}

/// Every address of a name that resolves to an internal one.
pub(super) fn inside_addresses(error: &reqwest::Error) -> Option<&[SocketAddr]> {
    match find::<NameError>(error)? {
        NameError::Inside { all, .. } => Some(all),
        NameError::Unknown(_) => None,
    }
}

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(e) = next {
        if let Some(found) = e.downcast_ref::<T>() {
            return Some(found);
        }
        next = e.source();
    }
    None
}
