//! Where a run's target is, a VM or a server. A VM moves when a snapshot is
//! restored, so everyone asks the handle instead of keeping an address. It
//! stands still while a snapshot is made, and the handle knows that too.

use crate::ids::{TargetName, VmId};
use std::sync::Arc;
use tokio::sync::watch;

/// The target as it is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetFacts {
    /// Its name in the project file.
    pub name: TargetName,
    /// The Vers VM, if it is one.
    pub vm: Option<VmId>,
    /// Where the service is reached from outside; no slash at the end.
    pub url: Option<String>,
}

/// A shared, movable view of the target.
#[derive(Clone, Debug)]
pub struct TargetHandle {
    facts: Arc<watch::Sender<TargetFacts>>,
    /// How many calls make it stand still.
    still: Arc<watch::Sender<usize>>,
    url_template: Arc<str>,
}

/// The target stands still, or may, until this is dropped.
#[derive(Debug)]
pub struct StandStill(Arc<watch::Sender<usize>>);

impl Drop for StandStill {
    fn drop(&mut self) {
        self.0.send_modify(|calls| *calls = calls.saturating_sub(1));
    }
}

impl TargetHandle {
    /// A target on the Vers platform; `url_template` has `{vm}` where the id
    /// goes, for example `https://{vm}.vm.vers.sh:3000`.
    pub fn vers(name: TargetName, vm: VmId, url_template: &str) -> Self {
        let url = url_template.replace("{vm}", vm.as_str());
        Self {
            facts: Arc::new(watch::Sender::new(TargetFacts {
                name,
                vm: Some(vm),
                url: Some(url),
            })),
            still: Arc::default(),
            url_template: url_template.into(),
        }
    }

    /// A server that is reached by SSH and stays where it is; `url` is where
    /// its service is reached, if that was said.
    pub fn ssh(name: TargetName, url: Option<&str>) -> Self {
        let url = url.map(str::to_owned);
        Self {
            url_template: url.as_deref().unwrap_or_default().into(),
            facts: Arc::new(watch::Sender::new(TargetFacts {
                name,
                vm: None,
                url,
            })),
            still: Arc::default(),
        }
    }

    /// The target as it is now.
    pub fn facts(&self) -> TargetFacts {
        self.facts.borrow().clone()
    }

    /// Where the service is reached, with `{vm}` where the id of a VM goes.
    pub fn url_template(&self) -> Option<&str> {
        Some(&*self.url_template).filter(|url| !url.is_empty())
    }

    /// The target as it is when it is `vm`.
    pub fn facts_on(&self, vm: &VmId) -> TargetFacts {
        let mut facts = self.facts();
        self.put_on(&mut facts, vm.clone());
        facts
    }

    fn put_on(&self, facts: &mut TargetFacts, vm: VmId) {
        let url = self.url_template.replace("{vm}", vm.as_str());
        facts.url = Some(url).filter(|url| !url.is_empty());
        facts.vm = Some(vm);
    }

    /// From now on the target is `vm`.
    pub fn move_to(&self, vm: VmId) {
        self.facts.send_modify(|facts| self.put_on(facts, vm));
    }

    /// Tells of every move from now on.
    pub fn moves(&self) -> watch::Receiver<TargetFacts> {
        self.facts.subscribe()
    }

    /// From now on the target may answer nothing, until the guard is dropped.
    pub fn stand_still(&self) -> StandStill {
        self.still.send_modify(|calls| *calls += 1);
        StandStill(self.still.clone())
    }

    /// Whether the target may stand still now.
    pub fn stands_still(&self) -> bool {
        *self.still.borrow() > 0
    }

    /// Resolves when the target does not stand still.
    pub async fn goes_on(&self) {
        // The sender lives as long as the handle: there is no error to see.
        let _ = self.still.subscribe().wait_for(|calls| *calls == 0).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_changes_vm_and_url_for_every_holder() {
        let a = TargetHandle::vers("infra".into(), "one".into(), "https://{vm}.x:3000");
        let b = a.clone();
        b.move_to("two".into());
        assert_eq!(a.facts().url.as_deref(), Some("https://two.x:3000"));
        assert_eq!(a.facts().vm, Some("two".into()));
    }

    #[test]
    fn a_server_has_no_vm_and_only_the_url_that_was_said() {
        let url = "http://db.example.com:8080";
        let facts = TargetHandle::ssh("db".into(), Some(url)).facts();
        assert_eq!((facts.vm, facts.url.as_deref()), (None, Some(url)));
        assert_eq!(TargetHandle::ssh("db".into(), None).facts().url, None);
    }

    #[tokio::test]
    async fn a_standstill_ends_with_its_last_guard() {
        let target = TargetHandle::vers("infra".into(), "one".into(), "https://{vm}.x:3000");
        let (first, second) = (target.stand_still(), target.clone().stand_still());
        drop(first);
        assert!(target.stands_still());
        let (seen, ()) = tokio::join!(
            async {
                target.goes_on().await;
                target.stands_still()
            },
            async { drop(second) }
        );
        assert!(!seen);
    }
}
