//! `ssh_config` for one host. The first value of an option wins; keys and
//! certificates add up.

use super::host_match::{self, MatchContext, Matched};
use super::lexer::{keyword, words};
use super::{ConfigFile, FileProblem, Person, tokens};
use std::path::{Path, PathBuf};

/// Levels of `Include`, as in OpenSSH.
const DEEPEST: usize = 16;
/// Bytes; a longer file is no configuration.
const LONGEST: u64 = 4 * 1024 * 1024;

/// The host, with values that win over the files.
#[derive(Clone, Debug)]
pub struct Given {
    /// As the user named it.
    pub host: String,
    pub port: Option<u16>,
    pub user: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// The host to dial.
    pub host_name: Option<String>,
    pub port: Option<u16>,
    pub user: Option<String>,
    /// As written, each with its `FILE:LINE`.
    pub identity_files: Vec<(String, String)>,
    pub certificate_files: Vec<String>,
    /// Whether only those keys may be offered.
    pub identities_only: Option<bool>,
    pub identity_agent: Option<String>,
    pub proxy: Option<Proxy>,
    pub user_known_hosts: Option<Vec<String>>,
    pub global_known_hosts: Option<Vec<String>>,
    /// The name of the host key in `known_hosts`, instead of the host's name.
    pub host_key_alias: Option<String>,
    /// A file of keys that are never accepted.
    pub revoked_host_keys: Option<String>,
    /// What vdeploy does not evaluate, with its `FILE:LINE`.
    pub warnings: Vec<String>,
}

/// How the connection is made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Proxy {
    /// Directly (`none`).
    None,
    /// Through these jump hosts, nearest first.
    Jump(Vec<JumpSpec>),
    /// Through a program, as written.
    Command(String),
}

/// `[USER@]HOST[:PORT]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JumpSpec {
    pub user: Option<String>,
    /// A name, an address or an alias.
    pub host: String,
    pub port: Option<u16>,
}

impl JumpSpec {
    /// Also reads an `ssh://` URL.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix("ssh://").unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        let (user, place) = match text.rsplit_once('@') {
            Some((user, place)) => (Some(user.to_owned()), place),
            None => (None, text),
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(inner) => {
                let (host, rest) = inner.split_once(']')?;
                (host, rest.strip_prefix(':'))
            }
            None => match place.rsplit_once(':') {
                Some((host, port)) if !host.contains(':') => (host, Some(port)),
                _ => (place, None),
            },
        };
        let port = port.map(|p| p.parse::<u16>().ok().filter(|p| *p > 0));
        if host.is_empty() || port == Some(None) || user.as_deref() == Some("") {
            return None;
        }
        Some(Self {
            user,
            host: host.to_owned(),
            port: port.flatten(),
        })
    }
}

/// Reads the files in order, for one host.
pub fn settings(
    files: &[ConfigFile],
    given: &Given,
    person: &dyn Person,
) -> Result<Settings, FileProblem> {
    let first = Settings {
        port: given.port,
        user: given.user.clone(),
        ..Settings::default()
    };
    let mut reader = Reader {
        named: given.host.clone(),
        person,
        settings: first,
        last_pass: false,
        asks_last: false,
    };
    let read = |reader: &mut Reader<'_>| {
        let mut all = files.iter();
        all.try_for_each(|file| reader.file(file, &file.path, &mut true, true, 0))
    };
    let named = |name: &str| {
        tokens::host_name(name, &given.host)
            .map_err(|message| FileProblem::new(format!("HostName of {}", given.host), message))
    };
    read(&mut reader)?;
    if reader.asks_last {
        // The host has its final name before the second pass.
        let name = reader.settings.host_name.take();
        let name = named(name.as_ref().unwrap_or(&given.host))?;
        reader.settings.host_name = Some(name.to_lowercase());
        reader.named = given.host.to_lowercase();
        reader.last_pass = true;
        read(&mut reader)?;
    }
    let mut settings = reader.settings;
    settings.warnings.dedup();
    if let Some(name) = &settings.host_name {
        settings.host_name = Some(named(name)?);
    }
    Ok(settings)
}

struct Reader<'r> {
    /// The host as it was named.
    named: String,
    person: &'r dyn Person,
    settings: Settings,
    last_pass: bool,
    asks_last: bool,
}

