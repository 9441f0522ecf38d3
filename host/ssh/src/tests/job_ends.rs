//! Changes that fail, on a real OpenSSH server.

use super::jobs::{Home, change, spawn, text, waiting};
use crate::testing::fixture::{Sshd, Watch, shell};
use crate::testing::processes::{eventually, gone, kill, runs};
use std::sync::atomic::Ordering;
use std::time::Duration;
use vdeploy_core::capability::ssh::{NoLiveOutput, Ssh};

/// The process that waits for the command.
fn recorder(sshd: &Sshd) -> String {
    let file = std::fs::read_to_string(sshd.job(1, "run")).unwrap();
    file.split(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_deadline_ends_what_ignores_term_and_its_children() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let watch = Watch::default();
    let script = "trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & echo $! $$; \
                  while :; do sleep 1; done";
    let mut command = change(shell(script), 1);
    command.timeout = Duration::from_secs(3);
    let error = c.ssh.run(&command, &watch).await.unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.maybe_applied),
        ("ssh.timeout", true)
    );
    assert!(error.message.contains("and was stopped"), "{error}");
    for pid in watch.line().await.split(' ') {
        assert!(!runs(pid), "{pid} still runs");
    }
    // The connection is still good.
    let out = c.ssh.run(&change(shell("exit 0"), 2), &NoLiveOutput).await;
    assert_eq!(out.unwrap().exit_code, Some(0));
    assert_eq!(sshd.front.connections(), 1);
}

#[tokio::test]
async fn a_main_process_that_obeys_does_not_leave_a_child_that_does_not() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let watch = Watch::default();
    let script = "(trap '' TERM; while :; do sleep 1; done) & echo $!; wait";
    let mut command = change(shell(script), 1);
    command.timeout = Duration::from_secs(3);
    let error = c.ssh.run(&command, &watch).await.unwrap_err();
    assert_eq!(error.code, "ssh.timeout");
    assert!(!runs(&watch.line().await));
}

#[tokio::test]
async fn silence_ends_a_change_and_output_keeps_it_going() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let watch = Watch::default();
    let mut command = change(shell("echo $$; exec sleep 300"), 1);
    command.idle_timeout = Some(Duration::from_secs(1));
    let error = c.ssh.run(&command, &watch).await.unwrap_err();
    assert_eq!(error.code, "ssh.idle");
    assert!(!runs(&watch.line().await));
    let mut command = change(shell("for i in 1 2 3 4 5 6; do echo $i; sleep 1; done"), 2);
    command.idle_timeout = Some(Duration::from_secs(4));
    let out = c.ssh.run(&command, &NoLiveOutput).await.unwrap();
    assert_eq!(out.exit_code, Some(0));
}

#[tokio::test]
async fn a_command_that_was_killed_has_a_signal() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let (running, watch) = spawn(&c, change(waiting(""), 1));
    kill(&watch.line().await, "KILL");
    let out = running.await.unwrap().unwrap();
    assert_eq!((out.exit_code, out.signal.as_deref()), (None, Some("KILL")));
}

#[tokio::test]
async fn a_change_that_nobody_waits_for_on_the_target_is_lost_and_ended() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let (running, watch) = spawn(&c, change(waiting(""), 1));
    let pid = watch.line().await;
    kill(&recorder(&sshd), "KILL");
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.maybe_applied),
        ("ssh.job-lost", true)
    );
    assert!(!runs(&pid));
}

#[tokio::test]
async fn a_target_that_was_started_anew_has_lost_the_change() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let (running, watch) = spawn(&c, change(waiting(""), 1));
    let pid = watch.line().await;
    let recorder = recorder(&sshd);
    sshd.front.away.store(usize::MAX, Ordering::SeqCst);
    sshd.front.cut_all();
    watch.wait().await;
    // What a power failure leaves: no processes, and files of another boot.
    kill(&recorder, "KILL");
    kill(&pid, "KILL");
    assert!(gone(&recorder).await && gone(&pid).await);
    let run = std::fs::read_to_string(sshd.job(1, "run")).unwrap();
    let (first, _) = run.split_once('\n').unwrap();
    let own = std::process::id();
    let boot = first.rsplit_once(' ').unwrap().1;
    let other = run
        .replace(boot, "another-boot")
        .replace(&recorder, &own.to_string());
    std::fs::write(sshd.job(1, "run"), other).unwrap();
    sshd.front.away.store(0, Ordering::SeqCst);
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.maybe_applied),
        ("ssh.job-lost", true)
    );
    assert_eq!(sshd.count(), 1);
}

#[tokio::test]
async fn files_that_are_gone_do_not_start_a_change_a_second_time() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let (running, watch) = spawn(&c, change(waiting(""), 1));
    let pid = watch.line().await;
    // The last file that is made while it runs.
    eventually("it is watched", || sshd.job(1, "dog").is_symlink()).await;
    std::fs::remove_dir_all(sshd.at(".vdeploy")).unwrap();
    sshd.front.cut_all();
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.code, "ssh.job-lost");
    assert_eq!(sshd.count(), 1);
    kill(&pid, "KILL");
}

