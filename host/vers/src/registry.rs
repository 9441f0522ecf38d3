//! The VM of a service, from the service's own registry. Reads all entries: the
//! registry's own search hides a VM without a heartbeat, and the platform knows
//! better which VMs exist.

use super::api::client::VersClient;
use super::api::error::VersError;
use super::api::types::VmState;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use vdeploy_core::backoff::Backoff;
use vdeploy_core::capability::secrets::SecretValue;
use vdeploy_core::ids::VmId;
use vdeploy_net::tls::find_rustls_error;

const TRIES: usize = 3;
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;

#[derive(Clone, Debug)]
pub struct RegistryQuery {
    /// The service's address, without a slash at the end.
    pub url: String,
    pub token: SecretValue,
    /// The name of the secret with the token, for messages.
    pub token_name: String,
    /// The role of the VM.
    pub role: String,
    /// The names of the services that must run on it.
    pub services: Vec<String>,
}

/// Why there is no VM.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No answer.
    #[error("{0}")]
    Unreachable(String),
    /// An answer that does not name one VM.
    #[error("{0}")]
    Refused(String),
}

#[derive(Debug, Deserialize)]
struct Listing {
    vms: Vec<Entry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Entry {
    id: String,
    name: String,
    role: String,
    status: String,
    address: String,
    services: Vec<Service>,
    last_seen: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Service {
    name: String,
}

impl Entry {
    /// Why the registry's own data rules the entry out.
    fn objection(&self, query: &RegistryQuery, vm_domain: &str) -> Option<String> {
        let lacks: Vec<&str> = query
            .services
            .iter()
            .filter(|wanted| self.services.iter().all(|s| s.name != **wanted))
            .map(String::as_str)
            .collect();
        let label = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if self.id.is_empty() || self.id.len() > 63 || !self.id.chars().all(label) {
            return Some("its id is not that of a VM".to_owned());
        }
        if !lacks.is_empty() {
            return Some(format!("it does not have {}", lacks.join(", ")));
        }
        if host_of(&self.address) != format!("{}.{vm_domain}", self.id) {
            return Some(format!(
                "its address `{}` is not that of the VM",
                self.address
            ));
        }
        (self.status != "running").then(|| format!("the registry has it as {}", self.status))
    }

    fn describe(&self) -> String {
        let or = |text: &str, other: &str| match text.is_empty() {
            true => other.to_owned(),
            false => text.to_owned(),
        };
        format!(
            "{} ({}): {}, last seen {}",
            or(&self.id, "no id"),
            or(&self.name, "no name"),
            or(&self.status, "no status"),
            or(&self.last_seen, "never"),
        )
    }
}

fn host_of(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split(['/', ':']).next().unwrap_or_default()
}

/// An entry, and the platform's state of its VM or why it was not asked.
struct Candidate {
    entry: Entry,
    verdict: Result<VmState, String>,
}

impl Candidate {
    fn describe(&self) -> String {
        let verdict = match &self.verdict {
            Ok(state) => format!("the platform has it as {state}"),
            Err(why) => why.clone(),
        };
        format!("{}; {verdict}", self.entry.describe())
    }
}

/// The running one; if none runs, the suspended one.
fn choose(candidates: &[Candidate]) -> Option<&Candidate> {
    let of = |wanted: fn(&VmState) -> bool| {
        let mut fit = candidates
            .iter()
            .filter(move |c| c.verdict.as_ref().is_ok_and(wanted));
        (fit.next(), fit.next())
    };
    match of(|state| *state == VmState::Running) {
        (Some(one), None) => Some(one),
        (None, _) => match of(|_| true) {
            (Some(one), None) => Some(one),
            _ => None,
        },
        _ => None,
    }
}

impl VersClient {
    /// The one existing VM that the registry names.
    pub async fn vm_from_registry(&self, query: &RegistryQuery) -> Result<VmId, RegistryError> {
        let listing = self.listing(query).await?;
        let mut candidates = Vec::new();
        for entry in listing.vms.into_iter().filter(|e| e.role == query.role) {
            let verdict = match entry.objection(query, self.vm_domain()) {
                Some(why) => Err(why),
                None => self.standing(&VmId::new(&*entry.id)).await?,
            };
            candidates.push(Candidate { entry, verdict });
        }
        if let Some(chosen) = choose(&candidates) {
            return Ok(VmId::new(&*chosen.entry.id));
        }
        let (url, role) = (&query.url, &query.role);
        if candidates.is_empty() {
            return Err(RegistryError::Refused(format!(
                "the registry {url} has no entry with the role `{role}`"
            )));
        }
        candidates.sort_by(|a, b| b.entry.last_seen.cmp(&a.entry.last_seen));
        let lines: Vec<String> = candidates.iter().map(Candidate::describe).collect();
        let what = match candidates.iter().filter(|c| c.verdict.is_ok()).count() {
            0 => "none of its entries",
            _ => "more than one of its entries",
        };
        Err(RegistryError::Refused(format!(
            "the registry {url} does not say which VM it is: {what} with the role `{role}` fits\n- {}",
            lines.join("\n- ")
        )))
    }

    /// The platform's state of a VM that the registry names.
    async fn standing(&self, vm: &VmId) -> Result<Result<VmState, String>, RegistryError> {
        match self.status(vm).await {
            Ok(vm) if vm.state == VmState::Dead => Ok(Err("the platform has it as dead".into())),
            Ok(vm) => Ok(Ok(vm.state)),
            Err(VersError::NotFound { .. } | VersError::NotYours { .. }) => {
                Ok(Err("the platform does not know it".to_owned()))
            }
            Err(error @ VersError::Key { .. }) => Err(RegistryError::Refused(error.to_string())),
            Err(error) => Err(RegistryError::Unreachable(error.to_string())),
        }
    }

    async fn listing(&self, query: &RegistryQuery) -> Result<Listing, RegistryError> {
        let url = format!("{}/registry/vms", query.url);
        let mut backoff = Backoff::up_to(Duration::from_secs(1));
        let mut left = TRIES;
        loop {
            left -= 1;
            let asked = timeout(self.call_timeout, self.ask_registry(&url, query)).await;
            let why = match asked {
                Ok(Ok(listing)) => return Ok(listing),
                Ok(Err(error @ RegistryError::Refused(_))) => return Err(error),
                Ok(Err(RegistryError::Unreachable(why))) => why,
                Err(_) => format!("no answer within {} s", self.call_timeout.as_secs_f64()),
            };
            if left == 0 {
                return Err(RegistryError::Unreachable(format!(
                    "the registry {url} does not answer: {why}"
                )));
            }
            sleep(backoff.next_wait()).await;
        }
    }

    async fn ask_registry(
        &self,
        url: &str,
        query: &RegistryQuery,
    ) -> Result<Listing, RegistryError> {
        let away = |e: reqwest::Error| {
            let tls = find_rustls_error(&e).map(|why| {
                format!(
                    "TLS failed ({why}); check the certificate: `ca-file` and `tls-verify` count \
                     for the platform's API and VMs only"
                )
            });
            RegistryError::Unreachable(tls.unwrap_or_else(|| e.without_url().to_string()))
        };
        let http = self
            .http_for(url)
            .map_err(|e| RegistryError::Refused(e.to_string()))?;
        let request = http.get(url).bearer_auth(query.token.expose());
        let mut response = request.send().await.map_err(away)?;
        let status = response.status().as_u16();
        match status {
            200 => {}
            401 | 403 => {
                return Err(RegistryError::Refused(format!(
                    "the registry {url} does not accept the secret `{}` (status {status})",
                    query.token_name
                )));
            }
            400..500 => {
                return Err(RegistryError::Refused(format!(
                    "{url} is no registry (status {status}); check `vm-registry`"
                )));
            }
            _ => return Err(RegistryError::Unreachable(format!("status {status}"))),
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            if body.len() + chunk.len() > LONGEST_ANSWER {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map_err(|e| {
            RegistryError::Refused(format!("{url} does not answer like a registry ({e})"))
        })
    }
}
