use super::has_ended;
use vdeploy_core::event::Outcome;

/// What a run's jobs left on the target is kept while the run may be at work
/// elsewhere, or may be resumed.
#[test]
fn only_the_jobs_of_a_run_that_has_ended_are_removed() {
    for kept in [
        Outcome::Interrupted,
        Outcome::Held,
        Outcome::Unreachable,
        Outcome::Internal,
    ] {
        assert!(!has_ended(kept), "{kept:?}");
    }
    for ended in [
        Outcome::Deployed,
        Outcome::Refused,
        Outcome::FailedUnchanged,
        Outcome::RolledBack,
        Outcome::RollbackFailed,
        Outcome::Kept,
        Outcome::PluginRefused,
    ] {
        assert!(has_ended(ended), "{ended:?}");
    }
}
