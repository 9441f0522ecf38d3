//! From a target of type `ssh` and the user's OpenSSH configuration to the way
//! there. What the project says goes over what the configuration says.
//! Over 500 lines: every key of the target beside the option of OpenSSH that it
//! overrides; to be split by those groups.

use super::user::User;
use crate::error::{OpsError, OpsErrorKind};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use vdeploy_config::read::parse::At;
use vdeploy_config::{ServerKey, SshTarget, UserConfig};
use vdeploy_core::capability::secrets::{LoadedSecrets, Secret, Secrets as _};
use vdeploy_ssh::openssh::{
    self, ConfigFile, Given, JumpSpec, KnownFiles, Person as _, Proxy, Settings, Tokens,
};
use vdeploy_ssh::{
    Agent, ConnectionLimits, Hop, HostKeyPolicy, HostKeyStore, Identities, IdentityFile,
    ServerConfig,
};

/// The keys that OpenSSH tries when nobody names one.
const USUAL_KEYS: [&str; 5] = [
    "~/.ssh/id_rsa",
    "~/.ssh/id_ecdsa",
    "~/.ssh/id_ecdsa_sk",
    "~/.ssh/id_ed25519",
    "~/.ssh/id_ed25519_sk",
];
/// Its files of known hosts.
const USER_KNOWN_HOSTS: [&str; 2] = ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"];
const GLOBAL_KNOWN_HOSTS: [&str; 2] = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"];
/// More jump hosts than anybody has.
const MOST_HOPS: usize = 16;

/// How a server is reached, with every default filled in.
#[derive(Clone, Debug)]
pub struct ResolvedServer {
    /// Where the service is reached, if the project says.
    pub url: Option<String>,
    /// What in the user's configuration was not looked at.
    pub warnings: Vec<String>,
    /// The jump hosts, nearest first, and the server.
    hops: Vec<ResolvedHop>,
    host_key: ServerKey,
    keepalive: Option<Duration>,
    /// What programs of the configuration do not inherit.
    withheld: Vec<String>,
}

/// One hop without the policy for its host key.
#[derive(Clone, Debug)]
struct ResolvedHop {
    name: String,
    host: String,
    port: u16,
    user: String,
    identities: Identities,
    known: KnownFiles,
    command: Option<String>,
}

impl ResolvedServer {
    /// Host and port of the server, behind its jump hosts.
    pub fn host_and_port(&self) -> String {
        let server = self.hops.last();
        server.map_or_else(String::new, |hop| format!("{}:{}", hop.host, hop.port))
    }

    /// The same for SSH; `store` keeps host keys.
    pub fn config(mut self, store: Arc<dyn HostKeyStore>) -> Result<ServerConfig, OpsError> {
        let Some(server) = self.hops.pop() else {
            return Err(OpsError::usage("the target has no server"));
        };
        let policy = |known: &KnownFiles| HostKeyPolicy::Known {
            files: known.clone(),
            store: match self.host_key {
                ServerKey::FirstUse => Some(store.clone()),
                ServerKey::Pinned(_) | ServerKey::KnownHosts => None,
            },
        };
        let pinned = match &self.host_key {
            ServerKey::Pinned(fingerprint) => HostKeyPolicy::Pinned(fingerprint.clone()),
            ServerKey::FirstUse | ServerKey::KnownHosts => policy(&server.known),
        };
        let through = self.hops.into_iter().map(|hop| {
            let policy = policy(&hop.known);
            hop.with(policy)
        });
        Ok(ServerConfig {
            limits: ConnectionLimits::default().with_keepalive(self.keepalive),
            through: through.collect(),
            server: server.with(pinned),
            withheld: self.withheld,
        })
    }
}

impl ResolvedHop {
    fn with(self, host_keys: HostKeyPolicy) -> Hop {
        Hop {
            name: self.name,
            host: self.host,
            port: self.port,
            user: self.user,
            identities: self.identities,
            host_keys,
            known_as: self.known.written(),
            command: self.command,
        }
    }
}

/// Resolves a target's configuration. Programs of it do not inherit the
/// variables `withheld`.
pub fn resolve(
    target: &SshTarget,
    secrets: &LoadedSecrets,
    withheld: BTreeSet<String>,
    user: &User,
) -> Result<ResolvedServer, OpsError> {
    let secret = |name: &Option<At<String>>| -> Result<Option<Secret>, OpsError> {
        name.as_ref()
            .map(|name| secrets.get(&name.value))
            .transpose()
            .map_err(|e| OpsError::new(OpsErrorKind::Refused, e.message))
    };
    let mut resolver = Resolver {
        target,
        user,
        files: files(&target.config, user),
        key: secret(&target.identity_secret)?,
        passphrase: secret(&target.passphrase)?,
        warnings: Vec::new(),
        hops: Vec::new(),
    };
    let given = Given {
        host: target.host.value.clone(),
        port: target.port,
        user: target.user.clone(),
    };
    resolver.add(given, None)?;
    resolver.hops.reverse();
    Ok(ResolvedServer {
        url: target.url.clone(),
        warnings: resolver.warnings,
        hops: resolver.hops,
        host_key: target.host_key.clone(),
        keepalive: target.keepalive,
        withheld: withheld.into_iter().collect(),
    })
}

