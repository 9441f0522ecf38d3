//! The gate's decision, as a pure function.

use crate::call::{Call, Effect};
use vdeploy_core::capability::function::HostFunction;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;
use vdeploy_core::event::Phase;

/// What is done with a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Make it.
    Perform,
    /// Make it: it changes the target to make the snapshot that does not stand
    /// yet, and counts as part of that.
    Prepare,
    /// Dry run: show it and answer as if it had succeeded.
    Pretend,
    /// Do not make it; the plugin gets this error.
    Refuse(EffectError),
}

/// What the decision depends on besides the call.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// The plugin function that is running.
    pub phase: Phase,
    /// Whether no change is to be made.
    pub dry_run: bool,
    /// Whether a snapshot of the target exists in this run's journal, or was
    /// waived on the command line.
    pub snapshot_stands: bool,
    /// Whether the plugin was granted to make a snapshot by its own means.
    pub makes_snapshots: bool,
    /// Whether the run is being stopped.
    pub cancelled: bool,
    /// Whether the step's time is over.
    pub late: bool,
    /// Whether the journal can no longer be written or the lease was lost.
    pub broken: bool,
}

/// The error of a call after the step's deadline.
pub(crate) fn late() -> EffectError {
    EffectError::new(
        ErrorKind::Timeout,
        codes::GATE_DEADLINE,
        "the step's time is over",
    )
}

/// The error of a call when the run is being stopped, or when nothing may be
/// done any more.
pub fn stopped(broken: bool) -> EffectError {
    let (code, message) = match broken {
        true => (
            codes::GATE_CLOSED,
            "the journal cannot be written or the lease was lost; nothing more is done",
        ),
        false => (codes::GATE_CANCELLED, "the run is being stopped"),
    };
    EffectError::new(ErrorKind::Cancelled, code, message)
}

