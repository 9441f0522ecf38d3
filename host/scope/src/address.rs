//! Hosts and paths in scopes: parsed once, compared the way a URL parser
//! reads them. Pure; knows neither methods nor secrets.

use super::glob;
use std::fmt;
use url::{Host, Url};

/// A host in a scope: exact, or any name below a domain.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HostPattern {
    /// Exactly this host, as a URL parser writes it.
    Exact(String),
    /// Any name below this domain, the domain itself not; without `*.`.
    Below(String),
}

impl HostPattern {
    /// Reads `example.com`, `*.example.com`, `10.0.0.1` or `[::1]`. The error
    /// is a fragment that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (below, name) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if name.contains('*') {
            return Err(format!("host `{text}` has a `*` that does not stand first"));
        }
        let host = Host::parse(name).map_err(|e| format!("host `{text}` is not one: {e}"))?;
        match (below, host) {
            (false, host) => Ok(Self::Exact(host.to_string())),
            (true, Host::Domain(domain)) if domain.trim_end_matches('.').contains('.') => {
                Ok(Self::Below(domain))
            }
            (true, _) => Err(format!(
                "host `{text}` covers too much; name at least two labels after `*.`"
            )),
        }
    }

    /// Whether `url` is on this host.
    pub fn matches(&self, url: &Url) -> bool {
        match (self, url.host_str()) {
            (Self::Exact(mine), Some(host)) => mine == host,
            (Self::Below(domain), Some(host)) => is_below(host, domain),
            (_, None) => false,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain)
        .and_then(|rest| rest.strip_suffix('.'))
        .is_some_and(|label| !label.is_empty())
}

/// Whether `url` has the scheme, host and port of `base`.
pub fn same_origin(url: &Url, base: &str) -> bool {
    Url::parse(base).is_ok_and(|base| {
        url.scheme() == base.scheme()
            && url.host().is_some()
            && url.host() == base.host()
            && url.port_or_known_default() == base.port_or_known_default()
    })
}

/// Whether the URL carries a user name or password; no scope covers one.
pub fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Whether the URL's host is this machine itself.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

/// A path in a scope, segment by segment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PathPattern {
    segments: Vec<String>,
    /// Ended with `**`: at least one more segment, which may be empty.
    open: bool,
}

impl PathPattern {
    /// Reads what follows the `/` after the host. The error is a fragment
    /// that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(c) = text.chars().find(|c| matches!(c, '?' | '#' | '\\')) {
            return Err(format!(
                "path `/{text}` has `{c}`; write the path only, every query is covered"
            ));
        }
        let mut segments: Vec<String> = text.split('/').map(str::to_owned).collect();
        let open = segments.last().is_some_and(|s| s == "**");
        if open {
            segments.pop();
        }
        if segments.iter().any(|s| s.contains("**")) {
            return Err(format!("path `/{text}` has `**` before its end"));
        }
        if segments.iter().any(|s| climbs(s)) {
            return Err(format!("path `/{text}` has a `.` or `..` segment"));
        }
        Ok(Self { segments, open })
    }

    /// The pattern of this URL's path and of no other path; none where it
    /// cannot be written.
    pub fn exactly(url: &Url) -> Option<Self> {
        let segments = url
            .path_segments()?
            .map(plain_segment)
            .collect::<Option<Vec<_>>>()?;
        let odd = |c: char| c == '*' || c.is_whitespace();
        if segments.iter().any(|s| s.contains(odd)) {
            return None;
        }
        Self::parse(&segments.join("/")).ok()
    }

    /// Whether the path of `url` is covered. Segments are compared decoded; a
    /// path whose encoding hides a slash or a `..` is covered by `/**` only.
    pub fn matches(&self, url: &Url) -> bool {
        if self.is_everything() {
            return true;
        }
        let Some(parts) = url.path_segments() else {
            return false;
        };
        let Some(parts) = parts.map(plain_segment).collect::<Option<Vec<_>>>() else {
            return false;
        };
        self.takes(parts.len(), false)
            && self
                .segments
                .iter()
                .zip(&parts)
                .all(|(pattern, part)| glob::matches(pattern, part))
    }

    /// Whether it is `/**`.
    pub fn is_everything(&self) -> bool {
        self.open && self.segments.is_empty()
    }

    fn takes(&self, count: usize, others_follow: bool) -> bool {
        match self.open {
            true => count > self.segments.len(),
            false => count == self.segments.len() && !others_follow,
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.segments.join("/"))?;
        match (self.open, self.segments.is_empty()) {
            (true, true) => f.write_str("**"),
            (true, false) => f.write_str("/**"),
            (false, _) => Ok(()),
        }
    }
}

/// A server decodes once, a chain of them some times; more is no honest path.
const MOST_DECODED: usize = 4;

/// The segment decoded once; None when what it hides could be read as
/// another path by the server.
fn plain_segment(raw: &str) -> Option<String> {
    let mut text = percent_decode(raw)?;
    let decoded = text.clone();
    for _ in 0..MOST_DECODED {
        if climbs(&text) || text.contains(['/', '\\']) || text.chars().any(char::is_control) {
            return None;
        }
        let next = percent_decode(&text)?;
        if next == text {
            return Some(decoded);
        }
        text = next;
    }
    None
}

