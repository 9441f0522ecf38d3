//! Named secrets of the project.
//!
//! A value is fetched once, before anything runs, and kept in memory that is
//! wiped when dropped. Plugins hold handles. A value leaves the host only
//! inside an SSH environment or an HTTP header that the grant names.
//!
//! Scope grammar, one string a grant:
//!
//! | scope | allows |
//! |---|---|
//! | `NAME@ssh` | the secret in the environment of a command on the target |
//! | `NAME@target` | the secret in a header of a request to the target's URL |
//! | `NAME@HOST` or `NAME@HOST:PORT` | the same for that host (`*.` may stand first) |
//!
//! A host gets secrets over `https` only, unless it is a loopback address. How
//! the target is reached is the project's choice.

use super::address::{HostPattern, has_credentials, is_loopback, parse_host_and_port, same_origin};
use super::grants::ScopeError;
use std::fmt;
use url::Url;
use vdeploy_core::ids::is_name;

/// A secret and the one place it may go. Grammar: module doc.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SecretScope {
    name: String,
    to: Destination,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Destination {
    Ssh,
    Target,
    Host(HostPattern, Option<u16>),
}

impl SecretScope {
    /// Reads a scope. The error says how to write one.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let wrong = |what: String| {
            ScopeError::new(format!(
                "secret scope \"{text}\": {what}; write the secret and where it may go, for \
                 example \"auth-token@ssh\", \"auth-token@target\" or \
                 \"hook-token@hooks.example.com\""
            ))
        };
        let Some((name, to)) = text.trim().split_once('@') else {
            return Err(wrong("it does not say where the secret may go".to_owned()));
        };
        if !is_name(name) {
            return Err(wrong(format!("`{name}` is not a secret's name")));
        }
        let to = match to {
            "ssh" => Destination::Ssh,
            "target" => Destination::Target,
            _ => {
                let (host, port) = parse_host_and_port(to).map_err(wrong)?;
                Destination::Host(host, port)
            }
        };
        Ok(Self {
            name: name.to_owned(),
            to,
        })
    }

    /// The secret's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the secret may go into a command's environment.
    pub fn allows_ssh(&self) -> bool {
        self.to == Destination::Ssh
    }

    /// Whether the secret may go into a header of a request to `url`.
    /// `target_url` is where the run's target is now.
    pub fn allows_url(&self, url: &Url, target_url: Option<&str>) -> bool {
        if has_credentials(url) {
            return false;
        }
        match &self.to {
            Destination::Ssh => false,
            Destination::Target => target_url.is_some_and(|base| same_origin(url, base)),
            Destination::Host(host, port) => {
                let safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url));
                safe && host.matches(url)
                    && match port {
                        Some(port) => url.port_or_known_default() == Some(*port),
                        None => url.port().is_none(),
                    }
            }
        }
    }

    /// The power as a sentence without a full stop. `readable`: beside it the
    /// plugin can do anything on the target, so it can read there what arrives.
    pub fn sentence(&self, readable: bool) -> String {
        let name = &self.name;
        match &self.to {
            Destination::Ssh if readable => {
                format!("passes secret `{name}` to commands on the target, readable by the plugin")
            }
            Destination::Ssh => {
                format!("passes secret `{name}` to commands on the target, which may print it")
            }
            Destination::Target if readable => format!(
                "sends secret `{name}` to the service on the target, readable by the plugin"
            ),
            Destination::Target => format!(
                "sends secret `{name}` to the service on the target, whose answers the plugin reads"
            ),
            Destination::Host(host, None) => {
                format!("sends secret `{name}` to {host}, whose answers the plugin reads")
            }
            Destination::Host(host, Some(port)) => {
                format!("sends secret `{name}` to {host}:{port}, whose answers the plugin reads")
            }
        }
    }
}

impl fmt::Display for SecretScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.to {
            Destination::Ssh => write!(f, "{name}@ssh"),
            Destination::Target => write!(f, "{name}@target"),
            Destination::Host(host, None) => write!(f, "{name}@{host}"),
            Destination::Host(host, Some(port)) => write!(f, "{name}@{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Option<&str> = Some("https://vm1.vm.vers.sh:3000");

    fn scope(text: &str) -> SecretScope {
        SecretScope::parse(text).unwrap()
    }

    fn goes(text: &str, url: &str) -> bool {
        scope(text).allows_url(&Url::parse(url).unwrap(), TARGET)
    }

    #[test]
    fn a_secret_goes_only_where_the_scope_says() {
        assert!(scope("auth@ssh").allows_ssh());
        assert!(!scope("auth@target").allows_ssh());
        for (text, url) in [
            ("auth@target", "https://vm1.vm.vers.sh:3000/x"),
            ("auth@a.example.com", "https://a.example.com/x"),
            ("auth@*.example.com", "https://a.example.com/x"),
            ("auth@a.example.com:8443", "https://a.example.com:8443/"),
            ("auth@127.0.0.1:81", "http://127.0.0.1:81/"),
        ] {
            assert!(goes(text, url), "{text} {url}");
        }
        for (text, url) in [
            ("auth@ssh", "https://vm1.vm.vers.sh:3000/x"),
            ("auth@target", "https://vm2.vm.vers.sh:3000/x"),
            ("auth@target", "http://vm1.vm.vers.sh:3000/x"),
            ("auth@a.example.com", "http://a.example.com/x"),
            ("auth@a.example.com", "https://a.example.com:8443/"),
            ("auth@a.example.com:8443", "https://a.example.com/"),
            ("auth@a.example.com", "https://a.example.com@evil.org/"),
            ("auth@*.example.com", "https://example.com/x"),
        ] {
            assert!(!goes(text, url), "{text} {url}");
        }
    }

    #[test]
    fn reads_back_what_it_prints_and_refuses_nonsense_with_the_way_to_write_it() {
        for text in ["a@ssh", "a_b-1@target", "a@*.example.com:1", "a@[::1]:2"] {
            assert_eq!(scope(text).to_string(), text);
        }
        for text in ["auth", "@ssh", "a b@ssh", "a@", "a@*", "a@x:y"] {
            let error = SecretScope::parse(text).unwrap_err().to_string();
            assert!(error.contains("for example \"auth-token@ssh\""), "{error}");
        }
    }
}
