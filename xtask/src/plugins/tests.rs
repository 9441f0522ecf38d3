//! A made-up checkout with two plugins, an SDK and a helper package.

use super::*;
use crate::workspace::Member;

struct Checkout {
    _dir: tempfile::TempDir,
    workspace: Workspace,
}

fn checkout() -> Checkout {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_path_buf();
    let put = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put("wit/package.wit", "package vdeploy:plugin@1.0.0;");
    put("plugins/smoke/plugin.toml", "name = \"smoke\"");
    put("plugins/git-pull/plugin.toml", "name = \"git-pull\"");
    put("plugins/service/src/lib.rs", "");
    put("plugins/sdk/plugin.toml", "name = \"template\"");
    put("Cargo.lock", "one");
    let member = |name: &str, path: &str| Member {
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        dir: root.join(path),
    };
    let workspace = Workspace {
        plugins: root.join("target/vdeploy-plugins"),
        target: root.join("target"),
        members: vec![
            member("vdeploy", "host/cli"),
            member("plugin-smoke", "plugins/smoke"),
            member("plugin-git-pull", "plugins/git-pull"),
            member("plugin-service", "plugins/service"),
            member("vdeploy-plugin", "plugins/sdk"),
        ],
        root,
    };
    Checkout {
        _dir: dir,
        workspace,
    }
}

fn install_two(workspace: &Workspace) {
    let stamps = Stamps::of_sources(&workspace.root).unwrap();
    let built = ["git-pull", "smoke"].map(|name| (name.to_owned(), name.as_bytes().to_vec()));
    install(&workspace.plugins, &stamps, &built).unwrap();
}

fn fresh(workspace: &Workspace) -> bool {
    check_fresh(workspace).is_ok()
}

#[test]
fn plugins_are_the_members_with_a_manifest() {
    let names: Vec<String> = find(&checkout().workspace)
        .unwrap()
        .into_iter()
        .map(|plugin| plugin.name)
        .collect();
    assert_eq!(names, ["git-pull", "smoke"]);
}

#[test]
fn two_plugins_of_one_name_are_refused() {
    let at = checkout();
    let manifest = at.workspace.root.join("plugins/smoke/plugin.toml");
    fs::write(manifest, "name = \"git-pull\"").unwrap();
    assert!(find(&at.workspace).is_err());
}

#[test]
fn a_name_that_could_leave_the_directory_is_refused() {
    assert_eq!(manifest_name("name = \"a-1\"").unwrap(), "a-1");
    for bad in ["../x", "", "Smoke", "1a", "a.b", "a/b"] {
        assert!(manifest_name(&format!("name = {bad:?}")).is_err(), "{bad}");
    }
    assert!(manifest_name("title = \"x\"").is_err());
    assert!(manifest_name("name = ").is_err());
}

#[test]
fn what_was_built_from_the_sources_is_fresh() {
    let at = checkout();
    assert!(!fresh(&at.workspace));
    install_two(&at.workspace);
    assert!(fresh(&at.workspace));
}

#[test]
fn a_changed_an_added_and_a_removed_source_make_it_stale() {
    let at = checkout();
    let lib = at.workspace.root.join("plugins/service/src/lib.rs");
    install_two(&at.workspace);
    fs::write(&lib, "// other").unwrap();
    assert!(!fresh(&at.workspace));
    fs::write(&lib, "").unwrap();
    assert!(fresh(&at.workspace));

    let added = lib.with_file_name("added.rs");
    fs::write(&added, "").unwrap();
    assert!(!fresh(&at.workspace));
    fs::rename(&lib, &added).unwrap();
    assert!(!fresh(&at.workspace), "a renamed file is another source");
}

#[test]
fn what_cargo_leaves_below_plugins_is_no_source() {
    let at = checkout();
    install_two(&at.workspace);
    let target = at.workspace.root.join("plugins/smoke/target");
    fs::create_dir_all(&target).unwrap();
    fs::write(target.join("x"), "x").unwrap();
    assert!(fresh(&at.workspace));
}

#[test]
fn another_dependency_makes_it_stale_for_xtask_and_not_for_the_host() {
    let at = checkout();
    install_two(&at.workspace);
    let stamp = || fs::read_to_string(at.workspace.plugins.join(STAMP)).unwrap();
    let before = stamp();
    fs::write(at.workspace.root.join("Cargo.lock"), "two").unwrap();
    assert!(!fresh(&at.workspace));
    install_two(&at.workspace);
    assert_eq!(stamp(), before);
}

#[test]
fn a_missing_component_makes_it_stale_and_a_surplus_one_is_removed() {
    let at = checkout();
    install_two(&at.workspace);
    fs::remove_file(at.workspace.plugins.join("smoke.wasm")).unwrap();
    assert!(!fresh(&at.workspace));
    let surplus = at.workspace.plugins.join("renamed.wasm");
    fs::write(&surplus, "old").unwrap();
    install_two(&at.workspace);
    assert!(!surplus.exists());
    assert!(fresh(&at.workspace));
}

#[test]
fn a_summary_names_the_powers_without_their_package() {
    let imports = ["vdeploy:plugin/ssh@1.0.0", "vdeploy:plugin/log@1.0.0"].map(str::to_owned);
    assert_eq!(
        summary("smoke", 18_001, &imports),
        "  smoke: 19 kB, imports ssh log"
    );
}
