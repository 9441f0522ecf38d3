//! What several kinds of target have in common: VM ids, host keys, users, URLs.

use super::registry::RegistrySource;
use crate::read::span::{Place, Problem};
use url::Url;
use vdeploy_core::ids::VmId;
use vdeploy_scope::address::has_credentials;

/// Where a VM id comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VmSource {
    /// Written in the project file.
    Id(VmId),
    /// In this environment variable.
    Env {
        /// The variable.
        variable: String,
        /// Where the project file says so.
        place: Place,
    },
    /// In the registry of the service; asked before a run.
    Registry(Box<RegistrySource>),
}

impl VmSource {
    /// The VM id. `env` reads an environment variable.
    pub fn resolve(&self, env: impl Fn(&str) -> Option<String>) -> Result<VmId, Problem> {
        match self {
            Self::Id(id) => Ok(id.clone()),
            Self::Registry(source) => Err(Problem::at(
                &source.token.place,
                format!(
                    "the VM id is in the registry {}, which is asked for a run only",
                    source.url
                ),
            )),
            Self::Env { variable, place } => {
                let value = env(variable).unwrap_or_default();
                if value.trim().is_empty() {
                    return Err(Problem::at(
                        place,
                        format!("the VM id is to come from {variable}, which is not set"),
                    )
                    .help(format!(
                        "export {variable}=VM_ID, or write `vm = \"VM_ID\"` in the target"
                    )));
                }
                parse_vm(value.trim())
                    .map_err(|message| Problem::at(place, format!("{variable}: {message}")))
            }
        }
    }
}

/// A VM id becomes part of a host name.
pub(super) fn parse_vm(text: &str) -> Result<VmId, String> {
    let fits = text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    match fits {
        true => Ok(VmId::new(text)),
        false => Err(format!(
            "`{text}` is not a VM id; write the full id as `vers list` shows it"
        )),
    }
}

/// `SHA256:…` as `ssh-keygen -l` prints it.
pub(super) fn parse_fingerprint(text: &str) -> Option<String> {
    let digest = text.strip_prefix("SHA256:")?.trim_end_matches('=');
    let fits = |c: char| c.is_ascii_alphanumeric() || "+/".contains(c);
    (digest.len() == 43 && digest.chars().all(fits)).then(|| format!("SHA256:{digest}"))
}

/// A URL with nothing but scheme, host and port.
pub(super) fn parse_origin(text: &str, key: &str) -> Result<Url, String> {
    let wrong = |what: &str| {
        format!("`{key}` is `{text}`, {what}; write SCHEME://HOST or SCHEME://HOST:PORT")
    };
    let url = Url::parse(text).map_err(|e| wrong(&format!("not a URL ({e})")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("neither http nor https"));
    }
    if has_credentials(&url) {
        return Err(wrong("with a user name or password"));
    }
    match url.path() == "/" && url.query().is_none() && url.fragment().is_none() {
        true => Ok(url),
        false => Err(wrong("with more than a host and a port")),
    }
}

pub(super) fn parse_user(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match !text.is_empty() && !text.starts_with('-') && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err(format!("`{text}` is not a user name")),
    }
}
