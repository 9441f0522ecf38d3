//! All built-in plugins from bytes to callable: with an empty cache of compiled
//! code, as the first run on a machine, and with a full one, as every other.

use crate::plugins::builtin_plugins;
use anyhow::Result;
use criterion::{BatchSize, Criterion};
use std::time::Duration;
use tempfile::TempDir;
use vdeploy_config::Project;

pub fn measure(criterion: &mut Criterion) -> Result<()> {
    let project = Project::builtin()?;
    let mut group = criterion.benchmark_group("load all built-in plugins");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(20));
    group.bench_function("cold", |bencher| {
        bencher.iter_batched(
            TempDir::new,
            |cache| {
                let cache = cache?;
                let loaded = builtin_plugins(cache.path(), &project);
                assert!(loaded.is_ok(), "{:?}", loaded.err());
                // Given back, so that removing it is not measured.
                Ok::<_, std::io::Error>((loaded, cache))
            },
            BatchSize::PerIteration,
        );
    });
    let cache = TempDir::new()?;
    let full = builtin_plugins(cache.path(), &project)?;
    drop(full);
    group.measurement_time(Duration::from_secs(5));
    group.bench_function("warm", |bencher| {
        bencher.iter_with_large_drop(|| {
            let loaded = builtin_plugins(cache.path(), &project);
            assert!(
                loaded
                    .as_ref()
                    .is_ok_and(|(engine, _)| engine.compiled() == 0)
            );
            loaded
        });
    });
    group.finish();
    Ok(())
}
