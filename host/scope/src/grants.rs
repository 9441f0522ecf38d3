//! What the project gives one plugin: its grants, asked by the gate at every
//! call.
//!
//! Pure: knows no plugin bytes, no target and no network. The scope grammars
//! are in the capability files. A plugin without a grant for a capability has
//! no such capability.

use super::capability::Capability;
use super::http::HttpScope;
use super::secrets::SecretScope;
use super::snapshot::SnapshotScope;
use super::ssh::SshScope;
use std::collections::BTreeSet;
use std::net::IpAddr;
use url::Url;
use vdeploy_core::capability::ssh::Command;
use vdeploy_core::ids::{PluginName, is_name};

/// A scope that cannot be read. The message says how to write one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ScopeError {
    /// One line: what is wrong and how it is written.
    pub message: String,
}

impl ScopeError {
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

/// Everything that one plugin may do. The default is nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grants {
    /// Commands on the target.
    pub ssh: Vec<SshScope>,
    /// Requests from the host.
    pub http: Vec<HttpScope>,
    /// Secrets, and where each may go.
    pub secrets: Vec<SecretScope>,
    /// Names of secrets whose value the plugin may read.
    pub secrets_reveal: Vec<String>,
    /// Snapshots of the target.
    pub snapshot: Vec<SnapshotScope>,
    /// Values kept between runs.
    pub state: bool,
}

impl Grants {
    /// Whether `command` may be run; `probe` says which way it is called.
    pub fn allows_ssh(&self, command: &Command, probe: bool) -> bool {
        self.ssh.iter().any(|s| s.allows(command, probe))
    }

    /// Whether `method` may be sent to `url`. `target_url` is where the run's
    /// target is now.
    pub fn allows_http(&self, method: &str, url: &Url, target_url: Option<&str>) -> bool {
        self.http.iter().any(|s| s.allows(method, url, target_url))
    }

    /// The same request by the address to which its host leads: a scope that
    /// covers it names that address.
    pub fn by_address(url: &Url, ip: IpAddr) -> Url {
        let mut url = url.clone();
        // An address fits every URL that has a host.
        let _ = url.set_ip_host(ip);
        url
    }

    /// Whether the plugin may hold this secret at all.
    pub fn allows_secret(&self, name: &str) -> bool {
        self.secrets.iter().any(|s| s.name() == name) || self.allows_reveal(name)
    }

    /// Whether the secret may go into a command's environment.
    pub fn allows_secret_to_ssh(&self, name: &str) -> bool {
        self.secrets
            .iter()
            .any(|s| s.name() == name && s.allows_ssh())
    }

    /// Whether the secret may go into a header of a request to `url`.
    pub fn allows_secret_to_url(&self, name: &str, url: &Url, target_url: Option<&str>) -> bool {
        self.secrets
            .iter()
            .any(|s| s.name() == name && s.allows_url(url, target_url))
    }

    /// Whether the plugin may read the secret's value.
    pub fn allows_reveal(&self, name: &str) -> bool {
        self.secrets_reveal.iter().any(|n| n == name)
    }

    /// Whether the plugin may do this with snapshots.
    pub fn allows_snapshot(&self, scope: SnapshotScope) -> bool {
        self.snapshot.contains(&scope)
    }

    /// What is granted of a capability, scope by scope; nothing of one without scopes.
    pub fn scopes(&self, capability: Capability) -> Vec<String> {
        fn texts<T: ToString>(scopes: &[T]) -> Vec<String> {
            scopes.iter().map(T::to_string).collect()
        }
        match capability {
            Capability::Ssh => texts(&self.ssh),
            Capability::Http => texts(&self.http),
            Capability::Secrets => texts(&self.secrets),
            Capability::SecretsReveal => texts(&self.secrets_reveal),
            Capability::Snapshot => texts(&self.snapshot),
            Capability::State => Vec::new(),
        }
    }

    /// Adds one scope.
    ///
    /// # Errors
    /// When the capability has no such scope; the message says how to write one.
    pub fn add(&mut self, capability: Capability, scope: &str) -> Result<(), ScopeError> {
        match capability {
            Capability::Ssh => self.ssh.push(SshScope::parse(scope)?),
            Capability::Http => self.http.push(HttpScope::parse(scope)?),
            Capability::Secrets => self.secrets.push(SecretScope::parse(scope)?),
            Capability::SecretsReveal if is_name(scope) => {
                self.secrets_reveal.push(scope.to_owned());
            }
            Capability::SecretsReveal => {
                return Err(ScopeError::new(format!(
                    "`{scope}` is not a secret's name; write the name only"
                )));
            }
            Capability::Snapshot => self.snapshot.push(SnapshotScope::parse(scope)?),
            Capability::State if scope.is_empty() => self.state = true,
            Capability::State => {
                return Err(ScopeError::new(
                    "`state` has no scope; leave `scope` out".to_owned(),
                ));
            }
        }
        Ok(())
    }

