//! All built-in plugins from bytes to callable: with an empty cache of compiled
//! code, as the first run on a machine, and with a full one, as every other.

use crate::plugins::{load, session};
use anyhow::Result;
use criterion::{BatchSize, Criterion};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use vdeploy_ops::Session;
use vdeploy_run::prepare::Plugins;

pub fn measure(criterion: &mut Criterion) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let load = |cache: &Path| -> Result<(Session, Plugins)> {
        let session = session(cache)?;
        let loaded = runtime.block_on(load(&session))?;
        Ok((session, loaded))
    };
    let mut group = criterion.benchmark_group("load all built-in plugins");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(20));
    group.bench_function("cold", |bencher| {
        bencher.iter_batched(
            TempDir::new,
            |cache| {
                let cache = cache?;
                let loaded = load(cache.path());
                assert!(loaded.is_ok(), "{:?}", loaded.err());
                // Given back, so that removing it is not measured.
                Ok::<_, std::io::Error>((loaded, cache))
            },
            BatchSize::PerIteration,
        );
    });
    let cache = TempDir::new()?;
    drop(load(cache.path())?);
    group.measurement_time(Duration::from_secs(5));
    group.bench_function("warm", |bencher| {
        bencher.iter_with_large_drop(|| {
            let loaded = load(cache.path());
            let compiled = loaded.as_ref().ok().and_then(|(session, _)| {
                let options = session.options();
                Some(options.plugins.engine(options).ok()?.compiled())
            });
            assert_eq!(compiled, Some(0));
            loaded
        });
    });
    group.finish();
    Ok(())
}
