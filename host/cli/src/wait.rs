//! `--wait`.

use clap::Args;
use std::time::Duration;

#[derive(Clone, Copy, Debug, Default, Args)]
pub struct WaitArgs {
    /// When another run holds the target, wait for it up to so many seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub wait: u64,
}

impl WaitArgs {
    pub fn limit(self) -> Duration {
        Duration::from_secs(self.wait)
    }
}
