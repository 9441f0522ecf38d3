//! A call that does not come back from the host: the run goes on without it, and
//! nothing more of it has an effect.

use crate::stage::{Stage, code, scripted};
use serde_json::json;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;
use vdeploy_core::capability::doubles::RecordingSsh;
use vdeploy_core::capability::ssh::{Command, Output};
use vdeploy_core::event::Phase;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_its_thread_when_the_run_is_stopped_is_given_up_and_changes_nothing() {
    let (go_on, blocks) = channel::<()>();
    let blocks = std::sync::Mutex::new(blocks);
    let ssh = Arc::new(RecordingSsh::new(move |_: &Command| {
        // Without an await: no tick of the engine reaches the guest here.
        let _ = blocks.lock().unwrap().recv();
        Ok(Output {
            exit_code: Some(0),
            ..Output::default()
        })
    }));
    let stage = Stage::new().with_ssh(ssh.clone()).with_snapshot();
    let plugin = scripted();
    let calls = json!({ "run": [
        { "do": "probe", "argv": ["echo", "blocks"] },
        { "do": "exec", "argv": ["echo", "later"] },
    ]});
    let shared = stage.shared.clone();
    let (returned, ()) = tokio::join!(stage.call(&plugin, Phase::Run, calls), async {
        while ssh.commands().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        shared.cancellation.stop_for("a test");
    });
    assert_eq!(code(&returned.result.unwrap_err()), "gate.cancelled");
    // The rollback has begun: its calls are made.
    stage.shared.cancellation.finish_undisturbed();
    drop(go_on);
    // It ends without the second command: its state, and the world in it, goes.
    let alone = async {
        while Arc::strong_count(&stage.shared) > 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), alone)
        .await
        .unwrap();
    assert_eq!(ssh.commands().len(), 1, "{:?}", ssh.commands());
}
