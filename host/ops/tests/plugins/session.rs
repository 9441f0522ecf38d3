//! Whole runs, each a session as `vdeploy run` has one, over a target that echoes.
//! The scripted plugin is `scripted`.

use crate::crash_world::lease;
use crate::stage::{TOKEN, all, echo, target_dir, web};
use std::future::pending;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::mpsc::unbounded_channel;
use vdeploy_config::{PluginSource, Project};
use vdeploy_core::capability::World;
use vdeploy_core::capability::clock::{Clock, SimulatedClock, SystemClock};
use vdeploy_core::capability::doubles::{MemorySnapshots, RecordingHttp, RecordingSsh};
use vdeploy_core::capability::ssh::{Command, Output};
use vdeploy_core::event::RunEvent;
use vdeploy_core::ids::{RunId, VmId};
use vdeploy_core::plan::Plan;
use vdeploy_core::target::TargetHandle;
use vdeploy_journal::recording::Recording;
use vdeploy_journal::{Entry, SqliteStore, Store, StoreState};
use vdeploy_ops::target::{WorldFactory, WorldParts};
use vdeploy_ops::{Actor, Cancel, Deploy, Operation, OpsError, Rollback, Session, SessionOptions};
use vdeploy_run::Finished;
use vdeploy_scope::Grants;

/// A project with these plans. A store and a world are added for each process.
pub fn session<'p>(plans: impl IntoIterator<Item = &'p Plan>, grants: Grants) -> Session {
    static OPTIONS: OnceLock<SessionOptions> = OnceLock::new();
    let options = OPTIONS.get_or_init(|| {
        let dir = target_dir().join("vdeploy-fixtures/compiled");
        SessionOptions {
            code_cache_key: Some(dir.join("key")),
            code_cache: Some(dir),
            environment: [("TOKEN", TOKEN)].into_iter().collect(),
            // No process of this machine: its lease has to expire.
            actor: Actor::named("a test"),
            ..SessionOptions::new("/", "/nonexistent")
        }
    });
    static PROJECT: OnceLock<Project> = OnceLock::new();
    let empty = PROJECT.get_or_init(|| {
        let text = "[targets.infra]\ntype = \"local\"\n[secrets.token]\nenv = \"TOKEN\"\n";
        Project::from_text("vdeploy.toml", text, "/".as_ref()).unwrap()
    });
    let mut project = empty.clone();
    let mut scripted = project.plugins.values().next().unwrap().clone();
    let file = target_dir().join("vdeploy-fixtures/scripted.wasm");
    scripted.source = PluginSource::Path(file);
    scripted.grants = grants;
    project.plugins.insert("scripted".into(), scripted);
    for plan in plans {
        project.plans.insert(plan.name.clone(), plan.clone());
    }
    Session::with_project(options.clone(), project)
}

/// One process: what it came to, and what it told. It is stopped when `stop` says
/// by what.
pub async fn process(
    session: &Session,
    operation: Operation,
    stop: impl Future<Output = &'static str>,
) -> (Finished, Vec<RunEvent>) {
    let prepared = session.prepare(operation).await.unwrap();
    let (events, mut seen) = unbounded_channel();
    let cancel = Cancel::new();
    let stopped = async {
        cancel.stop(stop.await);
        pending::<()>().await;
    };
    let finished = tokio::select! {
        finished = prepared.execute(events, cancel.clone()) => finished,
        () = stopped => unreachable!(),
    };
    let events = std::iter::from_fn(|| seen.try_recv().ok());
    (finished, events.collect())
}

/// The outside of every run.
#[derive(Clone, Debug)]
struct Outside {
    ssh: Arc<RecordingSsh>,
    http: Arc<RecordingHttp>,
    clock: Arc<dyn Clock>,
}

impl WorldFactory for Outside {
    fn vm(&self) -> Option<VmId> {
        Some("vm-1".into())
    }

    fn world(&self, parts: WorldParts) -> Result<World, OpsError> {
        let url = "https://{vm}.example.com:3000";
        let target = TargetHandle::vers(parts.target, parts.vm.unwrap(), url);
        Ok(World {
            clock: self.clock.clone(),
            http: self.http.clone(),
            ssh: self.ssh.clone(),
            snapshot: Arc::new(MemorySnapshots::new(target.clone())),
            secrets: Arc::new(parts.secrets),
            state: Arc::new(StoreState::new(parts.store)),
            ..World::offline(target, 1)
        })
    }
}