    /// Adds what `more` has and these grants do not.
    pub fn merge(&mut self, more: Self) {
        fn join<T: PartialEq>(all: &mut Vec<T>, more: Vec<T>) {
            for item in more {
                if !all.contains(&item) {
                    all.push(item);
                }
            }
        }
        let Self {
            ssh,
            http,
            secrets,
            secrets_reveal,
            snapshot,
            state,
        } = more;
        join(&mut self.ssh, ssh);
        join(&mut self.http, http);
        join(&mut self.secrets, secrets);
        join(&mut self.secrets_reveal, secrets_reveal);
        join(&mut self.snapshot, snapshot);
        self.state |= state;
    }

    /// Whether anything of this capability is granted. A secret that may be
    /// read may also be passed on.
    pub fn gives(&self, capability: Capability) -> bool {
        match capability {
            Capability::Ssh => !self.ssh.is_empty(),
            Capability::Http => !self.http.is_empty(),
            Capability::Secrets => !self.secrets.is_empty() || !self.secrets_reveal.is_empty(),
            Capability::SecretsReveal => !self.secrets_reveal.is_empty(),
            Capability::Snapshot => !self.snapshot.is_empty(),
            Capability::State => self.state,
        }
    }

    /// Whether a component that imports `interface` (its bare name: `http`,
    /// `ssh`, …) has what it needs. Context, log, clock, checks and types need
    /// no grant.
    pub fn gives_interface(&self, interface: &str) -> bool {
        match Capability::from_name(interface) {
            Some(capability) => self.gives(capability),
            None => matches!(interface, "context" | "log" | "clock" | "checks" | "types"),
        }
    }

    /// Names of all secrets that these grants speak of.
    pub fn secret_names(&self) -> BTreeSet<&str> {
        let scoped = self.secrets.iter().map(SecretScope::name);
        scoped
            .chain(self.secrets_reveal.iter().map(String::as_str))
            .collect()
    }

    /// The ssh scopes with which a plugin can do anything on the target.
    pub fn ssh_without_bounds(&self) -> impl Iterator<Item = &SshScope> {
        self.ssh.iter().filter(|scope| scope.can_do_anything())
    }

    /// The ssh scopes within which a call that is said to look only could change
    /// the target.
    pub fn ssh_by_word(&self) -> impl Iterator<Item = &SshScope> {
        let by_word = |scope: &&SshScope| !scope.is_for_probes() || scope.can_do_anything();
        self.ssh.iter().filter(by_word)
    }

    /// The powers as plain sentences without full stops, one a scope.
    pub fn sentences(&self) -> Vec<String> {
        let readable = self.ssh_without_bounds().next().is_some();
        let mut out: Vec<String> = self.ssh.iter().map(SshScope::sentence).collect();
        out.extend(self.http.iter().map(HttpScope::sentence));
        out.extend(self.secrets.iter().map(|s| s.sentence(readable)));
        out.extend(
            self.secrets_reveal
                .iter()
                .map(|name| format!("reads the value of secret `{name}`")),
        );
        out.extend(self.snapshot.iter().map(|s| s.sentence()));
        if self.state {
            out.push("keeps small values between runs".to_owned());
        }
        out
    }

    /// The TOML to paste into the project file so that `plugin` is given
    /// `interface`. `wanted` are the scopes that its manifest asks for;
    /// without any, one example is shown.
    pub fn line_to_add(interface: &str, plugin: &PluginName, wanted: &[String]) -> String {
        let example = Capability::from_name(interface).map(Capability::example);
        let line = match (example, wanted) {
            (Some(None), _) => format!("{interface} = true"),
            (example, []) => {
                let example = example.flatten().unwrap_or_default();
                format!("{interface} = [{}]", quoted(example))
            }
            (_, wanted) => {
                let scopes: Vec<String> = wanted.iter().map(|s| quoted(s)).collect();
                format!("{interface} = [{}]", scopes.join(", "))
            }
        };
        format!("[plugins.{plugin}.grants]\n{line}")
    }

    /// The TOML that would let this secret go to commands on the target.
    pub fn line_for_secret_to_ssh(plugin: &PluginName, name: &str) -> String {
        Self::line_to_add("secrets", plugin, &[format!("{name}@ssh")])
    }

