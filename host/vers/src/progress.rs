//! Reports what a call waits for, and for how long.

use std::pin::pin;
use tokio::time::sleep_until;
use vdeploy_core::backoff::Patience;
use vdeploy_core::capability::snapshot::Progress;

/// Awaits `what` and reports `text`: at once, and then again with the time that has
/// passed.
pub(super) async fn with_progress<T>(
    progress: &dyn Progress,
    text: &str,
    what: impl Future<Output = T>,
) -> T {
    progress.doing(text);
    let mut patience = Patience::start();
    let mut what = pin!(what);
    loop {
        tokio::select! {
            biased;
            done = &mut what => return done,
            () = sleep_until(patience.next()) => {
                if patience.is_due() {
                    progress.doing(&format!("{text}, for {} s", patience.seconds()));
                }
            }
        }
    }
}
