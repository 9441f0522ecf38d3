//! One call: of a plugin, which is instantiated for it, and of a capability
//! through the gate.

use crate::plugins::{load, session};
use anyhow::{Context as _, Result};
use criterion::Criterion;
use serde_json::Map;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use vdeploy_core::capability::doubles::RecordingSsh;
use vdeploy_core::capability::ssh::{Command, Output};
use vdeploy_core::event::Phase;
use vdeploy_gate::Budget;
use vdeploy_run::testing::Stage;
use vdeploy_scope::{Grants, SshScope};

/// Longer than any benchmark.
const TIMEOUT: Duration = Duration::from_secs(3600);

pub fn measure(criterion: &mut Criterion) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut group = criterion.benchmark_group("call");

    let cache = TempDir::new()?;
    let session = session(cache.path())?;
    let plugins = runtime.block_on(load(&session))?;
    let plugin = plugins.get(&"smoke".into()).context("no plugin `smoke`")?;
    let config = plugin
        .description
        .manifest
        .complete(&Map::new())
        .map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    let (stage, _dir) = self::stage(target())?;
    group.bench_function("plugin check, instantiated", |bencher| {
        bencher.iter(|| {
            let call = stage.call_plugin(plugin, Phase::Check, config.clone(), TIMEOUT);
            let returned = runtime.block_on(call);
            assert!(returned.result.is_ok(), "{:?}", returned.result);
        });
    });

    let (stage, _dir) = self::stage(target())?;
    let ssh = SshScope::parse("probe:systemctl is-active *").map_err(anyhow::Error::msg)?;
    let grants = Arc::new(Grants {
        ssh: vec![ssh],
        ..Grants::default()
    });
    let gate = stage.gate(&"smoke".into(), &grants, Phase::Run, TIMEOUT);
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

/// A run on this target, and what its journal is in.
fn stage(ssh: Arc<RecordingSsh>) -> Result<(Stage, TempDir)> {
    let dir = TempDir::new()?;
    let mut stage = Stage::on_disk(ssh, &dir.path().join("state.db"))?;
    // One gate makes the calls of every round.
    stage.budget = Some(Budget::new(u64::MAX, u64::MAX));
    Ok((stage, dir))
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
