//! `type = "ssh"`: any server, reached by plain TCP as the user's OpenSSH
//! configuration says. What stands here goes over that configuration.

use super::TargetKind;
use super::parts::{parse_fingerprint, parse_origin, parse_user};
use crate::read::duration;
use crate::read::parse::{At, TableReader};
use crate::read::span::Place;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Every key of the table.
pub(super) const KEYS: [&str; 13] = [
    "type",
    "host",
    "port",
    "user",
    "identity-file",
    "identity-secret",
    "passphrase",
    "agent",
    "host-key",
    "known-hosts",
    "ssh-config",
    "url",
    "keepalive",
];

/// How a server is reached. Paths may begin with `~/`.
#[derive(Clone, Debug)]
pub struct SshTarget {
    /// A name, an address, or an alias of the user's OpenSSH configuration.
    pub host: At<String>,
    /// TCP port.
    pub port: Option<u16>,
    /// The user to log in as.
    pub user: Option<String>,
    /// Private keys; when there are any, no others are tried.
    pub identity_files: Vec<PathBuf>,
    /// Name of a secret that is a private key; likewise.
    pub identity_secret: Option<At<String>>,
    /// Name of the secret with the passphrase of the private keys.
    pub passphrase: Option<At<String>>,
    /// Whether an SSH agent is asked.
    pub agent: bool,
    /// Which host key is accepted.
    pub host_key: ServerKey,
    /// Files of known hosts instead of those of the OpenSSH configuration.
    pub known_hosts: Vec<PathBuf>,
    /// Which OpenSSH configuration is read.
    pub config: UserConfig,
    /// Where the service is reached from outside; no slash at the end.
    pub url: Option<String>,
    /// Silence after which the server is asked whether it is there.
    pub keepalive: Option<Duration>,
}

/// Which host key of a server is accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServerKey {
    /// Only the key with this fingerprint (`SHA256:…`).
    Pinned(String),
    /// One that the files of known hosts have.
    KnownHosts,
    /// The same, and for a server that they do not have the first one seen;
    /// from then on only that one.
    FirstUse,
}

/// Which OpenSSH configuration is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UserConfig {
    /// `~/.ssh/config`, then `/etc/ssh/ssh_config`.
    Default,
    /// Only this file.
    File(PathBuf),
    /// None at all.
    None,
}

impl TargetKind for SshTarget {
    fn secrets(&self) -> Vec<&At<String>> {
        [&self.identity_secret, &self.passphrase]
            .into_iter()
            .flatten()
            .collect()
    }
    fn takes_snapshots(&self) -> bool {
        false
    }
    fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }
    /// It can have a `ProxyCommand`.
    fn program_file(&self) -> Option<(&'static str, &Path, &Place)> {
        match &self.config {
            UserConfig::File(path) if !path.starts_with("~") => {
                Some(("ssh-config", path, &self.host.place))
            }
            _ => None,
        }
    }
}

/// Reads the table; `what` names it.
pub(super) fn read(what: &str, table: TableReader<'_>, base: &Path) -> Option<SshTarget> {
    table.only(what, &KEYS);
    if !table.has("host") {
        table.problem(
            format!("{what} has no `host`"),
            "write host = \"…\": a name, an address, or an alias of your ~/.ssh/config",
        );
    }
    let host = table.read("host", parse_host);
    let path = |text: At<String>| match text.value.starts_with("~/") {
        true => PathBuf::from(text.value),
        false => base.join(text.value),
    };
    let paths = |key| table.one_or_more(key).into_iter().map(path).collect();
    let host_key = match table.has("host-key") {
        true => table.read("host-key", parse_server_key).map(|k| k.value),
        false => Some(ServerKey::KnownHosts),
    };
    let config = match table.string_or_false("ssh-config") {
        None => UserConfig::Default,
        Some(None) => UserConfig::None,
        Some(Some(file)) => UserConfig::File(path(file)),
    };
    let (identity_files, identity_secret): (Vec<_>, _) =
        (paths("identity-file"), table.string("identity-secret"));
    let passphrase = table.string("passphrase");
    if let Some(place) = table.place_of("passphrase")
        && !table.has("identity-file")
        && !table.has("identity-secret")
        && config == UserConfig::None
    {
        table.report(
            crate::Problem::at(&place, "`passphrase` opens no key").help(
                "name the key: identity-file = \"PATH\", or identity-secret = \"NAME\" for a key \
                 that is a secret",
            ),
        );
    }
    Some(SshTarget {
        host: host?,
        port: table
            .number("port", 1..=65535)
            .and_then(|p| u16::try_from(p).ok()),
        user: table.read("user", parse_user).map(|u| u.value),
        identity_files,
        identity_secret,
        passphrase,
        agent: table.boolean("agent").unwrap_or(true),
        host_key: host_key?,
        known_hosts: paths("known-hosts"),
        config,
        url: table.read("url", parse_url).map(|u| u.value),
        keepalive: table.read("keepalive", duration::positive).map(|k| k.value),
    })
}

fn parse_host(text: &str) -> Result<String, String> {
    if let Some((user, host)) = text.split_once('@') {
        return Err(format!(
            "`{text}` has a user name; write host = \"{host}\" and user = \"{user}\""
        ));
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    if bare.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(bare.to_owned());
    }
    if let Some((host, port)) = text.rsplit_once(':') {
        return Err(match port.parse::<u16>() {
            Ok(port) => format!("`{text}` has a port; write host = \"{host}\" and port = {port}"),
            Err(_) => format!("`{text}` is not a host; write a name, an address or an alias"),
        });
    }
    // What stands here becomes part of file names and of the words of a
    // ProxyCommand: nothing that a shell or a pattern reads.
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match !text.is_empty() && !text.starts_with('-') && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "`{text}` is not a host; write a name, an address or an alias of your ~/.ssh/config"
        )),
    }
}

fn parse_server_key(text: &str) -> Result<ServerKey, String> {
    match text {
        "known-hosts" => Ok(ServerKey::KnownHosts),
        "first-use" => Ok(ServerKey::FirstUse),
        _ => parse_fingerprint(text)
            .map(ServerKey::Pinned)
            .ok_or_else(|| {
                format!(
                    "`{text}` is not a host key; write \"SHA256:…\" as ssh-keygen -l prints it, \
                     \"known-hosts\" or \"first-use\""
                )
            }),
    }
}

fn parse_url(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('/');
    parse_origin(text, "url")?;
    Ok(text.to_owned())
}
