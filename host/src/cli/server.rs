//! From a target of type `ssh` to the way there.

use super::error::CliError;
use super::exit::ExitCode;
use super::user::User;
use crate::capability::secrets::{LoadedSecrets, Secret, Secrets as _};
use crate::config::parse::At;
use crate::config::{ServerKey, SshTarget};
use crate::ssh::{
    Agent, Hop, HostKeyPolicy, HostKeyStore, Identities, IdentityFile, Limits, MemoryHostKeys,
    ServerConfig,
};
use std::sync::Arc;

/// The keys that OpenSSH tries when nobody names one.
const USUAL_KEYS: [&str; 5] = [
    "id_rsa",
    "id_ecdsa",
    "id_ecdsa_sk",
    "id_ed25519",
    "id_ed25519_sk",
];

/// How a server is reached, with every default filled in.
#[derive(Clone, Debug)]
pub struct ServerRoute {
    /// Where the service is reached, if the project says.
    pub url: Option<String>,
    /// The host, port and user.
    place: (String, u16, String),
    identities: Identities,
    host_key: ServerKey,
}

impl ServerRoute {
    /// The same for SSH; `store` keeps host keys.
    pub fn config(self, store: Arc<dyn HostKeyStore>) -> ServerConfig {
        let host_keys = match self.host_key {
            ServerKey::Pinned(fingerprint) => HostKeyPolicy::Pinned(fingerprint),
            ServerKey::FirstUse => HostKeyPolicy::Stored {
                store,
                first_use: true,
            },
            ServerKey::KnownHosts => HostKeyPolicy::Stored {
                store: Arc::new(MemoryHostKeys::default()),
                first_use: false,
            },
        };
        let (host, port, user) = self.place;
        ServerConfig {
            limits: Limits::default(),
            through: Vec::new(),
            server: Hop {
                name: host.clone(),
                host,
                port,
                user,
                identities: self.identities,
                host_keys,
            },
        }
    }
}

/// Resolves a target's configuration.
pub fn route(
    target: &SshTarget,
    secrets: &LoadedSecrets,
    user: &User,
) -> Result<ServerRoute, CliError> {
    let secret = |name: &Option<At<String>>| -> Result<Option<Secret>, CliError> {
        name.as_ref()
            .map(|name| secrets.get(&name.value))
            .transpose()
            .map_err(|e| CliError::new(ExitCode::Refused, e.message))
    };
    let log_in_as = target.user.clone().or_else(|| user.name.clone());
    let log_in_as = log_in_as.ok_or_else(|| {
        CliError::usage("the user to log in as is not known").hint("write user = \"NAME\"")
    })?;
    let key = secret(&target.identity_secret)?;
    let named = key.is_some() || !target.identity_files.is_empty();
    let files = match named {
        true => target
            .identity_files
            .iter()
            .map(|path| IdentityFile {
                path: user.expand(path),
                named: true,
            })
            .collect(),
        false => USUAL_KEYS
            .iter()
            .map(|name| IdentityFile {
                path: user.home.join(".ssh").join(name),
                named: false,
            })
            .collect(),
    };
    let agent = match (&user.agent, target.agent) {
        (Some(path), true) => Agent::At(path.clone()),
        (None, true) => Agent::Off("no SSH agent runs (SSH_AUTH_SOCK is not set)".to_owned()),
        (_, false) => Agent::Off("no SSH agent is asked (agent = false)".to_owned()),
    };
    Ok(ServerRoute {
        url: target.url.clone(),
        place: (
            target.host.value.clone(),
            target.port.unwrap_or(22),
            log_in_as,
        ),
        identities: Identities {
            files,
            certificates: Vec::new(),
            key,
            passphrase: secret(&target.passphrase)?,
            agent,
            only: named,
        },
        host_key: target.host_key.clone(),
    })
}
