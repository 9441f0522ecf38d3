//! A target that outlives the process that changes it, and counts what was done
//! to it. Commands run as jobs, snapshots are found by label, restored VMs by
//! snapshot, as on the real platform. Nothing of vdeploy's own is believed.

use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use vdeploy_core::capability::clock::Clock;
use vdeploy_core::capability::doubles::RecordingHttp;
use vdeploy_core::capability::http::Response;
use vdeploy_core::capability::snapshot::{Progress, Snapshot};
use vdeploy_core::capability::ssh::{Command, LiveOutput, Output, Ssh};
use vdeploy_core::capability::{EffectError, World};
use vdeploy_core::ids::{SnapshotId, VmId};
use vdeploy_core::target::TargetHandle;
use vdeploy_journal::StoreState;
use vdeploy_ops::OpsError;
use vdeploy_ops::target::{WorldFactory, WorldParts};

/// What is there.
#[derive(Debug, Default)]
pub struct Place {
    /// The live version.
    pub live: String,
    /// Every change that was made, in order.
    pub changes: Vec<String>,
    /// Requests that arrived.
    pub posts: usize,
    jobs: BTreeMap<String, Output>,
    /// Label and live version.
    snapshots: Vec<(String, String)>,
    /// Snapshot and VM.
    restored: Vec<(SnapshotId, VmId)>,
}

/// The target as every process of the run reaches it.
#[derive(Clone, Debug, Default)]
pub struct Target(Arc<Mutex<Place>>);

impl Target {
    /// Runs version 1.
    pub fn new() -> Self {
        let target = Self::default();
        target.lock().live = "1".to_owned();
        target
    }

    pub fn lock(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Requests to it and to the rest of the world.
    pub fn http(&self) -> RecordingHttp {
        let target = self.clone();
        RecordingHttp::new(move |request| {
            let mut place = target.lock();
            if request.method == "POST" {
                place.posts += 1;
            }
            let about_posts = request.url.path() == "/posts" || request.url.path() == "/x";
            let body = match about_posts {
                true => format!("posts: {}.", place.posts),
                false => place.live.clone(),
            };
            Ok(Response {
                status: match request.url.path() {
                    "/broken" => 500,
                    _ => 200,
                },
                body: body.into_bytes(),
                ..Response::default()
            })
        })
    }
}

#[async_trait]
impl Ssh for Target {
    async fn connect(&self) -> Result<(), EffectError> {
        Ok(())
    }

    /// `echo live=X` puts X live; any other word only shows what is.
    async fn run(&self, command: &Command, _: &dyn LiveOutput) -> Result<Output, EffectError> {
        assert!(command.args != ["panic"], "as told");
        let mut place = self.lock();
        let job = command.job.as_ref().map(ToString::to_string);
        if let Some(known) = job.as_ref().and_then(|job| place.jobs.get(job)) {
            return Ok(known.clone());
        }
        if command.program == "sh" {
            return Ok(output(lease(&command.args)));
        }
        let text = command.args.join(" ");
        if let Some(job) = job {
            if let Some(version) = text.strip_prefix("live=") {
                place.live = version.to_owned();
            }
            place.changes.push(text.clone());
            let output = output(&text);
            place.jobs.insert(job, output.clone());
            return Ok(output);
        }
        Ok(output(&place.live))
    }

    async fn close(&self) {}
}

/// Answers the script of the lease, `sh -s -- VERB …`: there is no other run.
pub fn lease(args: &[String]) -> &'static str {
    match args.get(2).map(String::as_str) {
        Some("look") => "free\n",
        Some("take") => "taken 1\n",
        Some("renew") => "renewed\n",
        Some("release") => "released\n",
        asked => panic!("{asked:?}"),
    }
}

/// The outside of one process.
#[derive(Debug)]
pub struct Outside {
    pub target: Target,
    pub clock: Arc<dyn Clock>,
}

impl WorldFactory for Outside {
    fn vm(&self) -> Option<VmId> {
        Some("vm-1".into())
    }

    fn world(&self, parts: WorldParts) -> Result<World, OpsError> {
        let url = "https://{vm}.example.com:3000";
        let handle = TargetHandle::vers(parts.target, parts.vm.unwrap(), url);
        Ok(World {
            clock: self.clock.clone(),
            http: Arc::new(self.target.http()),
            ssh: Arc::new(self.target.clone()),
            snapshot: Arc::new(Snapshots {
                target: self.target.clone(),
                handle: handle.clone(),
            }),
            secrets: Arc::new(parts.secrets),
            state: Arc::new(StoreState::new(parts.store)),
            ..World::offline(handle, 1)
        })
    }
}

fn output(text: &str) -> Output {
    Output {
        exit_code: Some(0),
        stdout: text.as_bytes().to_vec(),
        ..Output::default()
    }
}

/// The platform's side, for one process.
#[derive(Debug)]
pub struct Snapshots {
    pub target: Target,
    pub handle: TargetHandle,
}

impl Snapshots {
    fn labelled(&self, label: &str) -> Option<SnapshotId> {
        let place = self.target.lock();
        let at = place.snapshots.iter().position(|(l, _)| l == label)?;
        Some(SnapshotId::new(format!("snapshot-{at}")))
    }
}

#[async_trait]
impl Snapshot for Snapshots {
    async fn create(&self, label: &str, _: &dyn Progress) -> Result<SnapshotId, EffectError> {
        let mut place = self.target.lock();
        let live = place.live.clone();
        place.snapshots.push((label.to_owned(), live));
        place.changes.push(format!("snapshot {label}"));
        let at = place.snapshots.len() - 1;
        Ok(SnapshotId::new(format!("snapshot-{at}")))
    }

    async fn restore(&self, id: &SnapshotId, _: &dyn Progress) -> Result<VmId, EffectError> {
        let mut place = self.target.lock();
        let at: usize = id.as_str().rsplit('-').next().unwrap().parse().unwrap();
        place.live = place.snapshots[at].1.clone();
        place.changes.push(format!("restore {id}"));
        let vm = VmId::new(format!("vm-{}", place.restored.len() + 2));
        place.restored.push((id.clone(), vm.clone()));
        drop(place);
        self.handle.move_to(vm.clone());
        Ok(vm)
    }

    async fn exists(&self, id: &SnapshotId) -> Result<bool, EffectError> {
        let known = self.target.lock().snapshots.len();
        Ok((0..known).any(|at| id.as_str() == format!("snapshot-{at}")))
    }

    async fn pause_old(&self, vm: &VmId) -> Result<(), EffectError> {
        // Doing it twice is doing it once.
        let change = format!("pause {vm}");
        let mut place = self.target.lock();
        if !place.changes.contains(&change) {
            place.changes.push(change);
        }
        Ok(())
    }

    async fn created(
        &self,
        label: &str,
        _: u64,
        _: &dyn Progress,
    ) -> Result<Option<SnapshotId>, EffectError> {
        Ok(self.labelled(label))
    }

    async fn restored(
        &self,
        id: &SnapshotId,
        _: u64,
        _: &dyn Progress,
    ) -> Result<Option<VmId>, EffectError> {
        let now = self.handle.facts().vm;
        let made = self.target.lock().restored.clone();
        let made = made.into_iter().rev();
        let mut made = made.filter(|(of, vm)| of == id && Some(vm) != now.as_ref());
        let vm = made.next().map(|(_, vm)| vm);
        if let Some(vm) = &vm {
            self.handle.move_to(vm.clone());
        }
        Ok(vm)
    }
}
