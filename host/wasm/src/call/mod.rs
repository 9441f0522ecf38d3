//! One call of a plugin's `check`, `run` or `undo`: a fresh store, the CPU
//! budget, the deadline, and an error that says what happened inside. It runs on
//! a task of its own, so that the caller can abandon it (see `guard`).

pub mod checks;
pub mod exports;
mod guard;
pub mod limiter;
pub mod meter;
pub mod state;

use crate::bindings::vdeploy::plugin::types;
use crate::call::exports::{Done, Given, Output, full_name};
use crate::call::guard::{Guard, OwnTask, Watched};
use crate::call::meter::{Meter, Over};
use crate::call::state::{HostState, cut};
use crate::error::PluginError;
use crate::imports::effect_error;
use crate::load::component::{Plugin, incompatible};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vdeploy_core::capability::EffectError;
use vdeploy_core::event::Phase;
use vdeploy_core::ids::{PlanName, StepId};
use vdeploy_gate::{Gate, RunShared, stopped};
use wasmtime::component::{ComponentNamedList, Instance, Lift, Lower, TypedFunc};
use wasmtime::{Store, UpdateDeadline, WasmBacktrace};

/// Longest message of a plugin's error, in bytes.
const MAX_MESSAGE: usize = 64 << 10;
/// Longest last call in an error report, in bytes.
const MAX_CALL: usize = 512;
/// Longest code of a plugin's error, in bytes.
const MAX_CODE: usize = 128;
/// Bytes that a plugin may hand to the host in one call: lists that lie in one
/// place of its memory would be many in the host's.
const MAX_ARGUMENTS: usize = 64 << 20;
/// How wasmtime begins the error of a count that a limiter bounds.
const TOO_MANY: &str = "resource limit exceeded: ";

/// Outputs of finished steps by id.
pub type Outputs = BTreeMap<StepId, Value>;

/// What `context` answers from.
#[derive(Clone, Debug)]
pub struct StepContext {
    pub plan: PlanName,
    /// From 1.
    pub attempt: u32,
    /// Validated, with defaults.
    pub config: Value,
    /// Outputs of this run's finished steps.
    pub outputs: Arc<Outputs>,
    /// Outputs of the run that is rolled back; none outside a rollback.
    pub rolled_back: Option<Arc<Outputs>>,
    /// The step whose failure started the rollback.
    pub failed_step: Option<StepId>,
}

impl StepContext {
    pub(crate) fn output(&self, step: &str) -> Option<&Value> {
        self.outputs.get(&StepId::from(step))
    }

    pub(crate) fn rolled_back(&self, step: &str) -> Option<&Value> {
        self.rolled_back.as_ref()?.get(&StepId::from(step))
    }
}

/// A call to make.
#[derive(Debug)]
pub struct Invocation {
    /// The gate of this call; says phase, step and deadline.
    pub gate: Gate,
    /// What the plugin can ask about.
    pub context: StepContext,
    /// For `undo`: what `run` returned, or none when it did not finish.
    pub output: Option<Value>,
}

/// The result of a call.
#[derive(Debug)]
pub struct Returned {
    /// The output of `run`; null for `check` and `undo`.
    pub result: Result<Value, PluginError>,
    /// For an error report: guest frames, last log lines, last capability call.
    pub context: Vec<String>,
}

impl Plugin {
    /// Calls the function that `invocation.gate.phase` names, in a store of its
    /// own.
    pub async fn call(&self, invocation: Invocation) -> Returned {
        let shared = invocation.gate.shared.clone();
        let timeout = invocation.gate.time_left();
        let limit = timeout.saturating_add(self.engine.limits().grace);
        let guard = Arc::new(Guard::default());
        let plugin = self.clone();
        let inside = guard.clone();
        let call = async move { plugin.within(invocation, timeout, limit, inside).await };
        let mut task = OwnTask::spawn(Watched::new(guard.clone(), call));
        let error = tokio::select! {
            biased;
            returned = task.end() => match returned {
                Some(returned) => return returned,
                None => PluginError::Failed(stopped(shared.cancellation.is_broken())),
            },
            error = guard.overdue(&shared, timeout, limit) => error,
        };
        guard.give_up();
        Returned {
            result: Err(error),
            context: Vec::new(),
        }
    }

