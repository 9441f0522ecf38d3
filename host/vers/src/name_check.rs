//! Checks that a restored VM resolves names. Its resolver resumes from memory and
//! may have lost its servers; then git and npm fail there with errors that do not
//! point to a restore.

use super::progress::with_progress;
use super::snapshot::VersSnapshot;
use std::time::Duration;
use vdeploy_core::capability::ErrorKind;
use vdeploy_core::capability::snapshot::Progress;
use vdeploy_core::capability::ssh::{Command, NoLiveOutput, Ssh as _};
use vdeploy_core::ids::VmId;

/// A resolver without servers gives up late.
const TIMEOUT: Duration = Duration::from_secs(45);
/// The status of `getent` for an unknown name.
const UNKNOWN: u32 = 2;

impl VersSnapshot {
    /// Resolves a name on the VM, which is the target. Only warns on failure: the
    /// restored services run anyway.
    pub(super) async fn check_names(&self, vm: &VmId, progress: &dyn Progress) {
        let known = self.config.resolves.as_deref();
        let Some(name) = known.or_else(|| self.client.public_name()) else {
            return;
        };
        let mut command = Command::new("getent");
        command.args = vec!["hosts".to_owned(), name.to_owned()];
        command.timeout = TIMEOUT;
        let text = format!("checking that VM {vm} resolves names");
        let asked = with_progress(progress, &text, self.ssh.run(&command, &NoLiveOutput)).await;
        let dead = match asked {
            Ok(output) => output.exit_code == Some(UNKNOWN),
            Err(error) => error.kind == ErrorKind::Timeout,
        };
        if dead {
            progress.warn(&format!(
                "VM {vm} cannot resolve names ({name}): its DNS did not come back with the \
                 restore, and git and npm will fail there. On the VM, put a name server into \
                 /etc/resolv.conf (`nameserver 1.1.1.1`) or restart systemd-resolved"
            ));
        }
    }
}