/// Decides. The order of the rules is part of the contract: a missing grant is
/// reported before anything else, so that it shows in a dry run too.
pub fn decide(call: &Call, now: Situation) -> Decision {
    if let Err(error) = &call.grant {
        return Decision::Refuse(error.clone());
    }
    if now.phase == Phase::Check && call.effect.is_change() {
        return Decision::Refuse(EffectError::new(
            ErrorKind::Denied,
            codes::GATE_CHECK,
            format!(
                "`{}` is a change, and `check` may only probe",
                call.function
            ),
        ));
    }
    if now.broken || now.cancelled {
        return Decision::Refuse(stopped(now.broken));
    }
    if now.late {
        return Decision::Refuse(late());
    }
    if now.dry_run && call.effect.is_change() {
        return Decision::Pretend;
    }
    if call.effect == Effect::ChangeTarget && !now.snapshot_stands {
        // Commands only, and only in `run`: what the archive is made with. A
        // request to the service or an undo has no part in that.
        if now.makes_snapshots && now.phase == Phase::Run && call.function == HostFunction::SshExec
        {
            return Decision::Prepare;
        }
        return Decision::Refuse(EffectError::new(
            ErrorKind::Denied,
            codes::GATE_NO_SNAPSHOT,
            "no snapshot of the target exists in this run, so it may not be changed; \
             put a snapshot step before this one",
        ));
    }
    Decision::Perform
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::WhenInDoubt;
    use serde_json::Value;

    fn call(effect: Effect) -> Call {
        Call {
            function: HostFunction::SshExec,
            action: String::new(),
            request: Value::Null,
            effect,
            grant: Ok(()),
            quiet: false,
            lasting: false,
            in_doubt: WhenInDoubt::Retry,
        }
    }

    const RUNNING: Situation = Situation {
        phase: Phase::Run,
        dry_run: false,
        snapshot_stands: true,
        makes_snapshots: false,
        cancelled: false,
        late: false,
        broken: false,
    };

    fn code(decision: &Decision) -> &str {
        match decision {
            Decision::Refuse(error) => &error.code,
            Decision::Perform => "perform",
            Decision::Prepare => "prepare",
            Decision::Pretend => "pretend",
        }
    }

    #[test]
    fn a_change_of_the_target_needs_a_snapshot_and_nothing_else_does() {
        let bare = Situation {
            snapshot_stands: false,
            ..RUNNING
        };
        for (effect, expected) in [
            (Effect::Probe, "perform"),
            (Effect::Change, "perform"),
            (Effect::TakeSnapshot, "perform"),
            (Effect::ChangeTarget, "gate.no-snapshot"),
        ] {
            assert_eq!(code(&decide(&call(effect), bare)), expected, "{effect:?}");
        }
        assert_eq!(
            code(&decide(&call(Effect::ChangeTarget), RUNNING)),
            "perform"
        );
    }

    #[test]
    fn only_the_commands_of_a_snapshot_plugin_come_before_the_snapshot() {
        let maker = Situation {
            snapshot_stands: false,
            makes_snapshots: true,
            ..RUNNING
        };
        let function = |function| Call {
            function,
            ..call(Effect::ChangeTarget)
        };
        let nobody = Situation {
            makes_snapshots: false,
            ..maker
        };
        let undoing = Situation {
            phase: Phase::Undo,
            ..maker
        };
        let checking = Situation {
            phase: Phase::Check,
            ..maker
        };
        let dry = Situation {
            dry_run: true,
            ..maker
        };
        let after = Situation {
            snapshot_stands: true,
            ..maker
        };
        for (name, now, expected) in [
            (HostFunction::SshExec, maker, "prepare"),
            (HostFunction::HttpSend, maker, "gate.no-snapshot"),
            (HostFunction::SnapshotRestore, maker, "gate.no-snapshot"),
            (HostFunction::SnapshotPauseOld, maker, "gate.no-snapshot"),
            (HostFunction::SshExec, nobody, "gate.no-snapshot"),
            (HostFunction::SshExec, undoing, "gate.no-snapshot"),
            (HostFunction::SshExec, checking, "gate.check"),
            (HostFunction::SshExec, dry, "pretend"),
            // From then on it is a change like any other.
            (HostFunction::SshExec, after, "perform"),
        ] {
            let decision = decide(&function(name), now);
            assert_eq!(code(&decision), expected, "{name} {now:?}");
        }
        let mut refused = function(HostFunction::SshExec);
        refused.grant = Err(EffectError::new(ErrorKind::Denied, "ssh.denied", "no"));
        assert_eq!(code(&decide(&refused, maker)), "ssh.denied");
    }

    #[test]
    fn check_may_only_probe() {
        let check = Situation {
            phase: Phase::Check,
            ..RUNNING
        };
        assert_eq!(code(&decide(&call(Effect::Probe), check)), "perform");
        for effect in [Effect::Change, Effect::ChangeTarget, Effect::TakeSnapshot] {
            assert_eq!(code(&decide(&call(effect), check)), "gate.check");
        }
    }

    #[test]
    fn a_dry_run_probes_for_real_and_only_pretends_to_change() {
        let dry = Situation {
            dry_run: true,
            snapshot_stands: false,
            ..RUNNING
        };
        assert_eq!(code(&decide(&call(Effect::Probe), dry)), "perform");
        assert_eq!(code(&decide(&call(Effect::ChangeTarget), dry)), "pretend");
        assert_eq!(code(&decide(&call(Effect::TakeSnapshot), dry)), "pretend");
    }

    #[test]
    fn a_missing_grant_is_reported_even_in_a_dry_run() {
        let mut refused = call(Effect::ChangeTarget);
        refused.grant = Err(EffectError::new(ErrorKind::Denied, "ssh.denied", "no"));
        let dry = Situation {
            dry_run: true,
            ..RUNNING
        };
        assert_eq!(code(&decide(&refused, dry)), "ssh.denied");
    }

    #[test]
    fn after_the_deadline_nothing_is_called() {
        let late = Situation {
            late: true,
            ..RUNNING
        };
        for effect in [Effect::Probe, Effect::ChangeTarget] {
            assert_eq!(code(&decide(&call(effect), late)), codes::GATE_DEADLINE);
        }
        let cancelled = Situation {
            cancelled: true,
            ..late
        };
        assert_eq!(
            code(&decide(&call(Effect::Probe), cancelled)),
            "gate.cancelled"
        );
    }

    #[test]
    fn a_stopped_or_broken_run_touches_nothing() {
        for effect in [Effect::Probe, Effect::ChangeTarget] {
            let cancelled = Situation {
                cancelled: true,
                ..RUNNING
            };
            assert_eq!(code(&decide(&call(effect), cancelled)), "gate.cancelled");
            let broken = Situation {
                broken: true,
                cancelled: true,
                ..RUNNING
            };
            assert_eq!(code(&decide(&call(effect), broken)), "gate.closed");
        }
    }
}
