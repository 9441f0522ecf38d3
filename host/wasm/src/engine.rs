//! The engine with its clock, and how bytes become code: from the cache, from a
//! compiler process, or compiled here.
//!
//! Two clocks bound a call. The CPU budget counts the time in which the guest
//! itself ran, without what it waited in host calls (see `meter`). The step's
//! deadline is wall clock (see `call`). Both need the ticks of this engine, so
//! whatever can be called holds one of its handles.

use crate::error::PluginError;
use crate::load::cache::CodeCache;
use crate::load::compiler::{self, Compiler};
use crate::load::features;
use crate::load::native;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use vdeploy_core::ids::{Digest, PluginName};
use wasmtime::component::Component;

/// How often the epoch moves.
pub const TICK: Duration = Duration::from_millis(10);

/// What one call of a plugin may use. The defaults are the contract's; tests
/// take less.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// CPU time of a call of `check`, `run` or `undo`, without host waits.
    pub cpu: Duration,
    /// Bytes of all memories, tables and instances together; and as many again
    /// that the host may hold for the plugin (commands and requests being built,
    /// answers not dropped).
    pub memory: usize,
    /// Largest output of `run`, in bytes.
    pub output: usize,
    /// Bytes of log lines and named checks; what comes after is left out.
    pub log: usize,
    /// What a call may take beyond the step's deadline, so that the error of a
    /// host call that ends at the deadline arrives before the call is interrupted.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu: Duration::from_secs(5),
            memory: 256 << 20,
            output: 1 << 20,
            log: 8 << 20,
            grace: Duration::from_secs(5),
        }
    }
}

/// Where code comes from. The default keeps nothing and compiles in this
/// process.
#[derive(Default)]
pub struct Setup {
    /// Keeps compiled code.
    pub cache: Option<CodeCache>,
    /// Compiles what is not built in, in a process of its own.
    pub compiler: Option<Compiler>,
    /// Whether these bytes are a plugin that the program carries; such a
    /// plugin is compiled in this process. Without it none is.
    pub is_builtin: Option<fn(&[u8]) -> bool>,
    /// Called before a compilation, which takes seconds.
    pub on_compile: Option<OnCompile>,
}

/// Arguments: the name of the plugin, and whether it is built in.
pub type OnCompile = Box<dyn Fn(&PluginName, bool) + Send + Sync>;

/// The configured wasmtime engine, shared by every plugin of the process.
#[derive(Clone)]
pub struct Engine {
    inner: wasmtime::Engine,
    limits: Limits,
    setup: Arc<Setup>,
    compiled: Arc<AtomicUsize>,
    _ticker: Arc<Ticker>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// The engine, with its clock running.
    pub fn new(setup: Setup) -> Result<Self, PluginError> {
        let inner = wasmtime::Engine::new(&features::config()).map_err(wrong)?;
        let ticker = Arc::new(Ticker);
        tick(inner.weak(), Arc::downgrade(&ticker))?;
        Ok(Self {
            inner,
            limits: Limits::default(),
            setup: Arc::new(setup),
            compiled: Arc::default(),
            _ticker: ticker,
        })
    }

    /// The same engine with other limits for the plugins loaded from now on.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// wasmtime's engine. A store of it has limits only while `self` lives.
    pub(super) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner
    }

    /// Components that were compiled because the cache did not have them.
    pub fn compiled(&self) -> usize {
        self.compiled.load(Ordering::SeqCst)
    }

    /// The code of `bytes` with this digest: from the cache, or compiled now.
    pub(super) fn component(
        &self,
        name: &PluginName,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<Component, PluginError> {
        let key = format!("{digest}-{:016x}", self.compatibility());
        if let Some(cache) = &self.setup.cache
            && let Some(code) = cache.load(&key)
        {
            match native::component(&self.inner, code) {
                Ok(component) => return Ok(component),
                Err(error) => tracing::warn!(%error, "kept code is compiled again"),
            }
        }
        let is_builtin = self.setup.is_builtin.is_some_and(|is| is(bytes));
        if let Some(announce) = &self.setup.on_compile {
            announce(name, is_builtin);
        }
        self.compiled.fetch_add(1, Ordering::SeqCst);
        let load = |message| PluginError::Load {
            plugin: name.clone(),
            message,
        };
        let code = match &self.setup.compiler {
            Some(compiler) if !is_builtin => compiler.compile(bytes),
            _ => compiler::compile_here(&self.inner, bytes),
        };
        let code = code.map_err(load)?;
        if let Some(cache) = &self.setup.cache {
            cache.save(&key, &code);
        }
        native::component(&self.inner, code).map_err(load)
    }

    /// Different for an engine whose code this one cannot use.
    fn compatibility(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        self.inner.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }
}

fn wrong(error: wasmtime::Error) -> PluginError {
    PluginError::Engine {
        message: format!("{error:#}"),
    }
}

/// Lives as long as an engine handle does.
struct Ticker;

/// Moves the epoch until the engine is gone. A thread of its own, one a
/// process, since a busy tokio worker must not stop the clock.
fn tick(engine: wasmtime::EngineWeak, alive: Weak<Ticker>) -> Result<(), PluginError> {
    std::thread::Builder::new()
        .name("vdeploy-epoch".to_owned())
        .spawn(move || {
            while alive.strong_count() > 0 {
                std::thread::sleep(TICK);
                match engine.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => return,
                }
            }
        })
        .map(|_| ())
        .map_err(|e| PluginError::Engine {
            message: format!("no thread for the epoch ticker: {e}"),
        })
}
