//! What can be made to go wrong, as data.

use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::watch;

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
    /// Any that only looks.
    Look,
    /// Something else that the API has.
    Other,
}

impl Call {
    /// Whether nothing comes of it.
    pub fn only_looks(self) -> bool {
        matches!(
            self,
            Self::ListVms
                | Self::Status
                | Self::Metadata
                | Self::SshKey
                | Self::ListCommits
                | Self::Parents
        )
    }
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
    /// Nothing is done, and no answer ever comes.
    Unanswered,
    /// It is done, and no answer ever comes.
    UnansweredAfter,
    /// It is done, and answered when the faults are set anew.
    Held,
    /// It is done; when the faults are set anew the connection ends.
    HeldThenDropped,
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
    /// Of each address only the first, third and so on are hit: each call is
    /// hit once, and the one that is made in its place goes well.
    pub each_once: bool,
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
            each_once: false,
            how,
        }
    }

    /// Every call of this kind from now on.
    pub const fn always(call: Call, how: How) -> Self {
        Self {
            call,
            after: 0,
            times: None,
            each_once: false,
            how,
        }
    }

    /// Every call of this kind once; the one that is made in its place goes
    /// well.
    pub const fn each_once(call: Call, how: How) -> Self {
        Self {
            each_once: true,
            ..Self::always(call, how)
        }
    }

    /// Whether somebody waits for an answer in vain.
    pub fn answers_never(&self) -> bool {
        matches!(self.how, How::Unanswered | How::UnansweredAfter)
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
    /// The addresses whose last call was hit by a fault that hits each once.
    hit: BTreeSet<String>,
    /// Tells those that wait for it that faults were set anew.
    anew: watch::Sender<()>,
    /// Those of VMs.
    pub vms: Vec<VmFault>,
}

impl Faults {
    /// Sets these faults of the API instead of the ones before.
    pub fn set(&mut self, api: &[ApiFault], vms: &[VmFault]) {
        self.api = api.iter().map(|fault| (*fault, 0)).collect();
        self.hit.clear();
        self.anew.send_replace(());
        self.vms = vms.to_vec();
    }

    /// Changes when the faults are set anew.
    pub fn anew(&self) -> watch::Receiver<()> {
        self.anew.subscribe()
    }

    /// What happens to a call of an address; counts it.
    pub fn meet(&mut self, call: Call, address: &str) -> Option<How> {
        let mut met = None;
        for (fault, seen) in &mut self.api {
            let is_meant = match fault.call {
                Call::Any => true,
                Call::Look => call.only_looks(),
                one => one == call,
            };
            if !is_meant {
                continue;
            }
            if fault.each_once {
                if self.hit.remove(address) {
                    continue;
                }
                self.hit.insert(address.to_owned());
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
