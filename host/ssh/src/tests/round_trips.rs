//! Counts round trips on a real OpenSSH server. Keepalives come once an hour here, so
//! nothing else is on the connection.

use crate::testing::fixture::{Client, Sshd, client_with, shell};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use vdeploy_core::capability::ssh::{NoLiveOutput, Ssh};

const HOUR: Duration = Duration::from_secs(3600);
/// Far longer than any of it takes. A question that waits for a keepalive is given
/// up and asked again over another connection, which is counted.
const LONG: Duration = Duration::from_secs(120);

/// A client that has run one command, and with it done all that it does after a
/// login.
async fn settled(sshd: &Sshd) -> Client {
    let rare = |config: &mut crate::SshConfig| config.limits.keepalive = HOUR;
    let c = client_with(&sshd.front, &sshd.user_key, rare, None);
    run(&c).await;
    // What was still under way when the command ended is before its answer.
    c.ssh.verify_connection().await.unwrap();
    c
}

async fn run(c: &Client) {
    let out = c.ssh.run(&shell("true"), &NoLiveOutput).await.unwrap();
    assert_eq!(out.exit_code, Some(0));
}

#[tokio::test]
async fn a_question_ends_with_its_own_answer() {
    let sshd = Sshd::start().await;
    timeout(LONG, async {
        let c = settled(&sshd).await;
        let before = sshd.traffic.turns();
        for _ in 0..5 {
            c.ssh.verify_connection().await.unwrap();
        }
        assert_eq!(sshd.traffic.turns() - before, 5);
        assert_eq!(sshd.front.connections(), 1);
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_command_after_a_pause_asks_once_and_runs_on_the_same_connection() {
    let sshd = Sshd::start().await;
    timeout(LONG, async {
        let c = settled(&sshd).await;
        for _ in 0..2 {
            // The server spoke last, and was not heard for longer than a second.
            c.ssh.verify_connection().await.unwrap();
            sleep(Duration::from_millis(1500)).await;
            let before = sshd.traffic.turns();
            run(&c).await;
            // The question, the command, and at most one answer each to what of
            // it the server says piece by piece.
            let turns = sshd.traffic.turns() - before;
            assert!((2..=5).contains(&turns), "{turns} round trips");
        }
        assert_eq!(sshd.front.connections(), 1);
    })
    .await
    .unwrap();
}

/// Many at once: each has its own answer, whichever was asked first.
#[tokio::test]
async fn questions_at_once_are_all_answered() {
    let sshd = Sshd::start().await;
    timeout(LONG, async {
        let c = settled(&sshd).await;
        let all = (0..20).map(|_| c.ssh.verify_connection());
        for asked in futures_util::future::join_all(all).await {
            asked.unwrap();
        }
        assert_eq!(sshd.front.connections(), 1);
    })
    .await
    .unwrap();
}
