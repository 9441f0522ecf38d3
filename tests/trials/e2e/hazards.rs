//! Hazards of processes and ports, each shown with a real one.

use crate::e2e::Add;
use anyhow::{Result, ensure};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use vdeploy_tests::base::{TOKEN, text, wait_for};
use vdeploy_tests::binary::run;
use vdeploy_tests::{Base, Site};

pub fn add(add: &mut Add<'_>) {
    let mut test = |name: &str, test| crate::e2e::test(add, &format!("hazards::{name}"), test);
    test(
        "the_old_process_is_no_proof_of_the_new_version",
        false_green,
    );
    test(
        "a_port_taken_at_the_last_moment_names_the_taker",
        port_taken,
    );
    test(
        "a_foreign_process_is_named_and_ended_only_by_a_word",
        foreign,
    );
    test("a_process_that_ignores_term_is_killed", ignores_term);
    test("the_log_of_a_crash_is_kept", log_of_a_crash);
    test("a_service_that_prints_nothing_is_deployed", silent);
    test("a_service_on_another_port_is_named", another_port);
    test("a_wrong_working_directory_is_not_green", wrong_directory);
    test("a_hot_fix_on_the_vm_is_told_and_kept", hot_fix);
}

/// A deploy without its restart: everything is green, and nothing is new.
fn false_green(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.write_project("[plans.default]\nextends = \"default\"\ndrop = [\"restart\"]\n")?;
    site.remote.push_variant("good-v2")?;
    let ran = site.deploy(&[])?.expect_code(11)?;
    let message = text(&ran.event("run-finished")?, "message")?;
    ensure!(
        message.contains("expected a new process, found the old one"),
        "{message}"
    );
    ensure!(site.version().as_deref() == Some("1.0.0"));
    Ok(())
}

/// A process of the test on the VM's port. It is ended with its handle.
struct Taker(Child);

