//! The hand on the line: sees each SSH command that comes to the VMs, and
//! breaks the connection at its moment.

use crate::row::{Break, Moment, Wire};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use vdeploy_tests::platform::{Came, Line, Place, Told};

/// Nothing comes back for so long at most before a connection is broken.
const LONG: Duration = Duration::from_secs(3);

pub struct Hand<'a> {
    place: &'a Place<'a>,
    line: &'a Line,
    wire: Wire,
    /// How much of each VM's log was seen.
    seen: Vec<usize>,
    /// Commands that run, with what they are.
    running: BTreeMap<(usize, u32), String>,
    /// The command whose end is waited for.
    awaited: Option<((usize, u32), Instant)>,
    /// What was hit and is asked for again: that goes well.
    spared: BTreeSet<String>,
    /// How many commands came.
    pub commands: usize,
    /// How many of them ran when their connection broke.
    pub hit: usize,
}

impl<'a> Hand<'a> {
    pub fn new(place: &'a Place<'a>, line: &'a Line, wire: Wire) -> Self {
        Self {
            place,
            line,
            wire,
            seen: Vec::new(),
            running: BTreeMap::new(),
            awaited: None,
            spared: BTreeSet::new(),
            commands: 0,
            hit: 0,
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
                        self.commands += 1;
                        self.came((number, id), what);
                        vm.let_begin(id)?;
                    }
                    Told::Ended(id) => {
                        if self.awaited.is_some_and(|(of, _)| of == (number, id)) {
                            self.awaited = None;
                            self.spare();
                            self.line.break_muted(self.silent());
                        }
                        self.running.remove(&(number, id));
                        vm.let_end(id)?;
                    }
                }
            }
        }
        // One that lasts is let go: the lease must be renewed meanwhile.
        if self
            .awaited
            .is_some_and(|(_, since)| since.elapsed() > LONG)
        {
            self.awaited = None;
            self.line.unmute();
        }
        Ok(())
    }

    fn came(&mut self, id: (usize, u32), what: String) {
        let spared = self.spared.remove(&what);
        self.running.insert(id, what);
        let Wire::Each(moment, _) = self.wire else {
            return;
        };
        // What runs beside the one whose end is waited for goes down with it.
        if spared || self.awaited.is_some() {
            return;
        }
        match moment {
            Moment::Before => self.strike(),
            Moment::Output => {
                self.spare();
                self.line.break_at_output(self.silent());
            }
            Moment::After => {
                self.awaited = Some((id, Instant::now()));
                self.line.mute();
            }
        }
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

    /// Whatever runs now is asked for again.
    fn spare(&mut self) {
        self.hit += self.running.len();
        let running = self.running.values().cloned();
        self.spared.extend(running);
    }
}
