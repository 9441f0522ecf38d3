//! Makes a call: journal the intent, perform, mask, journal the result, tell.

use crate::call::Effect;
use crate::call::pass::{
    CallContext, CallResult, Gate, MAX_ERROR, NOT_MADE, closed, in_doubt, millis,
};
use crate::decide::rules::{Decision, stopped};
use crate::source::Asked;
use serde_json::Value;
use tokio::time::Instant;
use vdeploy_core::capability::EffectError;
use vdeploy_core::capability::function::HostFunction;

impl Gate {
    /// A change of a dry run: shown, and not made.
    pub(crate) fn record_pretended(&self, mut asked: Asked) -> Result<(), EffectError> {
        let recorder = &self.shared.recorder;
        recorder.emit(asked.started());
        let not_made = Ok(Value::from(NOT_MADE));
        self.count(&not_made)?;
        let finished = asked.finished(&not_made, 0);
        let entry = asked.result(not_made);
        recorder.record(&entry, finished).map_err(closed)
    }

    pub(crate) async fn make<T, F>(
        &self,
        mut asked: Asked,
        asked_before: Option<u64>,
        decision: Decision,
        perform: F,
    ) -> Result<T, EffectError>
    where
        F: AsyncFnOnce(CallContext) -> Result<CallResult<T>, EffectError>,
    {
        let shared = &self.shared;
        let recorder = &shared.recorder;
        let change = asked.call.effect.is_change();
        let prepares = decision == Decision::Prepare;
        if prepares {
            shared.snapshots.prepared_by(&self.step);
        }
        let changes_target = asked.call.effect == Effect::ChangeTarget && !prepares;
        if (change || asked.call.lasting) && asked_before.is_none() {
            let intent = asked.intent(changes_target);
            let started = asked.started();
            recorder.record(&intent, started).map_err(closed)?;
        } else {
            recorder.emit(asked.started());
        }
        if asked_before.is_some() {
            // They are in the intent of the earlier process.
            asked.request = Value::Null;
        }
        // Before the call, which can be interrupted at the step's deadline.
        let was_changed = match changes_target {
            true => shared.snapshots.set_target_changed(true),
            false => true,
        };
        let began = Instant::now();
        let context = CallContext {
            effect: asked.number,
            asked_before,
        };
        let (response, journal) = match self.perform(&asked, context, perform).await {
            Ok(result) => (Ok(result.value), Ok(result.journal)),
            Err(mut error) => {
                error.message = shared.masker.mask_start(&error.message, MAX_ERROR);
                if !error.maybe_applied && !was_changed {
                    shared.snapshots.set_target_changed(false);
                }
                (Err(error.clone()), Err(error))
            }
        };
        if let Err(error) = &response
            && self.is_left_open(error)
        {
            let duration = millis(began.elapsed());
            recorder.emit(asked.finished(&journal, duration));
            return response;
        }
        let (response, journal) = match self.count(&journal) {
            Ok(()) => (response, journal),
            // The answer of a change is lost, and not the change.
            Err(error) => {
                let error = if change { error.in_doubt() } else { error };
                (Err(error.clone()), Err(error))
            }
        };
        let finished = asked.finished(&journal, millis(began.elapsed()));
        let entry = asked.result(journal);
        if change {
            recorder.record(&entry, finished).map_err(in_doubt)?;
        } else {
            recorder.record_soon(entry, finished).map_err(closed)?;
        }
        response
    }

    async fn perform<T, F>(
        &self,
        asked: &Asked,
        context: CallContext,
        perform: F,
    ) -> Result<CallResult<T>, EffectError>
    where
        F: AsyncFnOnce(CallContext) -> Result<CallResult<T>, EffectError>,
    {
        if asked.call.effect.is_change() {
            // The journal may have taken its time.
            self.ensure_lease_valid()
                .await
                .map_err(|error| match context.asked_before {
                    Some(_) => error.in_doubt(),
                    None => error,
                })?;
            return perform(context).await;
        }
        // A sleep handles the stop itself.
        if asked.call.function == HostFunction::ClockSleep {
            return perform(context).await;
        }
        let cancellation = &self.shared.cancellation;
        tokio::select! {
            biased;
            result = perform(context) => result,
            () = cancellation.stopped() => Err(stopped(cancellation.is_broken())),
        }
    }
}
