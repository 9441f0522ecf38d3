//! Against a real OpenSSH server.

use crate::testing::fixture::{Sshd, Watch, client_with, shell};
use crate::testing::processes::gone;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use vdeploy_core::capability::secrets::{Secret, SecretValue};
use vdeploy_core::capability::ssh::{Command, NoLiveOutput, Ssh};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_command_gives_output_status_and_asks_tls_for_the_vms_name() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    c.ssh.connect().await.unwrap();
    let script = "echo out; echo err >&2; exit 7";
    let out = c.ssh.run(&shell(script), &NoLiveOutput).await.unwrap();
    assert_eq!((out.exit_code, out.signal), (Some(7), None));
    assert_eq!(
        (text(&out.stdout), text(&out.stderr)),
        ("out\n".into(), "err\n".into())
    );
    assert!(!out.truncated);
    assert_eq!(*sshd.front.names.lock().unwrap(), ["one.vm.localhost"]);
    c.ssh.close().await;
}

#[tokio::test]
async fn a_signal_is_no_exit_code_and_a_missing_program_is_127() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let out = c
        .ssh
        .run(&shell("kill -9 $$"), &NoLiveOutput)
        .await
        .unwrap();
    assert_eq!((out.exit_code, out.signal.as_deref()), (None, Some("KILL")));
    let missing = Command::new("no-such-program-here");
    let out = c.ssh.run(&missing, &NoLiveOutput).await.unwrap();
    assert_eq!(out.exit_code, Some(127));
}

#[tokio::test]
async fn words_environment_directory_and_input_arrive_unchanged() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let nasty = "it's \"$(id)\" `id` \\ ;\n*é";
    let mut cmd = shell(r#"printf '%s|%s|' "$1" "$V"; pwd; cat"#);
    cmd.args.extend(["x".to_owned(), nasty.to_owned()]);
    cmd.env = vec![("V".into(), nasty.into())];
    cmd.cwd = Some("/usr".into());
    cmd.stdin = vec![b'z'; 300_000];
    cmd.max_output = 1 << 20;
    let out = c.ssh.run(&cmd, &NoLiveOutput).await.unwrap();
    assert_eq!(out.exit_code, Some(0));
    let expected = format!("{nasty}|{nasty}|/usr\n{}", "z".repeat(300_000));
    assert!(text(&out.stdout) == expected, "{} bytes", out.stdout.len());
}

#[tokio::test]
async fn input_that_nobody_reads_does_not_hang() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let mut cmd = shell("exit 3");
    cmd.stdin = vec![b'z'; 8 << 20];
    let out = c.ssh.run(&cmd, &NoLiveOutput).await.unwrap();
    assert_eq!(out.exit_code, Some(3));
}

#[tokio::test]
async fn a_secret_is_in_the_environment_and_in_no_argument_list() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let value = format!("s3cr3t-{}", ulid::Ulid::generate());
    let mut cmd = shell("printf '%s %s\\n' $$ \"$TOKEN\"; cat; sleep 300");
    cmd.secret_env = vec![(
        "TOKEN".into(),
        Secret {
            name: "token".into(),
            value: SecretValue::new(value.clone()),
        },
    )];
    cmd.stdin = b"rest".to_vec();
    let watch = Arc::new(Watch::default());
    let (ssh, live) = (c.ssh.clone(), watch.clone());
    let running = tokio::spawn(async move { ssh.run(&cmd, &*live).await });
    let line = watch.line().await;
    let (pid, seen) = line.split_once(' ').unwrap();
    assert_eq!(seen, value);
    let mut looked = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(args) = std::fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        looked += usize::from(!args.is_empty());
        let args = String::from_utf8_lossy(&args).into_owned();
        assert!(!args.contains(&value), "{args}");
    }
    assert!(looked > 3);
    // Whoever stops waiting also stops the command.
    running.abort();
    assert!(gone(pid).await, "{pid} still runs");
}

