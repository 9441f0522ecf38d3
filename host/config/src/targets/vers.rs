//! `type = "vers"`: a VM of the Vers platform.

use super::parts::{VmSource, parse_fingerprint, parse_origin, parse_user, parse_vm};
use super::{TargetKind, registry};
use crate::read::duration;
use crate::read::parse::{At, TableReader};
use crate::targets::service_url::service_url_oddity;
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;
use vdeploy_scope::address::is_loopback;
use vdeploy_scope::address::parse_host_and_port;

/// The platform's API when a target names none.
pub const DEFAULT_API_URL: &str = "https://api.vers.sh";

/// Every key of the table.
pub(super) const KEYS: [&str; 19] = [
    "type",
    "vm",
    "vm-env",
    "vm-registry",
    "registry-token",
    "registry-role",
    "registry-services",
    "api-url",
    "api-key",
    "vm-domain",
    "gateway",
    "ca-file",
    "tls-verify",
    "host-key",
    "user",
    "url",
    "keepalive",
    "call-timeout",
    "commit-timeout",
];

/// How a VM of the Vers platform is reached.
#[derive(Clone, Debug)]
pub struct VersTarget {
    /// Which VM.
    pub vm: VmSource,
    /// Root of the REST API, without `/api/v1` and without a slash at the end.
    pub api_url: Url,
    /// Name of the secret with the API key.
    pub api_key: At<String>,
    /// VMs are `{vm}.DOMAIN`.
    pub vm_domain: String,
    /// `HOST:PORT` to dial instead of the VM's own host name on 443.
    pub gateway: Option<String>,
    /// PEM file of further certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// Whether TLS certificates are verified.
    pub tls_verify: bool,
    /// Which SSH host key is accepted.
    pub host_key: HostKey,
    /// SSH user.
    pub user: String,
    /// Where the service is reached; `{vm}` stands for the VM id.
    pub url: String,
    /// Silence after which the VM is asked whether it is there.
    pub keepalive: Option<Duration>,
    /// How long the platform may take to answer a look.
    pub call_timeout: Option<Duration>,
    /// The same for a snapshot and a restore.
    pub commit_timeout: Option<Duration>,
}

impl TargetKind for VersTarget {
    fn secrets(&self) -> Vec<&At<String>> {
        let mut all = vec![&self.api_key];
        if let VmSource::Registry(source) = &self.vm {
            all.push(&source.token);
        }
        all
    }
    fn takes_snapshots(&self) -> bool {
        true
    }
    fn url(&self) -> Option<&str> {
        Some(&self.url)
    }
    fn oddity(&self) -> Option<String> {
        service_url_oddity(&self.url, &self.vm_domain)
    }
}

/// Which SSH host key is accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostKey {
    /// The first one seen; from then on only that one.
    FirstUse,
    /// Only the key with this fingerprint (`SHA256:…`).
    Pinned(String),
}

/// Reads the table; `what` names it.
pub(super) fn read(what: &str, table: TableReader<'_>, base: &Path) -> Option<VersTarget> {
    table.only(what, &KEYS);
    let vm = read_vm(what, &table);
    if !table.has("host-key") {
        table.problem(
            format!("{what} has no `host-key`"),
            "write host-key = \"SHA256:…\" (from ssh-keygen -lf on the VM), or host-key = \
             \"first-use\" to pin the key that the first run sees",
        );
    }
    let host_key = table.read("host-key", parse_host_key);
    let api_url = match table.has("api-url") {
        true => table.read("api-url", parse_api_url).map(|u| u.value),
        false => parse_api_url(DEFAULT_API_URL).ok(),
    };
    let gateway = table.read("gateway", parse_gateway).map(|g| g.value);
    let user = table.read("user", parse_user).map(|u| u.value);
    let vm_domain = table.read("vm-domain", parse_domain).map(|d| d.value);
    let vm_domain = vm_domain.or_else(|| api_url.as_ref().map(domain_of_api))?;
    let url = match table.has("url") {
        true => table.read("url", parse_service_url).map(|u| u.value),
        false => Some(format!("https://{{vm}}.{vm_domain}:3000")),
    };
    let time = |key| table.read(key, duration::positive).map(|time| time.value);
    let api_key = table.string("api-key").or_else(|| {
        (!table.has("api-key")).then(|| At {
            value: "vers-api-key".to_owned(),
            place: table.place(),
        })
    });
    Some(VersTarget {
        vm: vm?,
        api_url: api_url?,
        api_key: api_key?,
        vm_domain,
        gateway,
        ca_file: table.string("ca-file").map(|f| base.join(f.value)),
        tls_verify: table.boolean("tls-verify").unwrap_or(true),
        host_key: host_key?.value,
        user: user.unwrap_or_else(|| "root".to_owned()),
        url: url?,
        keepalive: time("keepalive"),
        call_timeout: time("call-timeout"),
        commit_timeout: time("commit-timeout"),
    })
}

