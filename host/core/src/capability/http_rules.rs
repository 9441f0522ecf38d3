//! What no grant opens: a request whose method or path says something else than
//! what the server would do. Pure.

use super::error::{EffectError, ErrorKind};
use super::http::Request;
use crate::codes;

/// Headers by which servers take another method or another path than those of
/// the request; in lower case.
const INSTEAD: &[&str] = &[
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-method",
    "x-original-url",
    "x-rewrite-url",
];

/// Whether the method says what the request does (`http.invalid`): grants are
/// for a method and a path, and a probe is repeated and made in a dry run.
pub fn check(request: &Request) -> Result<(), EffectError> {
    let invalid = |message| EffectError::new(ErrorKind::Invalid, codes::HTTP_INVALID, message);
    for (name, _) in &request.headers {
        // Some servers take both signs for the same.
        let plain = name.to_ascii_lowercase().replace('_', "-");
        if INSTEAD.contains(&plain.as_str()) {
            return Err(invalid(format!(
                "the header `{name}` makes another request of this one than the grants were asked \
                 for; send that one"
            )));
        }
    }
    if request.is_probe() && !request.body.is_empty() {
        return Err(invalid(format!(
            "a {} only looks and carries no body; leave it out, or send a POST",
            request.method
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::http::HeaderText;
    use std::time::Duration;
    use url::Url;

    #[test]
    fn a_method_says_what_the_request_does() {
        let request = |method: &str, header: &str, body: &str| Request {
            method: method.to_owned(),
            url: Url::parse("https://h/").unwrap(),
            headers: vec![(header.to_owned(), HeaderText::Plain("DELETE".to_owned()))],
            body: body.as_bytes().to_vec(),
            timeout: Duration::from_secs(1),
            max_response: 1,
            read_back: None,
        };
        for method in ["GET", "HEAD", "POST"] {
            for header in [
                "X-HTTP-Method-Override",
                "x-http-method",
                "X_Method_Override",
                "X-Original-URL",
            ] {
                let error = check(&request(method, header, "")).unwrap_err();
                assert_eq!(error.code, "http.invalid");
                assert!(error.message.contains(header), "{error}");
            }
            check(&request(method, "accept", "")).unwrap();
            assert_eq!(
                check(&request(method, "accept", "x")).is_ok(),
                method == "POST"
            );
        }
    }
}
