//! Which named checks of one call have failed. The last status of a name counts:
//! a plugin may check again. A call that returns success with a failed check has
//! failed.

use crate::load::component::digest;
use std::collections::BTreeMap;
use vdeploy_core::capability::mask::Masker;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::event::CheckStatus;
use vdeploy_core::ids::Digest;

/// The code of a call that returned success with a failed check.
const FAILED: &str = "check.failed";
/// So many failed names are tracked; with more, the call fails whatever follows.
const MOST_NAMES: usize = 1000;
/// So many are named in the error.
const NAMED: usize = 10;
/// Longest name in the error, in bytes.
const MAX_NAME: usize = 200;
/// Longest detail in the error, in bytes.
const MAX_DETAIL: usize = 2048;

/// The failed checks of a call.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// By the digest of the name, which may be long; each as it is shown.
    failed: BTreeMap<Digest, Failed>,
    /// In which order they failed.
    count: usize,
    too_many: bool,
}

#[derive(Debug)]
struct Failed {
    order: usize,
    name: String,
    detail: String,
}

impl Checks {
    /// Records a reported check.
    pub(crate) fn seen(
        &mut self,
        name: &str,
        status: CheckStatus,
        detail: Option<&str>,
        masker: &Masker,
    ) {
        if status != CheckStatus::Failed {
            if !self.failed.is_empty() {
                self.failed.remove(&digest(name.as_bytes()));
            }
            return;
        }
        let key = digest(name.as_bytes());
        if self.failed.len() >= MOST_NAMES && !self.failed.contains_key(&key) {
            self.too_many = true;
            return;
        }
        self.count += 1;
        let failed = Failed {
            order: self.count,
            name: masker.mask_start(name, MAX_NAME),
            detail: masker.mask_start(detail.unwrap_or_default(), MAX_DETAIL),
        };
        self.failed.insert(key, failed);
    }

    /// The error of a call that returned success.
    pub(crate) fn failure(&self) -> Option<EffectError> {
        let mut failed: Vec<&Failed> = self.failed.values().collect();
        failed.sort_by_key(|failed| failed.order);
        let message = match failed.as_slice() {
            [] if !self.too_many => return None,
            [one] => match one.detail.as_str() {
                "" => format!("the check `{}` failed", one.name),
                detail => format!("the check `{}` failed: {detail}", one.name),
            },
            many => {
                let names = many.iter().take(NAMED);
                let names: Vec<String> = names.map(|one| format!("`{}`", one.name)).collect();
                let more = match many.len().saturating_sub(NAMED) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                let least = if self.too_many { "more than " } else { "" };
                format!(
                    "{least}{} checks failed: {}{more}",
                    many.len(),
                    names.join(", ")
                )
            }
        };
        Some(EffectError::new(ErrorKind::Failed, FAILED, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seen: &[(&str, CheckStatus, &str)]) -> Option<String> {
        let mut checks = Checks::default();
        for (name, status, detail) in seen {
            checks.seen(name, *status, Some(detail), &Masker::none());
        }
        checks.failure().map(|error| error.message)
    }

    #[test]
    fn the_last_status_of_a_name_counts() {
        use CheckStatus::{Failed, Passed, Skipped};
        assert_eq!(after(&[("a", Passed, ""), ("b", Skipped, "no")]), None);
        assert_eq!(after(&[("a", Failed, "x"), ("a", Passed, "")]), None);
        assert_eq!(after(&[("a", Failed, "x"), ("a", Skipped, "")]), None);
        let one = after(&[("a", Passed, ""), ("a", Failed, "2, not 3")]);
        assert_eq!(one.as_deref(), Some("the check `a` failed: 2, not 3"));
        let other = after(&[("a", Failed, ""), ("b", Passed, "")]);
        assert_eq!(other.as_deref(), Some("the check `a` failed"));
        let both = after(&[("b", Failed, ""), ("a", Failed, "")]);
        assert_eq!(both.as_deref(), Some("2 checks failed: `b`, `a`"));
    }

    #[test]
    fn long_names_are_told_apart_and_more_than_can_be_kept_are_not_forgotten() {
        use CheckStatus::{Failed, Passed};
        let long = "n".repeat(5000);
        let (one, other) = (format!("{long}1"), format!("{long}2"));
        let failed = after(&[(&one, Failed, ""), (&other, Passed, "")]).unwrap();
        assert!(failed.len() < 300, "{failed}");
        let mut checks = Checks::default();
        let names: Vec<String> = (0..=MOST_NAMES).map(|n| n.to_string()).collect();
        for name in &names {
            checks.seen(name, Failed, None, &Masker::none());
        }
        let message = checks.failure().unwrap().message;
        assert!(
            message.contains("more than 1000 checks failed"),
            "{message}"
        );
        for name in &names {
            checks.seen(name, Passed, None, &Masker::none());
        }
        assert!(checks.failure().is_some());
    }
}
