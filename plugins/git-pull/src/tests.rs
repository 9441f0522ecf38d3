use super::*;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use vdeploy_plugin::testing::{self, FakeHost, local_shell};

/// A remote, a clone on the target, and a second clone that pushes.
struct Repositories {
    home: tempfile::TempDir,
}

impl Repositories {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let repos = Repositories { home };
        git(
            repos.home.path(),
            &["init", "-q", "--bare", "-b", "main", "remote"],
        );
        git(repos.home.path(), &["clone", "-q", "remote", "author"]);
        repos.push("main", "src.txt", "one");
        git(repos.home.path(), &["clone", "-q", "remote", "app"]);
        repos
    }

    fn path(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    fn push(&self, branch: &str, file: &str, text: &str) -> String {
        let author = self.path("author");
        git(&author, &["checkout", "-q", "-B", branch]);
        std::fs::write(author.join(file), text).unwrap();
        git(&author, &["add", file]);
        git(&author, &["commit", "-qm", text]);
        git(&author, &["push", "-q", "-f", "origin", branch]);
        git(&author, &["rev-parse", "HEAD"])
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path("app").join(file), text).unwrap();
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path("app").join(file)).unwrap()
    }

    fn head(&self) -> String {
        git(&self.path("app"), &["rev-parse", "HEAD"])
    }

    fn branch(&self) -> String {
        git(&self.path("app"), &["rev-parse", "--abbrev-ref", "HEAD"])
    }

    fn status(&self) -> String {
        git(&self.path("app"), &["status", "--porcelain"])
    }

    fn host(&self, name: &str) -> FakeHost {
        FakeHost::new()
            .manifest(include_str!("../plugin.toml"))
            .config(json!({"app-dir": "app", "port": 1, "ref": name}))
            .run_id("RUN1")
            .snapshot_taken(true)
            .ssh(local_shell(self.home.path()))
    }
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

fn run(host: &FakeHost) -> Pulled {
    testing::run::<GitPull>(host).unwrap()
}

fn undo(host: &FakeHost, pulled: Option<&Pulled>) {
    let output = pulled.map(|pulled| serde_json::to_value(pulled).unwrap());
    testing::undo::<GitPull>(host, output).unwrap();
}

#[test]
fn brings_the_branch_and_takes_it_back() {
    let repos = Repositories::new();
    let old = repos.head();
    let new = repos.push("main", "src.txt", "two");
    let host = repos.host("main");
    let pulled = run(&host);
    assert_eq!(
        (pulled.old_sha.as_str(), pulled.new_sha.as_str()),
        (old.as_str(), new.as_str())
    );
    assert!(pulled.changed);
    assert_eq!(pulled.hot_fixes, None);
    assert_eq!((repos.head(), repos.branch()), (new, "main".to_owned()));
    assert_eq!(repos.read("src.txt"), "two");
    // `.vdeploy` is no change of the checkout.
    assert_eq!(repos.status(), "");

    undo(&host, Some(&pulled));
    undo(&host, Some(&pulled));
    assert_eq!((repos.head(), repos.branch()), (old, "main".to_owned()));
    assert_eq!(repos.read("src.txt"), "one");
}

#[test]
fn a_repeat_still_knows_what_was_there_before() {
    let repos = Repositories::new();
    let old = repos.head();
    repos.push("main", "src.txt", "two");
    let first = run(&repos.host("main"));
    let second = run(&repos.host("main"));
    assert_eq!(first, second);
    assert_eq!(second.old_sha, old);
}

#[test]
fn undo_without_an_output_reads_what_run_left() {
    let repos = Repositories::new();
    let old = repos.head();
    repos.push("main", "src.txt", "two");
    undo(&repos.host("main"), None);
    assert_eq!(repos.head(), old);
    run(&repos.host("main"));
    undo(&repos.host("main"), None);
    assert_eq!(repos.head(), old);
    // The note of another run is ignored.
    let new = run(&repos.host("main")).new_sha;
    undo(&repos.host("main").run_id("RUN2"), None);
    assert_eq!(repos.head(), new);
}

#[test]
fn hot_fixes_are_kept_and_come_back_with_undo() {
    let repos = Repositories::new();
    let app = repos.path("app");
    std::fs::create_dir(app.join("data")).unwrap();
    repos.write("data/board.json", "{}");
    repos.write("src.txt", "fixed here");
    repos.write("extra.txt", "mine");
    repos.push("main", "extra.txt", "theirs");
    let host = repos.host("main");
    let pulled = run(&host);
    assert_eq!(
        pulled.hot_fixes.as_deref(),
        Some(".vdeploy/hotfix-RUN1.patch")
    );
    let patch = repos.read(".vdeploy/hotfix-RUN1.patch");
    assert!(
        patch.contains("+fixed here") && patch.contains("# untracked: extra.txt"),
        "{patch}"
    );
    assert!(host.warnings()[0].contains("hotfix-RUN1.patch"));
    assert_eq!(
        (repos.read("src.txt"), repos.read("extra.txt")),
        ("one".into(), "theirs".into())
    );
    let mode = |file: &str| {
        let data = std::fs::metadata(repos.path("app").join(file)).unwrap();
        std::os::unix::fs::PermissionsExt::mode(&data.permissions()) & 0o777
    };
    assert_eq!(mode(".vdeploy/hotfix-RUN1.patch"), 0o600);
    assert_ne!(mode("extra.txt") & 0o044, 0);
    // Data is untracked and stays.
    assert_eq!(repos.read("data/board.json"), "{}");

    undo(&host, Some(&pulled));
    assert_eq!(repos.read("src.txt"), "fixed here");
    assert_eq!(repos.read("extra.txt"), "mine");
    assert_eq!(repos.read("data/board.json"), "{}");
}

