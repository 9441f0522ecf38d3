//! Which requests a plugin may send. Pure.
//!
//! Scope grammar, one string a grant: `METHODS ADDRESS`.
//!
//! | part | form |
//! |---|---|
//! | METHODS | `GET`, `GET,HEAD`, `*` |
//! | ADDRESS | `target/PATH` (the run's target URL) or `SCHEME://HOST[:PORT]/PATH` |
//! | HOST | exact, or `*.example.com` |
//! | PATH | `*` matches within a segment, `**` (last) matches the rest |
//!
//! Queries are always covered. A URL with a user name or password never is.
//! Without a port the scheme's default is meant.

use super::address::{
    HostPattern, PathPattern, default_port, has_credentials, parse_host_and_port, same_origin,
};
use super::grants::ScopeError;
use std::collections::BTreeSet;
use std::fmt;
use url::Url;

/// Which requests a plugin may send. Grammar: module doc.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HttpScope {
    /// Upper case; empty is every method.
    methods: BTreeSet<String>,
    place: Place,
    path: PathPattern,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Place {
    Target,
    Host {
        scheme: String,
        host: HostPattern,
        port: u16,
    },
}

const HTTP_HOW: &str = "write methods and an address, for example \"GET target/**\" or \
                        \"POST https://hooks.example.com/deploys\"";

impl HttpScope {
    /// Reads a scope. The error says how to write one.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let wrong =
            |what: String| ScopeError::new(format!("http scope \"{text}\": {what}; {HTTP_HOW}"));
        if text.chars().any(char::is_control) {
            return Err(ScopeError::new(format!(
                "http scope {text:?} has a control character; {HTTP_HOW}"
            )));
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        let [methods, address] = words.as_slice() else {
            return Err(wrong("it is not two words".to_owned()));
        };
        let methods = parse_methods(methods).map_err(wrong)?;
        let (place, path) = match address.strip_prefix("target/") {
            Some(path) => (Place::Target, path),
            None => parse_place(address).map_err(wrong)?,
        };
        let path = PathPattern::parse(path).map_err(wrong)?;
        Ok(Self {
            methods,
            place,
            path,
        })
    }

    /// Whether it covers this request. `target_url` is where the run's target
    /// is now.
    pub fn allows(&self, method: &str, url: &Url, target_url: Option<&str>) -> bool {
        (self.methods.is_empty() || self.methods.contains(method))
            && !has_credentials(url)
            && match &self.place {
                Place::Target => target_url.is_some_and(|base| same_origin(url, base)),
                Place::Host { .. } => self.is_at(url),
            }
            && self.path.matches(url)
    }

    /// Whether it covers GET and HEAD only.
    pub fn is_probe_only(&self) -> bool {
        !self.methods.is_empty() && self.methods.iter().all(|m| m == "GET" || m == "HEAD")
    }

    /// The power as a sentence without a full stop.
    pub fn sentence(&self) -> String {
        let methods = match self.methods.is_empty() {
            true => "any".to_owned(),
            false => self.methods_text(),
        };
        let place = match (&self.place, self.path.is_everything()) {
            (Place::Target, true) => "any path of the service on the target".to_owned(),
            (Place::Target, false) => format!("`/{}` of the service on the target", self.path),
            (_, true) => format!("any path of {}", self.origin_text()),
            (_, false) => format!("{}/{}", self.origin_text(), self.path),
        };
        format!("sends {methods} requests to {place}")
    }

    fn is_at(&self, url: &Url) -> bool {
        match &self.place {
            Place::Target => false,
            Place::Host { scheme, host, port } => {
                url.scheme() == scheme
                    && url.port_or_known_default() == Some(*port)
                    && host.matches(url)
            }
        }
    }

    fn methods_text(&self) -> String {
        match self.methods.is_empty() {
            true => "*".to_owned(),
            false => {
                let methods: Vec<&str> = self.methods.iter().map(String::as_str).collect();
                methods.join(",")
            }
        }
    }

    fn origin_text(&self) -> String {
        match &self.place {
            Place::Target => "target".to_owned(),
            Place::Host { scheme, host, port } if *port == default_port(scheme) => {
                format!("{scheme}://{host}")
            }
            Place::Host { scheme, host, port } => format!("{scheme}://{host}:{port}"),
        }
    }
}

impl fmt::Display for HttpScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (methods, origin) = (self.methods_text(), self.origin_text());
        write!(f, "{methods} {origin}/{}", self.path)
    }
}

fn parse_methods(text: &str) -> Result<BTreeSet<String>, String> {
    if text == "*" {
        return Ok(BTreeSet::new());
    }
    let mut methods = BTreeSet::new();
    for method in text.split(',') {
        if method.is_empty() || !method.chars().all(|c| c.is_ascii_uppercase()) {
            return Err(format!("`{method}` is not a method in capital letters"));
        }
        methods.insert(method.to_owned());
    }
    Ok(methods)
}

