//! What the program makes is for its caller alone.

use crate::support::{Place, mode};
use std::path::Path;

/// Every file and directory at and below `path` that others can read.
fn open_to_others(path: &Path, found: &mut Vec<String>) {
    if path.is_symlink() {
        return;
    }
    if mode(path) & 0o077 != 0 {
        found.push(format!("{:04o} {}", mode(path), path.display()));
    }
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            open_to_others(&entry.unwrap().path(), found);
        }
    }
}

#[test]
fn the_state_directory_and_what_is_in_it() {
    let place = Place::new();
    place
        .vdeploy(&place.path("home"), &["runs", "list"])
        .expect(0, &[]);
    let mut found = Vec::new();
    open_to_others(&place.state(), &mut found);
    assert!(found.is_empty(), "{found:#?}");
}

/// Stops the cloud whatever happens.
struct Up<'a>(&'a Place);

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.0.vdeploy(&self.0.path("home"), &["local", "down"]);
    }
}

#[test]
fn the_local_cloud_and_its_vms() {
    let place = Place::new();
    let _up = Up(&place);
    place
        .vdeploy(&place.path("home"), &["local", "up", "--detach"])
        .expect(0, &["local cloud up"]);
    let cloud = place.state().join("local");
    for made in [
        "cloud.json",
        "endpoints.json",
        "cloud.log",
        "vms",
        "commits",
    ] {
        assert!(cloud.join(made).exists(), "{made}");
    }
    let mut found = Vec::new();
    open_to_others(&place.state(), &mut found);
    // The authority of its certificates is public.
    found.retain(|line| !line.ends_with("/certs/ca.pem"));
    assert!(found.is_empty(), "{found:#?}");
}