#[tokio::test]
async fn a_daemon_that_keeps_the_output_open_does_not_keep_the_change_going() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let command = change(shell("sleep 300 & echo $!"), 1);
    let out = c.ssh.run(&command, &NoLiveOutput).await.unwrap();
    let pid = text(&out.stdout).trim().to_owned();
    assert_eq!(out.exit_code, Some(0));
    // And it is not ended with it, nor at the end of the run.
    c.ssh.forget_jobs(&"01RUN".into()).await.unwrap();
    c.ssh.close().await;
    assert!(runs(&pid));
    kill(&pid, "KILL");
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_has_ended_before_the_next_change() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    for cut in [false, true] {
        let effect = u64::from(cut) * 2 + 1;
        let _ = std::fs::remove_file(sshd.at("go"));
        let (running, watch) = spawn(&c, change(waiting(""), effect));
        let pid = watch.line().await;
        if cut {
            sshd.front.away.store(usize::MAX, Ordering::SeqCst);
            sshd.front.cut_all();
            watch.wait().await;
        }
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        sshd.front.away.store(0, Ordering::SeqCst);
        let look = shell(&format!("kill -0 {pid} && echo it runs"));
        let out = c.ssh.run(&change(look, effect + 1), &NoLiveOutput).await;
        assert_eq!(text(&out.unwrap().stdout), "");
    }
}

#[tokio::test]
async fn the_end_of_the_run_ends_what_nobody_waits_for() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let (running, watch) = spawn(&c, change(waiting(""), 1));
    let pid = watch.line().await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    c.ssh.close().await;
    assert!(!runs(&pid));
}

#[tokio::test]
async fn a_target_that_cannot_keep_a_job_gets_none() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    std::fs::write(sshd.at(".vdeploy"), "in the way").unwrap();
    let command = change(shell("cd; echo ran >>runs"), 1);
    let error = c.ssh.run(&command, &NoLiveOutput).await.unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.maybe_applied),
        ("ssh.job", false)
    );
    assert!(error.message.contains(".vdeploy"), "{error}");
    assert_eq!(sshd.count(), 0);
}

#[tokio::test]
async fn a_disk_that_gets_full_fails_the_command_and_its_status_still_arrives() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let dir = sshd.at(".vdeploy/jobs/01RUN");
    std::fs::create_dir_all(&dir).unwrap();
    std::os::unix::fs::symlink("/dev/full", dir.join("1.out")).unwrap();
    // When it ends, nothing can be written to it.
    let script = "cd ~/.vdeploy/jobs/01RUN && rm 1.end && mkdir 1.end
        head -c 100000 /dev/zero || exit 9";
    let command = change(shell(script), 1);
    let out = c.ssh.run(&command, &NoLiveOutput).await.unwrap();
    assert_eq!(out.exit_code, Some(9));
    assert!(text(&out.stderr).contains("No space left"), "{out:?}");
}

#[tokio::test]
async fn a_start_without_room_for_its_status_is_sent_again_once_there_is_some() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let dir = sshd.at(".vdeploy/jobs/01RUN");
    std::fs::create_dir_all(dir.join("reserve")).unwrap();
    let mut command = change(shell("cd; echo ran >>runs; cat"), 1);
    command.stdin = vec![b'i'; 100_000];
    command.max_output = 1 << 20;
    // A directory takes no bytes, whoever asks, until its name is taken away.
    std::os::unix::fs::symlink(".", dir.join("1.end")).unwrap();
    let watch = Watch::default();
    let out = c.ssh.run(&command, &watch).await.unwrap();
    assert_eq!((out.exit_code, sshd.count()), (Some(0), 1));
    assert_eq!(out.stdout, command.stdin);
    assert!(!dir.join("reserve").exists());
    let said = watch.wait().await;
    assert!(said.contains("disk of the target is full"), "{said}");

    // There is nothing more to give up.
    std::os::unix::fs::symlink(".", dir.join("2.end")).unwrap();
    let command = change(shell("cd; echo ran >>runs"), 2);
    let error = c.ssh.run(&command, &NoLiveOutput).await.unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.maybe_applied),
        ("ssh.job", false)
    );
    assert!(error.message.contains("is the disk full?"), "{error}");
    assert_eq!(sshd.count(), 1);
}

#[tokio::test]
async fn of_a_huge_output_both_ends_stay_and_all_is_seen_live() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let watch = Watch::default();
    let mut command = change(
        shell("echo first; head -c 100000000 /dev/zero; echo last"),
        1,
    );
    command.max_output = 1000;
    let out = c.ssh.run(&command, &watch).await.unwrap();
    assert!(out.truncated);
    assert!(out.stdout.starts_with(b"first\n") && out.stdout.ends_with(b"last\n"));
    assert_eq!(watch.bytes.load(Ordering::Relaxed), 100_000_011);
}

#[tokio::test]
async fn output_is_seen_while_the_change_runs() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let (running, watch) = spawn(&c, change(waiting("echo more"), 1));
    watch.line().await;
    let silent = sshd.traffic.sent();
    eventually("the target is asked for more", || {
        sshd.traffic.sent() > silent
    })
    .await;
    sshd.go();
    assert!(running.await.unwrap().unwrap().stdout.ends_with(b"more\n"));
}
