//! `vdeploy doctor` names what would stop a run, with what to do, and leaves no
//! trace.

use crate::e2e::Add;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use vdeploy_tests::base::{text, wait_for};
use vdeploy_tests::binary::{git, run};
use vdeploy_tests::{Base, Ran, Site};

pub fn add(add: &mut Add<'_>) {
    crate::e2e::test(add, "doctor::a_good_target_is_well", good);
    crate::e2e::test(
        add,
        "doctor::what_is_written_down_is_checked_first",
        written_down,
    );
    crate::e2e::test(add, "doctor::faults_of_the_target_come_at_once", target);
    crate::e2e::test(add, "doctor::a_missing_checkout_is_named", no_checkout);
    crate::e2e::test(add, "doctor::another_token_is_named", token);
    crate::e2e::test(add, "doctor::a_foreign_process_on_the_port_is_named", port);
    crate::e2e::test(add, "doctor::a_held_target_is_20_with_its_holder", held);
    crate::e2e::test(add, "doctor::a_paused_vm_is_22", paused);
    crate::e2e::test(
        add,
        "doctor::the_way_to_the_target_is_told_stage_by_stage",
        stages,
    );
    for (variant, step, check) in [
        ("open-server", "preflight", "open server"),
        ("wrong-json", "smoke", "GET /board/tasks with the token"),
        ("error-500", "smoke", "GET /feed/events with the token"),
    ] {
        let name = format!("doctor::a_running_{variant}_is_named");
        add(
            name,
            Box::new(move |base| running(base, variant, step, check)),
        );
    }
}

fn doctor(site: &Site<'_>, args: &[&str]) -> Result<Ran> {
    let mut all = vec!["doctor", "--json"];
    all.extend(args);
    site.vdeploy(&all)
}

/// The check of this step (none for the host's own) and name.
fn check(ran: &Ran, step: Option<&str>, name: &str) -> Result<Value> {
    let found = ran.events()?.into_iter().find(|event| {
        event.get("name").and_then(Value::as_str) == Some(name)
            && event.get("step").and_then(Value::as_str) == step
    });
    found.with_context(|| format!("no check `{name}` in\n{}", ran.text()))
}

/// Insists that a check ended so, says this, and has a fix unless it is well.
fn expect(ran: &Ran, step: Option<&str>, name: &str, status: &str, says: &str) -> Result<()> {
    let found = check(ran, step, name)?;
    ensure!(text(&found, "status")? == status, "{found}");
    ensure!(text(&found, "detail")?.contains(says), "{says}: {found}");
    if ["failed", "warned"].contains(&status) {
        let fix = found.get("fix").and_then(Value::as_str);
        ensure!(fix.is_some_and(|fix| !fix.is_empty()), "no fix: {found}");
    }
    Ok(())
}

fn good(base: &Base) -> Result<()> {
    let site = base.site()?;
    let before = files(&site)?;
    let ran = doctor(&site, &[])?.expect_code(0)?;
    ensure!(
        files(&site)? == before,
        "a checkup left something on the target"
    );
    for name in [
        "project file",
        "plugins",
        "Vers API",
        "VM",
        "login",
        "lease",
    ] {
        expect(&ran, None, name, "passed", "")?;
    }
    for name in ["disk space", "git remote", "npm registry", "token"] {
        expect(&ran, Some("preflight"), name, "passed", "")?;
    }
    expect(&ran, Some("smoke"), "process", "passed", "pid")?;
    let end = ran.event("doctor-finished")?;
    ensure!(end.get("failed") == Some(&Value::from(0)), "{end}");
    ensure!(
        !site.state().join("vdeploy.db").exists(),
        "a checkup stored something"
    );
    let people = site.vdeploy(&["doctor"])?.expect_code(0)?;
    ensure!(
        people.stdout.contains("✓ login") && people.stdout.contains("all is well"),
        "{}",
        people.text()
    );
    Ok(())
}

