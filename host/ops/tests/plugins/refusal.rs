//! What is refused before any of its code runs, and the words for it.

use crate::stage::{all, bytes, engine, load};
use vdeploy_scope::Grants;
use vdeploy_scope::HttpScope;
use vdeploy_scope::SshScope;
use vdeploy_wasm::inspect::Inspection;
use vdeploy_wasm::{Plugin, PluginError};

fn refused(name: &str) -> PluginError {
    load(name, &all()).expect_err(name)
}

#[test]
fn what_is_no_plugin_cannot_be_loaded() {
    for (name, words) in [
        ("core-module", "a core WASM module, not a component"),
        ("no-manifest", "it has no manifest"),
        ("bad-manifest", "unknown field `powers`"),
        ("no-step", "it does not export `vdeploy:plugin/step`"),
        ("claims-undo", "the component does not export `undo`"),
        ("hides-undo", "the component exports `undo`"),
    ] {
        let error = refused(name);
        assert!(matches!(error, PluginError::Load { .. }), "{name}: {error}");
        assert!(error.to_string().contains(words), "{name}: {error}");
    }
    for garbage in [
        &b""[..],
        b"#!/bin/sh\n",
        b"\0asm",
        &bytes("scripted")[..1000],
    ] {
        let error = Plugin::load(&engine(), &"garbage".into(), garbage, &all()).unwrap_err();
        assert!(matches!(error, PluginError::Load { .. }), "{error}");
        assert!(error.to_string().contains("`garbage`"), "{error}");
    }
}

#[test]
fn what_was_built_for_another_host_does_not_fit() {
    for (name, words) in [
        ("wants-wasi", "`wasi:clocks/wall-clock@0.2.0`"),
        ("wants-files", "`vdeploy:plugin/filesystem@1.0.0`"),
        ("wants-newer-clock", "sleep-until"),
        ("other-step", "has another type"),
    ] {
        let error = refused(name);
        assert!(
            matches!(error, PluginError::Incompatible { .. }),
            "{name}: {error}"
        );
        assert!(error.to_string().contains(words), "{name}: {error}");
    }
    load("handmade", &Grants::default()).unwrap();
    load("handmade-undo", &Grants::default()).unwrap();
}

#[test]
fn an_import_without_a_grant_is_refused_with_the_line_to_add() {
    let error = load("version-check", &Grants::default()).unwrap_err();
    let PluginError::NotGranted {
        interface, line, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(interface, "http");
    assert_eq!(
        line,
        "[plugins.version-check.grants]\nhttp = [\"GET target/version\"]"
    );
    let error = load("own-restart", &Grants::default()).unwrap_err();
    assert!(
        matches!(&error, PluginError::NotGranted { interface, .. } if interface == "secrets"),
        "{error}"
    );
}

#[test]
fn each_import_needs_its_own_grant() {
    for (interface, without) in [
        (
            "ssh",
            Grants {
                ssh: Vec::new(),
                ..all()
            },
        ),
        (
            "http",
            Grants {
                http: Vec::new(),
                ..all()
            },
        ),
        (
            "secrets-reveal",
            Grants {
                secrets_reveal: Vec::new(),
                ..all()
            },
        ),
        (
            "snapshot",
            Grants {
                snapshot: Vec::new(),
                ..all()
            },
        ),
        (
            "state",
            Grants {
                state: false,
                ..all()
            },
        ),
    ] {
        match load("scripted", &without) {
            Err(PluginError::NotGranted {
                interface: found, ..
            }) => assert_eq!(found, interface),
            other => panic!("{interface}: {other:?}"),
        }
    }
}

/// `http` and `ssh` name the type of a secret, which is no use of secrets.
#[test]
fn types_alone_need_no_grant() {
    let http = Grants {
        http: vec![HttpScope::parse("GET target/version").unwrap()],
        ..Grants::default()
    };
    load("version-check", &http).unwrap();
    let ssh = Grants {
        ssh: vec![SshScope::parse("echo **").unwrap()],
        ..Grants::default()
    };
    let plugin = load("bad-guests", &ssh).unwrap();
    assert!(
        !plugin
            .description
            .interfaces
            .contains(&"secrets".to_owned())
    );
}

#[test]
fn inspection_says_who_it_is_and_what_it_can_do() {
    let found = Inspection::of(&"version-check".into(), &bytes("version-check")).unwrap();
    assert_eq!(found.name, "version-check");
    assert!(!found.undo);
    assert_eq!(
        found.powers,
        ["sends HTTP requests from the host, as far as the http grants go"]
    );
    assert_eq!(found.requests[0].1, "GET target/version");
    assert!(found.config["properties"]["expect"].is_object());
    let undoable = Inspection::of(&"scripted".into(), &bytes("scripted")).unwrap();
    assert!(undoable.undo);
    assert!(undoable.imports.contains(&"secrets-reveal".to_owned()));
}

#[test]
fn the_digest_is_that_of_the_bytes() {
    let plugin = load("handmade", &Grants::default()).unwrap();
    let digest = vdeploy_wasm::digest(&bytes("handmade"));
    assert_eq!(plugin.description.digest, digest);
    assert_ne!(vdeploy_wasm::digest(b"x"), digest);
    assert_eq!(digest.as_str().len(), 64);
}
