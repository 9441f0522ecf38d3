//! `ssh_config` as a table, and against the OpenSSH of this machine: both must
//! understand the same file in the same way.

use crate::openssh::{ConfigFile, Given, JumpSpec, Person, Proxy, Settings, settings};
use std::path::{Path, PathBuf};
use std::process::Command;

struct Me {
    home: PathBuf,
    name: String,
}

impl Person for Me {
    fn home(&self) -> &Path {
        &self.home
    }
    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }
    fn uid(&self) -> u32 {
        rustix::process::getuid().as_raw()
    }
    fn variable(&self, _: &str) -> Option<String> {
        None
    }
}

fn me(home: &Path) -> Me {
    let id = Command::new("id").arg("-un").output().unwrap();
    Me {
        home: home.to_owned(),
        name: String::from_utf8(id.stdout).unwrap().trim().to_owned(),
    }
}

/// A directory with the files, the first of which is read.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = text.replace("DIR", &dir.path().display().to_string());
            std::fs::write(path, text).unwrap();
        }
        Self { dir }
    }

    fn config(&self) -> ConfigFile {
        ConfigFile {
            path: self.dir.path().join("config"),
            includes_from: self.dir.path().to_owned(),
            guarded: false,
            wanted: true,
        }
    }

    fn read(&self, given: &Given) -> Result<Settings, String> {
        settings(&[self.config()], given, &me(self.dir.path())).map_err(|e| e.to_string())
    }
}

fn host(name: &str) -> Given {
    Given {
        host: name.to_owned(),
        port: None,
        user: None,
    }
}

/// What `ssh -G` says of the same file, key by key.
fn oracle(files: &Files, given: &Given) -> Vec<(String, String)> {
    let mut ssh = Command::new("ssh");
    ssh.arg("-G").arg("-F").arg(files.config().path);
    if let Some(user) = &given.user {
        ssh.args(["-l", user]);
    }
    if let Some(port) = given.port {
        ssh.args(["-p", &port.to_string()]);
    }
    let out = ssh.arg(&given.host).output().unwrap();
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{error}");
    String::from_utf8(out.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn values<'t>(theirs: &'t [(String, String)], key: &str) -> Vec<&'t str> {
    let lines = theirs.iter().filter(|(k, _)| k == key);
    lines.map(|(_, value)| value.as_str()).collect()
}

fn shown_jump(spec: &JumpSpec) -> String {
    let user = spec
        .user
        .as_ref()
        .map(|u| format!("{u}@"))
        .unwrap_or_default();
    let port = spec.port.map(|p| format!(":{p}")).unwrap_or_default();
    format!("{user}{}{port}", spec.host)
}

/// The file of the tests that compare: every rule that people rely on.
const CONFIG: &str = r#"
# a comment
Host web1 web2
    HostName %h.example.com
    User deploy
    Port 2201
    IdentityFile DIR/first
    IdentityFile "DIR/with space"

Host web* !web9
    User second
    Port=2202
    IdentityFile = DIR/wide
    ProxyJump me@hop1:2222,hop2

Host db
    HostName 192.0.2.7
    IdentitiesOnly yes
    ProxyCommand nc %h %p # not a comment
    ProxyJump hop1
    UserKnownHostsFile DIR/a DIR/b

Host direct
    ProxyJump none

