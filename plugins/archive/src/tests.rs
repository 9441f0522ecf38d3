//! The scripts in a real shell: a restore is exact, and a failure touches nothing.

use super::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use vdeploy_plugin::testing::{self, FakeHost, FakeOutput, local_shell};

const MANIFEST: &str = include_str!("../plugin.toml");

struct Home(tempfile::TempDir);

impl Home {
    /// A login home with an app that has unusual names.
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        let app = home.path("srv/my app");
        fs::create_dir_all(app.join("data/empty")).unwrap();
        fs::write(app.join("data/board.json"), "[1]").unwrap();
        fs::write(app.join("run me.sh"), "#!/bin/sh\n").unwrap();
        fs::write(app.join("two\nlines"), "x").unwrap();
        fs::write(app.join("-rf"), "x").unwrap();
        fs::create_dir_all(app.join("cache")).unwrap();
        fs::write(app.join("cache/big"), "old").unwrap();
        symlink("data/board.json", app.join("link")).unwrap();
        symlink("/nowhere", app.join("dangling")).unwrap();
        let mode = |path: &str, mode| {
            fs::set_permissions(app.join(path), fs::Permissions::from_mode(mode)).unwrap();
        };
        mode("run me.sh", 0o755);
        mode("data/board.json", 0o640);
        mode("data/empty", 0o700);
        mode("", 0o2750);
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn app(&self) -> PathBuf {
        self.path("srv/my app")
    }

    fn host(&self, config: Value) -> FakeHost {
        let app = fs::canonicalize(self.app()).unwrap();
        let data = json!([{ "name": "data/board.json", "bytes": 3, "written-at": 1 }]);
        let before = json!({
            "app-dir": app, "sha": "03b077a9", "port": free_port(), "data-files": data,
        });
        FakeHost::new()
            .manifest(MANIFEST)
            .config(config)
            .run_id("RUN1")
            .output("preflight", before.clone())
            .rolled_back_output("preflight", before)
            .ssh(local_shell(self.0.path()))
    }

    fn make(&self, config: Value) -> (FakeHost, Result<Archived, Error>) {
        let host = self.host(config);
        let made = testing::run::<Archive>(&host);
        (
            host,
            made.map(|value| serde_json::from_value(value).unwrap()),
        )
    }

    fn restore(&self, made: &Archived, config: Value) -> (FakeHost, Result<Value, Error>) {
        let mut all = json!({ "mode": "restore", "to": "snapshot" });
        for (key, value) in config.as_object().unwrap() {
            all[key] = value.clone();
        }
        let host = self
            .host(all)
            .snapshot_taken(true)
            .rolled_back_output("snapshot", serde_json::to_value(made).unwrap());
        let restored = testing::run::<Archive>(&host);
        (host, restored)
    }

