//! Logs in at a server with the user's keys: which keys, in which order, and the
//! error when none works. Never prompts.

use crate::auth::agent::AgentKeys;
use crate::auth::identity::{Found, Identities, Identity, Private};
use crate::auth::rsa::{ONLY_SHA1, UserHash, user_hash};
use crate::connection::connect::{Client, Peer};
use crate::error::ConnectError;
use crate::host_key::fingerprint;
use russh::client::AuthResult;
use russh::keys::agent::AgentIdentity;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::Signature;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{Certificate, HashAlg, PrivateKey, PublicKey};
use russh::{MethodKind, MethodSet};
use std::sync::Arc;

/// Why the login failed.
#[derive(Debug, Default)]
pub(crate) struct LoginFailure {
    /// Keys that the server did not accept.
    pub(crate) tried: Vec<String>,
    /// Why other keys could not be tried.
    pub(crate) remarks: Vec<String>,
    /// What ended the login before all keys were tried.
    pub(crate) ended: Option<String>,
}

pub(crate) async fn log_in(
    client: &mut Client,
    peer: &Peer,
    user: &str,
    identities: &Identities,
) -> Result<(), ConnectError> {
    let reading = identities.clone();
    let Found {
        identities: found,
        remarks,
    } = tokio::task::spawn_blocking(move || reading.read())
        .await
        .unwrap_or_default();
    let mut failure = LoginFailure {
        remarks,
        ..LoginFailure::default()
    };
    let binding = client.agent_session_binding().cloned();
    let agent = match AgentKeys::ask(&identities.agent, binding).await {
        Ok(agent) => Some(agent),
        Err(why) => {
            failure.remarks.push(why);
            None
        }
    };
    let queue = login_order(found, agent.as_ref(), identities.only);
    let mut login = Login {
        client,
        user,
        identities,
        agent,
        failure,
        rsa_hash: None,
    };
    for identity in queue {
        if login.try_identity(identity).await {
            return Ok(());
        }
        if login.failure.ended.is_some() {
            break;
        }
    }
    Err(ConnectError::Login {
        host: peer.host.clone(),
        user: user.to_owned(),
        failure: Box::new(login.failure),
    })
}

/// OpenSSH's order: keys of the files that the agent has, the agent's other keys,
/// the other files.
fn login_order(found: Vec<Identity>, agent: Option<&AgentKeys>, only: bool) -> Vec<Identity> {
    let (mut held, mut rest) = (Vec::new(), Vec::new());
    for mut identity in found {
        let has_it = match (&identity.public, agent) {
            (Some(key), Some(agent)) => agent.has(key),
            _ => false,
        };
        match has_it {
            true => {
                if !matches!(identity.private, Private::Open(_)) {
                    identity.private = Private::Agent;
                }
                held.push(identity);
            }
            false => rest.push(identity),
        }
    }
    if let (Some(agent), false) = (agent, only) {
        let others = agent.identities();
        let named = |other: &Identity| {
            held.iter().any(|mine| {
                mine.public == other.public
                    && mine.certificate.is_some() == other.certificate.is_some()
            })
        };
        let others: Vec<Identity> = others.filter(|other| !named(other)).collect();
        held.extend(others);
    }
    held.extend(rest);
    held
}

struct Login<'l> {
    client: &'l mut Client,
    user: &'l str,
    identities: &'l Identities,
    agent: Option<AgentKeys>,
    failure: LoginFailure,
    /// The hash that the server wants RSA keys to sign with, once known.
    rsa_hash: Option<UserHash>,
}