#[tokio::test]
async fn a_timeout_ends_the_whole_process_group() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let watch = Watch::default();
    let mut cmd = shell("sleep 300 & echo $!; echo the last words >&2; wait");
    cmd.timeout = Duration::from_secs(5);
    // The time is the command's; a slow machine must not spend it on the way.
    c.ssh.connect().await.unwrap();
    let error = c.ssh.run(&cmd, &watch).await.unwrap_err();
    assert_eq!(error.code, "ssh.timeout");
    assert!(error.maybe_applied);
    assert!(error.message.contains("the last words"), "{error}");
    assert!(gone(&watch.line().await).await);
    // The connection is still good.
    let out = c.ssh.run(&shell("exit 0"), &NoLiveOutput).await.unwrap();
    assert_eq!(out.exit_code, Some(0));
    assert_eq!(sshd.front.connections(), 1);
}

#[tokio::test]
async fn silence_ends_a_command_that_ignores_term() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let watch = Watch::default();
    let mut cmd = shell("trap '' TERM; echo $$; while :; do sleep 1; done");
    cmd.idle_timeout = Some(Duration::from_millis(700));
    let error = c.ssh.run(&cmd, &watch).await.unwrap_err();
    assert_eq!(error.code, "ssh.idle");
    assert!(gone(&watch.line().await).await);
}

#[tokio::test]
async fn output_keeps_an_idle_limit_away() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let mut cmd = shell("for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.5; done");
    cmd.idle_timeout = Some(Duration::from_secs(3));
    let out = c.ssh.run(&cmd, &NoLiveOutput).await.unwrap();
    assert_eq!(out.exit_code, Some(0));
}

#[tokio::test]
async fn of_a_huge_output_both_ends_stay_and_all_is_seen_live() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let watch = Watch::default();
    let mut cmd = shell("echo first; head -c 100000000 /dev/zero; echo last");
    cmd.max_output = 1000;
    let out = c.ssh.run(&cmd, &watch).await.unwrap();
    assert_eq!(out.exit_code, Some(0));
    assert!(out.truncated);
    assert_eq!(out.stdout.len(), 1000);
    assert!(out.stdout.starts_with(b"first\n") && out.stdout.ends_with(b"last\n"));
    assert_eq!(watch.bytes.load(Ordering::Relaxed), 100_000_011);
}

