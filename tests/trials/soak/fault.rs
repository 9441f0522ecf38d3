//! What may go wrong with a deploy, chosen at random.

use fastrand::Rng;
use serde_json::Value;

/// A deploy and what is done to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// A good app, left alone.
    None,
    /// The commit that is live already, and a dry run of it.
    NothingNew,
    /// An app that does not build, start, or pass the smoke test.
    BadApp,
    /// The same, and back to the snapshot.
    BadAppToSnapshot,
    /// The host is killed; the run is resumed.
    Killed,
    /// The same with a bad app.
    KilledWithBadApp,
    /// The host is killed; the run is rolled back.
    KilledAndRolledBack,
    /// The host is killed; the run is abandoned and the deploy begun again.
    KilledAndAbandoned,
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-C and TERM, as CI does; the run is resumed.
    InterruptedTwice,
    /// The connection drops, several times.
    Cut,
    /// A second run is refused, a third waits for the first.
    TwoAtOnce,
    /// Rolled back by git after it was deployed.
    RolledBackByGit,
    /// Rolled back to the snapshot after it was deployed.
    RolledBackToSnapshot,
    /// That rollback is killed and resumed.
    RollbackKilled,
    /// Its run is listed, shown, exported and replayed.
    LookedAt,
}

/// All of them.
const ALL: [Fault; 16] = [
    Fault::None,
    Fault::NothingNew,
    Fault::BadApp,
    Fault::BadAppToSnapshot,
    Fault::Killed,
    Fault::KilledWithBadApp,
    Fault::KilledAndRolledBack,
    Fault::KilledAndAbandoned,
    Fault::Interrupted,
    Fault::InterruptedTwice,
    Fault::Cut,
    Fault::TwoAtOnce,
    Fault::RolledBackByGit,
    Fault::RolledBackToSnapshot,
    Fault::RollbackKilled,
    Fault::LookedAt,
];

/// Variants of the sample service that must not stay live.
const BAD: [&str; 9] = [
    "install-fails",
    "lock-out-of-sync",
    "build-breaks",
    "crashes-at-start",
    "open-server",
    "open-warning",
    "wrong-json",
    "error-500",
    "loses-data",
];

/// One variant.
pub fn bad_app(rng: &mut Rng) -> &'static str {
    rng.choice(BAD).unwrap_or("wrong-json")
}

/// Every fault once in each sixteen deploys, in a random order.
pub fn sequence(rng: &mut Rng, deploys: usize) -> Vec<Fault> {
    let mut all = Vec::new();
    while all.len() < deploys {
        let mut once = ALL;
        rng.shuffle(&mut once);
        all.extend(once);
    }
    all.truncate(deploys);
    all
}

/// A place in a run: so many events after a step began.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    step: &'static str,
    events: usize,
}

/// Steps of the plan in which something was changed already.
pub const CHANGING: [&str; 4] = ["npm-build", "restart", "smoke", "announce"];
/// All that a deploy goes through.
pub const ANY: [&str; 7] = [
    "preflight",
    "snapshot",
    "git-pull",
    "npm-build",
    "restart",
    "smoke",
    "announce",
];

impl Place {
    /// Somewhere in one of these steps.
    pub fn random(rng: &mut Rng, steps: &[&'static str]) -> Self {
        Self {
            step: rng.choice(steps.iter().copied()).unwrap_or("npm-build"),
            events: rng.usize(..8),
        }
    }

    /// Says for each event in turn whether the run is there.
    pub fn reached(self) -> impl FnMut(&Value) -> bool {
        let mut since = None;
        move |event| {
            let is = |key: &str, value: &str| event.get(key).and_then(Value::as_str) == Some(value);
            if let Some(events) = &mut since {
                *events += 1;
            } else if is("type", "step-started") && is("step", self.step) && is("phase", "run") {
                since = Some(0);
            }
            since.is_some_and(|events| events >= self.events)
        }
    }
}
