//! Plugins that take what they can get, without any grant: each is refused or
//! ended by its name, and the host stays small.

use crate::stage::{Stage, all, bytes};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use vdeploy_core::event::Phase;
use vdeploy_wasm::{Compiler, Engine, Limits, Plugin, PluginError, Setup};

fn load(name: &str) -> Result<Plugin, PluginError> {
    let limits = Limits {
        cpu: Duration::from_millis(200),
        ..Limits::default()
    };
    // The plugin is all that is kept: with it the clock of its limits goes on.
    let engine = Engine::new(Setup::default()).unwrap().with_limits(limits);
    Plugin::load(&engine, &name.into(), &bytes(name), &all())
}

fn refused(name: &str) -> String {
    let error = load(name).unwrap_err();
    assert!(matches!(error, PluginError::Load { .. }), "{error}");
    error.to_string()
}

async fn fails(name: &str, phase: Phase) -> PluginError {
    let stage = Stage::new().with_snapshot();
    let plugin = load(name).unwrap();
    let returned = stage.call(&plugin, phase, json!({})).await;
    returned.result.unwrap_err()
}

#[tokio::test]
async fn the_limits_hold_when_nothing_but_the_plugin_is_kept() {
    for (name, phase) in [
        ("spins-in-check", Phase::Check),
        ("spins-in-run", Phase::Run),
        ("spins-in-undo", Phase::Undo),
        ("spins-in-start", Phase::Check),
    ] {
        let error = fails(name, phase).await;
        assert!(matches!(error, PluginError::Cpu { .. }), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_guest_that_computes_is_ended_when_the_run_is_stopped() {
    let stage = Stage::new().with_snapshot();
    let plugin = Plugin::load(
        &Engine::new(Setup::default()).unwrap().with_limits(Limits {
            cpu: Duration::from_secs(600),
            ..Limits::default()
        }),
        &"spins-in-run".into(),
        &bytes("spins-in-run"),
        &all(),
    )
    .unwrap();
    let shared = stage.shared.clone();
    let (returned, ()) = tokio::join!(stage.call(&plugin, Phase::Run, json!({})), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        shared.cancellation.stop_for("a test");
    });
    let error = returned.result.unwrap_err();
    assert_eq!(crate::stage::code(&error), "gate.cancelled");
}

#[tokio::test]
async fn memory_counts_for_all_instances_and_tables_together() {
    for name in ["many-instances", "large-tables"] {
        let error = fails(name, Phase::Run).await;
        assert!(
            matches!(error, PluginError::Memory { .. }),
            "{name}: {error}"
        );
        assert!(error.to_string().contains("256 MiB"), "{error}");
    }
    for name in ["too-many-instances", "large-instances"] {
        let error = fails(name, Phase::Run).await;
        assert!(
            matches!(error, PluginError::Parts { .. }),
            "{name}: {error}"
        );
        assert!(error.to_string().contains("instance"), "{error}");
    }
}

#[test]
fn what_the_contract_has_no_use_for_is_refused_when_it_is_read() {
    let text = refused("many-memories");
    assert!(text.contains("multi"), "{text}");
    let text = refused("memory-of-64-bits");
    assert!(text.contains("memory64"), "{text}");
    let text = refused("huge-function");
    assert!(text.contains("bytes in one function"), "{text}");
}

/// The program that `cargo xtask test` has built beside this one.
fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.ancestors().nth(2).unwrap().join("vdeploy");
    assert!(path.is_file(), "run `cargo build -p vdeploy` first");
    path
}

/// Compiled by the built program, with these limits.
fn compile_within(cpu_seconds: u64, mib: u64) -> Result<Plugin, PluginError> {
    let engine = Engine::new(Setup {
        compiler: Some(Compiler {
            cpu_seconds,
            memory: mib << 20,
            ..Compiler::new(program())
        }),
        ..Setup::default()
    });
    let name = "slow-to-compile";
    Plugin::load(&engine.unwrap(), &name.into(), &bytes(name), &all())
}

#[test]
fn compiling_ends_at_its_limits() {
    let text = compile_within(1, 2048).unwrap_err().to_string();
    assert!(text.contains("more than 1 s of CPU time"), "{text}");
    let text = compile_within(600, 300).unwrap_err().to_string();
    assert!(text.contains("more than 300 MiB of memory"), "{text}");
}

#[tokio::test]
async fn what_another_process_has_compiled_runs() {
    let engine = Engine::new(Setup {
        compiler: Some(Compiler::new(program())),
        ..Setup::default()
    });
    let name = "version-check";
    let plugin = Plugin::load(&engine.unwrap(), &name.into(), &bytes(name), &all()).unwrap();
    let stage = Stage::new();
    let returned = stage
        .call(&plugin, Phase::Run, json!({ "expect": "1.0.0" }))
        .await;
    assert_eq!(returned.result.unwrap()["version"], "1.0.0");
}

#[test]
fn a_compiler_that_is_not_there_is_reported() {
    let engine = Engine::new(Setup {
        compiler: Some(Compiler::new("/nowhere/vdeploy".into())),
        ..Setup::default()
    });
    let name = "handmade";
    let loaded = Plugin::load(&engine.unwrap(), &name.into(), &bytes(name), &all());
    let text = loaded.unwrap_err().to_string();
    assert!(text.contains("/nowhere/vdeploy"), "{text}");
}
