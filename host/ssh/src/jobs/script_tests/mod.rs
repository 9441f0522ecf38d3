//! The script itself in the shells that targets have, without a connection.

mod full_disk;
mod small_disk;
mod stop;
mod variables;

use self::small_disk::SmallDisk;
use super::request::{self, Offsets};
use crate::testing::fixture::shell;
use crate::testing::processes::{eventually, gone, runs, with_argument};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;
use vdeploy_core::capability::ssh::{Command, JobId};

const MARK: &str = "\u{1e}MARK";
const SHELLS: [&[&str]; 3] = [&["dash"], &["bash"], &["busybox", "sh"]];

/// A target: a shell and a home.
struct Target {
    shell: &'static [&'static str],
    disk: Option<SmallDisk>,
    home: tempfile::TempDir,
    /// The PATH of its logins, if it is not that of this machine.
    path: Option<String>,
}

/// One connection to it.
struct Shown {
    child: Child,
    stdin: Option<ChildStdin>,
}

fn targets() -> impl Iterator<Item = Target> {
    SHELLS.into_iter().map(|shell| Target {
        shell,
        disk: None,
        home: tempfile::tempdir().unwrap(),
        path: None,
    })
}

fn job(effect: u64) -> JobId {
    JobId {
        run: "RUN".into(),
        effect,
    }
}

