use super::*;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use vdeploy_plugin::testing::{self, FakeHost, local_shell};

/// A checkout whose build copies `src.txt` to `dist/server.js`, with no
/// modules to download.
struct Checkout {
    home: tempfile::TempDir,
}

const LOCK: &str = r#"{"name":"app","version":"1.0.0","lockfileVersion":3,"packages":{"":{"name":"app","version":"1.0.0"}}}"#;

impl Checkout {
    fn new() -> Self {
        let checkout = Checkout {
            home: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(checkout.app()).unwrap();
        checkout.git(&["init", "-q", "-b", "main"]);
        checkout.write(".gitignore", "dist\nnode_modules\ndata\n");
        checkout.write("package-lock.json", LOCK);
        checkout.commit("one", "mkdir dist && cp src.txt dist/server.js");
        checkout
    }

    fn app(&self) -> PathBuf {
        self.home.path().join("app")
    }

    fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
            .args(args)
            .current_dir(self.app())
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.app().join(file), text).unwrap();
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.app().join(file)).unwrap()
    }

    fn has(&self, file: &str) -> bool {
        self.app().join(file).exists()
    }

    /// Commits `text` as the source, with this build script.
    fn commit(&self, text: &str, build: &str) -> String {
        // `prepare` fails outside a git checkout.
        let scripts = json!({
            "build": build,
            "prepare": "git rev-parse HEAD",
            "test": "mkdir -p data && echo junk > data/board.json && test -f dist/server.js",
        });
        let package = json!({"name": "app", "version": "1.0.0", "scripts": scripts});
        self.write("package.json", &package.to_string());
        self.write("src.txt", text);
        self.git(&["add", "-A"]);
        self.git(&["commit", "-qm", text]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn host(&self, run: &str) -> FakeHost {
        FakeHost::new()
            .manifest(include_str!("../plugin.toml"))
            .config(json!({"app-dir": "app", "port": 1, "artifacts": ["dist"]}))
            .run_id(run)
            .snapshot_taken(true)
            .ssh(local_shell(self.home.path()))
    }

    fn build(&self, run: &str) -> Built {
        testing::run::<NpmBuild>(&self.host(run)).unwrap()
    }

    fn undo(&self, run: &str, built: Option<&Built>) {
        let output = built.map(|built| serde_json::to_value(built).unwrap());
        testing::undo::<NpmBuild>(&self.host(run), output).unwrap();
    }

    fn marker(&self) -> Value {
        serde_json::from_str(&self.read(".vdeploy/build.json")).unwrap()
    }
}

const COPY: &str = "mkdir dist && cp src.txt dist/server.js";

#[test]
fn builds_swaps_keeps_the_previous_and_takes_it_back() {
    let checkout = Checkout::new();
    let one = checkout.git(&["rev-parse", "HEAD"]);
    let first = checkout.build("RUN1");
    assert_eq!(
        (first.sha.as_str(), first.previous.as_deref()),
        (one.as_str(), None)
    );
    assert_eq!(checkout.read("dist/server.js"), "one");

    let two = checkout.commit("two", COPY);
    let second = checkout.build("RUN2");
    assert_eq!(second.previous.as_deref(), Some(PREVIOUS_DIR));
    assert_eq!(checkout.read("dist/server.js"), "two");
    assert_eq!(checkout.read(".vdeploy/previous/dist/server.js"), "one");
    assert_eq!(checkout.marker()["sha"], two);
    assert_eq!(checkout.marker()["run"], "RUN2");
    assert_eq!(checkout.git(&["status", "--porcelain"]), "");
    assert!(!checkout.has(".vdeploy/build"));

    checkout.undo("RUN2", Some(&second));
    assert_eq!(checkout.read("dist/server.js"), "one");
    assert_eq!(checkout.marker()["sha"], one);
    // A repeat, also with the run id of a rollback, does nothing.
    checkout.undo("RUN2", Some(&second));
    checkout.undo("RUN3", Some(&second));
    assert_eq!(checkout.read("dist/server.js"), "one");
}

#[test]
fn a_rollback_of_an_older_run_knows_it_by_its_output() {
    let checkout = Checkout::new();
    checkout.build("RUN1");
    checkout.commit("two", COPY);
    let second = checkout.build("RUN2");
    checkout.undo("ROLLBACK", Some(&second));
    assert_eq!(checkout.read("dist/server.js"), "one");
}

#[test]
fn what_was_built_by_hand_comes_back_too() {
    let checkout = Checkout::new();
    std::fs::create_dir(checkout.app().join("dist")).unwrap();
    checkout.write("dist/server.js", "by hand");
    let built = checkout.build("RUN1");
    assert_eq!(built.previous.as_deref(), Some(PREVIOUS_DIR));
    checkout.undo("RUN1", Some(&built));
    checkout.undo("RUN1", Some(&built));
    assert_eq!(checkout.read("dist/server.js"), "by hand");
    assert!(!checkout.has(".vdeploy/build.json"));
}

#[test]
fn undo_of_a_first_build_takes_it_away() {
    let checkout = Checkout::new();
    checkout.build("RUN1");
    checkout.undo("RUN1", None);
    assert!(!checkout.has("dist") && !checkout.has(".vdeploy/build.json"));
    checkout.undo("RUN1", None);
}

#[test]
fn a_failing_build_leaves_what_is_live_and_says_why() {
    let checkout = Checkout::new();
    checkout.build("RUN1");
    // Like tsc: fails and still writes its output.
    checkout.commit(
        "bad",
        "mkdir dist && cp src.txt dist/server.js && echo 'TS2322: no' >&2 && exit 2",
    );
    let error = testing::run::<NpmBuild>(&checkout.host("RUN2")).unwrap_err();
    assert_eq!(error.code, "build.failed");
    assert!(
        error
            .message
            .contains("`npm run build` ended with exit code 2"),
        "{error}"
    );
    assert!(error.message.contains("TS2322: no"), "{error}");
    assert_eq!(checkout.read("dist/server.js"), "one");
    assert_eq!(checkout.marker()["run"], "RUN1");
    checkout.undo("RUN2", None);
    assert_eq!(checkout.read("dist/server.js"), "one");
}

#[test]
fn a_build_without_the_program_is_no_build() {
    let checkout = Checkout::new();
    checkout.build("RUN1");
    checkout.commit("two", "true");
    let error = testing::run::<NpmBuild>(&checkout.host("RUN2")).unwrap_err();
    assert_eq!(error.code, "build.no-entry");
    assert_eq!(checkout.read("dist/server.js"), "one");
}

#[test]
fn no_module_of_a_removed_source_stays() {
    let checkout = Checkout::new();
    checkout.build("RUN1");
    checkout.write("dist/stale.js", "old");
    checkout.commit("two", COPY);
    checkout.build("RUN2");
    assert!(!checkout.has("dist/stale.js"));
}

#[test]
fn the_tests_cannot_reach_the_data() {
    let checkout = Checkout::new();
    std::fs::create_dir(checkout.app().join("data")).unwrap();
    checkout.write("data/board.json", "precious");
    let config = json!({"app-dir": "app", "port": 1, "artifacts": ["dist"], "test": "npm test"});
    let built = testing::run::<NpmBuild>(&checkout.host("RUN1").config(config));
    assert_eq!(checkout.read("data/board.json"), "precious");
    built.unwrap();
    assert_eq!(checkout.read("dist/server.js"), "one");
}

#[test]
fn a_repeat_after_a_crash_finds_its_own_build() {
    let checkout = Checkout::new();
    checkout.build("RUN1");
    checkout.commit("two", COPY);
    checkout.build("RUN2");
    let host = checkout.host("RUN2");
    let again = testing::run::<NpmBuild>(&host).unwrap();
    assert!(!again.skipped);
    assert_eq!(host.changes(), [""; 0]);
    assert_eq!(checkout.read(".vdeploy/previous/dist/server.js"), "one");
}

#[test]
fn a_swap_that_was_interrupted_is_taken_back_first() {
    let checkout = Checkout::new();
    checkout.build("RUN1");
    checkout.commit("two", COPY);
    // The state after half a promotion.
    let app = checkout.app();
    std::fs::create_dir(app.join(".vdeploy/previous.new")).unwrap();
    std::fs::rename(app.join("dist"), app.join(".vdeploy/previous.new/dist")).unwrap();
    std::fs::create_dir(app.join("dist")).unwrap();
    checkout.write("dist/server.js", "half");
    checkout.build("RUN2");
    assert_eq!(checkout.read("dist/server.js"), "two");
    assert_eq!(checkout.read(".vdeploy/previous/dist/server.js"), "one");
}

#[test]
fn undo_takes_back_an_interrupted_swap() {
    let checkout = Checkout::new();
    checkout.build("RUN1");
    let app = checkout.app();
    std::fs::create_dir(app.join(".vdeploy/previous.new")).unwrap();
    std::fs::rename(app.join("dist"), app.join(".vdeploy/previous.new/dist")).unwrap();
    checkout.undo("RUN2", None);
    assert_eq!(checkout.read("dist/server.js"), "one");
    assert_eq!(checkout.marker()["run"], "RUN1");
}

/// A checkout with modules that look installed by npm.
fn with_modules() -> (Checkout, impl Fn(&Checkout, &str) -> FakeHost) {
    let checkout = Checkout::new();
    let install =
        "mkdir -p node_modules/dep && echo {} > node_modules/.package-lock.json && echo installed";
    let host = move |checkout: &Checkout, run: &str| {
        FakeHost::new()
            .config(json!({
                "app-dir": "app", "port": 1, "log": "x.log", "install": install,
                "build": "npm run build", "entry": "dist/server.js",
                "artifacts": ["dist", "node_modules"], "reuse-modules": true, "idle-timeout": 60,
            }))
            .run_id(run)
            .snapshot_taken(true)
            .ssh(local_shell(checkout.home.path()))
    };
    (checkout, host)
}

#[test]
fn modules_are_reused_while_nothing_about_them_changed() {
    let (checkout, host) = with_modules();
    let build = |run: &str| {
        testing::run::<NpmBuild>(&host(&checkout, run))
            .unwrap()
            .modules
    };
    assert_eq!(build("RUN1"), "installed");
    checkout.commit("two", COPY);
    assert_eq!(build("RUN2"), "reused");
    assert!(checkout.has("node_modules/dep") && checkout.has(".vdeploy/previous/node_modules/dep"));

    // Somebody added a module by hand.
    checkout.write("node_modules/.package-lock.json", "{\"by\":\"hand\"}");
    assert_eq!(build("RUN3"), "installed");
    // Another lock file.
    checkout.write("package-lock.json", &LOCK.replace("1.0.0", "1.0.1"));
    checkout.commit("three", COPY);
    assert_eq!(build("RUN4"), "installed");
    assert_eq!(build("RUN5"), "reused");
}

#[test]
fn without_a_lock_file_npm_install_takes_its_place() {
    let checkout = Checkout::new();
    checkout.git(&["rm", "-q", "package-lock.json"]);
    checkout.commit("two", COPY);
    let host = checkout.host("RUN1");
    testing::run::<NpmBuild>(&host).unwrap();
    assert!(host.call_lines().contains(&"exec npm install".to_owned()));
    assert!(host.warnings()[0].contains("package-lock.json"));
}

#[test]
fn builds_what_git_pull_checked_out_with_the_compiler() {
    let checkout = Checkout::new();
    let one = checkout.git(&["rev-parse", "HEAD"]);
    checkout.commit("two", COPY);
    let host = checkout
        .host("RUN1")
        .output("git-pull", json!({"new-sha": one}));
    assert_eq!(testing::run::<NpmBuild>(&host).unwrap().sha, one);
    assert_eq!(checkout.read("dist/server.js"), "one");
    let npm: Vec<_> = host
        .commands()
        .into_iter()
        .filter(|c| c.program == "npm")
        .collect();
    assert_eq!(npm.len(), 2);
    for command in npm {
        assert_eq!(command.env_var("NODE_ENV"), Some("development"));
        assert!(command.idle_timeout.is_some());
        assert!(Path::new(command.cwd.as_deref().unwrap()).ends_with("app/.vdeploy/build"));
    }
}

#[test]
fn unchanged_and_dry_run_change_nothing() {
    let checkout = Checkout::new();
    let sha = checkout.git(&["rev-parse", "HEAD"]);
    let host = checkout
        .host("RUN1")
        .output("preflight", json!({"unchanged": true, "sha": sha}));
    let built = testing::run::<NpmBuild>(&host).unwrap();
    assert!(built.skipped);
    assert_eq!(host.changes(), [""; 0]);
    checkout.undo("RUN1", Some(&built));

    let shown = testing::run::<NpmBuild>(&checkout.host("RUN2").dry_run(true)).unwrap();
    assert!(
        shown.summary.starts_with("would build "),
        "{}",
        shown.summary
    );
    assert!(!checkout.has(".vdeploy") && !checkout.has("dist"));
}

#[test]
fn refuses_artifacts_outside_the_checkout() {
    let checkout = Checkout::new();
    for artifacts in [
        json!(["../x", "dist"]),
        json!(["data", "dist"]),
        json!([".git/x", "dist"]),
        json!(["out"]),
    ] {
        let config = json!({"app-dir": "app", "artifacts": artifacts});
        let error = testing::check::<NpmBuild>(&checkout.host("RUN1").config(config)).unwrap_err();
        assert_eq!(error.code, "build.config");
    }
}
