//! Builds complete plans from what is written, through `extends`, inserted,
//! replaced, changed and dropped steps.

pub mod overrides;
pub mod raw_plan;
pub mod render;

use crate::plans::raw_plan::{LISTS, Placed, Position, RawPlan, RawStep};
use crate::read::json::Pointers;
use crate::read::nearest::{did_you_mean, nearest};
use crate::read::parse::At;
use crate::read::span::{Place, Problem};
use std::collections::BTreeMap;
use vdeploy_core::ids::{PlanName, StepId};
use vdeploy_core::plan::{OnFailure, Plan, RollbackTo, Step};

/// A plan while it is built.
#[derive(Clone, Debug, Default)]
struct Draft {
    lists: [Vec<Placed>; 3],
    summary: String,
    on_failure: Option<OnFailure>,
    rollback_to: Option<RollbackTo>,
}

impl Draft {
    fn ids(&self) -> Vec<&str> {
        let steps = self.lists.iter().flatten();
        steps.map(|s| s.step.id.as_str()).collect()
    }
}

/// A finished plan with the places of its steps.
pub(crate) struct Built {
    pub plan: Plan,
    pub places: BTreeMap<StepId, Pointers>,
}

/// Builds every plan: those of `file` over those of `builtin`. What is wrong
/// goes to `problems`; a plan that cannot be built is left out.
pub(crate) fn build(
    builtin: &BTreeMap<String, RawPlan>,
    file: &BTreeMap<String, RawPlan>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<PlanName, Built> {
    let mut builder = Builder {
        builtin,
        file,
        problems,
    };
    let names = builtin.keys().chain(file.keys());
    let mut plans = BTreeMap::new();
    for name in names {
        let raw = file.get(name).or_else(|| builtin.get(name));
        let Some(raw) = raw else { continue };
        if let Some(draft) = builder.draft(raw, file.contains_key(name), &mut Vec::new()) {
            let built = builder.finish(raw, draft);
            plans.insert(PlanName::new(name.as_str()), built);
        }
    }
    plans
}

struct Builder<'a> {
    builtin: &'a BTreeMap<String, RawPlan>,
    file: &'a BTreeMap<String, RawPlan>,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Builder<'a> {
    /// `above` are the plans of the file that lead here.
    fn draft(
        &mut self,
        raw: &'a RawPlan,
        in_file: bool,
        above: &mut Vec<&'a str>,
    ) -> Option<Draft> {
        let mut draft = match &raw.extends {
            None => Draft::default(),
            Some(base) => self.base(raw, base, in_file, above)?,
        };
        let extending = raw.extends.is_some();
        if let (false, Some(id)) = (extending, raw.drop.first()) {
            self.no_base(raw, &id.place, "drop");
        }
        let dropped = self.drop_steps(raw, &mut draft);
        for (list, entries) in raw.lists.iter().enumerate() {
            for entry in entries {
                match extending {
                    true => self.extend(raw, &mut draft, list, entry, &dropped),
                    false => self.append(raw, &mut draft, list, entry),
                }
            }
        }
        if let Some(summary) = &raw.summary {
            draft.summary.clone_from(summary);
        }
        draft.on_failure = raw
            .on_failure
            .as_ref()
            .map(|p| p.value)
            .or(draft.on_failure);
        draft.rollback_to = raw.rollback_to.or(draft.rollback_to);
        Some(draft)
    }

    fn base(
        &mut self,
        raw: &'a RawPlan,
        base: &At<String>,
        in_file: bool,
        above: &mut Vec<&'a str>,
    ) -> Option<Draft> {
        let own_name = base.value == raw.name;
        // A plan of the file that extends its own name extends the built-in one.
        let from_file = (in_file && !own_name)
            .then(|| self.file.get(&base.value))
            .flatten();
        if let Some(next) = from_file {
            above.push(&raw.name);
            if above.contains(&base.value.as_str()) {
                let ring = format!("{} -> {}", above.join(" -> "), base.value);
                self.problems.push(
                    Problem::at(
                        &base.place,
                        format!("plans extend each other in a ring: {ring}"),
                    )
                    .help("write the steps of one of them out"),
                );
                return None;
            }
            return self.draft(next, true, above);
        }
        if let Some(next) = self
            .builtin
            .get(&base.value)
            .filter(|_| in_file || !own_name)
        {
            return self.draft(next, false, above);
        }
        let names = self.builtin.keys().chain(self.file.keys());
        let mut names: Vec<&str> = names
            .map(String::as_str)
            .filter(|n| *n != raw.name)
            .collect();
        names.sort_unstable();
        names.dedup();
        let problem = match own_name {
            true => Problem::at(&base.place, format!("plan `{}` extends itself", raw.name)),
            false => Problem::at(
                &base.place,
                format!(
                    "plan `{}` extends `{}`, which does not exist",
                    raw.name, base.value
                ),
            ),
        };
        let help = did_you_mean(&base.value, "plans", names.iter().copied());
        self.problems.push(problem.help(help));
        None
    }

    fn drop_steps(&mut self, raw: &RawPlan, draft: &mut Draft) -> Vec<String> {
        let mut dropped = Vec::new();
        if raw.extends.is_none() {
            return dropped;
        }
        for id in &raw.drop {
            if self.find(draft, id, &dropped).is_some() {
                for list in &mut draft.lists {
                    list.retain(|s| s.step.id.as_str() != id.value);
                }
                dropped.push(id.value.clone());
            }
        }
        dropped
    }

    /// The list and index of an inherited step; a problem when there is none.
    fn find(
        &mut self,
        draft: &Draft,
        id: &At<String>,
        dropped: &[String],
    ) -> Option<(usize, usize)> {
        for (list, steps) in draft.lists.iter().enumerate() {
            if let Some(at) = steps.iter().position(|s| s.step.id.as_str() == id.value) {
                return Some((list, at));
            }
        }
        let problem = match dropped.contains(&id.value) {
            true => Problem::at(
                &id.place,
                format!("step `{}` is dropped by this plan", id.value),
            ),
            false => Problem::at(&id.place, format!("no step `{}` in the plan", id.value)),
        };
        let help = did_you_mean(&id.value, "steps", draft.ids());
        self.problems.push(problem.help(help));
        None
    }

    fn no_base(&mut self, raw: &RawPlan, place: &Place, key: &str) {
        self.problems.push(
            Problem::at(
                place,
                format!(
                    "plan `{}` extends nothing, so `{key}` has no meaning",
                    raw.name
                ),
            )
            .help("add `extends`, or write the steps in the order in which they run"),
        );
    }

    fn append(&mut self, raw: &RawPlan, draft: &mut Draft, list: usize, entry: &RawStep) {
        if let Some((position, id)) = &entry.position {
            let key = match position {
                Position::Before => "before",
                Position::After => "after",
                Position::Replaces => "replaces",
            };
            self.no_base(raw, &id.place, key);
        }
        let Some(id) = &entry.id else { return };
        match &entry.plugin {
            Some(plugin) => {
                if let Some(steps) = draft.lists.get_mut(list) {
                    steps.push(entry.step(&id.value, plugin));
                }
            }
            None => self.no_plugin(entry, &id.value),
        }
    }

    fn no_plugin(&mut self, entry: &RawStep, id: &str) {
        self.problems.push(
            Problem::at(&entry.place, format!("step `{id}` has no `plugin`"))
                .help("write plugin = \"…\", the name of a [plugins.NAME] or of a built-in plugin"),
        );
    }

    fn extend(
        &mut self,
        raw: &RawPlan,
        draft: &mut Draft,
        list: usize,
        entry: &RawStep,
        dropped: &[String],
    ) {
        if let Some((position, anchor)) = &entry.position {
            let Some((found_in, at)) = self.find(draft, anchor, dropped) else {
                return;
            };
            if found_in != list {
                self.wrong_list(raw, anchor, found_in);
                return;
            }
            let id = match (&entry.id, position) {
                (Some(id), _) => id.value.clone(),
                (None, Position::Replaces) => anchor.value.clone(),
                (None, _) => return,
            };
            let Some(plugin) = &entry.plugin else {
                self.no_plugin(entry, &id);
                return;
            };
            let step = entry.step(&id, plugin);
            let Some(steps) = draft.lists.get_mut(list) else {
                return;
            };
            match position {
                Position::Before => steps.insert(at, step),
                Position::After => steps.insert(at + 1, step),
                Position::Replaces => {
                    if let Some(old) = steps.get_mut(at) {
                        *old = step;
                    }
                }
            }
            return;
        }
        let Some(id) = &entry.id else { return };
        let known = draft.ids().contains(&id.value.as_str());
        match (&entry.plugin, known) {
            (None, _) => self.change(raw, draft, list, entry, id, dropped),
            (Some(_), true) => self.problems.push(
                Problem::at(
                    &id.place,
                    format!("step `{}` is in the plan already", id.value),
                )
                .help(format!(
                    "write replaces = \"{}\" to put another plugin there, or leave `plugin` out \
                     to change the step's settings",
                    id.value
                )),
            ),
            (Some(plugin), false) => {
                let Some(steps) = draft.lists.get_mut(list) else {
                    return;
                };
                match steps.last() {
                    None => steps.push(entry.step(&id.value, plugin)),
                    Some(last) => {
                        let last = last.step.id.clone();
                        self.problems.push(
                            Problem::at(
                                &entry.place,
                                format!("it is not said where step `{}` goes", id.value),
                            )
                            .help(format!(
                                "write for example after = \"{last}\", or before = \"{last}\""
                            )),
                        );
                    }
                }
            }
        }
    }

    fn change(
        &mut self,
        raw: &RawPlan,
        draft: &mut Draft,
        list: usize,
        entry: &RawStep,
        id: &At<String>,
        dropped: &[String],
    ) {
        let near = nearest(&id.value, draft.ids()).is_some();
        if !near && !draft.ids().contains(&id.value.as_str()) && !dropped.contains(&id.value) {
            self.no_plugin(entry, &id.value);
            return;
        }
        let Some((found_in, at)) = self.find(draft, id, dropped) else {
            return;
        };
        if found_in != list {
            self.wrong_list(raw, id, found_in);
            return;
        }
        let steps = draft.lists.get_mut(list);
        if let Some(placed) = steps.and_then(|s| s.get_mut(at)) {
            entry.change(placed);
        }
    }

    fn wrong_list(&mut self, raw: &RawPlan, id: &At<String>, found_in: usize) {
        let key = LISTS.get(found_in).copied().unwrap_or_default();
        self.problems.push(
            Problem::at(&id.place, format!("step `{}` is in another list", id.value))
                .help(format!("write this entry as [[plans.{}.{key}]]", raw.name)),
        );
    }

    fn finish(&mut self, raw: &RawPlan, draft: Draft) -> Built {
        let mut places: BTreeMap<StepId, Pointers> = BTreeMap::new();
        for placed in draft.lists.iter().flatten() {
            let id = &placed.step.id;
            let Some(first) = places.insert(id.clone(), placed.places.clone()) else {
                continue;
            };
            // Shown at the entry in this plan's file.
            let both = [placed.place(), first.get("")].into_iter().flatten();
            let mut here = both.filter(|p| p.file == raw.place.file);
            let place = here.next().unwrap_or(&raw.place);
            self.problems.push(
                Problem::at(place, format!("step id `{id}` is used twice"))
                    .help("every step, rollback step and finally step needs an id of its own"),
            );
        }
        let [steps, rollback, finally] = draft
            .lists
            .map(|list| list.into_iter().map(|p| p.step).collect::<Vec<Step>>());
        let plan = Plan {
            name: PlanName::new(raw.name.as_str()),
            summary: draft.summary,
            steps,
            rollback,
            finally,
            on_failure: draft.on_failure.unwrap_or(OnFailure::Rollback),
            rollback_to: draft.rollback_to.unwrap_or(RollbackTo::InPlace),
        };
        if plan.steps.is_empty() {
            self.problems.push(
                Problem::at(&raw.place, format!("plan `{}` has no steps", raw.name)).help(format!(
                    "add [[plans.{}.step]] with `id` and `plugin`",
                    raw.name
                )),
            );
        }
        let rolls_back = plan.on_failure == OnFailure::Rollback
            || plan
                .steps
                .iter()
                .any(|s| s.on_failure == Some(OnFailure::Rollback));
        if rolls_back && plan.rollback.is_empty() && !raw.unclear_policy {
            self.problems.push(
                Problem::at(
                    &raw.place,
                    format!(
                        "plan `{}` rolls back on failure but has no rollback steps",
                        raw.name
                    ),
                )
                .help(format!(
                    "add [[plans.{}.rollback]] steps, the last of which verifies, or write \
                     on-failure = \"keep\"",
                    raw.name
                )),
            );
        }
        Built { plan, places }
    }
}