impl Target {
    fn run(&self, line: &str, stdin: &[u8]) -> Shown {
        // The script runs in the shell of the target; what it runs too.
        let line = line.replacen(
            "exec sh -c",
            &format!("exec {} -c", self.shell.join(" ")),
            1,
        );
        let mut shell = match &self.disk {
            None => std::process::Command::new("sh"),
            Some(disk) => disk.enter("sh"),
        };
        let mut child = shell
            .args(["-c", &format!("cd; {line}")])
            .env("HOME", self.home.path())
            .envs(self.path.iter().map(|path| ("PATH", path)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("no such shell on this machine: run `cargo xtask setup`");
        let mut pipe = child.stdin.take().unwrap();
        pipe.write_all(stdin).unwrap();
        Shown {
            child,
            stdin: Some(pipe),
        }
    }

    fn start(&self, command: &Command, effect: u64) -> Shown {
        let left = Duration::from_secs(60);
        let built = request::start(command, &job(effect), MARK, left).unwrap();
        self.run(&built.line, &built.stdin)
    }

    /// Like `start`, with a limit in whole seconds.
    fn start_for(&self, command: &Command, effect: u64, limit: &str) -> Shown {
        let left = Duration::from_secs(60);
        let built = request::start(command, &job(effect), MARK, left).unwrap();
        let line = built
            .line
            .replacen(" 0 0 75 ", &format!(" 0 0 {limit} "), 1);
        assert_ne!(line, built.line);
        self.run(&line, &built.stdin)
    }

    fn attach(&self, effect: u64, out: u64) -> Shown {
        let seen = Offsets { out, err: 0 };
        let line = request::attach(&job(effect), MARK, seen, Duration::from_secs(60));
        self.run(&line, b"")
    }

    /// The home, as it is seen from here.
    fn at(&self, name: &str) -> PathBuf {
        match &self.disk {
            None => self.home.path().join(name),
            Some(disk) => disk.path(self.home.path()).join(name),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.at(".vdeploy/jobs/RUN").join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_default()
    }
}

impl Shown {
    fn say(&mut self, line: &[u8]) {
        // A script that has ended does not listen.
        let _ = self.stdin.as_mut().unwrap().write_all(line);
    }

    /// Both outputs to their end; the host leaves at once.
    fn all(mut self) -> (String, String) {
        drop(self.stdin.take());
        self.end()
    }

    /// The same when the host stays.
    fn end(mut self) -> (String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        let mut pipe = self.child.stdout.take().unwrap();
        pipe.read_to_string(&mut out).unwrap();
        let mut pipe = self.child.stderr.take().unwrap();
        pipe.read_to_string(&mut err).unwrap();
        self.child.wait().unwrap();
        (out.replace(MARK, "@"), err.replace(MARK, "@"))
    }
}

fn is_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    let mut names: Vec<_> = entries
        .map(|e| e.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_command_is_started_shown_and_shown_again() {
    for t in targets() {
        let mut command = shell("cat; echo err >&2; exit 3");
        command.stdin = b"in".to_vec();
        let shown = t.start(&command, 1).end();
        let said = ("@ begin\nin@ end 3\n", "@ begin\nerr\n@ end 3\n");
        assert_eq!((&*shown.0, &*shown.1), said, "{:?}", t.shell);
        assert_eq!(
            is_in(&t.file("")),
            ["1.end", "1.err", "1.out", "1.run", "reserve"]
        );
        // Starting it again finds it, and does not take its input for words.
        command.stdin = format!("{MARK} stop\n").into_bytes();
        let shown = t.start(&command, 1).end();
        assert_eq!((&*shown.0, &*shown.1), said, "{:?}", t.shell);
        let shown = t.attach(1, 1).end();
        assert_eq!((&*shown.0, &*shown.1), ("@ begin\nn@ end 3\n", said.1));
        let shown = t.attach(2, 0).end();
        assert_eq!(shown.0, "@ begin\n@ lost\n");
    }
}

#[tokio::test]
async fn of_many_who_start_it_at_once_one_does_and_all_see_it() {
    for t in targets() {
        let command = shell("echo x >>count; sleep 0.3; echo done");
        let shown: Vec<_> = (0..6).map(|_| t.start(&command, 1)).collect();
        for mut one in shown {
            for _ in 0..20 {
                one.say(&request::tick_line(MARK));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let (out, _) = one.end();
            assert_eq!(out, "@ begin\ndone\n@ end 0\n", "{:?}", t.shell);
        }
        let count = std::fs::read_to_string(t.home.path().join("count")).unwrap();
        assert_eq!(count, "x\n");
    }
}

#[tokio::test]
async fn input_that_ends_early_starts_nothing_and_leaves_nothing() {
    for t in targets() {
        let mut command = shell("echo ran >ran");
        command.stdin = vec![b'x'; 10_000];
        let built = request::start(&command, &job(1), MARK, Duration::from_secs(60)).unwrap();
        let shown = t.run(&built.line, &built.stdin[..9_999]).all();
        assert_eq!(shown, (String::new(), String::new()), "{:?}", t.shell);
        assert_eq!(is_in(&t.file("")), ["reserve"]);
        assert!(!t.home.path().join("ran").exists());
    }
}

#[tokio::test]
async fn where_no_host_is_left_the_target_itself_keeps_the_limit() {
    for t in targets() {
        let script = "trap '' TERM; echo $$; (trap '' TERM; while :; do sleep 1; done) & \
                      while :; do sleep 1; done";
        let mut shown = t.start_for(&shell(script), 1, "1");
        let began = t.file("1.out");
        eventually("it runs", || {
            std::fs::read_to_string(&began).is_ok_and(|out| out.ends_with('\n'))
        })
        .await;
        let pid = t.read("1.out").trim().to_owned();
        // The host is killed.
        drop(shown.stdin.take());
        shown.child.wait().unwrap();
        assert!(runs(&pid), "{:?}", t.shell);
        eventually("its end is written", || t.read("1.end").contains('\n')).await;
        assert_eq!(t.read("1.end").trim_end(), "137 limit", "{:?}", t.shell);
        assert_eq!(
            t.attach(1, 0).end().0,
            format!("@ begin\n{pid}\n@ end 137 limit\n")
        );
    }
}

#[tokio::test]
async fn the_limit_holds_although_the_files_are_gone() {
    for t in targets() {
        let mut shown = t.start_for(&shell("echo $$; while :; do sleep 1; done"), 1, "2");
        let out = t.file("1.out");
        eventually("it runs", || {
            std::fs::read_to_string(&out).is_ok_and(|out| out.ends_with('\n'))
        })
        .await;
        let pid = t.read("1.out").trim().to_owned();
        shown.say(&request::tick_line(MARK));
        let dog = t.file("1.dog");
        eventually("it is watched", || dog.is_symlink()).await;
        drop(shown.stdin.take());
        shown.child.wait().unwrap();
        std::fs::remove_dir_all(t.home.path().join(".vdeploy")).unwrap();
        assert!(gone(&pid).await, "{:?}", t.shell);
    }
}

#[tokio::test]
async fn nothing_of_it_is_left_after_the_end() {
    for t in targets() {
        // A limit that no other test has.
        let mut shown = t.start_for(&shell("sleep 0.4"), 1, "86399");
        // Long enough for somebody to wait for the limit.
        shown.say(&request::tick_line(MARK));
        let dog = t.file("1.dog");
        eventually("it is watched", || dog.is_symlink()).await;
        let dog = std::fs::read_link(&dog).unwrap();
        let dog = dog.to_str().unwrap().to_owned();
        assert_eq!(shown.end().0, "@ begin\n@ end 0\n", "{:?}", t.shell);
        assert!(gone(dog.split(' ').next().unwrap()).await);
        let home = t.home.path().to_string_lossy().into_owned();
        assert_eq!(with_argument(&home), Vec::<String>::new());
        eventually("nobody sleeps any more", || {
            with_argument("sleep\u{0}86399").is_empty()
        })
        .await;
    }
}

#[tokio::test]
async fn what_was_stopped_before_it_began_never_begins() {
    for t in targets() {
        let stopped = t.run(&request::stop(&job(1), MARK), b"").all();
        assert_eq!(stopped.0, "@ gone\n", "{:?}", t.shell);
        let mut late = t.start(&shell("echo ran >ran"), 1);
        for _ in 0..40 {
            late.say(&request::tick_line(MARK));
        }
        assert_eq!(late.end().0, "@ begin\n@ lost\n", "{:?}", t.shell);
        assert!(!t.home.path().join("ran").exists());
    }
}

#[test]
fn who_has_begun_a_change_last_is_kept() {
    for t in targets() {
        let lease = t.home.path().join(".vdeploy-lease");
        std::fs::create_dir(&lease).unwrap();
        std::os::unix::fs::symlink("RUNA", lease.join("changed")).unwrap();
        for number in [1, 2] {
            let shown = t.start(&shell("echo one"), number).end();
            assert_eq!(shown.0, "@ begin\none\n@ end 0\n", "{:?}", t.shell);
            let by = std::fs::read_link(lease.join("changed")).unwrap();
            assert_eq!(by, Path::new("RUN"), "{:?}", t.shell);
        }
    }
}

#[test]
fn a_run_that_has_lost_its_lease_starts_nothing_more() {
    for t in targets() {
        let lease = t.home.path().join(".vdeploy-lease");
        std::fs::create_dir(&lease).unwrap();
        // That of another run is no matter of this one.
        std::os::unix::fs::symlink("lost", lease.join("lost.RUNA")).unwrap();
        let shown = t.start(&shell("echo one"), 1).end();
        assert_eq!(shown.0, "@ begin\none\n@ end 0\n", "{:?}", t.shell);
        std::os::unix::fs::symlink("lost", lease.join("lost.RUN")).unwrap();
        std::fs::remove_file(lease.join("changed")).unwrap();
        let shown = t.start(&shell("touch ~/changed"), 2).end();
        assert_eq!(shown.0, "@ begin\n@ fail fenced\n", "{:?}", t.shell);
        assert!(!t.home.path().join("changed").exists());
        assert!(!lease.join("changed").is_symlink());
        // What has ended before is still found.
        let shown = t.start(&shell("echo one"), 1).end();
        assert_eq!(shown.0, "@ begin\none\n@ end 0\n", "{:?}", t.shell);
    }
}
