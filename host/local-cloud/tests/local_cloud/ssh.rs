//! SSH inside TLS: commands, streams, signals, and who gets in.

use std::time::Duration;

use futures_util::future::join_all;
use russh::{ChannelMsg, Sig};

use super::support::{NOBODY, Rig, finish, lines, lives, until};

#[tokio::test]
async fn a_command_has_output_errors_and_a_status() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    let ssh = rig.ssh(&vm).await;
    let done = ssh.run("echo out; echo err >&2; exit 7").await;
    assert_eq!(done.stdout, b"out\n");
    assert_eq!(done.stderr, b"err\n");
    assert_eq!((done.code, done.closed), (Some(7), true));
    rig.stop().await;
}

#[tokio::test]
async fn a_session_gets_the_environment_of_its_vm_only() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    let ssh = rig.ssh(&vm).await;
    let channel = ssh.handle.channel_open_session().await.unwrap();
    channel.set_env(false, "LC_TIME", "C").await.unwrap();
    let preload = channel.set_env(false, "LD_PRELOAD", "/evil.so");
    preload.await.unwrap();
    channel.exec(true, "env; pwd").await.unwrap();
    let text = finish(channel).await.text();
    let summary = rig.cloud.vms().await.remove(0);
    let home = summary.home.display();
    for line in [
        format!("HOME={home}"),
        format!("VERS_VM_ID={vm}"),
        format!("PORT={}", summary.app_port),
        "USER=root".into(),
        "SHELL=/bin/sh".into(),
        "LC_TIME=C".into(),
        home.to_string(),
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("LD_PRELOAD"), "{text}");
    assert!(
        !text.contains("CARGO"),
        "the operator's environment:\n{text}"
    );
    rig.stop().await;
}

#[tokio::test]
async fn input_reaches_the_command_and_ends() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    let ssh = rig.ssh(&vm).await;
    let channel = ssh.open("cat > f; wc -c < f; tail -c 3 f").await;
    let body = vec![b'x'; 3_000_000];
    channel.data(&body[..]).await.unwrap();
    channel.data(&b"end"[..]).await.unwrap();
    channel.eof().await.unwrap();
    let done = finish(channel).await;
    assert_eq!(done.text().trim(), "3000003\nend");
    rig.stop().await;
}

#[tokio::test]
async fn ten_megabytes_come_whole() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    let ssh = rig.ssh(&vm).await;
    let big = ssh.open("head -c 10485760 /dev/zero; echo done >&2").await;
    let done = finish(big).await;
    assert_eq!(done.stdout.len(), 10_485_760);
    assert_eq!(done.stderr, b"done\n");
    assert_eq!(done.code, Some(0));
    rig.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_slows_the_command_down() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    let ssh = rig.ssh(&vm).await;
    let channel = ssh
        .open(
            "i=0; while [ $i -lt 40 ]; do head -c 1048576 /dev/zero; i=$((i+1)); echo $i >n; done",
        )
        .await;
    let progress = rig.cloud.vms().await.remove(0).home.join("n");
    let mut seen = (String::new(), 0);
    while seen.1 < 10 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = std::fs::read_to_string(&progress).unwrap_or_default();
        seen = if now.is_empty() || now != seen.0 {
            (now, 0)
        } else {
            (now, seen.1 + 1)
        };
    }
    let stalled_at: u32 = seen.0.trim().parse().unwrap();
    assert!(stalled_at < 30, "{stalled_at} MiB went somewhere");
    assert_eq!(finish(channel).await.stdout.len(), 40 * 1_048_576);
    rig.stop().await;
}

#[tokio::test]
async fn open_sessions_end_with_the_cloud() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    let ssh = rig.ssh(&vm).await;
    let mut channel = ssh.open("echo $$; sleep 300").await;
    let pid = lines(&mut channel, 1).await.remove(0);
    rig.cloud.shutdown(false).await.unwrap();
    until("the session ends", || ssh.handle.is_closed()).await;
    until("its command is hung up", || !lives(&pid)).await;
}

#[tokio::test]
async fn an_echo_of_megabytes_does_not_block_itself() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    let ssh = rig.ssh(&vm).await;
    let (mut reader, writer) = ssh.open("cat").await.split();
    let sending = tokio::spawn(async move {
        let body = vec![b'y'; 8_000_000];
        writer.data(&body[..]).await.unwrap();
        writer.eof().await.unwrap();
    });
    let mut count = 0;
    while let Some(message) = reader.wait().await {
        if let ChannelMsg::Data { data } = message {
            count += data.len();
        }
    }
    sending.await.unwrap();
    assert_eq!(count, 8_000_000);
    rig.stop().await;
}