    /// The call with its deadline.
    async fn within(
        &self,
        invocation: Invocation,
        timeout: Duration,
        limit: Duration,
        guard: Arc<Guard>,
    ) -> Returned {
        let Invocation {
            gate,
            context,
            output,
        } = invocation;
        let phase = gate.phase;
        let limits = self.engine.limits();
        let instance = self.description.instance_bytes;
        let budget = gate.budget.clone();
        let state = HostState::new(gate, context, limits, instance);
        let mut store = self.store(state, guard);
        let called = tokio::time::timeout(limit, async {
            tokio::select! {
                biased;
                result = self.invoke(&mut store, phase, output) => result,
                // The budget decides its result; see `final_result`.
                () = budget.overdrawn() => Ok(Value::Null),
            }
        });
        let result = match called.await {
            // The contract: a sleep past the deadline ends the step.
            Ok(Err(_)) if store.data().overslept => Err(PluginError::Deadline { timeout }),
            Ok(result) => result,
            Err(_) => Err(PluginError::Deadline { timeout }),
        };
        let state = store.into_data();
        let result = final_result(&state, result);
        let context = match &result {
            Ok(_) => Vec::new(),
            Err(error) => story(&state, error),
        };
        Returned { result, context }
    }

    /// A store with all limits set, before any code of the guest runs in it.
    fn store(&self, state: HostState, guard: Arc<Guard>) -> Store<HostState> {
        let mut store = Store::new(self.engine.wasmtime(), state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(MAX_ARGUMENTS);
        store.set_epoch_deadline(1);
        let waited = store.data().gate.shared.waited();
        let mut meter = Meter::new(self.engine.limits().cpu, Instant::now(), waited);
        let watched = guard.clone();
        store.epoch_deadline_callback(move |mut context| {
            let shared = &context.data().gate.shared;
            let stop = must_stop(shared);
            let over = match watched.is_given_up() {
                true => Some(Over::Stopped),
                false => meter.tick(Instant::now(), shared.waited(), stop),
            };
            if over.is_none() {
                return Ok(UpdateDeadline::Yield(1));
            }
            context.data_mut().over = over;
            Ok(UpdateDeadline::Interrupt)
        });
        store.call_hook(
            move |_, hook| match guard.is_given_up() && hook.entering_host() {
                true => Err(wasmtime::format_err!("the call was given up")),
                false => Ok(()),
            },
        );
        store
    }

    async fn invoke(
        &self,
        store: &mut Store<HostState>,
        phase: Phase,
        output: Option<Value>,
    ) -> Result<Value, PluginError> {
        let instance = self
            .linker
            .instantiate_async(&mut *store, &self.component)
            .await
            .map_err(|e| self.fault(store, e, true))?;
        match phase {
            Phase::Check => {
                let check = self.export::<(), Done>(store, &instance, "step", "check")?;
                let (result,) = self.run_export(store, check, ()).await?;
                result.map_err(|e| failed(store, e))?;
                Ok(Value::Null)
            }
            Phase::Run => {
                let run = self.export::<(), Output>(store, &instance, "step", "run")?;
                let (result,) = self.run_export(store, run, ()).await?;
                let text = result.map_err(|e| failed(store, e))?;
                parse_output(&text, self.engine.limits().output)
            }
            Phase::Undo => {
                let undo = self.export::<Given, Done>(store, &instance, "undo", "undo")?;
                let output = output.map(|value| value.to_string());
                let (result,) = self.run_export(store, undo, (output,)).await?;
                result.map_err(|e| failed(store, e))?;
                Ok(Value::Null)
            }
        }
    }

    fn export<P, R>(
        &self,
        store: &mut Store<HostState>,
        instance: &Instance,
        interface: &str,
        function: &str,
    ) -> Result<TypedFunc<P, R>, PluginError>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let name = full_name(interface);
        let missing = || PluginError::Incompatible {
            plugin: self.name.clone(),
            message: format!("it does not export `{function}` of `{name}`"),
        };
        let outer = instance
            .get_export_index(&mut *store, None, &name)
            .ok_or_else(missing)?;
        let inner = instance
            .get_export_index(&mut *store, Some(&outer), function)
            .ok_or_else(missing)?;
        instance
            .get_typed_func(&mut *store, inner)
            .map_err(|e| incompatible(&self.name, &e))
    }