fn files(config: &UserConfig, user: &User) -> Vec<ConfigFile> {
    let of_user = |path, guarded, wanted| ConfigFile {
        path,
        includes_from: user.home().join(".ssh"),
        guarded,
        wanted,
    };
    match config {
        UserConfig::None => Vec::new(),
        UserConfig::File(path) => vec![of_user(user.expand(path), false, true)],
        UserConfig::Default => vec![
            of_user(user.home().join(".ssh/config"), true, false),
            ConfigFile {
                path: PathBuf::from("/etc/ssh/ssh_config"),
                includes_from: PathBuf::from("/etc/ssh"),
                guarded: false,
                wanted: false,
            },
        ],
    }
}

/// Collects the hops, the server first.
struct Resolver<'r> {
    target: &'r SshTarget,
    user: &'r User,
    files: Vec<ConfigFile>,
    key: Option<Secret>,
    passphrase: Option<Secret>,
    warnings: Vec<String>,
    hops: Vec<ResolvedHop>,
}

impl Resolver<'_> {
    /// Adds a hop and those before it. `through` is said by whoever needs this
    /// hop, and goes over what its own configuration says.
    fn add(&mut self, given: Given, through: Option<Vec<JumpSpec>>) -> Result<(), OpsError> {
        let settings = openssh::settings(&self.files, &given, self.user)
            .map_err(|problem| OpsError::usage(problem.to_string()))?;
        for warning in &settings.warnings {
            if !self.warnings.contains(warning) {
                self.warnings.push(warning.clone());
            }
        }
        let proxy = match through {
            Some(hops) if !hops.is_empty() => Some(Proxy::Jump(hops)),
            _ => settings.proxy.clone(),
        };
        let mut hop = self.resolved(&given, &settings)?;
        let tokens = tokens(self.user, &given.host, &hop);
        let jumps = match proxy {
            Some(Proxy::Command(command)) => {
                let command = tokens.command(&command);
                hop.command = Some(command.map_err(|why| self.wrong(&given, &why))?);
                None
            }
            Some(Proxy::Jump(hops)) => Some(hops),
            Some(Proxy::None) | None => None,
        };
        let same = |other: &ResolvedHop| {
            (&other.host, other.port, &other.user) == (&hop.host, hop.port, &hop.user)
        };
        if self.hops.iter().any(same) || self.hops.len() >= MOST_HOPS {
            let why = "its ProxyJump leads back to where it came from; except the jump host from \
                       it: Host * !JUMPHOST";
            return Err(self.wrong(&given, why));
        }
        self.hops.push(hop);
        let Some(mut jumps) = jumps else {
            return Ok(());
        };
        let Some(last) = jumps.pop() else {
            return Ok(());
        };
        let given = Given {
            host: last.host,
            port: last.port,
            user: last.user,
        };
        self.add(given, Some(jumps))
    }

    fn wrong(&self, given: &Given, why: &str) -> OpsError {
        OpsError::usage(format!(
            "the OpenSSH configuration of `{}`: {why}",
            given.host
        ))
    }

    fn resolved(&self, given: &Given, settings: &Settings) -> Result<ResolvedHop, OpsError> {
        let is_server = self.hops.is_empty();
        let host = settings.host_name.as_ref().unwrap_or(&given.host);
        let host = host.to_lowercase();
        let port = settings.port.unwrap_or(22);
        let user = settings.user.clone();
        let user = user.or_else(|| self.user.name().map(str::to_owned));
        let user = user.ok_or_else(|| {
            OpsError::usage(format!("the user to log in as at {host} is not known"))
                .hint("write user = \"NAME\" in the target")
        })?;
        let (name, known_port) = match &settings.host_key_alias {
            Some(alias) => (alias.to_lowercase(), None),
            None => (host.clone(), Some(port)),
        };
        let mut hop = ResolvedHop {
            name: given.host.clone(),
            host,
            port,
            user,
            identities: Identities {
                files: Vec::new(),
                certificates: Vec::new(),
                key: None,
                passphrase: self.passphrase.clone(),
                agent: Agent::Off(String::new()),
                only: settings.identities_only.unwrap_or(false),
            },
            known: KnownFiles {
                files: Vec::new(),
                revoked: None,
                name,
                port: known_port,
            },
            command: None,
        };
        let tokens = tokens(self.user, &given.host, &hop);
        let path = |text: &str| tokens.path(text).map_err(|why| self.wrong(given, &why));
        let (files, only) = match is_server && self.names_keys() {
            true => (self.named_keys(), true),
            false => (key_files(settings, &path)?, hop.identities.only),
        };
        let agent = self.agent(settings, &path)?;
        let certificates = settings.certificate_files.iter();
        let certificates = certificates.filter(|file| !is_none(file));
        let certificates = certificates
            .map(|file| path(file))
            .collect::<Result<_, _>>()?;
        let known = self.known_files(settings, &path)?;
        let revoked = settings.revoked_host_keys.as_ref();
        let revoked = revoked.filter(|file| !is_none(file));
        let revoked = revoked.map(|file| path(file)).transpose()?;
        hop.identities = Identities {
            files,
            certificates,
            key: self.key.clone().filter(|_| is_server),
            agent,
            only,
            ..hop.identities
        };
        hop.known.files = known;
        hop.known.revoked = revoked;
        Ok(hop)
    }

    fn names_keys(&self) -> bool {
        self.key.is_some() || !self.target.identity_files.is_empty()
    }

    fn named_keys(&self) -> Vec<IdentityFile> {
        let files = self.target.identity_files.iter();
        let named = files.map(|path| IdentityFile {
            path: self.user.expand(path),
            named: true,
        });
        named.collect()
    }

    fn agent(
        &self,
        settings: &Settings,
        path: &dyn Fn(&str) -> Result<PathBuf, OpsError>,
    ) -> Result<Agent, OpsError> {
        if !self.target.agent {
            return Ok(Agent::Off(
                "no SSH agent is asked (agent = false)".to_owned(),
            ));
        }
        let named = settings
            .identity_agent
            .as_deref()
            .unwrap_or("SSH_AUTH_SOCK");
        if is_none(named) {
            return Ok(Agent::Off(
                "no SSH agent is asked (IdentityAgent none)".to_owned(),
            ));
        }
        let variable = match named.strip_prefix('$') {
            Some(name) => Some(name.trim_start_matches('{').trim_end_matches('}')),
            None if named == "SSH_AUTH_SOCK" => Some(named),
            None => None,
        };
        Ok(match variable {
            None => Agent::At(path(named)?),
            Some(name) => match self.user.variable(name) {
                Some(socket) => Agent::At(PathBuf::from(socket)),
                None => Agent::Off(format!("no SSH agent runs ({name} is not set)")),
            },
        })
    }

    fn known_files(
        &self,
        settings: &Settings,
        path: &dyn Fn(&str) -> Result<PathBuf, OpsError>,
    ) -> Result<Vec<PathBuf>, OpsError> {
        if !self.target.known_hosts.is_empty() {
            let files = self.target.known_hosts.iter();
            return Ok(files.map(|file| self.user.expand(file)).collect());
        }
        let or = |said: &Option<Vec<String>>, usual: [&str; 2]| match said {
            Some(files) => files.clone(),
            None => usual.map(str::to_owned).to_vec(),
        };
        let files = [
            or(&settings.user_known_hosts, USER_KNOWN_HOSTS),
            or(&settings.global_known_hosts, GLOBAL_KNOWN_HOSTS),
        ];
        let files = files.iter().flatten().filter(|file| !is_none(file));
        files.map(|file| path(file)).collect()
    }
}

