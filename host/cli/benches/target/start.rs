//! From the start of the program to the first effect of a run, with every
//! plugin compiled before.

use super::samples::{Samples, head, row};
use super::sshd::Sshd;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Plan, what it is, whether it uses the target.
const PLANS: [(&str, &str, bool); 3] = [
    ("http", "one step, one HTTP request", false),
    ("ssh", "one step, one command on the target", true),
    ("default", "the built-in plan", true),
];

pub fn measure(sshd: &Sshd, quick: bool) -> Result<()> {
    let web = web(sshd.file("key"))?;
    let project = sshd.file("vdeploy.toml");
    std::fs::write(&project, text(sshd, web))?;
    let turns = if quick { 3 } else { 15 };
    let mut version = Samples::default();
    let mut ssh = Samples::default();
    let mut plans = PLANS.map(|_| [(); 2].map(|()| Samples::default()));
    for turn in 0..=turns {
        let floor = timed(vdeploy().arg("--version"))?;
        let connected = timed(sshd.ssh(sshd.near).args([&sshd.destination(), "true"]))?;
        if turn > 0 {
            version.add(floor);
            ssh.add(connected);
        }
        for ((plan, _, uses_target), samples) in PLANS.iter().zip(&mut plans) {
            let first = first_effect(sshd, &project, plan)?;
            let [ready, effect] = samples;
            // The first turn compiles the plugins.
            if turn > 0 {
                effect.add(first.effect);
                ready.add(if *uses_target {
                    first.connecting
                } else {
                    first.effect
                });
            }
        }
    }
    head(
        "Start-up, plugins compiled before",
        &[
            "what",
            "until the target is touched, ms",
            "least, ms",
            "until the first effect, ms",
            "least, ms",
        ],
    );
    let ms = |value: f64| format!("{value:.1}");
    row(&[
        "`vdeploy --version`, whole".to_owned(),
        ms(version.median()),
        ms(version.least()),
        "-".to_owned(),
        "-".to_owned(),
    ]);
    for ((plan, what, _), [ready, effect]) in PLANS.iter().zip(&plans) {
        row(&[
            format!("`vdeploy run --plan {plan}`: {what}"),
            ms(ready.median()),
            ms(ready.least()),
            ms(effect.median()),
            ms(effect.least()),
        ]);
    }
    row(&[
        "`ssh HOST true`, whole".to_owned(),
        "-".to_owned(),
        "-".to_owned(),
        ms(ssh.median()),
        ms(ssh.least()),
    ]);
    Ok(())
}

fn vdeploy() -> Command {
    Command::new(env!("CARGO_BIN_EXE_vdeploy"))
}

fn timed(command: &mut Command) -> Result<Duration> {
    let began = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(began.elapsed())
}

struct First {
    connecting: Duration,
    effect: Duration,
}

/// Runs the plan and reads its events as they come.
fn first_effect(sshd: &Sshd, project: &Path, plan: &str) -> Result<First> {
    let began = Instant::now();
    let mut run = vdeploy()
        .args([
            "run",
            "--json",
            "--target",
            "bench",
            "--plan",
            plan,
            "--project",
        ])
        .arg(project)
        .arg("--state")
        .arg(sshd.file("state"))
        .env("VERS_API_KEY", "a-key-of-the-benchmark")
        .env("VERS_AUTH_TOKEN", "a-token-of-the-benchmark")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let events = BufReader::new(run.stdout.take().context("no pipe")?);
    let (mut connecting, mut effect) = (None, None);
    let mut last = String::new();
    for line in events.lines() {
        last = line?;
        let now = began.elapsed();
        let event: Value = serde_json::from_str(&last)?;
        match event.get("type").and_then(Value::as_str) {
            Some("doing") => connecting = connecting.or(Some(now)),
            Some("call-started") => effect = effect.or(Some(now)),
            _ => {}
        }
    }
    // The built-in plan finds no service here and changes nothing.
    run.wait()?;
    let effect = effect.with_context(|| format!("plan {plan} had no effect: {last}"))?;
    Ok(First {
        connecting: connecting.unwrap_or(effect),
        effect,
    })
}

fn text(sshd: &Sshd, web: SocketAddr) -> String {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../target/vdeploy-fixtures")
        .display()
        .to_string();
    format!(
        r#"
[targets.bench]
type = "vers"
vm = "vm-1"
host-key = "first-use"
api-url = "http://{web}"
vm-domain = "vm.localhost"
gateway = "{}"
ca-file = "{}"
user = "{}"
url = "http://{web}"

[plugins.version-check]
path = "{fixtures}/version-check.wasm"
[plugins.version-check.grants]
http = ["GET target/version"]

[plugins.scripted]
path = "{fixtures}/scripted.wasm"
[plugins.scripted.grants]
ssh = ["probe:echo **"]
http = ["GET target/**"]
secrets = ["auth-token@ssh"]
secrets-reveal = ["auth-token"]
snapshot = ["create"]
state = true

[plans.http]
on-failure = "keep"
[[plans.http.step]]
id = "version"
plugin = "version-check"
[plans.http.step.config]
expect = "1"

[plans.ssh]
on-failure = "keep"
[[plans.ssh.step]]
id = "look"
plugin = "scripted"
[plans.ssh.step.config]
run = [{{ do = "probe", argv = ["echo", "hello"] }}]
"#,
        sshd.near.tls,
        sshd.file("ca.pem").display(),
        sshd.user,
    )
}

/// The platform as far as a run needs it to connect, and the service: one
/// answer a connection.
fn web(key: std::path::PathBuf) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let key = std::fs::read_to_string(key)?;
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let _ = answer(connection, &key);
        }
    });
    Ok(address)
}

fn answer(mut connection: TcpStream, key: &str) -> Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = connection.read(&mut piece)?;
        request.extend_from_slice(piece.get(..read).unwrap_or_default());
        ensure!(read > 0, "half a request");
    }
    let line = String::from_utf8_lossy(&request);
    let path = line.split(' ').nth(1).unwrap_or_default();
    let body = if path.ends_with("/ssh_key") {
        json!({ "ssh_port": 22, "ssh_private_key": key })
    } else {
        json!({ "version": "1" })
    };
    let body = body.to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let text = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    Ok(connection.write_all(text.as_bytes())?)
}