impl Taker {
    /// Runs `script` with node in the VM's home.
    fn start(site: &Site<'_>, name: &str, script: &str) -> Result<Self> {
        let home = site.home(&site.vm)?;
        std::fs::write(home.join(name), script)?;
        let child = Command::new("node")
            .arg(name)
            .current_dir(home)
            .env("PORT", site.port()?.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }

    fn runs(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_none())
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Waits until the new process is about to start, and is faster.
const LAST_MOMENT: &str = r#"
const fs = require("node:fs");
const look = () => {
  if (!fs.existsSync("starting")) return setTimeout(look, 20);
  require("node:http").createServer((q, r) => r.end("mine"))
    .listen(Number(process.env.PORT), "::", () => fs.writeFileSync("taken", ""));
};
look();
"#;

fn port_taken(base: &Base) -> Result<()> {
    let site = base.site()?;
    let home = site.home(&site.vm)?.display().to_string();
    let mut taker = Taker::start(&site, "taker.js", LAST_MOMENT)?;
    site.remote.push_variant("good-v2")?;
    let start = format!(
        "restart.start=touch {home}/starting; until [ -f {home}/taken ]; do sleep 0.05; done; exec node dist/server.js"
    );
    let ran = site.deploy(&["--set", &start])?.expect_code(12)?;
    let said = ran.text();
    // The taker answers on the port, and is not taken for the new version.
    for word in [
        "EADDRINUSE",
        "taker.js",
        // By the start that failed; the rollback names it in other words.
        &format!("the port belongs to pid {}", taker.0.id()),
        "terminate it yourself",
    ] {
        ensure!(said.contains(word), "`{word}` was not said:\n{said}");
    }
    ensure!(taker.runs()?, "a process that is not ours was ended");
    drop(taker);
    // What the message says to do is enough.
    site.vdeploy(&["rollback", "--json"])?.expect_code(0)?;
    ensure!(site.version().as_deref() == Some("1.0.0"));
    Ok(())
}

/// Ends the service that came with the VM.
fn end_service(site: &Site<'_>) -> Result<()> {
    let pid = crate::e2e::first::listener(&site.vdeploy(&[
        "run",
        "--plan",
        "smoke",
        "--json",
        "--set",
        "smoke.stable-seconds=0",
    ])?)?;
    run(Command::new("kill").args(["-KILL", &pid]))?;
    wait_for("the end of the service", Duration::from_secs(10), || {
        site.version().is_none().then_some(())
    })
}

fn foreign(base: &Base) -> Result<()> {
    let site = base.site()?;
    end_service(&site)?;
    let script = "require('node:http').createServer((q, r) => r.end('mine')).listen(Number(process.env.PORT), '::')";
    let mut foreign = Taker::start(&site, "foreign.js", script)?;
    let answers = || {
        site.get(&site.vm, "/", None)
            .ok()
            .filter(|(_, body)| body == "mine")
    };
    wait_for("the foreign process", Duration::from_secs(10), answers)?;
    let pid = format!("pid {}", foreign.0.id());
    let home = site.home(&site.vm)?.display().to_string();
    let refused = site.vdeploy(&["run"])?.expect_code(3)?;
    for word in [
        &pid,
        "foreign.js",
        "program /",
        &home,
        ", user ",
        ", since 20",
        "foreign-process=end",
    ] {
        ensure!(
            refused.text().contains(word),
            "`{word}` was not said:\n{}",
            refused.text()
        );
    }
    ensure!(
        foreign.runs()? && answers().is_some(),
        "it was ended without a word"
    );
    let ran = site
        .deploy(&[
            "--set",
            "preflight.foreign-process=end",
            "--set",
            "smoke.stable-seconds=1",
        ])?
        .expect_code(0)?;
    ensure!(site.version().as_deref() == Some("1.0.0") && !foreign.runs()?);
    let id = text(&ran.event("run-finished")?, "run")?;
    let journal = site
        .vdeploy(&["runs", "show", &id, "--json"])?
        .expect_code(0)?;
    ensure!(
        journal.text().contains("foreign.js"),
        "it is not in the journal"
    );
    Ok(())
}

fn ignores_term(base: &Base) -> Result<()> {
    let site = base.site()?;
    let start =
        std::fs::read_to_string(vdeploy_tests::fixtures().join("agent-services/src/start.ts"))?;
    let stubborn = format!("{start}\nprocess.on(\"SIGTERM\", () => console.log(\"no\"));\n");
    site.remote
        .push_files("ignores-term", &[("src/start.ts", &stubborn)])?;
    let quick = [
        "--set",
        "smoke.stable-seconds=0",
        "--set",
        "restart.stop-timeout=1",
    ];
    site.deploy(&quick)?.expect_code(0)?;
    site.remote.push_variant("good-v2")?;
    site.deploy(&quick)?
        .expect_code(0)?
        .expect_text("did not end within 1 s of TERM and was killed")?;
    ensure!(site.version().as_deref() == Some("2.0.0"));
    Ok(())
}

fn log_of_a_crash(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.remote.push_variant("crashes-at-start")?;
    site.deploy(&["--set", "smoke.stable-seconds=0"])?
        .expect_code(11)?;
    // The old version has started a new log since.
    let log = site.service_log()?;
    let previous = std::fs::read_to_string(log.with_extension("log.previous"))?;
    ensure!(previous.contains("crashes-at-start"), "{previous}");
    let now = std::fs::read_to_string(log)?;
    ensure!(
        !now.contains("crashes-at-start") && now.contains("running on"),
        "{now}"
    );
    Ok(())
}

/// As `init` writes it for a service of which it knows no line.
fn silent(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.remote.push_variant("good-v2")?;
    site.deploy(&[
        "--set",
        "restart.ready-line=",
        "--set",
        "restart.start=node dist/server.js >/dev/null 2>&1",
        "--set",
        "smoke.stable-seconds=0",
    ])?
    .expect_code(0)?;
    ensure!(site.version().as_deref() == Some("2.0.0"));
    let log = site.service_log()?;
    ensure!(std::fs::read_to_string(&log)?.is_empty(), "it printed");
    Ok(())
}

fn another_port(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.remote.push_variant("good-v2")?;
    // A port of this machine that nobody has.
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let (port, wrong) = (site.port()?, free.port());
    let start = format!("restart.start=PORT={wrong} node dist/server.js");
    let ran = site
        .deploy(&["--set", &start, "--set", "smoke.stable-seconds=0"])?
        .expect_code(11)?;
    // While it is waited for.
    let named = format!("the new process listens on port {wrong} (pid ");
    let ran = ran
        .expect_text(&named)?
        .expect_text(&format!("not on port {port} yet"))?;
    let message = text(&ran.event("run-finished")?, "message")?;
    ensure!(
        message.contains(&format!("and not on port {port}, and was stopped")),
        "{message}"
    );
    ensure!(site.version().as_deref() == Some("1.0.0"));
    Ok(())
}

fn wrong_directory(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.add_task("keep me")?;
    site.remote.push_variant("good-v2")?;
    let app = site.app_dir()?.display().to_string();
    let start = format!("restart.start=cd \"$TMPDIR\" && exec node {app}/dist/server.js");
    let ran = site
        .deploy(&["--set", &start, "--set", "smoke.stable-seconds=0"])?
        .expect_code(11)?;
    let message = text(&ran.event("run-finished")?, "message")?;
    for word in ["it would use another `data`", "data did not shrink"] {
        ensure!(message.contains(word), "`{word}` is not in\n{message}");
    }
    ran.expect_text("board 1 before and 0 now")?;
    let (_, board) = site.get(&site.vm, "/board/tasks", Some(TOKEN))?;
    ensure!(board.contains("keep me"), "{board}");
    Ok(())
}

fn hot_fix(base: &Base) -> Result<()> {
    let site = base.site()?;
    let file = site.app_dir()?.join("src/version.ts");
    let fixed = std::fs::read_to_string(&file)?.replace("1.0.0", "1.0.0-hot");
    std::fs::write(&file, &fixed)?;
    site.remote.push_variant("wrong-json")?;
    site.vdeploy(&["run", "--set", "preflight.hot-fixes=refuse"])?
        .expect_code(3)?
        .expect_text("src/version.ts")?;
    let ran = site
        .deploy(&["--set", "smoke.stable-seconds=0"])?
        .expect_code(11)?;
    ran.expect_text("files changed on the target")?;
    ensure!(
        std::fs::read_to_string(&file)? == fixed,
        "the rollback lost the hot-fix"
    );
    site.remote.push_variant("good-v2")?;
    site.deploy(&["--set", "smoke.stable-seconds=0"])?
        .expect_code(0)?;
    ensure!(site.version().as_deref() == Some("2.0.0"));
    let kept = std::fs::read_dir(site.app_dir()?.join(".vdeploy"))?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".patch"))
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .any(|patch| patch.contains("1.0.0-hot"));
    ensure!(kept, "the hot-fix is in no patch");
    Ok(())
}
