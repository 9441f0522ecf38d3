//! A target that does again what a real one did in a recorded run, at once, and
//! outlives the processes that change it. It counts every change and believes
//! nothing of vdeploy's own.
//!
//! What a look sees depends on which changes have been made, as it did then. A
//! change comes when it came then: one that was made before is counted a second
//! time, any other one is a fault, and so is a look that nobody took then. What
//! was looked at several times between two changes (a port that is waited for)
//! is seen in the recorded order, and the last sight stays.
//!
//! One limit: what a look sees does not depend on the requests that change what
//! the service keeps. A request that was on its way when the process was killed,
//! and never arrived, is missed by the count and by no look.
//!
//! As on a real target, a job is found by its number, a snapshot by its label,
//! a restored VM by its snapshot, and pausing twice is pausing once.

use crate::matrix::lease::Lease;
use crate::matrix::script::{Answer, Change, Script, answered, shown, word};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use vdeploy_core::capability::{EffectError, ErrorKind};

/// What is there, and what was done to it.
#[derive(Debug, Default)]
pub struct Place {
    /// How many changes of the VM have been made.
    pub made: usize,
    /// How often each of them was.
    pub changes: Vec<usize>,
    /// How often each request to change something arrived.
    pub posts: Vec<usize>,
    /// What should never have been asked.
    pub faults: Vec<String>,
    /// Which change a job is.
    jobs: BTreeMap<String, usize>,
    /// How often was looked, by state and look.
    looked: BTreeMap<(usize, usize), usize>,
    /// By VM.
    leases: BTreeMap<String, Lease>,
    /// What a snapshot has of them.
    kept_leases: BTreeMap<String, Lease>,
}

/// The target as every process of the run reaches it.
#[derive(Clone, Debug)]
pub struct Target {
    /// What it did.
    pub script: Arc<Script>,
    place: Arc<Mutex<Place>>,
}

impl Target {
    /// Before the first change.
    pub fn new(script: Arc<Script>) -> Self {
        let place = Place {
            changes: vec![0; script.changes.len()],
            posts: vec![0; script.posts.len()],
            ..Place::default()
        };
        Self {
            script,
            place: Arc::new(Mutex::new(place)),
        }
    }

    /// What is there.
    pub fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Who has the lease on a VM.
    pub fn holder(&self, vm: &str) -> Option<String> {
        let place = self.place();
        let holder = place.leases.get(vm)?.holder();
        holder.map(str::to_owned)
    }

    /// Answers the script of the lease.
    pub fn lease(&self, vm: &str, args: &[String]) -> String {
        let mut place = self.place();
        place.leases.entry(vm.to_owned()).or_default().answer(args)
    }

    /// What a look sees now.
    pub fn look(&self, function: &str, request: &Value) -> Answer {
        let mut place = self.place();
        let made = place.made;
        let entry = match function {
            "http.send" => self.entry_of(&place, word(request, "url")),
            _ => None,
        };
        if let Some(Some(entry)) = entry {
            return Ok(entry);
        }
        if let Some((nth, look)) = self.script.look(made, function, request) {
            let times = place.looked.entry((made, nth)).or_default();
            let at = (*times).min(look.answers.len().saturating_sub(1));
            *times += 1;
            if let Some(answer) = look.answers.get(at) {
                return answer.clone();
            }
        }
        if entry.is_some() {
            return Ok(json!({ "status": 404, "headers": [], "body": "{}" }));
        }
        let what = shown(function, request);
        place.fault(format!(
            "{what}: nobody looked at that after {made} changes"
        ))
    }

    /// What a run that was interrupted asks for, to find out whether a request of it
    /// has arrived: the address that the request declares, or the entry of the
    /// ledger by its id. What the service said when it took the entry, or none
    /// inside when it has not. (The recorder compares this with the real
    /// service.)
    pub fn entry_of(&self, place: &Place, url: &str) -> Option<Option<Value>> {
        let posts = self.script.posts.iter().zip(&place.posts);
        let asked = posts.filter(|(post, _)| read_back(post).iter().any(|known| known == url));
        let mut known = None;
        for (post, sent) in asked {
            known.get_or_insert(None);
            if *sent > 0
                && let Ok(entry) = answered(&post.answer, "body")
            {
                known = Some(Some(json!({ "status": 200, "headers": [], "body": entry })));
            }
        }
        known
    }