fn parse_place(address: &str) -> Result<(Place, &str), String> {
    let Some((scheme, rest)) = address.split_once("://") else {
        return Err(format!(
            "`{address}` is neither `target/PATH` nor `SCHEME://HOST/PATH`"
        ));
    };
    if scheme != "http" && scheme != "https" {
        return Err(format!("scheme `{scheme}` is neither `http` nor `https`"));
    }
    let Some((authority, path)) = rest.split_once('/') else {
        return Err(format!(
            "`{address}` has no path; end it with `/**` for all"
        ));
    };
    let (host, port) = parse_host_and_port(authority)?;
    let place = Place::Host {
        scheme: scheme.to_owned(),
        host,
        port: port.unwrap_or(default_port(scheme)),
    };
    Ok((place, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Option<&str> = Some("https://vm1.vm.vers.sh:3000");

    fn scope(text: &str) -> HttpScope {
        HttpScope::parse(text).unwrap()
    }

    fn allows(scope_text: &str, method: &str, url: &str) -> bool {
        scope(scope_text).allows(method, &Url::parse(url).unwrap(), TARGET)
    }

    #[test]
    fn allows_method_and_address() {
        for (text, method, url) in [
            ("GET target/**", "GET", "https://vm1.vm.vers.sh:3000/health"),
            (
                "GET,POST target/commits",
                "POST",
                "https://vm1.vm.vers.sh:3000/commits?x=1",
            ),
            (
                "* https://a.example.com/**",
                "DELETE",
                "https://a.example.com:443/x",
            ),
            (
                "GET http://*.example.com:81/x",
                "GET",
                "http://a.example.com:81/x",
            ),
            ("GET http://[::1]:3000/**", "GET", "http://[::1]:3000/"),
        ] {
            assert!(allows(text, method, url), "{text} | {method} {url}");
        }
    }

    #[test]
    fn refuses_near_misses() {
        for (text, method, url) in [
            (
                "GET target/**",
                "POST",
                "https://vm1.vm.vers.sh:3000/health",
            ),
            ("GET target/**", "GET", "http://vm1.vm.vers.sh:3000/health"),
            ("GET target/**", "GET", "https://vm1.vm.vers.sh/health"),
            ("GET target/**", "GET", "https://vm2.vm.vers.sh:3000/health"),
            (
                "GET target/**",
                "GET",
                "https://u:p@vm1.vm.vers.sh:3000/health",
            ),
            (
                "GET target/a/**",
                "GET",
                "https://vm1.vm.vers.sh:3000/a/../b",
            ),
            (
                "GET https://a.example.com/**",
                "GET",
                "https://a.example.com:8443/",
            ),
            (
                "GET https://a.example.com/**",
                "GET",
                "https://a.example.com.evil.org/",
            ),
            (
                "GET https://a.example.com/**",
                "GET",
                "https://evil.org/a.example.com/",
            ),
            (
                "GET https://*.example.com/**",
                "GET",
                "https://example.com/",
            ),
        ] {
            assert!(!allows(text, method, url), "{text} | {method} {url}");
        }
        let url = Url::parse("https://vm1.vm.vers.sh:3000/").unwrap();
        assert!(!scope("GET target/**").allows("GET", &url, None));
    }

    #[test]
    fn reads_back_what_it_prints() {
        for text in [
            "GET target/**",
            "GET,POST target/",
            "* https://*.example.com:8443/a/*/**",
            "GET http://[::1]:3000/x",
        ] {
            assert_eq!(scope(text).to_string(), text);
            assert_eq!(scope(&scope(text).to_string()), scope(text));
        }
        assert_eq!(
            scope("GET https://a.example.com:443/x").to_string(),
            "GET https://a.example.com/x"
        );
    }

    #[test]
    fn nonsense_is_refused_with_the_way_to_write_it() {
        for (text, what) in [
            ("target/**", "it is not two words"),
            ("get target/**", "`get` is not a method in capital letters"),
            ("GET, target/**", "`` is not a method"),
            ("GET target", "neither `target/PATH` nor"),
            ("GET ftp://a.example.com/", "scheme `ftp`"),
            ("GET https://a.example.com", "has no path"),
            ("GET https://a.example.com:x/", "`x` is not a port"),
            ("GET https://*.com/", "covers too much"),
            ("GET target/**/x", "`**` before its end"),
        ] {
            let error = HttpScope::parse(text).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
            assert!(error.contains("for example \"GET target/**\""), "{error}");
        }
    }
}