/// Where the VM id comes from: exactly one place.
fn read_vm(what: &str, table: &TableReader<'_>) -> Option<VmSource> {
    let given = ["vm", "vm-env", "vm-registry"].map(|key| table.has(key));
    if given.iter().filter(|given| **given).count() != 1 {
        let message = match given.contains(&true) {
            true => format!("{what} has more than one of `vm`, `vm-env` and `vm-registry`"),
            false => format!("{what} does not say which VM"),
        };
        table.problem(
            message,
            "write vm = \"VM_ID\", or vm-env = \"VARIABLE\" to take it from the environment, or \
             vm-registry = \"URL\" to look it up in the service's registry",
        );
        return None;
    }
    if table.has("vm-registry") {
        return registry::read(table).map(|source| VmSource::Registry(Box::new(source)));
    }
    if let Some(key) = registry::KEYS.into_iter().find(|key| table.has(key)) {
        table.problem(
            format!("{what} has `{key}` without `vm-registry`"),
            "write vm-registry = \"URL\" in place of the VM, or remove it",
        );
    }
    if table.has("vm") {
        return table.read("vm", parse_vm).map(|id| VmSource::Id(id.value));
    }
    table.string("vm-env").map(|variable| VmSource::Env {
        variable: variable.value,
        place: variable.place,
    })
}

fn parse_host_key(text: &str) -> Result<HostKey, String> {
    match (text, parse_fingerprint(text)) {
        ("first-use", _) => Ok(HostKey::FirstUse),
        (_, Some(fingerprint)) => Ok(HostKey::Pinned(fingerprint)),
        _ => Err(format!(
            "`{text}` is not a host key; write \"SHA256:…\" as ssh-keygen -l prints it, or \
             \"first-use\""
        )),
    }
}

/// The same variable has meant the root and the root with `/api/v1` to
/// different clients, so both are taken.
fn parse_api_url(text: &str) -> Result<Url, String> {
    let text = text.trim_end_matches('/');
    let root = text.strip_suffix("/api/v1").unwrap_or(text);
    let url = parse_origin(root, "api-url")?;
    match url.scheme() == "https" || is_loopback(&url) {
        true => Ok(url),
        false => Err(format!(
            "`{text}` would send the API key unencrypted; write an https URL"
        )),
    }
}

fn parse_service_url(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('/');
    parse_origin(&text.replace("{vm}", "vm"), "url")?;
    Ok(text.to_owned())
}

fn parse_gateway(text: &str) -> Result<String, String> {
    match parse_host_and_port(text) {
        Ok((_, Some(_))) => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not a gateway; write HOST:PORT")),
    }
}

fn parse_domain(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    match !text.is_empty() && text.starts_with(|c| c != '.') && text.chars().all(fits) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(format!(
            "`{text}` is not a domain; write for example \"vm.vers.sh\""
        )),
    }
}

/// `api.X` has its VMs at `vm.X`; anything else at the platform's own domain.
fn domain_of_api(api: &Url) -> String {
    let domain = api.host_str().and_then(|h| h.strip_prefix("api."));
    format!("vm.{}", domain.unwrap_or("vers.sh"))
}