impl Login<'_> {
    /// Tries one identity, with its certificate first; true if it logged in.
    async fn try_identity(&mut self, identity: Identity) -> bool {
        let Identity {
            label,
            public,
            certificate,
            private,
        } = identity;
        let key = match private {
            Private::Open(key) => Some(key),
            Private::Agent => None,
            Private::Locked(text) => {
                // The key derivation is slow by design.
                let identities = self.identities.clone();
                let opened = tokio::task::spawn_blocking(move || identities.unlock(&text)).await;
                match opened.unwrap_or_else(|e| Err(format!("cannot be opened: {e}"))) {
                    Ok(key) => Some(Arc::new(key)),
                    Err(why) => {
                        self.failure.remarks.push(format!("{label} {why}"));
                        return false;
                    }
                }
            }
            Private::Elsewhere => {
                self.failure.remarks.push(format!(
                    "{label}: the private key is not there, and no SSH agent has it"
                ));
                return false;
            }
        };
        let Some(public) = key.as_ref().map(|k| k.public_key().clone()).or(public) else {
            return false;
        };
        if let Some(certificate) = certificate {
            let label = format!("{label} with {}", describe(&certificate));
            if self
                .attempt(label, &public, Some(certificate), key.as_ref())
                .await
            {
                return true;
            }
            if self.failure.ended.is_some() {
                return false;
            }
        }
        self.attempt(label, &public, None, key.as_ref()).await
    }

    async fn attempt(
        &mut self,
        label: String,
        public: &PublicKey,
        certificate: Option<Certificate>,
        key: Option<&Arc<PrivateKey>>,
    ) -> bool {
        let label = format!("{label} ({})", fingerprint(public));
        let hash = match public.algorithm().is_rsa() {
            true => match self.rsa_hash().await {
                UserHash::Sha2(hash) => Some(hash),
                UserHash::OnlySha1 => {
                    self.failure.remarks.push(format!("{label}: {ONLY_SHA1}"));
                    return false;
                }
            },
            false => None,
        };
        let mut signing = Signing {
            key: key.cloned(),
            agent: self.agent.as_mut(),
        };
        let answer = match certificate {
            Some(certificate) => {
                self.client
                    .authenticate_certificate_with(self.user, certificate, hash, &mut signing)
                    .await
            }
            None => {
                self.client
                    .authenticate_publickey_with(self.user, public.clone(), hash, &mut signing)
                    .await
            }
        };
        match answer {
            Ok(AuthResult::Success) => return true,
            Ok(AuthResult::Failure {
                remaining_methods,
                partial_success,
            }) => {
                self.failure.ended =
                    end_reason(&remaining_methods, partial_success, self.client.is_closed());
                self.failure.tried.push(label);
            }
            Err(SigningError::Connection) => {
                self.failure.ended = end_reason(&MethodSet::empty(), false, true);
                self.failure.tried.push(label);
            }
            Err(SigningError::Key(why)) => self
                .failure
                .remarks
                .push(format!("{label} cannot sign: {why}")),
        }
        false
    }

    async fn rsa_hash(&mut self) -> UserHash {
        match self.rsa_hash {
            Some(hash) => hash,
            None => {
                // If the connection broke, the login that follows fails.
                let asked = user_hash(self.client).await;
                let hash = asked.unwrap_or(UserHash::Sha2(HashAlg::Sha512));
                *self.rsa_hash.insert(hash)
            }
        }
    }
}

/// Why the server allows no further key, if it does not.
fn end_reason(methods: &MethodSet, partly: bool, closed: bool) -> Option<String> {
    let names: Vec<String> = methods.iter().map(String::from).collect();
    let names = names.join(", ");
    match (
        closed || methods.is_empty(),
        methods.contains(&MethodKind::PublicKey),
    ) {
        (true, _) => Some(
            "then the server ended the connection; it takes only so many keys: name the right one \
             with `identity-file`"
                .to_owned(),
        ),
        (false, true) => None,
        (false, false) if partly => Some(format!(
            "the server takes the key but wants more ({names}), which cannot be given without a \
             terminal"
        )),
        (false, false) => Some(format!(
            "the server takes no keys, only what cannot be given without a terminal: {names}"
        )),
    }
}

/// The certificate as messages name it.
fn describe(certificate: &Certificate) -> String {
    let id = certificate.key_id();
    let ended = certificate
        .valid_before_time()
        .filter(|end| *end < std::time::SystemTime::now())
        .and_then(|end| jiff::Timestamp::try_from(end).ok());
    match ended {
        Some(end) => format!("its certificate `{id}`, which ended at {end}"),
        None => format!("its certificate `{id}`"),
    }
}

/// Signs with the key in memory, or else with the agent.
struct Signing<'s> {
    key: Option<Arc<PrivateKey>>,
    agent: Option<&'s mut AgentKeys>,
}

enum SigningError {
    Connection,
    Key(String),
}

impl From<russh::SendError> for SigningError {
    fn from(_: russh::SendError) -> Self {
        SigningError::Connection
    }
}

impl russh::Signer for Signing<'_> {
    type Error = SigningError;

    async fn auth_sign(
        &mut self,
        identity: &AgentIdentity,
        hash: Option<HashAlg>,
        mut to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, SigningError> {
        match (&self.key, &mut self.agent) {
            (Some(key), _) => {
                let signed = sign(key, hash, &to_sign).and_then(|signature| {
                    signature.encode_prefixed(&mut to_sign)?;
                    Ok(to_sign)
                });
                signed.map_err(|e| SigningError::Key(e.to_string()))
            }
            (None, Some(agent)) => agent
                .sign(identity, hash, to_sign)
                .await
                .map_err(SigningError::Key),
            (None, None) => Err(SigningError::Key("nobody has the private key".to_owned())),
        }
    }
}

fn sign(
    key: &PrivateKey,
    hash: Option<HashAlg>,
    data: &[u8],
) -> russh::keys::ssh_key::Result<Signature> {
    Ok(match key.key_data() {
        KeypairData::Rsa(rsa) => (rsa, hash).try_sign(data)?,
        other => other.try_sign(data)?,
    })
}