#[tokio::test]
async fn a_command_that_does_not_read_its_input_blocks_nobody_else() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    let ssh = rig.ssh(&vm).await;
    let deaf = ssh.open("until [ -e go ]; do sleep 0.05; done").await;
    let body = vec![b'z'; 5_000_000];
    deaf.data(&body[..]).await.unwrap();
    assert_eq!(ssh.run("echo quick; touch go").await.text(), "quick\n");
    assert_eq!(finish(deaf).await.code, Some(0));
    rig.stop().await;
}

#[tokio::test]
async fn many_channels_run_at_once() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    let ssh = rig.ssh(&vm).await;
    // Each command waits for all the others: they end only if all run at the same time.
    let count = 12;
    let runs = (0..count).map(|n| {
        let command = format!(
            "touch up{n}; until [ $(ls up* | wc -l) -eq {count} ]; do sleep 0.05; done; echo {n}"
        );
        let ssh = &ssh;
        async move { ssh.run(&command).await.text() }
    });
    let all = tokio::time::timeout(Duration::from_secs(60), join_all(runs));
    let expected: Vec<_> = (0..count).map(|n| format!("{n}\n")).collect();
    assert_eq!(all.await.unwrap(), expected);
    rig.stop().await;
}

#[tokio::test]
async fn a_signal_reaches_the_whole_group_and_is_reported() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    let ssh = rig.ssh(&vm).await;
    let mut channel = ssh.open("sleep 300 & echo $!; wait").await;
    let child = lines(&mut channel, 1).await.remove(0);
    assert!(lives(&child));
    channel.signal(Sig::TERM).await.unwrap();
    let done = finish(channel).await;
    assert!(matches!(done.signal, Some(Sig::TERM)), "{done:?}");
    assert_eq!(done.code, None);
    until("the child ends", || !lives(&child)).await;
    rig.stop().await;
}

#[tokio::test]
async fn closing_the_channel_hangs_up_but_spares_what_left_the_session() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    let ssh = rig.ssh(&vm).await;
    let apart = "setsid sleep 300 >/dev/null 2>&1 </dev/null & echo $!";
    let mut channel = ssh
        .open(&format!("{apart}; sleep 300 & echo $!; wait"))
        .await;
    let pids = lines(&mut channel, 2).await;
    until("setsid takes effect", || {
        std::fs::read_to_string(format!("/proc/{}/comm", pids[0])).is_ok_and(|c| c == "sleep\n")
    })
    .await;
    channel.close().await.unwrap();
    until("the group is hung up", || !lives(&pids[1])).await;
    assert!(lives(&pids[0]));
    rig.stop().await;
    assert!(!lives(&pids[0]), "stopping the VMs ends it");
}

#[tokio::test]
async fn a_lost_connection_hangs_up() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    let ssh = rig.ssh(&vm).await;
    let mut channel = ssh.open("echo $$; sleep 300").await;
    let pid = lines(&mut channel, 1).await.remove(0);
    drop(channel);
    drop(ssh);
    until("the command is hung up", || !lives(&pid)).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_background_child_holds_the_channel_open_after_the_status() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    let ssh = rig.ssh(&vm).await;
    let mut channel = ssh
        .open("(until [ -e go ]; do sleep 0.05; done; echo late) & exit 3")
        .await;
    loop {
        match channel.wait().await.expect("open until the child ends") {
            ChannelMsg::ExitStatus { exit_status } => {
                assert_eq!(exit_status, 3);
                break;
            }
            ChannelMsg::Close | ChannelMsg::Eof => panic!("closed too early"),
            _ => {}
        }
    }
    ssh.run("touch go").await;
    let done = finish(channel).await;
    assert_eq!(done.stdout, b"late\n");
    assert!(done.closed);
    rig.stop().await;
}

#[tokio::test]
async fn only_root_with_the_key_of_this_vm_gets_in() {
    let rig = Rig::start().await;
    let (vm, other) = (rig.new_vm().await, rig.new_vm().await);
    let key = rig.ssh_key(&vm).await;
    assert!(rig.ssh_as(&vm, "root", &key).await.is_ok());
    assert!(rig.ssh_as(&vm, "admin", &key).await.is_err());
    assert!(rig.ssh_as(&other, "root", &key).await.is_err());
    assert!(rig.ssh_as(NOBODY, "root", &key).await.is_err());
    rig.stop().await;
}

#[tokio::test]
async fn terminals_and_subsystems_are_refused_and_a_shell_reads_its_input() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    let ssh = rig.ssh(&vm).await;
    let mut channel = ssh.handle.channel_open_session().await.unwrap();
    let pty = channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]);
    pty.await.unwrap();
    assert!(matches!(channel.wait().await, Some(ChannelMsg::Failure)));
    channel.request_subsystem(true, "sftp").await.unwrap();
    assert!(matches!(channel.wait().await, Some(ChannelMsg::Failure)));
    channel.request_shell(true).await.unwrap();
    channel.data(&b"echo from a shell\n"[..]).await.unwrap();
    channel.eof().await.unwrap();
    assert_eq!(finish(channel).await.text(), "from a shell\n");
    rig.stop().await;
}