/// Every file of the VM with its time and size. The service's own are left out:
/// it writes them while it is asked.
fn files(site: &Site<'_>) -> Result<String> {
    let found = run(Command::new("find")
        .args([
            ".",
            "-name",
            "data",
            "-prune",
            "-o",
            "-name",
            "agent-services.log",
            "-o",
        ])
        .args(["-printf", "%p %T@ %s\n"])
        .current_dir(site.home(&site.vm)?))?;
    Ok(String::from_utf8_lossy(&found.stdout).into_owned())
}

fn written_down(base: &Base) -> Result<()> {
    let site = base.site()?;
    let output = site
        .command(&["doctor", "--json"])
        .env_remove("VERS_AUTH_TOKEN")
        .output()?;
    let ran = Ran::from(output).expect_code(3)?;
    expect(
        &ran,
        None,
        "secret `auth-token`",
        "failed",
        "environment variable VERS_AUTH_TOKEN",
    )?;
    // What does not need it is looked at all the same.
    expect(&ran, None, "login", "passed", "")?;
    expect(&ran, None, "steps", "skipped", "auth-token")?;

    doctor(&site, &["--plan", "defualt"])?
        .expect_code(2)?
        .expect_text("default")?;
    doctor(&site, &["--target", "infar"])?
        .expect_code(2)?
        .expect_text("did you mean `infra`")?;

    site.write_project("[plugins.smoke]\nsource = \"builtin:smoke\"\n")?;
    let ran = doctor(&site, &[])?.expect_code(30)?;
    expect(&ran, None, "plugins", "failed", "has no grant")?;
    ran.expect_text("[plugins.smoke.grants]")?;

    let server = "[targets.db]\ntype = \"ssh\"\nhost = \"db.invalid\"\nssh-config = false\n";
    site.write_project(server)?;
    let ran = doctor(&site, &["--target", "db"])?.expect_code(3)?;
    expect(&ran, None, "rollback point", "failed", "no rollback point")?;
    expect(&ran, None, "connection", "failed", "db.invalid")?;
    ran.expect_text("--without-snapshot")?;

    site.write_project("[plan.default]\n")?;
    let ran = doctor(&site, &[])?.expect_code(2)?;
    expect(&ran, None, "project file", "failed", "vdeploy.toml:6:")?;
    expect(&ran, None, "login", "skipped", "project file")?;

    site.write_project("")?;
    let file = site.dir().join("a-file");
    std::fs::write(&file, "")?;
    let output = site
        .command(&["doctor", "--json"])
        .env("VDEPLOY_STATE", file.join("state"))
        .output()?;
    let ran = Ran::from(output).expect_code(1)?;
    expect(&ran, None, "state directory", "failed", "is no directory")
}

fn target(base: &Base) -> Result<()> {
    let site = base.site()?;
    let (app, home) = (site.app_dir()?, site.home(&site.vm)?);
    std::fs::write(home.join(".npmrc"), "registry=http://127.0.0.1:9/\n")?;
    std::fs::rename(app.join("data"), app.join("data.kept"))?;
    std::fs::write(app.join("data"), "")?;
    std::fs::write(app.join(".nvmrc"), "1\n")?;
    let tracked = app.join("src/server.ts");
    let mut source = std::fs::read_to_string(&tracked)?;
    source.push_str("// by hand\n");
    std::fs::write(&tracked, source)?;
    git(
        &app,
        &["remote", "set-url", "origin", "https://git.invalid/a.git"],
    )?;
    let full = "[plans.default]\nextends = \"default\"\n[[plans.default.step]]\n\
                id = \"preflight\"\nconfig = { min-free-mb = 100000000 }\n";
    site.write_project(full)?;
    let ran = doctor(&site, &[])?.expect_code(3)?;
    let of = Some("preflight");
    expect(&ran, of, "disk space", "failed", "the build needs")?;
    expect(&ran, of, "data directory", "failed", "is not a directory")?;
    expect(&ran, of, "git remote", "failed", "git.invalid")?;
    expect(&ran, of, "name resolution", "failed", "git.invalid")?;
    expect(&ran, of, "npm registry", "warned", "127.0.0.1:9")?;
    expect(&ran, of, "node version", "warned", ".nvmrc")?;
    expect(&ran, of, "hot-fixes", "warned", "src/server.ts")?;

    git(
        &app,
        &[
            "remote",
            "set-url",
            "origin",
            &site.remote.path().display().to_string(),
        ],
    )?;
    let ran = doctor(&site, &["--ref", "no-such-branch"])?.expect_code(3)?;
    expect(&ran, of, "git remote", "failed", "no-such-branch")
}

