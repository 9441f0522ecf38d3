//! Changes that outlive their connection, on a real OpenSSH server.

use crate::testing::fixture::{Client, Sshd, Watch, client_with, shell};
use crate::testing::processes::{eventually, is_in_files, runs, with_argument};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinHandle;
use vdeploy_core::capability::EffectError;
use vdeploy_core::capability::secrets::{Secret, SecretValue};
use vdeploy_core::capability::ssh::{Command, JobId, NoLiveOutput, Output, Ssh};

pub(super) const RUN: &str = "01RUN";

/// `command` as the change with this number.
pub(super) fn change(mut command: Command, effect: u64) -> Command {
    command.job = Some(JobId {
        run: RUN.into(),
        effect,
    });
    command
}

/// A script that counts how often it began, says its process, and waits for
/// the file `go`. It stands in the home of the target.
pub(super) fn waiting(then: &str) -> Command {
    shell(&format!(
        "cd; echo ran >>runs; echo $$; while [ ! -e go ]; do sleep 0.05; done; {then}"
    ))
}

pub(super) type Running = JoinHandle<Result<Output, EffectError>>;

pub(super) fn spawn(c: &Client, command: Command) -> (Running, Arc<Watch>) {
    let watch = Arc::new(Watch::default());
    let (ssh, live) = (c.ssh.clone(), watch.clone());
    (
        tokio::spawn(async move { ssh.run(&command, &*live).await }),
        watch,
    )
}

pub(super) trait Home {
    fn at(&self, name: &str) -> PathBuf;
    fn job(&self, effect: u64, part: &str) -> PathBuf {
        self.at(&format!(".vdeploy/jobs/{RUN}/{effect}.{part}"))
    }
    fn has_status(&self, effect: u64) -> bool {
        let end = std::fs::read_to_string(self.job(effect, "end"));
        end.is_ok_and(|end| end.contains('\n'))
    }
    fn go(&self) {
        std::fs::write(self.at("go"), "").unwrap();
    }
    fn count(&self) -> usize {
        let runs = std::fs::read_to_string(self.at("runs")).unwrap_or_default();
        runs.lines().count()
    }
}

impl Home for Sshd {
    fn at(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_change_gives_the_same_as_a_probe() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let nasty = "it's \"$(id)\" `id` \\ ;\n*é";
    let mut words = shell(r#"printf '%s|%s|' "$1" "$V"; pwd; cat; echo err >&2; exit 7"#);
    words.args.extend(["x".to_owned(), nasty.to_owned()]);
    words.env = vec![("V".into(), nasty.into())];
    words.cwd = Some("/usr".into());
    words.stdin = vec![b'z'; 300_000];
    words.max_output = 1 << 20;
    let mut there = Command::new("cat");
    there.cwd = Some("no-such-directory".into());
    let binary = shell(r"cd; head -c 100000 /dev/urandom >r; cat r; printf '\036\000\377no end'");
    for (effect, command) in [
        words,
        shell("exit 0"),
        shell("kill -9 $$"),
        Command::new("no-such-program-here"),
        there,
        shell(r"printf '\036\000\377no end'"),
        shell("umask; trap; ulimit -c"),
    ]
    .into_iter()
    .enumerate()
    {
        let plain = c.ssh.run(&command, &NoLiveOutput).await.unwrap();
        let command = change(command, effect as u64);
        let mut job = c.ssh.run(&command, &NoLiveOutput).await.unwrap();
        // The shells say the same with other line numbers.
        if plain.exit_code == Some(127) || command.cwd.as_deref() == Some("no-such-directory") {
            assert!(!job.stderr.is_empty());
            job.stderr = plain.stderr.clone();
        }
        assert_eq!(job, plain, "{}", command.display());
    }
    let out = c.ssh.run(&change(binary, 50), &NoLiveOutput).await.unwrap();
    let kept = std::fs::read(sshd.at("r")).unwrap();
    assert!(out.stdout == [kept.as_slice(), b"\x1e\0\xffno end"].concat());
    assert_eq!(sshd.front.connections(), 1);
}

#[tokio::test]
async fn a_variable_reaches_the_named_program_and_nothing_before_it() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    std::fs::create_dir(sshd.at("drop")).unwrap();
    for (effect, name) in (1..).zip(["vd_setsid", "vd_path", "vd_program", "PATH", "OPTIND"]) {
        let mut command = Command::new("printenv");
        command.args = vec![name.to_owned()];
        command.env = vec![(name.to_owned(), "/bin/sh".to_owned())];
        command.cwd = Some(sshd.at("drop").to_string_lossy().into_owned());
        command.stdin = b"touch it-ran\n".to_vec();
        for command in [command.clone(), change(command, effect)] {
            let out = c.ssh.run(&command, &NoLiveOutput).await.unwrap();
            assert_eq!(text(&out.stdout), "/bin/sh\n", "{name}: {out:?}");
        }
    }
    let left = std::fs::read_dir(sshd.at("drop")).unwrap().count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_change_whose_connection_is_cut_runs_once_and_all_of_it_arrives() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let then = "head -c 300000 /dev/zero; echo the end >&2; exit 5";
    let mut command = change(waiting(then), 1);
    command.max_output = 1 << 20;
    let (running, watch) = spawn(&c, command);
    let pid = watch.line().await;
    sshd.front.away.store(2, Ordering::SeqCst);
    sshd.front.cut_all();
    let said = watch.wait().await;
    assert!(
        said.contains("`sh` ran") && said.contains("(for "),
        "{said}"
    );
    assert!(runs(&pid));
    sshd.go();
    let out = running.await.unwrap().unwrap();
    assert_eq!(out.exit_code, Some(5));
    assert_eq!(out.stdout.len(), pid.len() + 1 + 300_000);
    assert_eq!(text(&out.stderr), "the end\n");
    assert_eq!(sshd.count(), 1);
    assert_eq!(sshd.front.connections(), 2);
}

#[tokio::test]
async fn a_cut_in_the_middle_of_its_input_starts_nothing_with_half_of_it() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    c.ssh.connect().await.unwrap();
    let before = sshd.traffic.sent();
    let mut command = change(shell("cd; wc -c >>runs; cat runs"), 1);
    command.stdin = vec![b'z'; 24 << 20];
    let (running, _watch) = spawn(&c, command);
    eventually("some of it is sent", || {
        sshd.traffic.sent() > before + (2 << 20)
    })
    .await;
    sshd.front.cut_all();
    let out = running.await.unwrap().unwrap();
    assert_eq!(text(&out.stdout).trim(), (24 << 20).to_string());
    assert_eq!((sshd.count(), sshd.front.connections()), (1, 2));
    let left = std::fs::read_dir(sshd.at(&format!(".vdeploy/jobs/{RUN}")));
    let input = |name: String| name.contains(".in.");
    let names = left.unwrap().flatten();
    assert!(
        !names
            .map(|e| e.file_name().into_string().unwrap())
            .any(input)
    );
}

