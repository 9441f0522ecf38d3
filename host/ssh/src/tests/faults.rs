//! Against a server that misbehaves as OpenSSH would not.

use crate::testing::faulty::{Fault, counting, faulty};
use crate::testing::fixture::{client, new_key, shell};
use std::sync::atomic::Ordering;
use vdeploy_core::capability::ssh::{NoLiveOutput, Ssh};

#[tokio::test]
async fn without_a_status_there_is_no_exit_code() {
    let (front, _) = faulty(Fault::NoStatus).await;
    let c = client(&front, &new_key());
    let out = c.ssh.run(&shell("x"), &NoLiveOutput).await.unwrap();
    assert_eq!((out.exit_code, out.signal), (None, None));
    assert_eq!(out.stdout, b"hello\n");
}

#[tokio::test]
async fn a_refused_command_was_certainly_not_run() {
    let (front, _) = faulty(Fault::RefusesCommands).await;
    let c = client(&front, &new_key());
    let error = c.ssh.run(&shell("x"), &NoLiveOutput).await.unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.maybe_applied),
        ("ssh.refused", false)
    );
}

#[tokio::test]
async fn a_refused_session_says_what_to_check() {
    let (front, commands) = faulty(Fault::RefusesSessions).await;
    let c = client(&front, &new_key());
    let error = c.ssh.run(&shell("x"), &NoLiveOutput).await.unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.maybe_applied),
        ("ssh.refused", false)
    );
    assert!(error.message.contains("MaxSessions"), "{error}");
    assert_eq!(commands.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_connection_that_dies_before_the_command_is_made_again_and_it_runs_once() {
    let (front, commands) = faulty(Fault::DropsConnectionOnce).await;
    let c = client(&front, &new_key());
    // Each connection of this server has a host key of the same process.
    let out = c.ssh.run(&shell("x"), &NoLiveOutput).await.unwrap();
    assert_eq!(out.exit_code, Some(0));
    assert_eq!(commands.load(Ordering::Relaxed), 1);
    assert_eq!(front.connections(), 2);
}

#[tokio::test]
async fn a_status_that_arrived_counts_although_the_connection_died_after_it() {
    let (front, commands) = faulty(Fault::DropsAfterStatus).await;
    let c = client(&front, &new_key());
    let out = c.ssh.run(&shell("x"), &NoLiveOutput).await.unwrap();
    assert_eq!((out.exit_code, out.truncated), (Some(4), true));
    assert_eq!(commands.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_session_of_the_next_command_is_opened_while_one_runs() {
    let (front, commands, sessions) = counting(Fault::EndsWithTheNextSession).await;
    let c = client(&front, &new_key());
    // Each would run until its limit if none were opened.
    for _ in 0..3 {
        let out = c.ssh.run(&shell("x"), &NoLiveOutput).await.unwrap();
        assert_eq!(out.exit_code, Some(0));
    }
    assert_eq!(commands.load(Ordering::Relaxed), 3);
    assert_eq!(sessions.load(Ordering::Relaxed), 4);
    assert_eq!(front.connections(), 1);
}

#[tokio::test]
async fn a_session_closed_before_its_command_is_replaced_and_the_command_runs_once() {
    let (front, commands, sessions) = counting(Fault::ClosesSecondSession).await;
    let c = client(&front, &new_key());
    for _ in 0..2 {
        let out = c.ssh.run(&shell("x"), &NoLiveOutput).await.unwrap();
        assert_eq!(out.exit_code, Some(0));
    }
    assert_eq!(commands.load(Ordering::Relaxed), 2);
    assert!(sessions.load(Ordering::Relaxed) >= 3);
    assert_eq!(front.connections(), 1);
}

#[tokio::test]
async fn a_server_that_allows_no_session_ahead_is_asked_for_one_once() {
    let (front, commands, sessions) = counting(Fault::RefusesSecondSession).await;
    let c = client(&front, &new_key());
    for _ in 0..3 {
        let out = c.ssh.run(&shell("x"), &NoLiveOutput).await.unwrap();
        assert_eq!(out.exit_code, Some(0));
    }
    assert_eq!(commands.load(Ordering::Relaxed), 3);
    assert_eq!(sessions.load(Ordering::Relaxed), 4);
}