    /// Another version: other content, other files, other modes.
    fn spoil(&self) {
        fs::write(self.app().join("data/board.json"), "[]").unwrap();
        fs::remove_file(self.app().join("link")).unwrap();
        fs::remove_dir(self.app().join("data/empty")).unwrap();
        fs::write(self.app().join("new"), "new").unwrap();
        fs::write(self.app().join("cache/big"), "new").unwrap();
        fs::set_permissions(self.app(), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn stored(&self) -> Vec<String> {
        let store = self.path(".vdeploy-archives");
        let Ok(entries) = fs::read_dir(store) else {
            return Vec::new();
        };
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Every entry below `dir`: kind, mode, owner, content or link target.
fn tree(dir: &Path) -> BTreeMap<PathBuf, String> {
    use std::os::unix::fs::MetadataExt;
    let mut found = BTreeMap::new();
    let mut waiting = vec![dir.to_path_buf()];
    while let Some(path) = waiting.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let what = if meta.is_symlink() {
            format!("link {:?}", fs::read_link(&path).unwrap())
        } else if meta.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            "dir".to_owned()
        } else {
            format!("file {:?} {}", fs::read(&path).unwrap(), meta.mtime())
        };
        let place = path.strip_prefix(dir).unwrap().to_path_buf();
        let text = format!("{:o} {}:{} {what}", meta.mode(), meta.uid(), meta.gid());
        found.insert(place, text);
    }
    found
}

#[test]
fn what_is_archived_comes_back_exactly_and_what_was_there_is_kept() {
    let home = Home::new();
    let before = tree(&home.app());
    let (host, made) = home.make(json!({}));
    let made = made.unwrap();
    assert_eq!(made.id.as_deref(), Some("pre-deploy-RUN1"));
    assert_eq!(
        host.snapshots(),
        [(
            "pre-deploy 03b077a".to_owned(),
            "pre-deploy-RUN1".to_owned()
        )]
    );
    assert!(host.warnings().is_empty(), "{:?}", host.warnings());
    let store = fs::metadata(home.path(".vdeploy-archives")).unwrap();
    assert_eq!(store.permissions().mode() & 0o777, 0o700);

    home.spoil();
    let spoilt = tree(&home.app());
    let (host, restored) = home.restore(&made, json!({}));
    let restored = restored.unwrap();
    assert_eq!(restored["restored"], "pre-deploy-RUN1");
    assert_eq!(tree(&home.app()), before);
    let kept = home.path("srv/my app.before-restore-RUN1");
    assert_eq!(tree(&kept), spoilt);
    // Lost data is named before the restore.
    let wrote = "data/board.json written, 3 bytes before and 2 now";
    assert_eq!(restored["data-loss"], json!([wrote]));
    let warnings = host.warnings();
    assert!(warnings[0].ends_with(&format!("since the run's preflight (including the records of the deploy in ledger, feed and registry): {wrote}")), "{warnings:?}");
    assert!(
        warnings[1].contains("my app.before-restore-RUN1"),
        "{warnings:?}"
    );

    // A repeat changes nothing: the first try swapped.
    let (_, again) = home.restore(&made, json!({}));
    assert_eq!(again.unwrap()["restored"], "pre-deploy-RUN1");
    assert_eq!(tree(&home.app()), before);
    assert_eq!(tree(&kept), spoilt);
}

#[test]
fn the_archive_can_be_restored_by_hand() {
    let home = Home::new();
    let before = tree(&home.app());
    let (_, made) = home.make(json!({}));
    let by_hand = made.unwrap().restore_by_hand.unwrap();
    home.spoil();
    let (_, command) = by_hand.split_once("on the target: ").unwrap();
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("state=swapped"),
        "{output:?}"
    );
    assert_eq!(tree(&home.app()), before);
}

#[test]
fn what_is_left_out_stays_as_it_is() {
    let home = Home::new();
    let (_, made) = home.make(json!({ "exclude": ["cache"] }));
    home.spoil();
    let (_, restored) = home.restore(&made.unwrap(), json!({}));
    assert_eq!(restored.unwrap()["carried"], json!(["cache"]));
    let read = |path| fs::read_to_string(home.app().join(path)).unwrap();
    assert_eq!(read("cache/big"), "new");
    assert_eq!(read("data/board.json"), "[1]");

    // Data outside the archive is not lost.
    let (_, made) = home.make(json!({ "exclude": ["./data/"], "label": "code" }));
    fs::write(home.app().join("data/board.json"), "[2]").unwrap();
    let (_, restored) = home.restore(&made.unwrap(), json!({}));
    assert_eq!(restored.unwrap()["data-loss"], json!([]));
    assert_eq!(read("data/board.json"), "[2]");
}

#[test]
fn a_damaged_archive_is_refused_and_nothing_is_touched() {
    let home = Home::new();
    let (_, made) = home.make(json!({}));
    let made = made.unwrap();
    home.spoil();
    let spoilt = tree(&home.path("srv"));
    let place = home.path(".vdeploy-archives/pre-deploy-RUN1");
    let file = fs::read_dir(&place)
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|path| path.to_string_lossy().contains(".tar"))
        .unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&file, bytes).unwrap();
    let (host, restored) = home.restore(&made, json!({}));
    assert_eq!(restored.unwrap_err().code, "archive.damaged");
    assert_eq!(tree(&home.path("srv")), spoilt);
    assert!(!host.changes().iter().any(|line| line.contains("-- stop")));
    fs::remove_dir_all(place).unwrap();
    let (_, gone) = home.restore(&made, json!({}));
    assert_eq!(gone.unwrap_err().code, "archive.gone");
}

