//! The one engine configuration, the epoch ticker and the compiled-code cache.
//!
//! Two clocks bound a call. The CPU budget counts the time in which the guest
//! itself ran, without what it waited in host calls (see `meter`). The step's
//! deadline is wall clock (see `call`).

use super::error::PluginError;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;
use wasmtime::{Cache, CacheConfig, Config};

/// How often the epoch moves.
pub const TICK: Duration = Duration::from_millis(10);
/// Entries of one table.
pub const MAX_TABLE: usize = 100_000;
/// Core instances, memories and tables of one component each.
pub const MAX_INSTANCES: usize = 64;

/// What one call of a plugin may use. The defaults are the contract's; tests
/// take less.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// CPU time of a call of `check`, `run` or `undo`, without host waits.
    pub cpu: Duration,
    /// Bytes of linear memory; and as many again that the host may hold for
    /// the plugin (commands and requests being built, answers not dropped).
    pub memory: usize,
    /// Largest output of `run`, in bytes.
    pub output: usize,
    /// Bytes of log lines and named checks; what comes after is left out.
    pub log: usize,
    /// What a call may take beyond the step's deadline, so that the error of a
    /// host call that ends at the deadline arrives before the call is cut off.
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

/// The configured wasmtime engine, shared by every plugin of the process.
#[derive(Clone)]
pub struct Engine {
    inner: wasmtime::Engine,
    cache: Option<Cache>,
    limits: Limits,
    _ticker: Arc<Ticker>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// The engine; compiled code is kept in `cache_dir`, so that a second
    /// start compiles nothing. A cache that cannot be used is left out, which
    /// costs time and nothing else; the reason is logged.
    pub fn new(cache_dir: Option<&Path>) -> Result<Self, PluginError> {
        let cache = cache_dir.and_then(open_cache);
        let mut config = Config::new();
        config.epoch_interruption(true);
        config.wasm_component_model(true);
        config.cache(cache.clone());
        let inner = wasmtime::Engine::new(&config).map_err(|e| PluginError::Engine {
            message: format!("{e:#}"),
        })?;
        let ticker = Arc::new(Ticker);
        tick(inner.weak(), Arc::downgrade(&ticker))?;
        Ok(Self {
            inner,
            cache,
            limits: Limits::default(),
            _ticker: ticker,
        })
    }

    /// The same engine with other limits for the plugins loaded from now on.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What a call may use.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// wasmtime's engine.
    pub(super) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner
    }

    /// Components compiled because the cache did not have them; none without
    /// a cache.
    pub fn compiled(&self) -> Option<usize> {
        self.cache.as_ref().map(Cache::cache_misses)
    }
}

fn open_cache(dir: &Path) -> Option<Cache> {
    let mut config = CacheConfig::new();
    config.with_directory(dir);
    Cache::new(config)
        .inspect_err(|e| {
            tracing::warn!(dir = %dir.display(), error = %e, "compiled plugins are not cached");
        })
        .ok()
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
