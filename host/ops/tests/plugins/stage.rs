//! One call without a network: the real gate and store, a target that echoes, and
//! the fixture plugins.

use serde_json::{Map, Value, json};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use vdeploy_core::capability::clock::{Clock, SimulatedClock, SystemClock};
use vdeploy_core::capability::doubles::{MemorySnapshots, RecordingHttp, RecordingSsh};
use vdeploy_core::capability::http::{Http, Request, Response};
use vdeploy_core::capability::mask::Masker;
use vdeploy_core::capability::secrets::{LoadedSecrets, SecretValue};
use vdeploy_core::capability::snapshot::NoProgress;
use vdeploy_core::capability::ssh::{Command, Output, Ssh};
use vdeploy_core::capability::{EffectError, ErrorKind, World};
use vdeploy_core::event::Phase;
use vdeploy_core::ids::RunId;
use vdeploy_gate::Budget;
use vdeploy_journal::{Entry, SqliteStore, Store, StoreState};
use vdeploy_run::testing;
use vdeploy_scope::{Grants, HttpScope, SecretScope, SnapshotScope, SshScope};
use vdeploy_wasm::{CodeCache, Engine, Limits, Plugin, PluginError, Returned, Setup};

/// The value of the secret `token`, in no other place of these tests.
pub const TOKEN: &str = "tok-4f9a1c77e2";

/// The target directory of cargo that this test was built in.
pub fn target_dir() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.ancestors().nth(3).unwrap().to_path_buf()
}

/// A built fixture.
pub fn bytes(name: &str) -> Vec<u8> {
    let path = target_dir()
        .join("vdeploy-fixtures")
        .join(format!("{name}.wasm"));
    std::fs::read(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; run `cargo xtask fixtures`", path.display()))
}

/// One engine for all tests, with a cache that stays.
pub fn engine() -> Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let make = || {
        let dir = target_dir().join("vdeploy-fixtures/compiled");
        let cache = CodeCache::open(&dir, &dir.join("key")).unwrap();
        Engine::new(Setup {
            cache: Some(cache),
            ..Setup::default()
        })
        .unwrap()
    };
    ENGINE.get_or_init(make).clone()
}

/// Loads a fixture with the limits of the contract.
pub fn load(name: &str, grants: &Grants) -> Result<Plugin, PluginError> {
    Plugin::load(&engine(), &name.into(), &bytes(name), grants)
}

/// Loads a fixture with other limits.
pub fn load_with(name: &str, limits: Limits) -> Plugin {
    let engine = engine().with_limits(limits);
    Plugin::load(&engine, &name.into(), &bytes(name), &all()).unwrap()
}

/// The step that does what its configuration says, with every grant there is.
pub fn scripted() -> Plugin {
    load("scripted", &all()).unwrap()
}

/// Every capability, each within bounds.
pub fn all() -> Grants {
    let ssh = |text| SshScope::parse(text).unwrap();
    let http = |text| HttpScope::parse(text).unwrap();
    let secret = |text| SecretScope::parse(text).unwrap();
    Grants {
        ssh: vec![ssh("echo **"), ssh("probe:cat /var/log/*")],
        http: vec![
            http("GET target/**"),
            http("POST https://hooks.example.com/**"),
        ],
        secrets: vec![secret("token@ssh"), secret("token@target")],
        secrets_reveal: vec!["token".to_owned()],
        snapshot: vec![SnapshotScope::Create, SnapshotScope::Restore],
        state: true,
    }
}

/// One run's world, and what was seen of it.
pub struct Stage {
    stage: testing::Stage,
    pub ssh: Arc<RecordingSsh>,
    pub http: Arc<RecordingHttp>,
}

impl Deref for Stage {
    type Target = testing::Stage;

    fn deref(&self) -> &testing::Stage {
        &self.stage
    }
}

/// What a stage is made of.
pub struct Parts {
    pub clock: Arc<dyn Clock>,
    pub store: Arc<dyn Store>,
    pub dry_run: bool,
    /// The run that is rolled back.
    pub rolls_back: Option<RunId>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            clock: Arc::new(SimulatedClock::new(1_700_000_000_000)),
            store: Arc::new(SqliteStore::in_memory().unwrap()),
            dry_run: false,
            rolls_back: None,
        }
    }
}

impl Stage {
    /// Time is simulated: a sleep returns at once.
    pub fn new() -> Self {
        Self::of(Parts::default())
    }

    /// Time is real.
    pub fn with_real_time() -> Self {
        Self::of(Parts {
            clock: Arc::new(SystemClock),
            ..Parts::default()
        })
    }

