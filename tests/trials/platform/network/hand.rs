//! The hand on the line: sees each SSH command that comes to the VMs, and
//! breaks the connection at its moment.

use crate::platform::row::{Break, Moment, Wire};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use vdeploy_tests::platform::{Came, Line, Place, Told};

/// A command: the number of its VM, and its process there.
type Id = (usize, u32);

pub struct Hand<'a> {
    place: &'a Place<'a>,
    line: &'a Line,
    wire: Wire,
    /// How much of each VM's log was seen.
    seen: Vec<usize>,
    /// Commands that run, with what they are.
    running: BTreeMap<Id, String>,
    /// Those of them whose end is waited for.
    awaited: BTreeSet<Id>,
    /// Those of them that have lost their connection.
    lost: BTreeSet<Id>,
    /// What was hit and is asked for again, and how often: that goes well. A
    /// lease is asked for beside a question that was not answered yet.
    spared: BTreeMap<String, usize>,
    /// How many commands came.
    pub commands: usize,
    /// Those that have lost their connection, each once.
    pub hit: BTreeSet<String>,
    /// Those that have not.
    pub missed: BTreeSet<String>,
}

impl<'a> Hand<'a> {
    pub fn new(place: &'a Place<'a>, line: &'a Line, wire: Wire) -> Self {
        Self {
            place,
            line,
            wire,
            seen: Vec::new(),
            running: BTreeMap::new(),
            awaited: BTreeSet::new(),
            lost: BTreeSet::new(),
            spared: BTreeMap::new(),
            commands: 0,
            hit: BTreeSet::new(),
            missed: BTreeSet::new(),
        }
    }

    /// Does what is due.
    pub fn look(&mut self) -> Result<()> {
        for (number, vm) in self.place.vms().iter().enumerate() {
            if self.seen.len() <= number {
                self.seen.push(0);
            }
            let Some(seen) = self.seen.get_mut(number) else {
                continue;
            };
            for told in vm.told(seen) {
                match told {
                    Told::Came(Came { id, what, .. }) => {
                        self.came((number, id), what);
                        match self.awaited.contains(&(number, id)) {
                            true => vm.let_begin_unheard(id)?,
                            false => vm.let_begin(id)?,
                        }
                    }
                    Told::Ended(id) => {
                        self.ended((number, id));
                        vm.let_end(id)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn came(&mut self, id: Id, what: String) {
        self.commands += 1;
        if !self.hit.contains(&what) {
            self.missed.insert(what.clone());
        }
        let spared = self.is_spared(&what);
        self.running.insert(id, what);
        let Wire::Each(moment, _) = self.wire else {
            return;
        };
        if spared {
            return;
        }
        match moment {
            Moment::Before => self.strike(),
            Moment::Output => {
                self.spare();
                self.line.break_at_output(self.silent());
            }
            Moment::After => drop(self.awaited.insert(id)),
        }
    }

    fn ended(&mut self, id: Id) {
        // What ran beside another one may have gone down with it.
        if self.awaited.remove(&id) && !self.lost.contains(&id) {
            self.strike();
        }
        self.running.remove(&id);
        self.lost.remove(&id);
    }

    fn silent(&self) -> bool {
        matches!(self.wire, Wire::Each(_, Break::Silent))
    }

    fn strike(&mut self) {
        self.spare();
        match self.silent() {
            true => self.line.kill_silently(),
            false => self.line.cut(),
        }
    }

    /// Whatever runs now loses its connection and is asked for again.
    fn spare(&mut self) {
        for (id, what) in &self.running {
            if self.lost.insert(*id) {
                self.missed.remove(what);
                self.hit.insert(what.clone());
                *self.spared.entry(what.clone()).or_default() += 1;
            }
        }
    }

    fn is_spared(&mut self, what: &str) -> bool {
        match self.spared.get_mut(what) {
            Some(times) if *times > 0 => {
                *times -= 1;
                true
            }
            _ => false,
        }
    }
}