#[tokio::test]
async fn a_cut_before_the_change_is_waited_out() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    c.ssh.connect().await.unwrap();
    sshd.front.away.store(3, Ordering::SeqCst);
    sshd.front.cut_all();
    sshd.go();
    let command = change(waiting("exit 0"), 1);
    let out = c.ssh.run(&command, &NoLiveOutput).await.unwrap();
    assert_eq!((out.exit_code, sshd.count()), (Some(0), 1));

    // A target that was never reached is reported at once.
    let other = sshd.client();
    sshd.front.away.store(1, Ordering::SeqCst);
    let error = other.ssh.run(&command, &NoLiveOutput).await.unwrap_err();
    assert!(!error.maybe_applied, "{error}");
}

#[tokio::test]
async fn a_connection_that_swallows_everything_does_not_hold_the_change_up() {
    let sshd = Sshd::start().await;
    let c = client_with(
        &sshd.front,
        &sshd.user_key,
        |config| {
            config.limits.keepalive = Duration::from_millis(500);
            config.limits.keepalive_misses = 2;
        },
        None,
    );
    // More than any buffer on the way takes.
    let then = "head -c 50000000 /dev/zero; echo; echo last";
    let (running, watch) = spawn(&c, change(waiting(then), 1));
    watch.line().await;
    sshd.swallow_all();
    sshd.go();
    // It ends although nobody takes its output.
    eventually("it has a status", || sshd.has_status(1)).await;
    let out = running.await.unwrap().unwrap();
    assert!(out.stdout.ends_with(b"last\n"));
    assert!(watch.bytes.load(Ordering::Relaxed) > 50_000_000);
    assert_eq!((sshd.count(), sshd.front.connections()), (1, 2));
}

#[tokio::test]
async fn a_status_that_was_on_its_way_when_the_connection_broke_is_read_again() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let (running, watch) = spawn(&c, change(waiting("echo done; exit 3"), 1));
    let pid = watch.line().await;
    sshd.swallow_all();
    sshd.go();
    eventually("it has a status", || sshd.has_status(1)).await;
    sshd.front.cut_all();
    let out = running.await.unwrap().unwrap();
    assert_eq!(out.exit_code, Some(3));
    assert_eq!(text(&out.stdout), format!("{pid}\ndone\n"));
    assert_eq!(sshd.count(), 1);
}

#[tokio::test]
async fn a_server_that_is_started_anew_does_not_end_the_change() {
    let mut sshd = Sshd::start().await;
    let c = sshd.client();
    let (running, watch) = spawn(&c, change(waiting("exit 4"), 1));
    watch.line().await;
    sshd.restart().await;
    sshd.go();
    let out = running.await.unwrap().unwrap();
    assert_eq!((out.exit_code, sshd.count()), (Some(4), 1));
}

