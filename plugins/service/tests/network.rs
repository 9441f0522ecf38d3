//! network.sh against a real git, npm and registries of this test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use vdeploy_plugin::testing::{self, FakeHost, local_shell};
use vdeploy_plugin::{Cx, Error, Step};
use vdeploy_service::network::{self, Network, RegistryAnswer};

struct Look;

thread_local! {
    static SEEN: std::cell::RefCell<Option<Network>> = const { std::cell::RefCell::new(None) };
}

impl Step for Look {
    type Config = Value;
    type Output = Value;

    fn run(cx: &Cx<Value>) -> Result<Value, Error> {
        SEEN.set(Some(network::read(cx, ".")?));
        Ok(json!({}))
    }
}

/// A checkout with this remote, in a home with this registry.
fn look(remote: &str, registry: &str) -> Network {
    let home = tempfile::tempdir().unwrap();
    let git = |args: &[&str]| {
        let done = Command::new("git")
            .args(args)
            .current_dir(home.path())
            .status();
        assert!(done.unwrap().success());
    };
    git(&["init", "-q"]);
    git(&["remote", "add", "origin", remote]);
    std::fs::write(home.path().join(".npmrc"), format!("registry={registry}\n")).unwrap();
    let logs = home.path().join(".npm/_logs");
    std::fs::create_dir_all(&logs).unwrap();
    std::fs::write(logs.join("2020-01-01T00_00_00_000Z-debug-0.log"), "old").unwrap();
    let before = files(home.path());
    let host = FakeHost::new()
        .config(json!({}))
        .ssh(local_shell(home.path()));
    testing::run::<Look>(&host).unwrap();
    assert_eq!(files(home.path()), before, "a probe leaves no trace");
    SEEN.take().unwrap()
}

/// Every entry below, with its time.
fn files(home: &Path) -> String {
    let found = Command::new("find")
        .args([".", "-printf", "%p %T@ %s\n"])
        .current_dir(home)
        .output()
        .unwrap();
    String::from_utf8(found.stdout).unwrap()
}

/// Answers every request with this text until the test ends.
fn registry(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(
                format!("HTTP/1.1 {answer}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}")
                    .as_bytes(),
            );
        }
    });
    format!("http://127.0.0.1:{port}/")
}

fn answer(registry: &str) -> RegistryAnswer {
    let found = look("/srv/remote.git", registry);
    let found = found.registry.expect("npm is there");
    assert_eq!(found.url, registry);
    found.answer
}

#[test]
fn a_registry_that_answers_is_up_also_where_it_knows_no_ping() {
    assert_eq!(answer(&registry("200 OK")), RegistryAnswer::Ok);
    assert_eq!(answer(&registry("404 Not Found")), RegistryAnswer::Ok);
}

#[test]
fn a_registry_that_is_down_or_closed_is_named() {
    let refused = answer(&registry("401 Unauthorized"));
    assert!(
        matches!(&refused, RegistryAnswer::Refused { code } if code == "E401"),
        "{refused:?}"
    );
    let broken = answer(&registry("503 Service Unavailable"));
    assert!(
        matches!(&broken, RegistryAnswer::Down { why } if why.contains("503")),
        "{broken:?}"
    );
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let gone = answer(&format!("http://127.0.0.1:{port}/"));
    assert!(
        matches!(&gone, RegistryAnswer::Down { why } if why.contains("ECONNREFUSED")),
        "{gone:?}"
    );
}

#[test]
fn names_that_cannot_be_resolved_are_told() {
    let up = registry("200 OK");
    for remote in [
        "https://git.invalid/a.git",
        "git@git.invalid:a.git",
        "ssh://git@git.invalid:22/a",
    ] {
        assert_eq!(look(remote, &up).unresolved, ["git.invalid"], "{remote}");
    }
    for remote in [
        "/srv/a.git",
        "file:///srv/a.git",
        "http://127.0.0.1/a",
        "../a",
        "http://localhost/a",
    ] {
        let found = look(remote, &up);
        assert!(
            found.unresolved.is_empty() && found.resolved.is_empty(),
            "{remote}"
        );
    }
}