/// Runs one after the other, in one store and on one target.
pub struct Runs {
    pub store: Arc<dyn Store>,
    outside: Outside,
    grants: Grants,
    dry_run: bool,
    /// The newest run.
    run: Mutex<RunId>,
    events: Mutex<Vec<RunEvent>>,
}

impl Runs {
    /// Time is simulated: a sleep returns at once.
    pub fn new() -> Self {
        Self::over(Arc::new(SqliteStore::in_memory().unwrap()))
    }

    pub fn over(store: Arc<dyn Store>) -> Self {
        let answer = |command: &Command| match command.program.as_str() {
            "sh" => Ok(Output {
                exit_code: Some(0),
                stdout: lease(&command.args).into(),
                ..Output::default()
            }),
            _ => echo(command),
        };
        Self {
            store,
            outside: Outside {
                ssh: Arc::new(RecordingSsh::new(answer)),
                http: Arc::new(RecordingHttp::new(web)),
                clock: Arc::new(SimulatedClock::new(1_700_000_000_000)),
            },
            grants: all(),
            dry_run: false,
            run: Mutex::new("none".into()),
            events: Mutex::default(),
        }
    }

    /// Time is real.
    pub fn with_real_time(mut self) -> Self {
        self.outside.clock = Arc::new(SystemClock);
        self
    }

    pub fn with_http(mut self, http: RecordingHttp) -> Self {
        self.outside.http = Arc::new(http);
        self
    }

    /// Of the plugin.
    pub fn with_grants(mut self, grants: Grants) -> Self {
        self.grants = grants;
        self
    }

    pub fn dry(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// Milliseconds on the clock of the runs.
    pub fn now(&self) -> u64 {
        self.outside.clock.now_unix_ms()
    }

    /// Runs the plan.
    pub async fn execute(&self, plan: Plan) -> Finished {
        self.execute_until(plan, pending()).await
    }

    /// The same, stopped by what `stop` says.
    pub async fn execute_until(
        &self,
        plan: Plan,
        stop: impl Future<Output = &'static str>,
    ) -> Finished {
        let run = RunId::generate();
        *self.run.lock().unwrap() = run.clone();
        let deploy = Operation::Deploy(Deploy {
            plan: plan.name.to_string(),
            dry_run: self.dry_run,
            run: Some(run),
            ..Deploy::default()
        });
        self.operate(&[plan], deploy, stop).await
    }

    /// Rolls the newest run back with this plan.
    pub async fn roll_back(&self, plan: Plan) -> Finished {
        let first = self.store.run(self.run.lock().unwrap().as_str()).unwrap();
        let rollback = Plan {
            name: "rollback".into(),
            ..plan
        };
        let operation = Operation::Rollback(Rollback {
            run: Some(first.id.to_string()),
            ..Rollback::default()
        });
        let plans = [first.plan, rollback];
        let finished = self.operate(&plans, operation, pending()).await;
        let runs = self.store.runs(None, u32::MAX).unwrap();
        let newest = runs.into_iter().find(|run| run.id != first.id).unwrap();
        *self.run.lock().unwrap() = newest.id;
        finished
    }

    async fn operate(
        &self,
        plans: &[Plan],
        operation: Operation,
        stop: impl Future<Output = &'static str>,
    ) -> Finished {
        let session = session(plans, self.grants.clone()).with_options(|options| {
            options.store = Some(self.store.clone());
            options.world = Some(Arc::new(self.outside.clone()));
        });
        let (finished, events) = process(&session, operation, stop).await;
        self.events.lock().unwrap().extend(events);
        finished
    }

    /// The newest run as a file would have it.
    pub fn recording(&self) -> Recording {
        let run = self.run.lock().unwrap();
        vdeploy_ops::recording::recording(&*self.store, run.as_str()).unwrap()
    }

    /// The journal of the newest run so far.
    pub fn journal(&self) -> Vec<Entry> {
        let stored = self.store.journal(&self.run.lock().unwrap());
        let stored = stored.unwrap_or_default().into_iter();
        stored.map(|stored| stored.entry).collect()
    }

    /// What happened since the last time.
    pub fn events(&self) -> Vec<RunEvent> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }

    /// The commands of plugins that reached the target.
    pub fn commands(&self) -> Vec<String> {
        let commands = self.outside.ssh.commands().into_iter();
        let of_plugins = commands.filter(|command| command.program != "sh");
        of_plugins.map(|command| command.display()).collect()
    }
}
