//! What can be made to go wrong, as data.

use std::time::Duration;

/// A call of the API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// `GET /vms`
    ListVms,
    /// `GET /vm/ID/status`
    Status,
    /// `GET /vm/ID/metadata`
    Metadata,
    /// `GET /vm/ID/ssh_key`
    SshKey,
    /// `POST /vm/ID/commit`
    Commit,
    /// `POST /vm/from_commit`
    Restore,
    /// `GET /commits`
    ListCommits,
    /// `GET /vm/commits/ID/parents`
    Parents,
    /// `PATCH /vm/ID/state`
    SetState,
    /// `DELETE /vm/ID`
    Delete,
    /// Any of them.
    Any,
    /// Something else that the API has.
    Other,
}

/// What happens to a call.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum How {
    /// Nothing is done; this status, with a body that is no JSON.
    Status(u16),
    /// Nothing is done; 429 and how many seconds to wait.
    TooMany(u32),
    /// It is done, and answered late.
    Slow(Duration),
    /// The connection ends; nothing was done.
    DroppedBefore,
    /// It is done; the connection ends before the answer.
    DroppedAfter,
    /// It is done, and then the answer is this status.
    StatusAfter(u16),
}

/// A fault of the API.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ApiFault {
    /// Which call.
    pub call: Call,
    /// So many go well first.
    pub after: u32,
    /// So many are hit; none is all of them.
    pub times: Option<u32>,
    /// What happens to them.
    pub how: How,
}

impl ApiFault {
    /// The next call of this kind.
    pub const fn once(call: Call, how: How) -> Self {
        Self {
            call,
            after: 0,
            times: Some(1),
            how,
        }
    }

    /// Every call of this kind from now on.
    pub const fn always(call: Call, how: How) -> Self {
        Self {
            call,
            after: 0,
            times: None,
            how,
        }
    }

    /// The same, but so many go well first.
    pub const fn after(mut self, calls: u32) -> Self {
        self.after = calls;
        self
    }
}

/// How the platform treats VMs from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VmFault {
    /// A new VM never leaves the state `booting`.
    StuckBooting,
    /// A new VM runs, but nothing reaches it from outside.
    Unreachable,
    /// A VM stays paused after a commit, as some versions leave it.
    PausedAfterCommit,
}

/// The faults that are set, with how often each was met.
#[derive(Debug, Default)]
pub struct Faults {
    api: Vec<(ApiFault, u32)>,
    /// Those of VMs.
    pub vms: Vec<VmFault>,
}

impl Faults {
    /// Sets these faults of the API instead of the ones before.
    pub fn set(&mut self, api: &[ApiFault], vms: &[VmFault]) {
        self.api = api.iter().map(|fault| (*fault, 0)).collect();
        self.vms = vms.to_vec();
    }

    /// What happens to a call; counts it.
    pub fn meet(&mut self, call: Call) -> Option<How> {
        let mut met = None;
        for (fault, seen) in &mut self.api {
            if fault.call != call && fault.call != Call::Any {
                continue;
            }
            *seen += 1;
            let nth = seen.saturating_sub(fault.after);
            let hit = nth > 0 && fault.times.is_none_or(|times| nth <= times);
            if hit && met.is_none() {
                met = Some(fault.how);
            }
        }
        met
    }
}
