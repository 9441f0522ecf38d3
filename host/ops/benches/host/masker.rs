//! Masking a megabyte of build output: clean, and with a secret in every
//! twentieth line.

use anyhow::Result;
use criterion::{Criterion, Throughput};
use std::hint::black_box;
use vdeploy_core::capability::mask::Masker;
use vdeploy_core::capability::secrets::SecretValue;

const SIZE: usize = 1 << 20;
const LINE: &str = "src/server.ts(42,7): warning TS6133: 'unused' is declared but never read\n";

pub fn measure(criterion: &mut Criterion) -> Result<()> {
    let secrets = ["a-token-of-thirty-two-characters", "sk_live_4f9a1c77e2b0"]
        .map(|text| SecretValue::new(text.to_owned()));
    let masker = Masker::new(&secrets)?;
    let clean = LINE.repeat(SIZE / LINE.len());
    let mut mixed = String::new();
    while mixed.len() < SIZE {
        mixed.push_str(&LINE.repeat(19));
        mixed.push_str("Authorization: Bearer sk_live_4f9a1c77e2b0\n");
    }
    let mut group = criterion.benchmark_group("mask 1 MiB of output");
    for (name, text) in [("clean", &clean), ("a secret every 20 lines", &mixed)] {
        group.throughput(Throughput::Bytes(u64::try_from(text.len())?));
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(masker.mask(black_box(text))).len());
        });
    }
    group.finish();
    Ok(())
}
