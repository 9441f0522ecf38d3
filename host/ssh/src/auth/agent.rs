//! The user's SSH agent: its keys, and signatures with them.

use crate::auth::identity::{Agent, Identity, Private};
use crate::host_key::fingerprint;
use russh::keys::agent::client::AgentClient;
use russh::keys::agent::{AgentIdentity, AgentSessionBinding};
use russh::keys::{Error, HashAlg, PublicKey};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// A live agent answers at once; only signing may take longer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// A connection to an agent, and the keys that it has.
pub(crate) struct AgentKeys {
    client: AgentClient<UnixStream>,
    identities: Vec<AgentIdentity>,
}

impl AgentKeys {
    pub(crate) async fn ask(
        agent: &Agent,
        binding: Option<AgentSessionBinding>,
    ) -> Result<Self, String> {
        let path = match agent {
            Agent::Off(why) => return Err(why.clone()),
            Agent::At(path) => path,
        };
        let asked = async {
            let mut client = AgentClient::connect_uds(path).await?;
            if let Some(binding) = binding {
                // Old agents do not know the binding, and no key needs it.
                let _ = client.bind_session(&binding, false).await;
            }
            let identities = client.request_identities().await?;
            Ok(Self { client, identities })
        };
        let answer = timeout(ANSWERS_WITHIN, asked).await;
        answer
            .unwrap_or_else(|_| Err(Error::IO(std::io::ErrorKind::TimedOut.into())))
            .map_err(|e| format!("the SSH agent at {} cannot be asked: {e}", path.display()))
    }

    pub(crate) fn has(&self, key: &PublicKey) -> bool {
        let held = &self.identities;
        held.iter()
            .any(|i| i.public_key().key_data() == key.key_data())
    }

    pub(crate) fn identities(&self) -> impl Iterator<Item = Identity> {
        self.identities.iter().map(|identity| Identity {
            label: match identity.comment() {
                "" => "a key of the SSH agent".to_owned(),
                comment => format!("`{comment}` of the SSH agent"),
            },
            public: Some(identity.public_key().into_owned()),
            certificate: match identity {
                AgentIdentity::Certificate { certificate, .. } => Some(certificate.clone()),
                AgentIdentity::PublicKey { .. } => None,
            },
            private: Private::Agent,
        })
    }

    /// `data`, followed by its signature.
    pub(crate) async fn sign(
        &mut self,
        identity: &AgentIdentity,
        hash: Option<HashAlg>,
        data: Vec<u8>,
    ) -> Result<Vec<u8>, String> {
        let key = fingerprint(&identity.public_key());
        // For a certificate from a file the agent has only the plain key.
        let public = identity.public_key().into_owned();
        let certified = |held: &AgentIdentity| match (held, identity) {
            (
                AgentIdentity::Certificate { certificate: a, .. },
                AgentIdentity::Certificate { certificate: b, .. },
            ) => a == b,
            _ => false,
        };
        let plain = AgentIdentity::from(public);
        let identity = match self.identities.iter().any(certified) {
            true => identity,
            false => &plain,
        };
        self.client
            .sign_request(identity, hash, data)
            .await
            .map_err(|e| format!("the SSH agent does not sign with {key}: {e}"))
    }
}
