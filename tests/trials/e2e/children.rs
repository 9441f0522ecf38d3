//! What the program leaves to others on the machine that deploys: the programs
//! that it starts, and its own memory. No cloud is needed for it.

use crate::trial::Trial;
use anyhow::{Context as _, Result, ensure};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use vdeploy_tests::Ran;
use vdeploy_tests::base::wait_for;
use vdeploy_tests::binary::{profile_dir, vdeploy};

/// Nobody has this user id; an ordinary user where the tests are root.
const SOMEBODY: u32 = 24_680;
const LIMIT: Duration = Duration::from_secs(180);
/// None of these values may reach a program that is started.
const SECRETS: [(&str, &str); 3] = [
    ("VERS_API_KEY", "value-of-the-api-key"),
    ("VERS_AUTH_TOKEN", "value-of-the-auth-token"),
    ("OTHER_SECRET", "value-of-another-secret"),
];

/// A test by its name.
type Test = (&'static str, fn() -> Result<()>);

pub fn trials() -> Vec<Trial> {
    let tests: [Test; 3] = [
        ("children::no_program_inherits_a_secret", inherited),
        ("children::a_name_for_the_shell_is_refused", name),
        ("children::a_crash_leaves_no_memory_behind", core_dump),
    ];
    tests.map(|(name, test)| Trial::new(name, test)).into()
}

/// A home with a project file, an OpenSSH configuration and a program `git`.
struct Home(TempDir);

impl Home {
    fn new(token: &str, host_name: &str) -> Result<Self> {
        let dir = TempDir::new()?;
        let at = |name: &str| dir.path().join(name);
        let project = format!(
            "[targets.t]\ntype = \"ssh\"\nhost = \"db\"\nhost-key = \"first-use\"\nagent = false\n\
             ssh-config = \"ssh_config\"\nurl = \"http://127.0.0.1:9\"\n\
             [secrets.auth-token]\ncommand = [\"sh\", \"-c\", \"{token}\"]\n\
             [secrets.other]\nenv = \"OTHER_SECRET\"\n"
        );
        std::fs::write(at("vdeploy.toml"), project)?;
        let proxy = format!("env >{}", at("proxy.env").display());
        let config = format!(
            "Host db\n HostName {host_name}\n User me\n ProxyCommand sh -c '{proxy}; echo %h >&2'\n"
        );
        std::fs::write(at("ssh_config"), config)?;
        std::fs::create_dir(at("bin"))?;
        let git = format!("#!/bin/sh\nenv >{}\n", at("git.env").display());
        std::fs::write(at("bin/git"), git)?;
        std::fs::set_permissions(at("bin/git"), PermissionsExt::from_mode(0o755))?;
        Ok(Self(dir))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `program ARGS` there, with the secrets in the environment.
    fn command(&self, program: &Path, args: &[&str]) -> Result<Command> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs = std::iter::once(self.at("bin")).chain(std::env::split_paths(&path));
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.0.path())
            .env_clear()
            .env("PATH", std::env::join_paths(dirs)?)
            .env("HOME", self.0.path())
            .env("VDEPLOY_STATE", self.at("state"))
            .env(
                "VDEPLOY_CACHE",
                profile_dir()?.join("plugin-cache-of-tests"),
            )
            .env("CI", "true")
            .envs(SECRETS)
            .env("VAULT_TOKEN", "for-the-program-itself")
            .stdin(Stdio::null());
        Ok(command)
    }

    fn run(&self, args: &[&str]) -> Result<Ran> {
        Ok(self.command(&vdeploy()?, args)?.output()?.into())
    }

    /// No secret was in a program's environment; what it had.
    fn expect_clean(&self, name: &str) -> Result<String> {
        let text = std::fs::read_to_string(self.at(name)).with_context(|| format!("no {name}"))?;
        for (variable, value) in SECRETS {
            let line = format!("{variable}=");
            let none = !text.contains(value) && !text.lines().any(|l| l.starts_with(&line));
            ensure!(none, "{name} has {variable}:\n{text}");
        }
        Ok(text)
    }
}

const SMOKE: [&str; 3] = ["run", "--plan", "smoke"];

fn inherited() -> Result<()> {
    let home = Home::new(
        "env >token.env; echo a-token-of-a-program",
        "db.example.com",
    )?;
    let ran = home.run(&SMOKE)?.expect_code(22)?;
    ran.expect_text("ProxyCommand to db (db.example.com:22): it ended: db.example.com")?;
    for name in ["token.env", "proxy.env"] {
        // What is no secret of the project is theirs.
        let text = home.expect_clean(name)?;
        ensure!(
            text.contains("VAULT_TOKEN=for-the-program-itself"),
            "{text}"
        );
    }
    // A project is not read there, so git gets only what it reads itself.
    home.run(&["init", "--force"])?.expect_code(0)?;
    let text = home.expect_clean("git.env")?;
    ensure!(text.contains("HOME="), "{text}");
    Ok(())
}

fn name() -> Result<()> {
    let home = Home::new("echo a-token-of-a-program", "x$(id>pwned)")?;
    home.run(&SMOKE)?
        .expect_code(2)?
        .expect_text("%h of `sh -c")?
        .expect_text("only letters, digits and any of")?;
    ensure!(!home.at("proxy.env").exists() && !home.at("pwned").exists());
    Ok(())
}

fn core_dump() -> Result<()> {
    let home = Home::new("echo >waiting; sleep 600", "db.example.com")?;
    // A program that its user may read, wherever the tests were built.
    let program = home.at("vdeploy");
    std::fs::copy(vdeploy()?, &program)?;
    std::fs::set_permissions(home.0.path(), PermissionsExt::from_mode(0o755))?;
    let is_root = std::fs::metadata("/proc/self")?.uid() == 0;
    let start = |program: &Path, args: &[&str]| -> Result<Child> {
        let mut command = home.command(program, args)?;
        command.env("VDEPLOY_CACHE", home.at("cache"));
        if is_root {
            command.uid(SOMEBODY).gid(SOMEBODY);
        }
        Ok(command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?)
    };
    if is_root {
        for name in ["", "vdeploy.toml", "ssh_config"] {
            chown(home.at(name), Some(SOMEBODY), Some(SOMEBODY))?;
        }
    }
    // What a program has that does not forbid it.
    let mut other = start(Path::new("sleep"), &["600"])?;
    let mut own = start(&program, &SMOKE)?;
    let seen = look(&home, &mut own, &other);
    for child in [&mut own, &mut other] {
        drop(child.kill());
        child.wait()?;
    }
    seen
}

fn look(home: &Home, own: &mut Child, other: &Child) -> Result<()> {
    wait_for("the secret's program", LIMIT, || {
        let ended = own.try_wait().ok().flatten().is_some();
        (ended || home.at("waiting").exists()).then_some(())
    })?;
    ensure!(own.try_wait()?.is_none(), "it ended before it waited");
    let owner = |child: &Child| -> Result<u32> {
        Ok(std::fs::metadata(format!("/proc/{}/stat", child.id()))?.uid())
    };
    // Files of a process that leaves no dump and that nobody may look into
    // belong to root.
    let user = std::fs::metadata(format!("/proc/{}", other.id()))?.uid();
    ensure!(owner(other)? == user, "another program is not its user's");
    ensure!(owner(own)? != user, "a dump of it may be made");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", own.id()))?;
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let soft = core.and_then(|line| line.split_whitespace().nth(4));
    ensure!(soft == Some("0"), "{core:?}");
    Ok(())
}