fn no_checkout(base: &Base) -> Result<()> {
    let site = base.bare_site()?;
    let app = site.app_dir()?;
    // A first build can do nothing without its registry.
    let home = site.home(&site.vm)?;
    std::fs::write(home.join(".npmrc"), "registry=http://127.0.0.1:9/\n")?;
    let ran = doctor(&site, &[])?.expect_code(3)?;
    expect(
        &ran,
        Some("preflight"),
        "npm registry",
        "failed",
        "127.0.0.1:9",
    )?;
    std::fs::rename(&app, app.with_extension("away"))?;
    let ran = doctor(&site, &[])?.expect_code(3)?;
    expect(
        &ran,
        Some("preflight"),
        "checkout",
        "failed",
        "no directory",
    )
}

fn token(base: &Base) -> Result<()> {
    let site = base.site()?;
    let output = site
        .command(&["doctor", "--json"])
        .env("VERS_AUTH_TOKEN", "another-token-0123")
        .output()?;
    let ran = Ran::from(output).expect_code(3)?;
    expect(&ran, Some("preflight"), "token", "failed", "another token")
}

/// Ended with its own handle.
struct Foreign(Child);

impl Drop for Foreign {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn port(base: &Base) -> Result<()> {
    let site = base.site()?;
    let smoke = [
        "run",
        "--plan",
        "smoke",
        "--json",
        "--set",
        "smoke.stable-seconds=0",
    ];
    let ran = site.vdeploy(&smoke)?.expect_code(0)?;
    let pid = ran
        .events()?
        .iter()
        .find_map(|event| event.pointer("/output/service/pid")?.as_u64())
        .context("smoke reports no pid")?;
    let environ = std::fs::read_to_string(format!("/proc/{pid}/environ"))?;
    let port = environ
        .split('\0')
        .find_map(|pair| pair.strip_prefix("PORT="))
        .context("the service has no PORT")?
        .to_owned();
    run(Command::new("kill").args(["-9", &pid.to_string()]))?;
    let gone = format!("/proc/{pid}/cwd");
    wait_for("the end of the service", Duration::from_secs(10), || {
        std::fs::read_link(&gone).is_err().then_some(())
    })?;
    let script = "require('http').createServer((_, a) => a.end('{}')).listen(+process.argv[1], '::', () => console.log('up'))";
    let mut foreign = Command::new("node")
        .args(["-e", script, &port])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut out = foreign.stdout.take().context("no stdout")?;
    let foreign = Foreign(foreign);
    let mut byte = [0];
    std::io::Read::read_exact(&mut out, &mut byte)?;
    let ran = doctor(&site, &[])?.expect_code(3)?;
    let who = format!("pid {}", foreign.0.id());
    expect(&ran, Some("preflight"), "port", "failed", &who)
}

fn held(base: &Base) -> Result<()> {
    let site = base.site()?;
    let mut child = site
        .command(&["run", "--plan", "smoke", "--json"])
        .args(["--set", "smoke.stable-seconds=60"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let holder = format!("pid {}", child.id());
    let look = || -> Result<()> {
        let ran = wait_for("the lease", Duration::from_secs(30), || {
            let ran = doctor(&site, &["--plan", "smoke"]);
            match &ran {
                Ok(ran) if ran.code == 0 => None,
                _ => Some(ran),
            }
        })??
        .expect_code(20)?;
        expect(&ran, None, "lease", "failed", &holder)?;
        // By the target itself, for one that shares nothing.
        let output = site
            .command(&["doctor", "--json", "--plan", "smoke"])
            .env("VDEPLOY_STATE", site.dir().join("elsewhere"))
            .output()?;
        let ran = Ran::from(output).expect_code(20)?;
        expect(&ran, None, "lease", "failed", &holder)
    };
    let looked = look();
    run(Command::new("kill").args(["-INT", &child.id().to_string()]))?;
    child.wait()?;
    looked
}

fn paused(base: &Base) -> Result<()> {
    let site = base.site()?;
    let state = |word: &str| {
        let body = format!(r#"{{"state":"{word}"}}"#);
        base.api("PATCH", &format!("/vm/{}/state", site.vm), Some(&body))
    };
    state("Paused")?;
    let ran = doctor(&site, &[]);
    state("Running")?;
    let ran = ran?.expect_code(22)?;
    expect(&ran, None, "VM", "failed", "is paused")?;
    expect(&ran, None, "login", "skipped", "VM")
}

/// A target of the platform's own type, on the local cloud's addresses.
fn stages(base: &Base) -> Result<()> {
    let site = base.site()?;
    let file = std::fs::read_to_string(base.cloud_dir().join("endpoints.json"))?;
    let endpoints: Value = serde_json::from_str(&file)?;
    let value = |key: &str| text(&endpoints, key);
    let secret = site.dir().join("api-key");
    std::fs::write(&secret, value("api_key")?)?;
    let ca = value("ca_file")?;
    let project = |vm: &str, more: &str| -> Result<()> {
        let text = format!(
            "[targets.infra]\ntype = \"vers\"\nvm = \"{vm}\"\napi-url = \"{}\"\n\
             vm-domain = \"{}\"\ngateway = \"{}\"\n{more}\n\
             [secrets.vers-api-key]\nfile = \"api-key\"\n",
            value("api_url")?,
            value("vm_domain")?,
            value("gateway")?,
        );
        Ok(std::fs::write(site.dir().join("vdeploy.toml"), text)?)
    };
    let trusted = format!("ca-file = \"{ca}\"\nhost-key = \"first-use\"");
    let args = ["--plan", "smoke"];

    project(&site.vm, &trusted)?;
    let ran = doctor(&site, &args)?;
    expect(&ran, None, "host key", "warned", "SHA256:")?;
    ensure!(
        text(&check(&ran, None, "host key")?, "fix")?.contains("host-key = \"SHA256:"),
        "{}",
        ran.text()
    );

    let other = format!("SHA256:{}", "A".repeat(43));
    project(
        &site.vm,
        &format!("ca-file = \"{ca}\"\nhost-key = \"{other}\""),
    )?;
    let ran = doctor(&site, &args)?.expect_code(22)?;
    expect(&ran, None, "host key", "failed", &other)?;

    project(&site.vm, "host-key = \"first-use\"")?;
    let ran = doctor(&site, &args)?.expect_code(22)?;
    expect(&ran, None, "TLS", "failed", "certificate")?;

    project("00000000-0000-4000-8000-000000000000", &trusted)?;
    let ran = doctor(&site, &args)?.expect_code(22)?;
    expect(&ran, None, "VM", "failed", "00000000-0000")?;

    project(&site.vm, &trusted)?;
    std::fs::write(&secret, "wrong-key-0123456789")?;
    let ran = doctor(&site, &args)?.expect_code(22)?;
    expect(&ran, None, "Vers API", "failed", "not accepted")?;
    no_secret_shown(&ran)
}

fn no_secret_shown(ran: &Ran) -> Result<()> {
    ensure!(
        !ran.text().contains("wrong-key-0123456789"),
        "{}",
        ran.text()
    );
    Ok(())
}

/// What is wrong with the service that runs now.
fn running(base: &Base, variant: &str, step: &str, name: &str) -> Result<()> {
    let site = base.site()?;
    site.remote.push_variant(variant)?;
    site.deploy(&["--on-failure", "keep"])?.expect_code(13)?;
    let ran = doctor(&site, &[])?.expect_code(3)?;
    let status = match step {
        "preflight" => "warned",
        _ => "failed",
    };
    expect(&ran, Some(step), name, status, "")?;
    if step == "preflight" {
        expect(
            &ran,
            Some("smoke"),
            "GET /board/tasks without a token",
            "failed",
            "401",
        )?;
    }
    Ok(())
}