/// Whether a server could take the segment for `.` or `..`. Some leave out a
/// parameter, what follows a `;`, before they look.
fn climbs(segment: &str) -> bool {
    let name = segment.split(';').next().unwrap_or(segment).trim();
    name == "." || name == ".."
}

/// Decodes `%XX`; a lone `%` stays. None when the bytes are not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let hex = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let mut bytes = text.bytes().peekable();
    let mut out = Vec::with_capacity(text.len());
    while let Some(b) = bytes.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        let mut ahead = bytes.clone();
        match (ahead.next().and_then(hex), ahead.next().and_then(hex)) {
            (Some(high), Some(low)) => {
                out.push(high * 16 + low);
                bytes = ahead;
            }
            _ => out.push(b),
        }
    }
    String::from_utf8(out).ok()
}

/// `HOST` or `HOST:PORT`; a colon inside `[…]` is not a port's.
pub fn parse_host_and_port(text: &str) -> Result<(HostPattern, Option<u16>), String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let port = match port {
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port != 0 => Some(port),
            _ => return Err(format!("`{port}` is not a port")),
        },
        None => None,
    };
    Ok((HostPattern::parse(host)?, port))
}

/// The port of a URL that names none.
pub(crate) fn default_port(scheme: &str) -> u16 {
    if scheme == "http" { 80 } else { 443 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn path(pattern: &str, text: &str) -> bool {
        PathPattern::parse(pattern)
            .unwrap()
            .matches(&url(&format!("https://h{text}")))
    }

    #[test]
    fn hosts_are_compared_as_a_url_parser_reads_them() {
        let exact = HostPattern::parse("Example.COM").unwrap();
        assert!(exact.matches(&url("https://EXAMPLE.com/x")));
        assert!(!exact.matches(&url("https://example.com.evil.org/")));
        assert!(!exact.matches(&url("https://example.com@evil.org/")));
        let ip = HostPattern::parse("127.0.0.1").unwrap();
        assert!(ip.matches(&url("http://2130706433/")));
    }

    #[test]
    fn a_star_host_is_below_the_domain_and_never_the_domain() {
        let below = HostPattern::parse("*.example.com").unwrap();
        assert!(below.matches(&url("https://a.example.com/")));
        assert!(below.matches(&url("https://a.b.example.com/")));
        assert!(!below.matches(&url("https://example.com/")));
        assert!(!below.matches(&url("https://badexample.com/")));
        assert!(!below.matches(&url("https://a.example.com.evil.org/")));
        for wrong in ["*.com", "*", "a.*.com", "*.10.0.0.1", "", "*."] {
            assert!(HostPattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn origins_know_default_ports() {
        assert!(same_origin(&url("https://h:443/x"), "https://h"));
        assert!(!same_origin(&url("http://h/x"), "https://h"));
        assert!(!same_origin(&url("https://h:3000/"), "https://h:3001"));
        assert!(!same_origin(&url("https://h.evil/"), "https://h"));
    }

    #[test]
    fn paths_match_by_segment() {
        for (pattern, text) in [
            ("**", "/"),
            ("**", "/a/b?x=1"),
            ("**", "/..%2f"),
            ("", "/"),
            ("health", "/health"),
            ("health", "/health?full=1#x"),
            ("a/*", "/a/b"),
            ("a/*/c", "/a/b/c"),
            ("a/v*", "/a/v12"),
            ("a/**", "/a/"),
            ("a/**", "/a/b/c"),
            ("a/**", "/x/../a/b"),
            ("a b", "/a%20b"),
            ("a/**", "/a/b;v=1/c"),
            ("a/**", "/a/...;x"),
            ("a/*", "/a/;x"),
        ] {
            assert!(path(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "/a"),
            ("health", "/health/"),
            ("health", "//health"),
            ("health", "/healthz"),
            ("a/*", "/a/b/c"),
            ("a/*", "/a"),
            ("a/**", "/a"),
            ("a/**", "/ab/c"),
            ("a/**", "/a/../b"),
            ("a/**", "/a/%2e%2e/b"),
            ("a/**", "/a/..%2fb"),
            ("a/**", "/a/%2e%2e%2fb"),
            ("a/**", "/a/%252e%252e%252fb"),
            ("a/**", "/a/..%5cb"),
            ("a/*", "/a/b%2fc"),
            ("a/*", "/a/b%00"),
            ("a/**", "/a/..;/b"),
            ("a/**", "/a/..;x=1/b"),
            ("a/**", "/a/..%3b/b"),
            ("a/**", "/a/%2e%2e;/b"),
            ("a/**", "/a/%2e%2e%3bx/b"),
            ("a/**", "/a/%252e%252e%253b/b"),
            ("a/**", "/a/.;/b"),
            ("a/**", "/a/b/..;"),
            ("a/**", "/a/..%20;/b"),
            ("a/*", "/a/..;"),
        ] {
            assert!(!path(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn paths_that_cannot_be_meant_are_refused() {
        for wrong in ["a/**/b", "a/../b", "a/..;/b", "a?x=1", "a**", "a\\b"] {
            assert!(PathPattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
