//! Where a run's target is. It moves when a snapshot is restored, so everyone
//! asks the handle instead of keeping an address.

use crate::ids::{TargetName, VmId};
use std::sync::{Arc, RwLock};

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
    facts: Arc<RwLock<TargetFacts>>,
    url_template: Arc<str>,
}

impl TargetHandle {
    /// A target on the Vers platform; `url_template` has `{vm}` where the id
    /// goes, for example `https://{vm}.vm.vers.sh:3000`.
    pub fn vers(name: TargetName, vm: VmId, url_template: &str) -> Self {
        let url = url_template.replace("{vm}", vm.as_str());
        Self {
            facts: Arc::new(RwLock::new(TargetFacts {
                name,
                vm: Some(vm),
                url: Some(url),
            })),
            url_template: url_template.into(),
        }
    }

    /// The target as it is now.
    pub fn facts(&self) -> TargetFacts {
        self.facts.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// From now on the target is `vm`.
    pub fn move_to(&self, vm: VmId) {
        let mut facts = self.facts.write().unwrap_or_else(|e| e.into_inner());
        facts.url = Some(self.url_template.replace("{vm}", vm.as_str()));
        facts.vm = Some(vm);
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
}