    /// A command that changes something, as a job. One that is known is not
    /// done again.
    pub fn job(&self, vm: &str, job: &str, request: &Value) -> Answer {
        let known = self.place().jobs.get(job).copied();
        if let Some(change) = known.and_then(|at| self.script.changes.get(at)) {
            if change.request == *request {
                return change.answer.clone();
            }
            let what = shown("ssh.exec", request);
            return self.place().fault(format!("{what}: job {job} is another"));
        }
        let at = self.place().made;
        let answer = self.change(vm, "ssh.exec", request);
        self.place().jobs.insert(job.to_owned(), at);
        answer
    }

    /// Makes a change of the VM.
    pub fn change(&self, vm: &str, function: &str, request: &Value) -> Answer {
        let mut place = self.place();
        let is_it = |change: &&Change| change.function == function && change.request == *request;
        let made = place.made;
        let next = self.script.changes.get(made);
        if let Some(change) = next.filter(is_it) {
            place.made += 1;
            place.count(made);
            place.keep_leases(vm, function, request, &change.answer);
            return change.answer.clone();
        }
        let earlier = self.script.changes.iter().take(made);
        let what = shown(function, request);
        if let Some(at) = earlier
            .enumerate()
            .find(|(_, c)| is_it(c))
            .map(|(at, _)| at)
        {
            place.count(at);
            return place.fault(format!("{what}: it was made before"));
        }
        let wanted = next.map_or("nothing more".to_owned(), |next| {
            shown(&next.function, &next.request)
        });
        place.fault(format!(
            "{what}: after {made} changes comes {wanted}, and not this"
        ))
    }

    /// The answer to a change that was made, by what it was asked.
    pub fn made(&self, function: &str, request: &Value) -> Option<Answer> {
        let made = self.place().made;
        let mut changes = self.script.changes.iter().take(made);
        let found = changes.find(|c| c.function == function && c.request == *request)?;
        Some(found.answer.clone())
    }

    /// A request that changes what the service keeps.
    pub fn post(&self, request: &Value) -> Answer {
        let mut place = self.place();
        let posts = self.script.posts.iter().enumerate();
        let same: Vec<usize> = posts
            .filter(|(_, post)| post.request == *request)
            .map(|(at, _)| at)
            .collect();
        let fresh = |at: &&usize| place.posts.get(**at) == Some(&0);
        let Some(at) = same.iter().find(fresh).or(same.last()).copied() else {
            let what = shown("http.send", request);
            return place.fault(format!("{what}: nobody sent that"));
        };
        if let Some(count) = place.posts.get_mut(at) {
            *count += 1;
        }
        match self.script.posts.get(at) {
            Some(post) => post.answer.clone(),
            None => place.fault("no answer".to_owned()),
        }
    }
}

/// Where it is seen that a request has arrived.
pub fn read_back(post: &Change) -> Vec<String> {
    let declared = post
        .request
        .pointer("/read-back/url")
        .and_then(Value::as_str);
    let list = word(&post.request, "url");
    let body = serde_json::from_str::<Value>(word(&post.request, "body")).unwrap_or_default();
    let by_id = match word(&body, "commitId") {
        "" => None,
        id => Some(format!("{list}/{id}")),
    };
    declared
        .map(str::to_owned)
        .into_iter()
        .chain(by_id)
        .collect()
}

impl Place {
    fn count(&mut self, at: usize) {
        if let Some(count) = self.changes.get_mut(at) {
            *count += 1;
        }
    }

    /// A snapshot has the lease of its VM, and a VM that is made of it too.
    fn keep_leases(&mut self, vm: &str, function: &str, request: &Value, answer: &Answer) {
        let answer = |key| answered(answer, key).unwrap_or_default().to_owned();
        if function == "snapshot.create" {
            let lease = self.leases.get(vm).map(Lease::copy).unwrap_or_default();
            self.kept_leases.insert(answer("snapshot"), lease);
        } else if function == "snapshot.restore" {
            let lease = self.kept_leases.get(word(request, "snapshot"));
            let lease = lease.cloned().unwrap_or_default();
            self.leases.insert(answer("vm"), lease);
        }
    }

    /// Remembers it, and answers with an error that nobody takes for another.
    pub fn fault(&mut self, what: String) -> Answer {
        let error = EffectError::new(ErrorKind::Failed, "world.fault", what.clone());
        self.faults.push(what);
        Err(error)
    }
}