fn tokens<'t>(user: &'t User, named: &'t str, hop: &'t ResolvedHop) -> Tokens<'t> {
    Tokens {
        person: user,
        named,
        host: &hop.host,
        port: hop.port,
        user: &hop.user,
        key_name: &hop.known.name,
    }
}

fn key_files(
    settings: &Settings,
    path: &dyn Fn(&str) -> Result<PathBuf, OpsError>,
) -> Result<Vec<IdentityFile>, OpsError> {
    let file = |text: &str, named| path(text).map(|path| IdentityFile { path, named });
    let said = &settings.identity_files;
    if said.is_empty() {
        return USUAL_KEYS.iter().map(|text| file(text, false)).collect();
    }
    let files = said.iter().filter(|(text, _)| !is_none(text));
    files.map(|(text, _)| file(text, true)).collect()
}

fn is_none(text: &str) -> bool {
    text.eq_ignore_ascii_case("none")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Environment;
    use std::path::Path;
    use vdeploy_config::{Project, TargetConfig};

    /// The route of a target of these lines, with this `~/.ssh/config`.
    fn route_of(home: &Path, config: &str, lines: &str) -> Result<ResolvedServer, OpsError> {
        std::fs::create_dir_all(home.join(".ssh")).unwrap();
        std::fs::write(home.join(".ssh/config"), config).unwrap();
        let text =
            format!("[targets.t]\ntype = \"ssh\"\n{lines}\n[secrets.open]\nenv = \"OPEN\"\n");
        let project = Project::from_text("vdeploy.toml", &text, home).unwrap();
        let TargetConfig::Ssh(target) = project.target(None).unwrap().1 else {
            panic!("not an ssh target")
        };
        let uid = rustix::process::getuid().as_raw();
        let user = User::new(
            home.to_owned(),
            Some("me".to_owned()),
            uid,
            Environment::default(),
        );
        let withheld = vdeploy_config::secret_variables(&project);
        resolve(target, &LoadedSecrets::new([]), withheld, &user)
    }

    fn hops(route: &ResolvedServer) -> Vec<String> {
        let shown = |hop: &ResolvedHop| format!("{}@{}:{}", hop.user, hop.host, hop.port);
        route.hops.iter().map(shown).collect()
    }

    fn keys(hop: &ResolvedHop) -> Vec<String> {
        let files = hop.identities.files.iter();
        files.map(|file| file.path.display().to_string()).collect()
    }

    const CONFIG: &str = "Host db\n HostName db.internal\n User deploy\n Port 2200\n \
                          IdentityFile ~/.ssh/%r-%h\n ProxyJump outer,ops@inner:23\n\
                          Host inner\n HostName 10.0.0.2\n ProxyJump wrong\n\
                          Host outer\n HostName outer.example.com\n IdentityAgent none\n \
                          HostKeyAlias door\n UserKnownHostsFile ~/doors none\n";

    #[test]
    fn an_alias_is_followed_through_its_jump_hosts() {
        let home = tempfile::tempdir().unwrap();
        let route = route_of(home.path(), CONFIG, "host = \"db\"").unwrap();
        let expected = [
            "me@outer.example.com:22",
            "ops@10.0.0.2:23",
            "deploy@db.internal:2200",
        ];
        assert_eq!(hops(&route), expected);
        let key = home.path().join(".ssh/deploy-db.internal");
        assert_eq!(keys(&route.hops[2]), [key.display().to_string()]);
        assert_eq!(keys(&route.hops[0]).len(), USUAL_KEYS.len());
        let outer = &route.hops[0];
        assert!(matches!(outer.identities.agent, Agent::Off(_)));
        assert_eq!(
            (outer.known.written(), outer.known.port),
            ("door".to_owned(), None)
        );
        assert_eq!(outer.known.files[0], home.path().join("doors"));
        assert_eq!(route.hops[2].known.written(), "[db.internal]:2200");
    }

    #[test]
    fn the_project_goes_over_the_users_configuration() {
        let home = tempfile::tempdir().unwrap();
        let lines = "host = \"db\"\nport = 7\nuser = \"root\"\nidentity-file = \"~/key\"\n\
                     known-hosts = \"hosts\"\nagent = false";
        let route = route_of(home.path(), CONFIG, lines).unwrap();
        let server = route.hops.last().unwrap();
        assert_eq!(hops(&route).last().unwrap(), "root@db.internal:7");
        assert_eq!(
            keys(server),
            [home.path().join("key").display().to_string()]
        );
        assert!(server.identities.only);
        assert_eq!(server.known.files, [home.path().join("hosts")]);
        assert!(matches!(server.identities.agent, Agent::Off(_)));
        let lines = "host = \"db\"\nssh-config = false";
        let route = route_of(home.path(), CONFIG, lines).unwrap();
        assert_eq!(hops(&route), ["me@db:22"]);
    }

    #[test]
    fn jump_hosts_that_lead_back_are_an_error_and_a_program_is_a_way() {
        let home = tempfile::tempdir().unwrap();
        let ring = "Host *\n ProxyJump bastion\n";
        let error = route_of(home.path(), ring, "host = \"db\"")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`bastion`: its ProxyJump leads back"),
            "{error}"
        );
        let program = "Host *\n ProxyCommand nc -X 5 %h %p\n";
        let route = route_of(home.path(), program, "host = \"db\"").unwrap();
        assert_eq!(route.hops[0].command.as_deref(), Some("nc -X 5 db 22"));
        let token = "Host *\n IdentityFile ~/%Q\n";
        let error = route_of(home.path(), token, "host = \"db\"")
            .unwrap_err()
            .to_string();
        assert!(error.contains("the token %Q"), "{error}");
    }
}
