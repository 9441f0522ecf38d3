//! The state of a fake host, and the current fake host of the thread.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::Value;

use super::call::{Answer, Call, CheckReport, FakeCommand, FakeOutput, FakeRequest, FakeResponse};
use super::manifest::Manifest;
use crate::{CheckStatus, Error, Level};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Check,
    Run,
    Undo,
}

pub(crate) type SshHandler = Box<dyn FnMut(&FakeCommand) -> Answer<FakeOutput>>;
pub(crate) type HttpHandler = Box<dyn FnMut(&FakeRequest) -> Answer<FakeResponse>>;

pub(crate) struct HostState {
    pub phase: Phase,
    pub run_id: String,
    pub plan_name: String,
    pub step_id: String,
    pub attempt: u32,
    pub target_name: String,
    pub target_vm: Option<String>,
    pub target_url: Option<String>,
    pub config: Value,
    pub manifest: Option<Result<Manifest, Error>>,
    pub outputs: BTreeMap<String, Value>,
    pub rolled_back: BTreeMap<String, Value>,
    pub failed_step: Option<String>,
    pub dry_run: bool,
    pub snapshot_taken: bool,
    /// The target was changed to make a snapshot that is not declared yet.
    pub prepared: bool,
    pub secrets: BTreeMap<String, String>,
    pub ssh: Vec<SshHandler>,
    pub http: Vec<HttpHandler>,
    pub snapshots: Vec<(String, String)>,
    pub known_snapshots: BTreeSet<String>,
    pub restored_to: (String, Option<String>),
    pub state: BTreeMap<String, Vec<u8>>,
    pub now_ms: u64,
    pub faults: BTreeMap<usize, Error>,
    pub calls: Vec<Call>,
    pub unscripted: Vec<String>,
    pub logs: Vec<(Level, String)>,
    pub checks: Vec<CheckReport>,
    /// How many of them were reported before the call that is made now.
    pub reported: usize,
    /// The old VMs of restores.
    pub left_vms: BTreeSet<String>,
}

impl HostState {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Run,
            run_id: "01JD0000000000000000000000".to_owned(),
            plan_name: "default".to_owned(),
            step_id: "step".to_owned(),
            attempt: 1,
            target_name: "infra".to_owned(),
            target_vm: Some("vm-1".to_owned()),
            target_url: Some("https://vm-1.vm.vers.sh:3000".to_owned()),
            config: Value::Object(serde_json::Map::new()),
            manifest: None,
            outputs: BTreeMap::new(),
            rolled_back: BTreeMap::new(),
            failed_step: None,
            dry_run: false,
            snapshot_taken: false,
            prepared: false,
            secrets: BTreeMap::new(),
            ssh: Vec::new(),
            http: Vec::new(),
            snapshots: Vec::new(),
            known_snapshots: BTreeSet::new(),
            restored_to: (
                "vm-2".to_owned(),
                Some("https://vm-2.vm.vers.sh:3000".to_owned()),
            ),
            state: BTreeMap::new(),
            now_ms: 1_700_000_000_000,
            faults: BTreeMap::new(),
            calls: Vec::new(),
            unscripted: Vec::new(),
            logs: Vec::new(),
            checks: Vec::new(),
            reported: 0,
            left_vms: BTreeSet::new(),
        }
    }
}

impl HostState {
    /// The error of a call that returned `Ok` after a failed check. The last
    /// status of a name counts.
    pub(crate) fn failed_check(&self) -> Option<Error> {
        let mut failed: Vec<&CheckReport> = Vec::new();
        for check in self.checks.iter().skip(self.reported) {
            failed.retain(|earlier| earlier.name != check.name);
            if check.status == CheckStatus::Failed {
                failed.push(check);
            }
        }
        let message = match failed.as_slice() {
            [] => return None,
            [one] => match &one.detail {
                Some(detail) => format!("the check `{}` failed: {detail}", one.name),
                None => format!("the check `{}` failed", one.name),
            },
            many => {
                let names: Vec<String> = many.iter().map(|c| format!("`{}`", c.name)).collect();
                format!("{} checks failed: {}", many.len(), names.join(", "))
            }
        };
        Some(Error::failed("check.failed", message))
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<RefCell<HostState>>>> = const { RefCell::new(None) };
}

/// Makes a fake host the current one until the value is dropped.
pub(crate) struct Entered(Option<Rc<RefCell<HostState>>>);

impl Entered {
    pub(crate) fn new(state: &Rc<RefCell<HostState>>) -> Self {
        Self(CURRENT.with_borrow_mut(|current| current.replace(Rc::clone(state))))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|current| *current = self.0.take());
    }
}

pub(crate) fn current() -> Option<Rc<RefCell<HostState>>> {
    CURRENT.with_borrow(Clone::clone)
}
