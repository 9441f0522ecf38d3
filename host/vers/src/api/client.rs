//! The client of the API: its configuration and its set-up.

use crate::api::error::VersError;
use crate::api::server_clock::ServerClock;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use url::Url;
use vdeploy_core::capability::leases::Leases;
use vdeploy_core::capability::secrets::SecretValue;
use vdeploy_http::LocalNames;
use vdeploy_net::tls::{Tls, TlsOptions};

/// Where the platform is, and the account.
#[derive(Clone, Debug)]
pub struct VersConfig {
    /// The API's address, with or without `/api/v1`.
    pub base_url: String,
    pub api_key: SecretValue,
    /// VMs are named `{vm}.{vm_domain}`; None derives it from the address
    /// (`api.X` has VMs under `vm.X`).
    pub vm_domain: Option<String>,
    /// `host:port` that takes SSH for every VM, instead of each VM's name.
    pub gateway: Option<String>,
    /// PEM file with CA certificates trusted in addition to the machine's.
    pub ca_file: Option<PathBuf>,
    /// False accepts any certificate, of the API and of VMs.
    pub tls_verify: bool,
    /// For a call that only reads or that is quick.
    pub call_timeout: Duration,
    /// For a commit and a restore.
    pub commit_timeout: Duration,
    /// How long to search for the effect of a commit or restore without an answer.
    pub reconcile_for: Duration,
    /// The leases that must be valid while a change is sent; none by default.
    pub leases: Leases,
}

impl VersConfig {
    /// The public platform's defaults.
    pub fn new(base_url: impl Into<String>, api_key: SecretValue) -> Self {
        Self {
            base_url: base_url.into(),
            api_key,
            vm_domain: None,
            gateway: None,
            ca_file: None,
            tls_verify: true,
            call_timeout: Duration::from_secs(30),
            commit_timeout: Duration::from_secs(300),
            reconcile_for: Duration::from_secs(60),
            leases: Leases::default(),
        }
    }
}

/// Talks to the Vers API. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct VersClient {
    pub(crate) root: Url,
    pub(crate) http: reqwest::Client,
    pub(crate) api_key: SecretValue,
    pub(crate) call_timeout: Duration,
    pub(crate) commit_timeout: Duration,
    pub(crate) reconcile_for: Duration,
    pub(crate) leases: Leases,
    pub(crate) clock: ServerClock,
    vm_domain: String,
    gateway: Option<String>,
    tls: Tls,
}

impl VersClient {
    /// Checks the configuration; sends nothing yet.
    pub fn new(config: &VersConfig) -> Result<Self, VersError> {
        let tls = Tls::new(&TlsOptions {
            ca_file: config.ca_file.clone(),
            verify: config.tls_verify,
        })?;
        Self::with_tls(config, tls)
    }

    /// The same with a TLS set-up from the same options.
    pub fn with_tls(config: &VersConfig, tls: Tls) -> Result<Self, VersError> {
        let root = root(&config.base_url)?;
        check_key(&config.api_key)?;
        let http = http(&tls)?;
        let vm_domain = match &config.vm_domain {
            Some(domain) => domain.clone(),
            None => derived_domain(&root),
        };
        Ok(Self {
            root,
            http,
            api_key: config.api_key.clone(),
            call_timeout: config.call_timeout,
            commit_timeout: config.commit_timeout,
            reconcile_for: config.reconcile_for,
            leases: config.leases.clone(),
            clock: ServerClock::default(),
            vm_domain,
            gateway: config.gateway.clone(),
            tls,
        })
    }

    /// The client for `url`: the platform's TLS settings apply to its API and its
    /// VMs only.
    pub(crate) fn http_for(&self, url: &str) -> Result<reqwest::Client, VersError> {
        match Url::parse(url).is_ok_and(|url| self.is_platform(&url)) {
            true => Ok(self.http.clone()),
            false => http(&Tls::new(&TlsOptions::default())?),
        }
    }

    fn is_platform(&self, url: &Url) -> bool {
        url.host_str().is_some_and(|host| {
            let label = host.strip_suffix(&*self.vm_domain);
            Some(host) == self.root.host_str() || label.is_some_and(|label| label.ends_with('.'))
        })
    }

