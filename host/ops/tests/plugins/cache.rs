//! Compiled code is kept: a second start compiles nothing, and code that
//! somebody else could have written is not run.

use crate::stage::{all, bytes};
use std::path::{Path, PathBuf};
use vdeploy_wasm::{CodeCache, Engine, Plugin, Setup};

/// How much was compiled to load a plugin with this cache.
fn compiled(dir: &Path, key: &Path) -> usize {
    let engine = Engine::new(Setup {
        cache: Some(CodeCache::open(dir, key).unwrap()),
        ..Setup::default()
    })
    .unwrap();
    Plugin::load(&engine, &"handmade".into(), &bytes("handmade"), &all()).unwrap();
    engine.compiled()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_second_engine_compiles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, key) = (dir.path().join("cache"), dir.path().join("key"));
    assert_eq!(compiled(&cache, &key), 1);
    assert_eq!(compiled(&cache, &key), 0);
}

#[test]
fn changed_code_is_compiled_again_and_so_is_code_of_another_user() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, key) = (dir.path().join("cache"), dir.path().join("key"));
    compiled(&cache, &key);
    let [file] = &files(&cache)[..] else {
        panic!("not one file")
    };
    let mut code = std::fs::read(file).unwrap();
    let middle = code.len() / 2;
    code[middle] ^= 1;
    std::fs::write(file, code).unwrap();
    assert_eq!(compiled(&cache, &key), 1);
    assert_eq!(compiled(&cache, &key), 0);
    let theirs = dir.path().join("theirs");
    assert_eq!(compiled(&cache, &theirs), 1);
    assert_eq!(compiled(&cache, &key), 1);
}

#[test]
fn a_cache_that_cannot_be_used_is_reported() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let below = file.path().join("below-a-file");
    let error = CodeCache::open(&below, &below.join("key")).err().unwrap();
    assert!(error.contains("below-a-file"), "{error}");
}