#[test]
fn a_second_try_takes_the_archive_that_is_there_and_old_ones_go() {
    let home = Home::new();
    let (_, made) = home.make(json!({}));
    let (host, again) = home.make(json!({}));
    assert_eq!(made.unwrap(), again.unwrap());
    assert_eq!(host.snapshots().len(), 1);
    for run in ["RUN2", "RUN3", "RUN4"] {
        let host = home
            .host(json!({ "keep": 2, "label": "second" }))
            .run_id(run);
        // The archive of the undone run is never deleted.
        let host = host.rolled_back_output("snapshot", json!({ "id": "pre-deploy-RUN1" }));
        testing::run::<Archive>(&host).unwrap();
    }
    let stored = home.stored();
    assert_eq!(stored.len(), 3, "{stored:?}");
    assert!(stored.contains(&"pre-deploy-RUN1".to_owned()), "{stored:?}");
    assert!(stored.contains(&"second-RUN4".to_owned()), "{stored:?}");
}

#[test]
fn what_could_not_be_restored_is_not_archived() {
    let home = Home::new();
    let app = home.app().to_string_lossy().into_owned();
    for (config, code) in [
        (
            json!({ "dirs": ["/nowhere/at/all"] }),
            "archive.no-directory",
        ),
        (json!({ "dirs": ["/"] }), "archive.name"),
        (json!({ "dirs": [home.path("")] }), "archive.store"),
        (json!({ "dirs": ["/proc"] }), "archive.mount"),
        (
            json!({ "dirs": [app, format!("{app}/data")] }),
            "archive.nested",
        ),
        (json!({ "min-free-mb": 1_000_000_000 }), "archive.no-space"),
        (json!({ "store": "srv/my app/kept" }), "archive.store"),
    ] {
        let (host, made) = home.make(config.clone());
        assert_eq!(made.unwrap_err().code, code, "{config}");
        assert!(host.snapshots().is_empty(), "{config}");
        assert!(home.stored().is_empty(), "{config}: {:?}", home.stored());
    }
    let climbing = home.host(json!({ "exclude": ["a/../../b"] }));
    assert_eq!(
        testing::check::<Archive>(&climbing).unwrap_err().code,
        "archive.exclude"
    );
}

/// A file system of one MiB. Mounting one needs root.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(at: PathBuf) -> Self {
        fs::create_dir(&at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]);
        let status = mount.arg(&at).status().unwrap();
        assert!(status.success(), "run this test as root: it mounts a tmpfs");
        Self(at)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[test]
fn a_full_disk_declares_nothing_and_loses_nothing() {
    let home = Home::new();
    fs::write(home.app().join("much"), vec![7; 3 << 20]).unwrap();
    let disk = SmallDisk::new(home.path("small"));
    let before = tree(&home.app());
    // Known before: the archive may need as much as the directory.
    let (host, made) = home.make(json!({ "store": "small/store", "min-free-mb": 0 }));
    assert_eq!(made.unwrap_err().code, "archive.no-space");
    assert!(host.snapshots().is_empty());
    assert_eq!(fs::read_dir(disk.0.join("store")).unwrap().count(), 0);

    // Not known before: the disk is full.
    fs::create_dir(disk.0.join("app")).unwrap();
    fs::write(disk.0.join("app/x"), "x").unwrap();
    let filled = fs::write(disk.0.join("filler"), vec![1; 2 << 20]);
    assert!(filled.is_err(), "the small disk is not small");
    let config = json!({ "dirs": ["small/app"], "store": "small/store", "min-free-mb": 0 });
    let (host, made) = home.make(config);
    assert_eq!(made.unwrap_err().code, "archive.no-space");
    assert!(host.snapshots().is_empty());
    assert_eq!(fs::read_dir(disk.0.join("store")).unwrap().count(), 0);
    assert_eq!(fs::read_to_string(disk.0.join("app/x")).unwrap(), "x");
    assert_eq!(tree(&home.app()), before);
}