Match all
Include DIR/more/*.conf
Match originalhost inc1 user root
    Port 2299
Match host *.example.com user deploy
    IdentityFile DIR/matched
Match !user deploy host db2
    Port 2300
    HostKeyAlias known-db
Match final
    CertificateFile DIR/last-cert.pub
Match all
    IdentityFile DIR/all
Host *
    User everybody
    ProxyJump wide
"#;

fn all_files() -> Files {
    Files::new(&[
        ("config", CONFIG),
        (
            "more/1.conf",
            "Host inc1\n User from-include\n Port 2210\nHost *\n IdentityFile DIR/inc\n",
        ),
        (
            "more/2.conf",
            "Host inc1\n User too-late\nHostName inc.example.net\n",
        ),
        ("more/.hidden.conf", "Host *\n User hidden\n"),
        ("more/3.txt", "Host *\n User not-included\n"),
    ])
}

#[test]
fn openssh_understands_the_file_in_the_same_way() {
    let files = all_files();
    let mut cases: Vec<Given> = [
        "web1",
        "web2",
        "web3",
        "web9",
        "db",
        "db2",
        "direct",
        "inc1",
        "WEB1",
        "other.example.com",
        "192.0.2.1",
    ]
    .map(host)
    .to_vec();
    cases.push(Given {
        user: Some("root".to_owned()),
        ..host("inc1")
    });
    cases.push(Given {
        user: Some("said".to_owned()),
        port: Some(7),
        ..host("web1")
    });
    for given in cases {
        let theirs = oracle(&files, &given);
        let all = |key| values(&theirs, key);
        let one = |key| all(key).first().copied();
        let ours = files.read(&given).unwrap();
        let what = format!("{given:?}\n{ours:?}\n{theirs:?}");
        let host_name = ours.host_name.clone().unwrap_or_else(|| given.host.clone());
        assert_eq!(Some(&*host_name.to_lowercase()), one("hostname"), "{what}");
        assert_eq!(
            ours.port.unwrap_or(22).to_string(),
            one("port").unwrap(),
            "{what}"
        );
        assert_eq!(ours.user.as_deref(), one("user"), "{what}");
        let keys: Vec<&str> = ours
            .identity_files
            .iter()
            .map(|(f, _)| f.as_str())
            .collect();
        assert_eq!(keys, all("identityfile"), "{what}");
        assert_eq!(ours.certificate_files, all("certificatefile"), "{what}");
        let only = ours
            .identities_only
            .map_or("no", |yes| if yes { "yes" } else { "no" });
        assert_eq!(Some(only), one("identitiesonly"), "{what}");
        assert_eq!(
            ours.host_key_alias.as_deref(),
            one("hostkeyalias"),
            "{what}"
        );
        let (jump, command) = match &ours.proxy {
            Some(Proxy::Jump(hops)) => {
                let hops: Vec<String> = hops.iter().map(shown_jump).collect();
                (Some(hops.join(",")), None)
            }
            Some(Proxy::Command(command)) => (None, Some(command.as_str())),
            Some(Proxy::None) | None => (None, None),
        };
        assert_eq!(jump.as_deref(), one("proxyjump"), "{what}");
        assert_eq!(command, one("proxycommand"), "{what}");
        if let Some(files) = &ours.user_known_hosts {
            assert_eq!(Some(&*files.join(" ")), one("userknownhostsfile"), "{what}");
        }
        assert_eq!(ours.warnings, [""; 0], "{what}");
    }
}

#[test]
fn a_match_that_would_run_a_program_is_not_looked_at_and_said() {
    let files = Files::new(&[(
        "config",
        "Match exec \"touch DIR/ran\"\n User from-exec\nMatch all\n User from-all\n",
    )]);
    let found = files.read(&host("x")).unwrap();
    assert_eq!(found.user.as_deref(), Some("from-all"));
    let path = files.config().path;
    let place = format!(
        "{}:1: vdeploy does not look at `Match exec`",
        path.display()
    );
    assert!(
        found.warnings[0].starts_with(&place),
        "{:?}",
        found.warnings
    );
    assert!(!path.with_file_name("ran").exists());
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (text, expected) in [
        ("Host a\nPort x\n", "config:2: `x` is not a port"),
        (
            "IdentityFile \"open\n",
            "config:1: `identityfile` has a quote that is not closed",
        ),
        ("\nHost\n", "config:2: `host` has no value"),
        (
            "ProxyJump a,,b\n",
            "config:1: `a,,b` is no list of [USER@]HOST[:PORT] for ProxyJump",
        ),
        (
            "IdentitiesOnly maybe\n",
            "config:1: `maybe` is neither yes nor no",
        ),
        (
            "Match all user x\n",
            "config:1: `all` stands alone in a Match line",
        ),
        ("Include DIR/config\n", "config:1: Include goes too deep"),
    ] {
        let files = Files::new(&[("config", text)]);
        let error = files.read(&host("a")).unwrap_err();
        assert!(error.ends_with(expected), "{error}\n{expected}");
    }
}

#[test]
fn a_file_that_others_can_change_is_not_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let files = Files::new(&[("config", "User me\n")]);
    let mut config = files.config();
    config.guarded = true;
    let me = me(files.dir.path());
    std::fs::set_permissions(&config.path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let read = || settings(&[config.clone()], &host("a"), &me);
    assert_eq!(read().unwrap().user.as_deref(), Some("me"));
    std::fs::set_permissions(&config.path, std::fs::Permissions::from_mode(0o660)).unwrap();
    let error = read().unwrap_err().to_string();
    assert!(error.contains("chmod go-w"), "{error}");
    config.path = files.dir.path().join("missing");
    let missing = settings(&[config.clone()], &host("a"), &me).unwrap_err();
    assert!(
        missing.to_string().contains("missing: cannot be read"),
        "{missing}"
    );
    config.wanted = false;
    assert_eq!(
        settings(&[config], &host("a"), &me).unwrap(),
        Settings::default()
    );
}

#[test]
fn jump_hosts_are_read_in_every_form() {
    let spec = |user: Option<&str>, host: &str, port| JumpSpec {
        user: user.map(str::to_owned),
        host: host.to_owned(),
        port,
    };
    for (text, expected) in [
        ("hop", Some(spec(None, "hop", None))),
        ("me@hop:2222", Some(spec(Some("me"), "hop", Some(2222)))),
        (
            "ssh://me@hop:2222/",
            Some(spec(Some("me"), "hop", Some(2222))),
        ),
        (
            "[2001:db8::1]:22",
            Some(spec(None, "2001:db8::1", Some(22))),
        ),
        ("2001:db8::1", Some(spec(None, "2001:db8::1", None))),
        ("", None),
        ("@hop", None),
        ("hop:x", None),
        ("hop:0", None),
    ] {
        assert_eq!(JumpSpec::parse(text), expected, "{text}");
    }
}
