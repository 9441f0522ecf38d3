//! Which commits are the target's.

use super::fake::{Fake, now};
use serde_json::json;

#[tokio::test]
async fn a_commit_is_the_target_s_when_it_was_taken_of_its_line() {
    let fake = Fake::start().await;
    {
        let mut cloud = fake.cloud.lock().unwrap();
        cloud.vms.clear();
        // root: commit-1 -> target: commit-2 and commit-3 -> later: commit-4.
        // A sister of the target stems from commit-1 too.
        cloud.add_vm("root", "running", None);
        let at = now();
        let first = cloud.add_commit("root", &json!({}), &at);
        cloud.add_vm("target", "running", Some(&first));
        cloud.add_vm("sister", "running", Some(&first));
        cloud.add_commit("target", &json!({}), &at);
        cloud.add_commit("root", &json!({}), &at);
        cloud.add_commit("sister", &json!({}), &at);
        cloud.add_vm("stranger", "running", None);
        cloud.add_commit("stranger", &json!({}), &at);
        cloud.add_vm("restored", "running", Some("commit-2"));
    }
    let client = fake.client();
    for (commit, vm, is) in [
        ("commit-2", "target", true),
        ("commit-1", "target", true),
        // Of a VM that it stems from, taken later.
        ("commit-3", "target", true),
        ("commit-4", "target", false),
        ("commit-5", "target", false),
        ("commit-9", "target", false),
        // After a restore: what was taken of the VM before, and before that.
        ("commit-2", "restored", true),
        ("commit-1", "restored", true),
        ("commit-4", "restored", false),
        ("commit-5", "restored", false),
        ("commit-1", "stranger", false),
    ] {
        let found = client.is_of_line(&commit.into(), &vm.into()).await;
        assert_eq!(found.unwrap(), is, "{commit} of {vm}");
    }
}