    /// The TOML that would let this secret go to `url`.
    pub fn line_for_secret_to_url(
        plugin: &PluginName,
        name: &str,
        url: &Url,
        target_url: Option<&str>,
    ) -> String {
        let to = match (url.host_str(), url.port()) {
            _ if target_url.is_some_and(|base| super::address::same_origin(url, base)) => {
                "target".to_owned()
            }
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => "HOST".to_owned(),
        };
        Self::line_to_add("secrets", plugin, &[format!("{name}@{to}")])
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants() -> Grants {
        Grants {
            ssh: vec![
                SshScope::parse("probe:git **").unwrap(),
                SshScope::parse("npm ci").unwrap(),
            ],
            http: vec![HttpScope::parse("GET target/**").unwrap()],
            secrets: vec![SecretScope::parse("auth@ssh").unwrap()],
            secrets_reveal: vec!["webhook".to_owned()],
            snapshot: vec![SnapshotScope::Create],
            state: false,
        }
    }

    fn command(program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args = args.iter().map(|a| (*a).to_owned()).collect();
        command
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        let none = Grants::default();
        let url = Url::parse("https://h/").unwrap();
        assert!(!none.allows_ssh(&command("true", &[]), true));
        assert!(!none.allows_http("GET", &url, Some("https://h")));
        assert!(!none.allows_secret("auth"));
        assert!(!none.allows_snapshot(SnapshotScope::Create));
        for capability in Capability::ALL {
            assert!(!none.gives_interface(capability.name()), "{capability}");
        }
        for interface in ["context", "log", "clock", "checks", "types"] {
            assert!(none.gives_interface(interface), "{interface}");
        }
        assert!(!none.gives_interface("filesystem"));
        assert!(none.sentences().is_empty());
    }

    #[test]
    fn a_grant_opens_its_own_door_only() {
        let g = grants();
        let url = Url::parse("https://vm:3000/x").unwrap();
        let target = Some("https://vm:3000");
        assert!(g.allows_ssh(&command("git", &["status"]), true));
        assert!(!g.allows_ssh(&command("git", &["status"]), false));
        assert!(g.allows_ssh(&command("npm", &["ci"]), false));
        assert!(g.allows_http("GET", &url, target));
        assert!(!g.allows_http("POST", &url, target));
        assert!(g.allows_secret_to_ssh("auth"));
        assert!(!g.allows_secret_to_url("auth", &url, target));
        assert!(!g.allows_reveal("auth"));
        assert!(g.allows_reveal("webhook") && g.allows_secret("webhook"));
        assert!(!g.allows_secret_to_ssh("webhook"));
        assert!(!g.allows_snapshot(SnapshotScope::Restore));
        assert!(!g.gives_interface("state"));
        assert_eq!(
            g.secret_names().into_iter().collect::<Vec<_>>(),
            ["auth", "webhook"]
        );
    }

    #[test]
    fn the_line_to_add_is_toml_that_gives_the_interface() {
        let smoke = PluginName::from("smoke");
        assert_eq!(
            Grants::line_to_add("http", &smoke, &["GET target/**".to_owned()]),
            "[plugins.smoke.grants]\nhttp = [\"GET target/**\"]"
        );
        assert_eq!(
            Grants::line_to_add("state", &smoke, &[]),
            "[plugins.smoke.grants]\nstate = true"
        );
        assert_eq!(
            Grants::line_to_add("ssh", &smoke, &["a **".to_owned(), "b \"c\"".to_owned()]),
            "[plugins.smoke.grants]\nssh = [\"a **\", 'b \"c\"']"
        );
    }

    #[test]
    fn the_line_for_a_refused_secret_lets_it_go_there() {
        let plugin = PluginName::from("p");
        let target = Some("https://vm:3000");
        for url in ["https://vm:3000/a", "https://h/x", "https://h:81/"] {
            let url = Url::parse(url).unwrap();
            let line = Grants::line_for_secret_to_url(&plugin, "s", &url, target);
            let table: toml::Table = line.parse().unwrap();
            let scope = table["plugins"]["p"]["grants"]["secrets"][0].as_str();
            let scope = SecretScope::parse(scope.unwrap()).unwrap();
            assert!(scope.allows_url(&url, target), "{line}");
        }
    }

    #[test]
    fn only_a_scope_with_the_very_address_names_it() {
        let url = Url::parse("https://hooks.corp/deploys?x=1").unwrap();
        let named = |scope: &str, ip: &str| {
            let grants = Grants {
                http: vec![HttpScope::parse(scope).unwrap()],
                ..Grants::default()
            };
            let url = Grants::by_address(&url, ip.parse().unwrap());
            grants.allows_http("POST", &url, Some("https://hooks.corp"))
        };
        assert!(named("POST https://10.0.0.5/deploys", "10.0.0.5"));
        assert!(named("POST https://[fd00::5]/**", "fd00::5"));
        for (scope, ip) in [
            ("POST https://hooks.corp/**", "10.0.0.5"),
            ("POST https://*.hooks.corp/**", "10.0.0.5"),
            ("POST target/**", "10.0.0.5"),
            ("POST https://10.0.0.5/deploys", "10.0.0.6"),
            ("POST https://10.0.0.5/other", "10.0.0.5"),
            ("GET https://10.0.0.5/**", "10.0.0.5"),
            ("POST http://10.0.0.5/**", "10.0.0.5"),
            ("POST https://10.0.0.5:8443/**", "10.0.0.5"),
        ] {
            assert!(!named(scope, ip), "{scope} {ip}");
        }
    }

    #[test]
    fn sentences_say_what_a_person_wants_to_know() {
        assert_eq!(
            grants().sentences(),
            [
                "runs `git` with any arguments: can do anything on the target; looks only, by the \
                 plugin's word",
                "runs `npm ci` on the target, in a directory and with input and most variables of \
                 the plugin's choice",
                "sends GET requests to any path of the service on the target",
                "passes secret `auth` to commands on the target, readable by the plugin",
                "reads the value of secret `webhook`",
                "takes snapshots of the target",
            ]
        );
    }
}