impl Reader<'_> {
    /// `active`: whether the lines at its beginning apply. `may` is false inside a
    /// block that does not apply: then no block in it can.
    fn file(
        &mut self,
        kind: &ConfigFile,
        path: &Path,
        active: &mut bool,
        may: bool,
        depth: usize,
    ) -> Result<(), FileProblem> {
        let Some(text) = read(kind, path, depth, self.person)? else {
            return Ok(());
        };
        for (index, line) in text.lines().enumerate() {
            let place = format!("{}:{}", path.display(), index + 1);
            let Some((word, rest)) = keyword(line) else {
                continue;
            };
            let wrong = |message: String| FileProblem::new(place.clone(), message);
            match word.as_str() {
                "host" => {
                    let patterns = arguments(&word, rest).map_err(wrong)?;
                    *active = may && host_match::host(&self.named, &patterns);
                }
                "match" => *active = self.matched(rest, &place).map_err(wrong)? && may,
                "include" => {
                    let names = arguments(&word, rest).map_err(wrong)?;
                    let before = *active;
                    for name in names {
                        if depth >= DEEPEST {
                            return Err(wrong("Include goes too deep".to_owned()));
                        }
                        for file in included(kind, &name, self.person).map_err(wrong)? {
                            let mut inside = before;
                            self.file(kind, &file, &mut inside, may && before, depth + 1)?;
                        }
                    }
                    *active = before;
                }
                _ => self.option(&word, rest, *active, &place).map_err(wrong)?,
            }
        }
        Ok(())
    }

    fn matched(&mut self, rest: &str, place: &str) -> Result<bool, String> {
        let named = self.named.as_str();
        let host = match &self.settings.host_name {
            Some(name) => tokens::host_name(name, named)?,
            None => named.to_owned(),
        };
        let local_user = self.person.name().unwrap_or_default();
        let subject = MatchContext {
            named,
            host: &host,
            user: self.settings.user.as_deref().unwrap_or(local_user),
            local_user,
            last_pass: self.last_pass,
        };
        match host_match::matched(rest, &subject, &mut self.asks_last)? {
            Matched::Yes => Ok(true),
            Matched::No => Ok(false),
            Matched::Unsupported(what) => {
                self.settings.warnings.push(format!(
                    "{place}: vdeploy does not look at `Match {what}`, and this block does not \
                     count; if the target needs it, say it in the project file"
                ));
                Ok(false)
            }
        }
    }

    fn option(&mut self, word: &str, rest: &str, active: bool, place: &str) -> Result<(), String> {
        let one = || {
            let first = arguments(word, rest)?.into_iter().next();
            first.ok_or_else(|| format!("`{word}` has no value"))
        };
        let settings = &mut self.settings;
        match word {
            "hostname" => keep(&mut settings.host_name, active, one()?),
            "user" => keep(&mut settings.user, active, one()?),
            "hostkeyalias" => keep(&mut settings.host_key_alias, active, one()?),
            "identityagent" => keep(&mut settings.identity_agent, active, one()?),
            "revokedhostkeys" => keep(&mut settings.revoked_host_keys, active, one()?),
            "port" => {
                let value = one()?;
                let port = value.parse::<u16>().ok().filter(|port| *port > 0);
                let port = port.ok_or_else(|| format!("`{value}` is not a port"))?;
                keep(&mut settings.port, active, port);
            }
            "identitiesonly" => keep(&mut settings.identities_only, active, yes_or_no(&one()?)?),
            "userknownhostsfile" => {
                keep(
                    &mut settings.user_known_hosts,
                    active,
                    arguments(word, rest)?,
                );
            }
            "globalknownhostsfile" => {
                keep(
                    &mut settings.global_known_hosts,
                    active,
                    arguments(word, rest)?,
                );
            }
            "identityfile" if active => {
                let value = one()?;
                let known = settings
                    .identity_files
                    .iter()
                    .any(|(file, _)| *file == value);
                if !known {
                    settings.identity_files.push((value, place.to_owned()));
                }
            }
            "certificatefile" if active => {
                let value = one()?;
                if !settings.certificate_files.contains(&value) {
                    settings.certificate_files.push(value);
                }
            }
            "proxyjump" => keep(&mut settings.proxy, active, jumps(rest)?),
            "proxycommand" => {
                let command = match rest {
                    "" => return Err("`proxycommand` has no value".to_owned()),
                    rest if rest.eq_ignore_ascii_case("none") => Proxy::None,
                    rest => Proxy::Command(rest.to_owned()),
                };
                keep(&mut settings.proxy, active, command);
            }
            "knownhostscommand" if active => settings.warnings.push(format!(
                "{place}: vdeploy does not run KnownHostsCommand; host keys come from files of \
                 known hosts or from `host-key` in the target"
            )),
            _ => {}
        }
        Ok(())
    }
}

/// The first value wins.
fn keep<T>(place: &mut Option<T>, active: bool, value: T) {
    if active && place.is_none() {
        *place = Some(value);
    }
}

fn arguments(word: &str, rest: &str) -> Result<Vec<String>, String> {
    match words(rest) {
        None => Err(format!("`{word}` has a quote that is not closed")),
        Some(words) if words.is_empty() => Err(format!("`{word}` has no value")),
        Some(words) => Ok(words),
    }
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        _ => Err(format!("`{text}` is neither yes nor no")),
    }
}

fn jumps(text: &str) -> Result<Proxy, String> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(Proxy::None);
    }
    let hops: Option<Vec<JumpSpec>> = text.split(',').map(JumpSpec::parse).collect();
    hops.map(Proxy::Jump)
        .ok_or_else(|| format!("`{text}` is no list of [USER@]HOST[:PORT] for ProxyJump"))
}

fn included(kind: &ConfigFile, name: &str, person: &dyn Person) -> Result<Vec<PathBuf>, String> {
    let path = kind.includes_from.join(tokens::home(person, name));
    let options = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let found = glob::glob_with(&path.to_string_lossy(), options)
        .map_err(|e| format!("`{name}` is no pattern of files: {e}"))?;
    Ok(found.filter_map(Result::ok).collect())
}

/// `None` if it is missing and may be.
fn read(
    kind: &ConfigFile,
    path: &Path,
    depth: usize,
    person: &dyn Person,
) -> Result<Option<String>, FileProblem> {
    use std::os::unix::fs::MetadataExt;
    let wrong = |message: String| FileProblem::new(path.display().to_string(), message);
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && (depth > 0 || !kind.wanted) => {
            return Ok(None);
        }
        Err(e) => return Err(wrong(format!("cannot be read: {e}"))),
    };
    if meta.is_dir() && depth > 0 {
        return Ok(None);
    }
    let theirs = meta.uid() != 0 && meta.uid() != person.uid();
    if kind.guarded && (theirs || meta.mode() & 0o022 != 0) {
        return Err(wrong(format!(
            "others can change it, so it is not read, as OpenSSH would not; run: chmod go-w {}",
            path.display()
        )));
    }
    if meta.len() > LONGEST {
        return Err(wrong("is too long for a configuration".to_owned()));
    }
    std::fs::read_to_string(path)
        .map(Some)
        .map_err(|e| wrong(format!("cannot be read: {e}")))
}