    pub fn of(parts: Parts) -> Self {
        let ssh = Arc::new(RecordingSsh::new(echo));
        let http = Arc::new(RecordingHttp::new(web));
        let target = testing::target();
        let token = SecretValue::new(TOKEN.to_owned());
        let masker = Masker::new([&token]).unwrap();
        let world = World {
            clock: parts.clock,
            http: http.clone(),
            ssh: ssh.clone(),
            snapshot: Arc::new(MemorySnapshots::new(target.clone())),
            secrets: Arc::new(LoadedSecrets::new([("token".to_owned(), token)])),
            state: Arc::new(StoreState::new(parts.store.clone())),
            ..World::offline(target, 1)
        };
        let stage = testing::Stage::new(testing::Parts {
            store: parts.store,
            world,
            masker,
            dry_run: parts.dry_run,
            rolls_back: parts.rolls_back,
        });
        Self {
            stage: stage.unwrap(),
            ssh,
            http,
        }
    }

    /// The platform has taken this snapshot, and no run knows of it.
    pub async fn platform_has(&self, label: &str) {
        let snapshots = &self.shared.world.snapshot;
        snapshots.create(label, &NoProgress).await.unwrap();
    }

    /// With one budget for all calls.
    pub fn with_budget(mut self, budget: Budget) -> Self {
        self.stage.budget = Some(budget);
        self
    }

    /// The same with another network.
    pub fn with_http(self, http: Arc<dyn Http>) -> Self {
        let stage = self.stage.with_world(|world| world.http = http);
        Self { stage, ..self }
    }

    /// The same with another target behind it.
    pub fn with_ssh(self, ssh: Arc<dyn Ssh>) -> Self {
        let stage = self.stage.with_world(|world| world.ssh = ssh);
        Self { stage, ..self }
    }

    /// Says that the run may change the target.
    pub fn with_snapshot(self) -> Self {
        self.shared.waive_snapshot("a test").unwrap();
        self
    }

    /// Calls a function of a plugin; defaults are added to `config`.
    pub async fn call(&self, plugin: &Plugin, phase: Phase, config: Value) -> Returned {
        self.call_within(plugin, phase, config, Duration::from_secs(60))
            .await
    }

    /// As `call`, with the step's deadline.
    pub async fn call_within(
        &self,
        plugin: &Plugin,
        phase: Phase,
        config: Value,
        timeout: Duration,
    ) -> Returned {
        let given: Map<String, Value> = serde_json::from_value(config).unwrap();
        let config = plugin.description.manifest.complete(&given).unwrap();
        self.call_plugin(plugin, phase, config, timeout).await
    }

    /// Lets the scripted plugin do these calls in `run`; the answers.
    pub async fn run(&self, plugin: &Plugin, calls: Value) -> Result<Vec<Value>, PluginError> {
        let config = json!({ "run": calls });
        let output = self.call(plugin, Phase::Run, config).await.result?;
        Ok(output["seen"].as_array().unwrap().clone())
    }

    /// The journal so far; what waits for the next entry is written first.
    pub fn journal(&self) -> Vec<Entry> {
        self.stage.journal().unwrap()
    }

    /// The commands that reached the target.
    pub fn commands(&self) -> Vec<String> {
        self.ssh.commands().iter().map(Command::display).collect()
    }
}

/// Answers requests to the target and to the rest of the world.
pub fn web(request: &Request) -> Result<Response, EffectError> {
    let body = match request.url.path() {
        "/version" => r#"{"version":"1.0.0"}"#.to_owned(),
        "/leak" => format!("your token is {TOKEN}"),
        path => format!("this is {path}"),
    };
    Ok(Response {
        status: 200,
        body: body.into_bytes(),
        ..Response::default()
    })
}

/// Answers a command: `echo unreachable` never gets there, `echo lost` may
/// have, anything else prints its arguments and its secrets.
pub fn echo(command: &Command) -> Result<Output, EffectError> {
    let error = |code| EffectError::new(ErrorKind::Unavailable, code, "the line is dead");
    match command.args.first().map(String::as_str) {
        Some("unreachable") => return Err(error("ssh.unreachable")),
        Some("lost") => return Err(error("ssh.closed").in_doubt()),
        _ => {}
    }
    let mut text = command.args.join(" ");
    for (name, secret) in &command.secret_env {
        text.push_str(&format!(" {name}={}", secret.value.expose()));
    }
    text.push('\n');
    Ok(Output {
        exit_code: Some(0),
        stdout: text.into_bytes(),
        ..Output::default()
    })
}

/// The error code of what a plugin reported.
pub fn code(error: &PluginError) -> &str {
    match error {
        PluginError::Failed(error) => &error.code,
        other => panic!("not reported by the plugin: {other}"),
    }
}