#[test]
fn a_restore_without_room_touches_nothing() {
    let home = Home::new();
    let disk = SmallDisk::new(home.path("small"));
    let app = disk.0.join("app");
    fs::create_dir(&app).unwrap();
    fs::write(app.join("x"), vec![7; 600 << 10]).unwrap();
    let (_, made) = home.make(json!({ "dirs": ["small/app"] }));
    let made = made.unwrap();
    fs::write(app.join("x"), "new").unwrap();
    fs::write(disk.0.join("filler"), vec![1; 700 << 10]).unwrap();
    let before = tree(&disk.0);
    let (host, restored) = home.restore(&made, json!({}));
    assert_eq!(restored.unwrap_err().code, "archive.no-space");
    assert_eq!(tree(&disk.0), before);
    assert!(!host.changes().iter().any(|line| line.contains("-- swap")));
}

#[test]
fn a_tar_that_fails_leaves_no_archive() {
    let home = Home::new();
    let bin = home.path("bin");
    fs::create_dir(&bin).unwrap();
    let fake = "#!/bin/sh\ncase \"$*\" in *--numeric-owner\\ -cf\\ /dev/null*) exit 1 ;; esac\necho 'tar: No space left on device' >&2\nexit 2\n";
    fs::write(bin.join("tar"), fake).unwrap();
    fs::set_permissions(bin.join("tar"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut shell = local_shell(home.0.path());
    let app = fs::canonicalize(home.app()).unwrap();
    let host = FakeHost::new()
        .manifest(MANIFEST)
        .output("preflight", json!({ "app-dir": app, "sha": "03b077a9" }))
        .ssh(move |command| {
            let mut command = command.clone();
            command.env.push(("PATH".to_owned(), path.clone()));
            shell(&command)
        });
    let error = testing::run::<Archive>(&host).unwrap_err();
    assert_eq!(error.code, "archive.pack");
    assert!(error.message.contains("No space left"), "{error}");
    assert!(host.snapshots().is_empty() && home.stored().is_empty());
}

#[test]
fn a_rollback_by_git_restores_nothing_and_a_run_without_an_archive_says_so() {
    let home = Home::new();
    let host = home.host(json!({ "mode": "restore", "to": "in-place" }));
    assert_eq!(
        testing::run::<Archive>(&host).unwrap()["restored"],
        Value::Null
    );
    assert!(host.call_lines().is_empty());
    let (host, none) = home.restore(&Archived::default(), json!({}));
    assert_eq!(none.unwrap_err().code, "archive.none");
    assert!(host.call_lines().is_empty());
}

#[test]
fn a_foreign_process_on_the_port_is_left_alone_and_nothing_is_unpacked() {
    let home = Home::new();
    let (_, made) = home.make(json!({}));
    let listener = "pid=7\nstart=5\nppid=1\nuid=0\ncwd=/elsewhere\nexe=/bin/x\n";
    let made = serde_json::to_value(made.unwrap()).unwrap();
    let host = FakeHost::new()
        .manifest(MANIFEST)
        .config(json!({ "mode": "restore", "to": "snapshot" }))
        .snapshot_taken(true)
        .rolled_back_output("preflight", json!({ "app-dir": home.app(), "port": 3000 }))
        .rolled_back_output("snapshot", made)
        .on_ssh("sh -s -- listener *", FakeOutput::ok(listener));
    let error = testing::run::<Archive>(&host).unwrap_err();
    assert_eq!(error.code, "archive.foreign-process");
    assert!(host.changes().is_empty());
}

#[test]
fn unchanged_makes_none_and_a_dry_run_changes_nothing() {
    let home = Home::new();
    let host = home
        .host(json!({}))
        .output("preflight", json!({ "unchanged": true }));
    let skipped = testing::run::<Archive>(&host).unwrap();
    assert_eq!(skipped["skipped"], true);
    assert!(host.call_lines().is_empty());
    let dry = home.host(json!({})).dry_run(true);
    let summary = testing::run::<Archive>(&dry).unwrap()["summary"].to_string();
    assert!(summary.contains("would archive"), "{summary}");
    assert!(home.stored().is_empty() && dry.snapshots().is_empty());
}