#[tokio::test]
async fn another_process_finds_the_change_of_one_that_died() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let command = change(waiting("echo done; exit 6"), 1);
    let (running, watch) = spawn(&c, command.clone());
    let pid = watch.line().await;
    // Without a connection nothing can be cleaned up.
    sshd.front.away.store(usize::MAX, Ordering::SeqCst);
    sshd.front.cut_all();
    watch.wait().await;
    running.abort();
    sshd.front.away.store(0, Ordering::SeqCst);
    let (running, watch) = spawn(&sshd.client(), command.clone());
    assert_eq!(watch.line().await, pid);
    sshd.go();
    let first = running.await.unwrap().unwrap();
    assert_eq!(first.exit_code, Some(6));
    assert_eq!(text(&first.stdout), format!("{pid}\ndone\n"));
    // And once more after its end.
    let again = sshd.client().ssh.run(&command, &NoLiveOutput).await;
    assert_eq!(again.unwrap(), first);
    assert_eq!(sshd.count(), 1);
}

#[tokio::test]
async fn a_secret_is_in_no_file_and_in_no_argument_list() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let value = format!("  s3cr3t-\\{} ", ulid::Ulid::generate());
    let secret = |name: &str, value: &str| {
        let value = SecretValue::new(value.to_owned());
        let name = name.to_lowercase();
        (name.to_uppercase(), Secret { name, value })
    };
    let mut command = change(
        waiting(r#"cat; printf %s "$TOKEN" | sha256sum; printf %s "$OTHER" | wc -c"#),
        1,
    );
    command.secret_env = vec![secret("OTHER", ""), secret("TOKEN", &value)];
    command.stdin = b"rest\n".to_vec();
    let (running, watch) = spawn(&c, command);
    let pid = watch.line().await;
    let looks = || {
        assert_eq!(with_argument(value.trim()), Vec::<String>::new());
        assert!(!is_in_files(&sshd.home, value.trim()));
    };
    looks();
    sshd.front.cut_all();
    sshd.go();
    let out = text(&running.await.unwrap().unwrap().stdout);
    looks();
    let mut sum = std::process::Command::new("sha256sum");
    let mut sum = sum
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut sum.stdin.take().unwrap(), value.as_bytes()).unwrap();
    let sum = text(&sum.wait_with_output().unwrap().stdout);
    assert_eq!(out, format!("{pid}\nrest\n{sum}0\n"));
}

#[tokio::test]
async fn what_the_jobs_of_a_run_left_goes_in_the_end_and_other_runs_stay() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    for effect in 1..3 {
        let command = change(shell("echo x"), effect);
        c.ssh.run(&command, &NoLiveOutput).await.unwrap();
    }
    let jobs = sshd.at(".vdeploy/jobs");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(jobs.join(RUN)).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o700);
    for (run, days) in [("NEW", "1"), ("OLD", "9")] {
        std::fs::create_dir_all(jobs.join(run)).unwrap();
        let date = format!("{days} days ago");
        let mut touch = std::process::Command::new("touch");
        let touch = touch.args(["-d", &date]).arg(jobs.join(run));
        assert!(touch.status().unwrap().success());
    }
    c.ssh.forget_jobs(&RUN.into()).await.unwrap();
    let left: Vec<_> = std::fs::read_dir(&jobs).unwrap().flatten().collect();
    let names: Vec<_> = left.iter().map(|e| e.file_name()).collect();
    assert_eq!(names, ["NEW"]);
}

/// A process that was stopped between its journal and its command, while another
/// one went on with the run to its end.
#[tokio::test]
async fn a_late_start_of_a_run_that_is_over_begins_nothing() {
    let sshd = Sshd::start().await;
    let (ends, late) = (sshd.client(), sshd.client());
    let lease = sshd.at(".vdeploy-lease");
    std::fs::create_dir(&lease).unwrap();
    for (mark, days) in [("lost.NEW", "1"), ("lost.OLD", "9"), ("left.OLD", "9")] {
        std::os::unix::fs::symlink("lost", lease.join(mark)).unwrap();
        let date = format!("{days} days ago");
        let mut touch = std::process::Command::new("touch");
        let touch = touch.args(["-h", "-d", &date]).arg(lease.join(mark));
        assert!(touch.status().unwrap().success());
    }
    let add = || change(shell("echo once >>~/count"), 1);
    ends.ssh.run(&add(), &NoLiveOutput).await.unwrap();
    ends.ssh.forget_jobs(&RUN.into()).await.unwrap();
    let error = late.ssh.run(&add(), &NoLiveOutput).await.unwrap_err();
    assert!(!error.maybe_applied, "{error:?}");
    assert!(error.message.contains("lost its lease"), "{error:?}");
    assert_eq!(std::fs::read_to_string(sshd.at("count")).unwrap(), "once\n");
    // The marks of last week are not needed any more.
    let marks = std::fs::read_dir(&lease).unwrap().flatten();
    let mut names: Vec<_> = marks
        .map(|e| e.file_name().into_string().unwrap())
        .filter(|name| name.contains('.'))
        .collect();
    names.sort();
    assert_eq!(names, [format!("lost.{RUN}"), "lost.NEW".to_owned()]);
}