    /// A VM's host name is `{vm}.{vm_domain}`.
    pub fn vm_domain(&self) -> &str {
        &self.vm_domain
    }

    /// The API's name, unless it is known on this machine only.
    pub(crate) fn public_name(&self) -> Option<&str> {
        let name = self.root.domain()?;
        let local = name == "localhost" || name.ends_with(".localhost");
        (!local).then_some(name)
    }

    /// The SSH configuration of the platform's VMs.
    pub fn ssh_config(&self) -> vdeploy_ssh::SshConfig {
        let mut config = vdeploy_ssh::SshConfig::new(&*self.vm_domain, self.tls.clone());
        config.gateway = self.gateway.clone();
        config
    }
}

fn http(tls: &Tls) -> Result<reqwest::Client, VersError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured((*tls.config()).clone())
        .dns_resolver(Arc::new(LocalNames))
        .no_proxy()
        // A commit sent on a connection that is just closing would be in doubt.
        .pool_idle_timeout(Duration::from_secs(2))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .user_agent(concat!("vdeploy/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| VersError::Setup(e.to_string()))
}

/// Detects another tool's file in place of the key: as a header it would fail with
/// an obscure error.
fn check_key(key: &SecretValue) -> Result<(), VersError> {
    let text = key.expose();
    if text.trim_start().starts_with('{') {
        return Err(VersError::KeyForm(
            "it is JSON, not a key; where it is the `~/.versrc` of `vers login`, take the key out of \
             it: command = [\"sh\", \"-c\", \"jq -r .apiKey ~/.versrc\"]",
        ));
    }
    match !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(VersError::KeyForm(
            "it has white space or characters that no key has; it must be the key alone, on one \
             line",
        )),
    }
}

/// The address without `/api/v1`: generations of clients differ on whether it
/// belongs there.
fn root(text: &str) -> Result<Url, VersError> {
    let fail = |why: &str| VersError::BaseUrl {
        url: text.to_owned(),
        why: why.to_owned(),
    };
    let mut url = Url::parse(text.trim()).map_err(|e| fail(&e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(fail("it needs http or https and a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(fail("it holds a user name or password"));
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/api/v1").unwrap_or(path).to_owned();
    url.set_path(&path);
    Ok(url)
}

fn derived_domain(root: &Url) -> String {
    match root.host_str().and_then(|h| h.strip_prefix("api.")) {
        Some(rest) => format!("vm.{rest}"),
        None => "vm.vers.sh".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_address_are_one() {
        for text in [
            "https://api.vers.sh",
            "https://api.vers.sh/",
            "https://api.vers.sh/api/v1",
            " https://api.vers.sh/api/v1/ ",
        ] {
            assert_eq!(
                root(text).unwrap().as_str(),
                "https://api.vers.sh/",
                "{text}"
            );
        }
        assert_eq!(
            root("http://h:1/deep/api/v1").unwrap().as_str(),
            "http://h:1/deep"
        );
        for text in ["api.vers.sh", "ftp://x", "https://u:p@x", ""] {
            assert!(root(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_platforms_settings_count_for_its_api_and_its_vms() {
        let mut config = VersConfig::new(
            "https://api.example.com",
            SecretValue::new("key-0123".to_owned()),
        );
        config.vm_domain = Some("vm.example.com".to_owned());
        let client = VersClient::new(&config).unwrap();
        let counts = |url: &str| client.is_platform(&Url::parse(url).unwrap());
        for url in [
            "https://api.example.com/x",
            "https://one.vm.example.com:3000/registry",
        ] {
            assert!(counts(url), "{url}");
        }
        for url in [
            "https://vm.example.com/",
            "https://evilvm.example.com/",
            "https://one.vm.example.com.evil.org/",
            "https://example.com/",
        ] {
            assert!(!counts(url), "{url}");
        }
    }

    #[test]
    fn the_vm_domain_follows_the_api() {
        let domain = |text| derived_domain(&root(text).unwrap());
        assert_eq!(domain("https://api.staging.vers.sh"), "vm.staging.vers.sh");
        assert_eq!(domain("http://api.localhost:80"), "vm.localhost");
        assert_eq!(domain("https://example.com"), "vm.vers.sh");
    }
}
