//! Compiled code is kept: a second start compiles nothing.

use crate::stage::{all, bytes};
use vdeploy::plugin::{Engine, Plugin};

#[test]
fn a_second_engine_compiles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = bytes("handmade");
    let compiled = || {
        let engine = Engine::new(Some(dir.path())).unwrap();
        Plugin::load(&engine, &"handmade".into(), &bytes, &all()).unwrap();
        engine.compiled()
    };
    assert!(compiled().unwrap() > 0);
    assert_eq!(compiled(), Some(0));
}

#[test]
fn a_cache_that_cannot_be_used_is_left_out() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let engine = Engine::new(Some(&file.path().join("below-a-file"))).unwrap();
    assert_eq!(engine.compiled(), None);
    Plugin::load(&engine, &"handmade".into(), &bytes("handmade"), &all()).unwrap();
}
