//! Looks at a target through a plan without running it: every step's `check`,
//! and the `run` of the steps that can only probe. Unlike a run it goes on after
//! a failure, so that everything is seen at once. Changes nothing: the steps are
//! called as in a dry run.

use super::driver::{Execution, Progress, StepProblem};
use super::machine::{self, Place};
use vdeploy_core::event::{Phase, Section};

impl Execution {
    /// Looks, step after step; `between` is called after each. Returns what
    /// failed, one problem a step.
    pub async fn preview(&self, mut between: impl FnMut()) -> Vec<StepProblem> {
        let mut progress = Progress::default();
        let sections = [Section::Steps, Section::Rollback, Section::Finally];
        for (place, step) in sections
            .iter()
            .flat_map(|section| machine::places(&self.plan, *section))
        {
            if !self.shared.dry_run || self.shared.cancellation.is_cancelled() {
                break;
            }
            let mut found = Progress {
                outputs: std::mem::take(&mut progress.outputs),
                ..Progress::default()
            };
            self.call(step, place, Phase::Check, 1, None, &mut found)
                .await;
            if self.only_probes(place) {
                // Its own words are better than those of the check before it.
                let checked = std::mem::take(&mut found.problems);
                let ran = self.call(step, place, Phase::Run, 1, None, &mut found);
                match ran.await {
                    Some(output) => {
                        found.outputs.insert(step.id.clone(), output);
                        found.problems = checked;
                    }
                    None if found.problems.is_empty() => found.problems = checked,
                    None => {}
                }
            }
            progress.outputs = found.outputs;
            progress.problems.extend(found.problems);
            between();
        }
        progress.problems
    }

    /// Whether neither its grants nor its imports let it change anything.
    fn only_probes(&self, place: Place) -> bool {
        place.section == Section::Steps && !self.traits.may_change.contains(&place.index)
    }
}
