//! What the platform knows: accounts, VMs, commits. And what it does: make a
//! VM of a commit, store a VM, freeze it, end it.
//!
//! Each test has an account of its own, with faults and counters of its own.
//! Knows nothing of HTTP.

use super::fault::{Call, Faults, How, VmFault};
use super::outer::Outer;
use super::vm::{Stored, Vm};
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// The platform.
#[derive(Debug)]
pub struct Cloud {
    dir: PathBuf,
    state: Mutex<State>,
}

/// Its memory.
#[derive(Debug, Default)]
pub struct State {
    /// By API key.
    pub accounts: BTreeMap<String, Account>,
    /// Every VM that was not deleted.
    pub vms: BTreeMap<Uuid, Entry>,
    /// Every commit.
    pub commits: BTreeMap<Uuid, Commit>,
}

/// Somebody with a key.
#[derive(Debug)]
pub struct Account {
    /// The first 36 characters of the key.
    pub owner: Uuid,
    /// What goes wrong for it.
    pub faults: Faults,
    /// What its VMs find outside.
    pub outer: Arc<Outer>,
    /// `/root` of its next VM has only so much space left.
    pub free_mib: Option<u64>,
    /// Whether its new VMs are watched, and their commands stopped.
    pub watched: Option<bool>,
    /// Every call, with what went wrong with it.
    pub calls: Vec<(Call, Option<How>)>,
}

/// A VM in the list.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Whose it is.
    pub owner: Uuid,
    /// When it was made.
    pub created_at: Timestamp,
    /// What the list says of it.
    pub state: &'static str,
    /// What it was made from.
    pub parent: Option<Uuid>,
    /// Whether anything reaches it.
    pub reachable: bool,
    /// The VM itself.
    pub vm: Arc<Vm>,
}

/// A commit in the list.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Whose it is.
    pub owner: Uuid,
    /// As given, or made up.
    pub name: String,
    /// As given.
    pub description: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether everybody may use it.
    pub public: bool,
    /// The VM that it was taken of.
    pub vm: Uuid,
    /// What that VM was made from.
    pub parent: Option<Uuid>,
    /// The VM itself.
    pub stored: Arc<Stored>,
}

impl Cloud {
    /// An empty one, with its files in `dir`.
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            state: Mutex::default(),
        }
    }

    /// Its memory. Held only for a look or a change, never while a VM starts.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new account; its key.
    pub fn open_account(&self, outer: Arc<Outer>) -> String {
        let owner = Uuid::new_v4();
        let secret = [Uuid::new_v4().simple(), Uuid::new_v4().simple()];
        let key = format!("{owner}{}{}", secret[0], secret[1]);
        let account = Account {
            owner,
            faults: Faults::default(),
            outer,
            free_mib: None,
            watched: None,
            calls: Vec::new(),
        };
        self.state().accounts.insert(key.clone(), account);
        key
    }

    /// Makes a VM from something stored.
    pub fn make_vm(&self, key: &str, stored: &Stored, parent: Option<Uuid>) -> Result<Uuid> {
        let id = Uuid::new_v4();
        let (owner, outer, free_mib, watched, stuck, reachable) = {
            let mut state = self.state();
            let account = state.accounts.get_mut(key).context("no account")?;
            let has = |fault| account.faults.vms.contains(&fault);
            (
                account.owner,
                account.outer.clone(),
                account.free_mib.take(),
                account.watched,
                has(VmFault::StuckBooting),
                !has(VmFault::Unreachable),
            )
        };
        let dir = self.dir.join("vms").join(id.to_string());
        let created_at = Timestamp::now();
        let vm = Arc::new(Vm::start(dir, stored, free_mib)?);
        outer.connect(vm.machine.network())?;
        if let Some(stop) = watched {
            vm.watch(stop)?;
        }
        let entry = Entry {
            owner,
            created_at,
            state: if stuck { "booting" } else { "running" },
            parent,
            reachable,
            vm,
        };
        self.state().vms.insert(id, entry);
        Ok(id)
    }

    /// Stores a VM as a commit.
    pub fn commit(
        &self,
        key: &str,
        vm: Uuid,
        asked: (Option<Uuid>, Option<String>, Option<String>),
    ) -> Result<Uuid> {
        let (id, name, description) = asked;
        let id = id.unwrap_or_else(Uuid::new_v4);
        let (entry, paused) = {
            let state = self.state();
            let account = state.accounts.get(key).context("no account")?;
            let entry = state.vms.get(&vm).context("no VM")?.clone();
            let left_paused = account.faults.vms.contains(&VmFault::PausedAfterCommit);
            let paused = left_paused || entry.state == "paused";
            (entry, paused)
        };
        let dir = self.dir.join("commits").join(id.to_string());
        let stored = entry.vm.store(&dir)?;
        if paused {
            self.pause(vm)?;
        }
        let commit = Commit {
            owner: entry.owner,
            name: name.unwrap_or_else(|| format!("commit-{id}")),
            description,
            created_at: Timestamp::now(),
            public: false,
            vm,
            parent: entry.parent,
            stored: Arc::new(stored),
        };
        self.state().commits.insert(id, commit);
        Ok(id)
    }

    /// Freezes a VM.
    pub fn pause(&self, id: Uuid) -> Result<()> {
        let vm = self.vm(id).context("no VM")?;
        vm.machine.freeze()?;
        self.set_state(id, "paused");
        Ok(())
    }

    /// Lets a VM go on.
    pub fn resume(&self, id: Uuid) -> Result<()> {
        let vm = self.vm(id).context("no VM")?;
        vm.machine.thaw();
        self.set_state(id, "running");
        Ok(())
    }

    /// What the list says of a VM from now on.
    pub fn set_state(&self, id: Uuid, to: &'static str) {
        if let Some(entry) = self.state().vms.get_mut(&id) {
            entry.state = to;
        }
    }

    /// A VM by its id.
    pub fn vm(&self, id: Uuid) -> Option<Arc<Vm>> {
        self.state().vms.get(&id).map(|entry| entry.vm.clone())
    }

    /// The VM with this host name, if anything reaches it: one that does not
    /// run answers nobody.
    pub fn reached(&self, host: &str) -> Option<Arc<Vm>> {
        let id: Uuid = host.split('.').next()?.parse().ok()?;
        let state = self.state();
        let entry = state.vms.get(&id)?;
        let reached = entry.reachable && entry.state == "running";
        reached.then(|| entry.vm.clone())
    }

    /// Closes an account and ends its VMs.
    pub fn close_account(&self, key: &str) {
        let gone = {
            let mut state = self.state();
            let Some(account) = state.accounts.remove(key) else {
                return;
            };
            state
                .commits
                .retain(|_, commit| commit.owner != account.owner);
            let (gone, kept) = std::mem::take(&mut state.vms)
                .into_iter()
                .partition::<BTreeMap<_, _>, _>(|(_, vm)| vm.owner == account.owner);
            state.vms = kept;
            gone
        };
        // Their processes end outside of the lock.
        drop(gone);
    }

    /// Ends a VM.
    pub fn delete(&self, id: Uuid) {
        let removed = self.state().vms.remove(&id);
        // Its processes end outside of the lock.
        drop(removed);
    }
}
