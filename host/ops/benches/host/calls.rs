//! One call: of a plugin, which is instantiated for it, and of a capability
//! through the gate.

use crate::plugins::{builtin_plugin, engine};
use crate::stage::Stage;
use anyhow::Result;
use criterion::Criterion;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use vdeploy_config::Project;
use vdeploy_core::capability::doubles::RecordingSsh;
use vdeploy_core::capability::ssh::{Command, Output};
use vdeploy_core::event::Phase;
use vdeploy_scope::Grants;
use vdeploy_scope::SshScope;
use vdeploy_wasm::{Invocation, Plugin, StepContext};

pub fn measure(criterion: &mut Criterion) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut group = criterion.benchmark_group("call");

    let cache = TempDir::new()?;
    let engine = engine(cache.path())?;
    let plugin = builtin_plugin(&engine, &Project::builtin()?, "smoke")?;
    let config = plugin
        .description
        .manifest
        .complete(&Map::new())
        .map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    let stage = Stage::new(target())?;
    group.bench_function("plugin check, instantiated", |bencher| {
        bencher.iter(|| {
            let call = plugin.call(check(&stage, &plugin, &config));
            let returned = runtime.block_on(call);
            assert!(returned.result.is_ok(), "{:?}", returned.result);
        });
    });

    let stage = Stage::new(target())?;
    let ssh = SshScope::parse("probe:systemctl is-active *").map_err(anyhow::Error::msg)?;
    let grants = Arc::new(Grants {
        ssh: vec![ssh],
        ..Grants::default()
    });
    let gate = stage.gate(&"smoke".into(), &grants, Phase::Run);
    group.bench_function("gate, clock.now", |bencher| {
        bencher.iter(|| assert!(runtime.block_on(gate.now()).is_ok()));
    });
    let mut command = Command::new("systemctl");
    command.args = vec!["is-active".to_owned(), "the-service".to_owned()];
    command.timeout = Duration::from_secs(60);
    group.bench_function("gate, ssh.probe", |bencher| {
        bencher.iter(|| {
            let output = runtime.block_on(gate.ssh(command.clone(), true));
            assert!(output.is_ok(), "{:?}", output.err());
        });
    });
    group.finish();
    Ok(())
}

/// A target that is a function.
fn target() -> Arc<RecordingSsh> {
    Arc::new(RecordingSsh::new(|_| {
        Ok(Output {
            exit_code: Some(0),
            stdout: b"active\n".to_vec(),
            ..Output::default()
        })
    }))
}

fn check(stage: &Stage, plugin: &Plugin, config: &Map<String, Value>) -> Invocation {
    Invocation {
        gate: stage.gate(&plugin.name, &plugin.grants, Phase::Check),
        context: StepContext {
            plan: "default".into(),
            attempt: 1,
            config: Value::Object(config.clone()),
            outputs: Arc::default(),
            rolled_back: None,
            failed_step: None,
        },
        output: None,
    }
}