#[test]
fn an_untracked_file_that_stays_is_no_hot_fix() {
    let repos = Repositories::new();
    repos.write(".auth-token", "s3cret");
    let host = repos.host("main");
    assert_eq!(run(&host).hot_fixes, None);
    assert_eq!(host.warnings(), [""; 0]);
    assert_eq!(repos.read(".auth-token"), "s3cret");
}

#[test]
fn commits_that_were_never_pushed_stay_in_the_repository() {
    let repos = Repositories::new();
    let app = repos.path("app");
    git(&app, &["checkout", "-q", "-b", "preview"]);
    repos.write("src.txt", "local");
    git(&app, &["commit", "-qam", "local"]);
    let local = repos.head();
    let host = repos.host("main");
    let pulled = run(&host);
    assert_eq!(pulled.old_branch.as_deref(), Some("preview"));
    assert_eq!(git(&app, &["rev-parse", "refs/vdeploy/before/RUN1"]), local);
    undo(&host, Some(&pulled));
    assert_eq!(
        (repos.head(), repos.branch()),
        (local, "preview".to_owned())
    );
}

#[test]
fn a_tag_and_a_commit_are_detached() {
    let repos = Repositories::new();
    let one = repos.head();
    git(&repos.path("author"), &["tag", "-a", "v1", "-m", "v1"]);
    git(&repos.path("author"), &["push", "-q", "origin", "v1"]);
    let two = repos.push("main", "src.txt", "two");
    assert_eq!(run(&repos.host("v1")).new_sha, one);
    assert_eq!((repos.head(), repos.branch()), (one, "HEAD".to_owned()));
    assert_eq!(run(&repos.host(&two).run_id("RUN2")).new_sha, two);
    assert_eq!(repos.branch(), "HEAD");
}

fn saw(sha: &str) -> Value {
    json!({"wanted-ref": "main", "wanted-sha": sha})
}

#[test]
fn deploys_what_preflight_saw() {
    let repos = Repositories::new();
    let two = repos.push("main", "src.txt", "two");
    repos.push("main", "src.txt", "three");
    let host = repos.host("main").output("preflight", saw(&two));
    assert_eq!(run(&host).new_sha, two);
    assert_eq!((repos.head(), repos.branch()), (two, "main".to_owned()));
    assert!(
        host.warnings()[0].contains("has moved"),
        "{:?}",
        host.warnings()
    );
}

#[test]
fn which_commit_a_service_without_a_marker_serves_is_noted_before_the_switch() {
    let repos = Repositories::new();
    let old = repos.head();
    let new = repos.push("main", "src.txt", "two");
    let marker = ".vdeploy/running.json";
    let mut before = saw(&new);
    before["sha"] = json!(old);
    before["service"] = json!({"pid": 7, "start-ticks": 99});
    // A process that a run started has a marker.
    let mut marked = before.clone();
    marked["running"] = json!({"pid": 7, "start-ticks": 99, "sha": old});
    run(&repos.host("main").output("preflight", marked));
    assert!(!repos.path("app").join(marker).exists());

    let host = repos
        .host("main")
        .run_id("RUN2")
        .output("preflight", before);
    run(&host);
    let noted: vdeploy_service::outputs::RunningMarker =
        serde_json::from_str(&repos.read(marker)).unwrap();
    assert_eq!((noted.pid, noted.start_ticks, noted.sha), (7, 99, old));
    assert_eq!(noted.run, "");
}

#[test]
fn unchanged_touches_nothing() {
    let repos = Repositories::new();
    let host = repos
        .host("main")
        .output("preflight", json!({"unchanged": true, "sha": "abc"}));
    let pulled = run(&host);
    assert!(!pulled.changed);
    assert_eq!(pulled.new_sha, "abc");
    assert_eq!(host.call_lines(), [""; 0]);
}

#[test]
fn a_dry_run_leaves_the_checkout() {
    let repos = Repositories::new();
    let old = repos.head();
    let new = repos.push("main", "src.txt", "two");
    let host = repos
        .host("main")
        .dry_run(true)
        .output("preflight", saw(&new));
    let pulled = run(&host);
    assert_eq!((pulled.old_sha, pulled.new_sha), (old.clone(), new));
    assert_eq!(repos.head(), old);
}

#[test]
fn refuses_an_unknown_ref_and_a_remote_that_is_gone() {
    let repos = Repositories::new();
    let fail = |host: &FakeHost| testing::run::<GitPull>(host).unwrap_err();
    assert_eq!(fail(&repos.host("nope")).code, "git.ref");
    std::fs::remove_dir_all(repos.path("remote")).unwrap();
    let error = fail(&repos.host("main"));
    assert_eq!(error.code, "command.failed");
    assert!(error.message.contains("cannot fetch"), "{error}");
    let option = testing::check::<GitPull>(&repos.host("--upload-pack=x")).unwrap_err();
    assert_eq!(option.code, "git.ref");
}

#[test]
fn needs_a_snapshot_first() {
    let repos = Repositories::new();
    let host = repos.host("main").snapshot_taken(false);
    let error = testing::run::<GitPull>(&host).unwrap_err();
    assert_eq!(error.code, "gate.no-snapshot");
}