    async fn run_export<P, R>(
        &self,
        store: &mut Store<HostState>,
        function: TypedFunc<P, R>,
        params: P,
    ) -> Result<R, PluginError>
    where
        P: ComponentNamedList + Lower + Send + Sync + 'static,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        match function.call_async(&mut *store, params).await {
            Ok(result) => Ok(result),
            Err(error) => Err(self.fault(store, error, false)),
        }
    }

    /// The plugin error for an error of wasmtime.
    fn fault(
        &self,
        store: &mut Store<HostState>,
        error: wasmtime::Error,
        linking: bool,
    ) -> PluginError {
        let limits = self.engine.limits();
        let state = store.data_mut();
        if state.limiter.memory_hit {
            return PluginError::Memory {
                limit: limits.memory,
            };
        }
        let cause = error.root_cause().to_string();
        if let Some(what) = cause.strip_prefix(TOO_MANY) {
            return PluginError::Parts {
                message: what.to_owned(),
            };
        }
        match state.over {
            Some(Over::Cpu) => return PluginError::Cpu { budget: limits.cpu },
            Some(Over::Stopped) => {
                return PluginError::Failed(stopped(state.gate.shared.cancellation.is_broken()));
            }
            None => {}
        }
        if let Some(error) = error.downcast_ref::<EffectError>() {
            return PluginError::Failed(error.clone());
        }
        if linking && error.downcast_ref::<wasmtime::Trap>().is_none() {
            return incompatible(&self.name, &error);
        }
        state.frames = frames(&error);
        PluginError::Trap {
            message: state
                .panic
                .clone()
                .unwrap_or_else(|| error.root_cause().to_string()),
        }
    }
}

/// Whether the run is being stopped or the gate is closed.
fn must_stop(shared: &RunShared) -> bool {
    shared.cancellation.is_cancelled() || shared.cancellation.is_broken()
}

/// The result after the budget and the named checks: a step that ignores a
/// failed check has failed too.
fn final_result(
    state: &HostState,
    result: Result<Value, PluginError>,
) -> Result<Value, PluginError> {
    if let Some(spent) = state.gate.budget.spent() {
        return Err(PluginError::Failed(spent));
    }
    match (result, state.checks.failure()) {
        (Ok(_), Some(failed)) => Err(PluginError::Failed(failed)),
        (result, _) => result,
    }
}

/// What the plugin reports, masked and cut.
fn failed(store: &Store<HostState>, error: types::Error) -> PluginError {
    let masker = &store.data().gate.shared.masker;
    let short = |text: &str, most| masker.mask_start(text, most);
    let error = effect_error(error);
    PluginError::Failed(EffectError {
        code: short(&error.code, MAX_CODE),
        message: short(&error.message, MAX_MESSAGE),
        ..error
    })
}

/// The first guest frames of a trap, without the panic machinery.
fn frames(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return Vec::new();
    };
    backtrace
        .frames()
        .iter()
        .filter_map(|frame| frame.func_name())
        .filter(|name| !name.contains("panic") && !name.contains("rust_begin_unwind"))
        .take(3)
        .map(|name| cut(name, MAX_CALL).to_owned())
        .collect()
}

fn parse_output(text: &str, most: usize) -> Result<Value, PluginError> {
    if text.len() > most {
        return Err(PluginError::Output {
            message: format!("has {} bytes; at most {most} are kept", text.len()),
        });
    }
    match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(object) => Ok(Value::Object(object)),
        Err(error) => Err(PluginError::Output {
            message: format!("is no JSON object: {error}"),
        }),
    }
}

/// Context lines for an error of a plugin.
fn story(state: &HostState, error: &PluginError) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let reported = matches!(error, PluginError::Failed(_));
    if !reported {
        lines.extend(state.frames.iter().map(|name| format!("in {name}")));
        lines.extend(state.last_lines().map(|line| format!("log: {line}")));
        if let Some(call) = &state.last_call {
            let call = state.gate.shared.masker.mask_start(call, MAX_CALL);
            lines.push(format!("last call: {call}"));
        }
    }
    lines
}
