//! listener.sh and facts.sh against real processes and real repositories.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use vdeploy_plugin::testing::{self, FakeHost, local_shell};
use vdeploy_plugin::{Cx, Error, Step};
use vdeploy_service::facts::{self, DataDir, Facts, Location};
use vdeploy_service::listener::{self, Port};

/// Returns facts and listener in debug form, for the tests.
struct Look;

#[derive(serde::Deserialize)]
struct Config {
    #[serde(flatten)]
    place: Location,
}

thread_local! {
    static SEEN: std::cell::RefCell<Option<(Facts, Port)>> = const { std::cell::RefCell::new(None) };
}

impl Step for Look {
    type Config = Config;
    type Output = Value;

    fn run(cx: &Cx<Config>) -> Result<Value, Error> {
        let facts = facts::read_with_data(cx, &cx.config().place)?;
        let port = listener::find(cx, facts.port)?;
        SEEN.set(Some((facts, port)));
        Ok(json!({}))
    }
}

fn look(home: &Path, config: Value) -> (Facts, Port) {
    let host = FakeHost::new().config(config).ssh(local_shell(home));
    testing::run::<Look>(&host).unwrap();
    SEEN.take().unwrap()
}

/// Killed by its handle at the end of the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A node process that listens on a free port, and the port.
fn node(dir: &Path, host: &str) -> (Process, u16) {
    let program = format!(
        "const s = require('net').createServer().listen(0, '{host}', () => console.log(s.address().port))"
    );
    let mut child = Command::new("node")
        .args(["-e", &program, "odd argument", ") 7 ("])
        .current_dir(dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
    (Process(child), line.trim().parse().unwrap())
}

fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn finds_the_process_that_listens() {
    for host in ["127.0.0.1", "::"] {
        let home = tempfile::tempdir().unwrap();
        let (process, port) = node(home.path(), host);
        let (_, found) = look(
            home.path(),
            json!({"app-dir": ".", "port": port, "log": "x.log"}),
        );
        let Port::Owned(listener) = found else {
            panic!("{found:?}")
        };
        assert_eq!(listener.pid, process.0.id());
        assert_eq!(listener.ppid, std::process::id());
        let cwd = home.path().canonicalize().unwrap();
        assert_eq!(Path::new(&listener.cwd), cwd);
        assert!(listener.exe.ends_with("/node"), "{}", listener.exe);
        assert_eq!(listener.argv[0], "node");
        // Started just now by the user of this test.
        let since = Command::new("date")
            .args(["-u", "+%s", "-d", &listener.since])
            .output()
            .unwrap();
        let since: u64 = String::from_utf8(since.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        assert!(now.abs_diff(since) < 600, "{} is not now", listener.since);
        let user = Command::new("id").arg("-un").output().unwrap();
        assert_eq!(
            listener.user,
            String::from_utf8(user.stdout).unwrap().trim()
        );
        assert_eq!(listener.argv[3..], ["odd argument", ") 7 ("]);
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", listener.pid)).unwrap();
        let start = stat
            .rsplit_once(") ")
            .unwrap()
            .1
            .split(' ')
            .nth(19)
            .unwrap();
        assert_eq!(listener.start_ticks.to_string(), start);
    }
}

#[test]
fn a_port_without_a_listener_is_free() {
    let home = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = json!({"app-dir": ".", "port": port, "log": "x.log"});
    // A connected client does not listen.
    let _client = std::net::TcpStream::connect(taken.local_addr().unwrap()).unwrap();
    let Port::Owned(listener) = look(home.path(), config.clone()).1 else {
        panic!("this process listens")
    };
    assert_eq!(listener.pid, std::process::id());
    drop(taken);
    assert_eq!(look(home.path(), config).1, Port::Free);
}

#[test]
fn says_what_a_checkout_is_like() {
    let home = tempfile::tempdir().unwrap();
    let app = home.path().join("work").join("app");
    std::fs::create_dir_all(&app).unwrap();
    git(&app, &["init", "-q", "-b", "main"]);
    git(&app, &["remote", "add", "origin", "/nowhere"]);
    std::fs::write(app.join("a"), "1").unwrap();
    git(&app, &["add", "a"]);
    git(&app, &["commit", "-qm", "one"]);
    std::fs::write(app.join("a"), "2").unwrap();
    std::fs::write(app.join("new file"), "").unwrap();
    std::fs::create_dir(app.join(".vdeploy")).unwrap();
    std::fs::write(app.join(".vdeploy/build.json"), "{\"sha\":\"abc\"}\n").unwrap();
    // The data is in another directory.
    std::fs::create_dir(home.path().join("kept")).unwrap();
    std::os::unix::fs::symlink(home.path().join("kept"), app.join("data")).unwrap();
    std::fs::write(app.join("data/a b.jsonl"), "1\n2\n").unwrap();
    std::fs::create_dir(app.join("data/deep")).unwrap();
    std::fs::write(app.join("data/deep/x.db"), "12345").unwrap();
    std::fs::create_dir(app.join("node_modules")).unwrap();
    std::fs::write(
        app.join(".gitignore"),
        "data\nnode_modules\n.gitignore\n.nvmrc\npackage.json\n",
    )
    .unwrap();
    std::fs::write(app.join(".nvmrc"), "v22\n").unwrap();
    let package = "{\n  \"engines\": { \"node\": \">=20 <23\" }\n}\n";
    std::fs::write(app.join("package.json"), package).unwrap();

    let config = json!({"app-dir": "work/app", "port": 1, "log": "service.log"});
    let (facts, _) = look(home.path(), config);
    let real = app.canonicalize().unwrap();
    assert_eq!(facts.app_dir.as_deref(), real.to_str());
    assert_eq!(facts.checkout.top, real.to_str().unwrap());
    assert_eq!(facts.checkout.sha, git(&app, &["rev-parse", "HEAD"]));
    assert_eq!(facts.checkout.branch.as_deref(), Some("main"));
    assert_eq!(facts.checkout.remotes, ["origin"]);
    assert_eq!(facts.checkout.unpushed, 1);
    assert_eq!(facts.checkout.hot_fixes, [" M a", "?? \"new file\""]);
    assert_eq!(facts.built.unwrap().sha, "abc");
    assert_eq!(facts.running, None);
    assert_eq!(facts.data, DataDir::Writable);
    let listed = facts.data_files.unwrap();
    let files = listed.iter();
    let files: Vec<_> = files.map(|f| (f.name.as_str(), f.bytes, f.lines)).collect();
    assert_eq!(
        files,
        [("data/a b.jsonl", 4, Some(2)), ("data/deep/x.db", 5, None)]
    );
    assert!(listed.iter().all(|file| file.written_at > 1_700_000_000));
    assert!(facts.app_writable && facts.free_kb.unwrap() > 0);
    assert!(facts.free_inodes.is_some_and(|free| free > 0));
    assert!(facts.modules);
    assert_eq!(facts.nvmrc.as_deref(), Some("v22"));
    assert_eq!(facts.engines.as_deref(), Some(">=20 <23"));
    assert!(facts.node.unwrap().starts_with('v'));
    assert!(facts.log.starts_with('/') && facts.log.ends_with("/service.log"));
}

#[test]
fn says_what_is_missing() {
    let home = tempfile::tempdir().unwrap();
    let config = json!({"app-dir": "nowhere", "log": "/var/log/x.log"});
    let (facts, _) = look(home.path(), config);
    assert_eq!(facts.app_dir, None);
    assert_eq!(facts.log, "/var/log/x.log");

    let config = json!({"app-dir": ".", "port": 1, "log": "x"});
    let (facts, _) = look(home.path(), config);
    assert!(
        facts
            .checkout
            .error
            .unwrap()
            .contains("not a git repository")
    );
    assert_eq!(facts.data, DataDir::Absent);
}