#[tokio::test]
async fn many_commands_share_one_connection() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let runs = (0..24).map(|i| {
        let ssh = c.ssh.clone();
        tokio::spawn(async move {
            let script = format!("echo {i}; sleep 0.1");
            ssh.run(&shell(&script), &NoLiveOutput).await
        })
    });
    for (i, run) in runs.collect::<Vec<_>>().into_iter().enumerate() {
        let out = run.await.unwrap().unwrap();
        assert_eq!(text(&out.stdout), format!("{i}\n"));
    }
    assert_eq!(sshd.front.connections(), 1);
    assert_eq!(c.keys.asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_look_whose_connection_breaks_is_asked_again() {
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
    for (n, silent) in [(1, false), (2, true)] {
        let flag = sshd.home.join(format!("flag-{n}"));
        let flag = flag.display();
        let script = format!(
            "if [ -e '{flag}' ]; then echo again; exit 7; fi; : >'{flag}'; echo started; sleep 300"
        );
        let watch = Arc::new(Watch::default());
        let (ssh, live) = (c.ssh.clone(), watch.clone());
        let running = tokio::spawn(async move { ssh.run(&shell(&script), &*live).await });
        watch.line().await;
        match silent {
            true => sshd.swallow_all(),
            false => sshd.front.cut_all(),
        }
        let out = running.await.unwrap().unwrap();
        assert_eq!((out.exit_code, &*out.stdout), (Some(7), &b"again\n"[..]));
        assert!(watch.wait().await.contains("retrying"));
        assert_eq!(sshd.front.connections(), n + 1);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_each_time_is_reported_and_then_made_again() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let watch = Arc::new(Watch::default());
    let (ssh, live) = (c.ssh.clone(), watch.clone());
    let mut look = shell("echo started; sleep 300");
    look.timeout = Duration::from_secs(4);
    let mut running = tokio::spawn(async move { ssh.run(&look, &*live).await });
    let mut cuts = 0;
    let error = loop {
        tokio::select! {
            ended = &mut running => break ended.unwrap().unwrap_err(),
            () = watch.lines(cuts + 1) => sshd.front.cut_all(),
        }
        cuts += 1;
    };
    assert!(cuts > 1);
    // Its time may be over while it runs once more.
    assert!(
        ["ssh.closed", "ssh.timeout"].contains(&error.code.as_str()) && error.maybe_applied,
        "{error}"
    );
    assert!(error.message.contains("started"), "{error}");
    let out = c.ssh.run(&shell("exit 0"), &NoLiveOutput).await.unwrap();
    assert_eq!(out.exit_code, Some(0));
    assert!(sshd.front.connections() > cuts);
}

#[tokio::test]
async fn an_outage_between_commands_is_waited_out_once_the_target_was_reached() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    c.ssh.connect().await.unwrap();
    sshd.front.away.store(3, Ordering::SeqCst);
    sshd.front.cut_all();
    let out = c.ssh.run(&shell("exit 0"), &NoLiveOutput).await.unwrap();
    assert_eq!(out.exit_code, Some(0));
    assert_eq!(sshd.front.away.load(Ordering::SeqCst), 0);
    assert_eq!(sshd.front.connections(), 2);

    // A target that was never reached is reported at once.
    let other = sshd.client();
    sshd.front.away.store(1, Ordering::SeqCst);
    let error = other
        .ssh
        .run(&shell("exit 0"), &NoLiveOutput)
        .await
        .unwrap_err();
    assert!(!error.maybe_applied, "{error}");
}

/// As a server does with some of many logins at once (`MaxStartups`).
#[tokio::test]
async fn a_handshake_that_is_broken_off_is_begun_again() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    sshd.front.away.store(2, Ordering::SeqCst);
    c.ssh.connect().await.unwrap();
    assert_eq!(sshd.front.away.load(Ordering::SeqCst), 0);
    // And not for ever.
    let other = sshd.client();
    let many = 1_000;
    sshd.front.away.store(many, Ordering::SeqCst);
    other.ssh.connect().await.unwrap_err();
    assert!((2..20).contains(&(many - sshd.front.away.load(Ordering::SeqCst))));
}

#[tokio::test]
async fn a_target_that_moved_is_reached_at_its_new_vm_with_a_new_key() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    c.ssh.connect().await.unwrap();
    c.ssh.carry_host_key(&"one".into(), &"two".into()).unwrap();
    c.target.move_to("two".into());
    c.ssh.run(&shell("exit 0"), &NoLiveOutput).await.unwrap();
    assert_eq!(
        *sshd.front.names.lock().unwrap(),
        ["one.vm.localhost", "two.vm.localhost"]
    );
    assert_eq!(*c.keys.asked.lock().unwrap(), ["one".into(), "two".into()]);
}

#[tokio::test]
async fn all_commands_of_a_full_connection_can_be_ended_at_once() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    let runs = (0..8).map(|_| {
        let ssh = c.ssh.clone();
        tokio::spawn(async move {
            let watch = Watch::default();
            let mut cmd = shell("echo $$; sleep 300");
            cmd.timeout = Duration::from_secs(5);
            let error = ssh.run(&cmd, &watch).await.unwrap_err();
            (error, watch.line().await)
        })
    });
    for run in runs.collect::<Vec<_>>() {
        let (error, pid) = run.await.unwrap();
        assert_eq!(error.code, "ssh.timeout");
        assert!(gone(&pid).await, "{pid} still runs");
    }
}
