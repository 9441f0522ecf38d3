//! One call of a plugin's `check`, `run` or `undo`: a fresh store, the CPU
//! budget, the deadline, and an error that says what happened inside.

use super::bindings::vdeploy::plugin::types;
use super::component::{Plugin, incompatible};
use super::error::PluginError;
use super::exports::{Done, Given, Output, full_name};
use super::imports::effect_error;
use super::meter::Meter;
use super::state::{HostState, cut};
use crate::capability::EffectError;
use crate::event::Phase;
use crate::gate::Gate;
use crate::ids::{PlanName, StepId};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use wasmtime::component::{ComponentNamedList, Instance, Lift, Lower, TypedFunc};
use wasmtime::{Store, UpdateDeadline, WasmBacktrace};

/// Longest message of a plugin's error, in bytes.
const MAX_MESSAGE: usize = 64 << 10;
/// Longest last call in an error report, in bytes.
const MAX_CALL: usize = 512;
/// Longest code of a plugin's error, in bytes.
const MAX_CODE: usize = 128;

/// Outputs of finished steps by id.
pub type Outputs = BTreeMap<StepId, Value>;

/// What `context` answers from.
#[derive(Clone, Debug)]
pub struct StepContext {
    /// The plan.
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
    pub(super) fn output(&self, step: &str) -> Option<&Value> {
        self.outputs.get(&StepId::from(step))
    }

    pub(super) fn rolled_back(&self, step: &str) -> Option<&Value> {
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

/// What came of a call.
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
        let Invocation {
            gate,
            context,
            output,
        } = invocation;
        let phase = gate.phase;
        let timeout = gate.time_left();
        let mut store = self.store(HostState::new(gate, context, self.limits));
        let within = tokio::time::timeout(
            timeout.saturating_add(self.limits.grace),
            self.invoke(&mut store, phase, output),
        );
        let result = match within.await {
            // The contract: a sleep past the deadline ends the step.
            Ok(Err(_)) if store.data().overslept => Err(PluginError::Deadline { timeout }),
            Ok(result) => result,
            Err(_) => Err(PluginError::Deadline { timeout }),
        };
        let state = store.into_data();
        let context = match &result {
            Ok(_) => Vec::new(),
            Err(error) => story(&state, error),
        };
        Returned { result, context }
    }

    fn store(&self, state: HostState) -> Store<HostState> {
        let mut store = Store::new(self.component.engine(), state);
        store.limiter(|state| &mut state.limiter);
        store.set_epoch_deadline(1);
        let waited = store.data().gate.shared.waited();
        let mut meter = Meter::new(self.limits.cpu, Instant::now(), waited);
        store.epoch_deadline_callback(move |mut context| {
            let waited = context.data().gate.shared.waited();
            if meter.tick(Instant::now(), waited) {
                context.data_mut().cpu_used = true;
                return Ok(UpdateDeadline::Interrupt);
            }
            Ok(UpdateDeadline::Yield(1))
        });
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
                parse_output(&result.map_err(|e| failed(store, e))?, self.limits.output)
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

    /// What a wasmtime error means.
    fn fault(
        &self,
        store: &mut Store<HostState>,
        error: wasmtime::Error,
        linking: bool,
    ) -> PluginError {
        let state = store.data_mut();
        if state.limiter.memory_hit {
            return PluginError::Memory {
                limit: self.limits.memory,
            };
        }
        if state.cpu_used {
            return PluginError::Cpu {
                budget: self.limits.cpu,
            };
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

/// What the plugin reports, masked and then cut.
fn failed(store: &Store<HostState>, error: types::Error) -> PluginError {
    let masker = &store.data().gate.shared.masker;
    let short = |text: &str, most| cut(&masker.mask(text), most).to_owned();
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
        .map(str::to_owned)
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

/// The lines that help to understand an error from inside a plugin.
fn story(state: &HostState, error: &PluginError) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let reported = matches!(error, PluginError::Failed(_));
    if !reported {
        lines.extend(state.frames.iter().map(|name| format!("in {name}")));
        lines.extend(state.logs.iter().map(|line| format!("log: {line}")));
        if let Some(call) = &state.last_call {
            let call = state.gate.shared.masker.mask(call);
            lines.push(format!("last call: {}", cut(&call, MAX_CALL)));
        }
    }
    lines
}
