//! context, log, checks and clock: given to every plugin.

use crate::bindings::vdeploy::plugin::{checks, clock, context, log};
use crate::call::state::HostState;
use std::time::Duration;
use vdeploy_core::codes;
use vdeploy_core::event::{CheckStatus, Level};
use wasmtime::Result;

impl context::Host for HostState {
    async fn run_id(&mut self) -> Result<String> {
        Ok(self.gate.shared.run.to_string())
    }
    async fn plan_name(&mut self) -> Result<String> {
        Ok(self.context.plan.to_string())
    }
    async fn step_id(&mut self) -> Result<String> {
        Ok(self.gate.step.to_string())
    }
    async fn attempt(&mut self) -> Result<u32> {
        Ok(self.context.attempt)
    }
    async fn idempotency_key(&mut self) -> Result<String> {
        Ok(format!("{}-{}", self.gate.shared.run, self.gate.step))
    }
    async fn target_name(&mut self) -> Result<String> {
        Ok(self.gate.shared.target().name.to_string())
    }
    async fn target_vm(&mut self) -> Result<Option<String>> {
        let facts = self.gate.shared.target();
        Ok(facts.vm.map(|vm| vm.to_string()))
    }
    async fn target_url(&mut self) -> Result<Option<String>> {
        Ok(self.gate.shared.target().url)
    }
    async fn config(&mut self) -> Result<String> {
        Ok(self.context.config.to_string())
    }
    async fn output_of(&mut self, step: String) -> Result<Option<String>> {
        Ok(self.context.output(&step).map(ToString::to_string))
    }
    async fn rolled_back_output_of(&mut self, step: String) -> Result<Option<String>> {
        Ok(self.context.rolled_back(&step).map(ToString::to_string))
    }
    async fn failed_step(&mut self) -> Result<Option<String>> {
        Ok(self.context.failed_step.as_ref().map(ToString::to_string))
    }
    async fn dry_run(&mut self) -> Result<bool> {
        Ok(self.gate.shared.dry_run)
    }
}

impl log::Host for HostState {
    async fn emit(&mut self, level: log::Level, message: String) -> Result<()> {
        let level = match level {
            log::Level::Trace => Level::Trace,
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        self.log(level, &message);
        Ok(())
    }
}

impl checks::Host for HostState {
    async fn report(
        &mut self,
        name: String,
        status: checks::Status,
        duration_ms: u64,
        detail: Option<String>,
    ) -> Result<()> {
        let status = match status {
            checks::Status::Passed => CheckStatus::Passed,
            checks::Status::Failed => CheckStatus::Failed,
            checks::Status::Skipped => CheckStatus::Skipped,
        };
        self.check(&name, status, duration_ms, detail.as_deref());
        Ok(())
    }
}

impl clock::Host for HostState {
    async fn now_unix_ms(&mut self) -> Result<u64> {
        // `now` has no error in the contract: a closed gate ends the call.
        self.gate.now().await.map_err(wasmtime::Error::from)
    }
    async fn sleep_ms(&mut self, duration: u64) -> Result<()> {
        self.last_call = Some(format!("clock.sleep-ms {duration}"));
        let slept = self.gate.sleep(Duration::from_millis(duration)).await;
        self.overslept = slept
            .as_ref()
            .is_err_and(|error| error.code == codes::GATE_DEADLINE);
        slept.map_err(wasmtime::Error::from)
    }
}
