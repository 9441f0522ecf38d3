//! Modes and links; owners other than the caller are in the tests of the built
//! program, which root runs.

use super::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

/// A directory of the caller's in a place that everybody can write.
fn place() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn dir(path: &Path, mode: u32) -> PathBuf {
    fs::create_dir_all(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    path.to_owned()
}

fn file(path: &Path, mode: u32) -> PathBuf {
    fs::write(path, "x").unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    path.to_owned()
}

/// The path and the reason.
fn refused(judged: Result<(), Untrusted>) -> (PathBuf, Why) {
    let found = judged.unwrap_err();
    (found.path, found.why)
}

#[test]
fn a_private_directory_may_be_there_or_missing() {
    let top = place();
    let judge = Judge::of_process();
    let state = dir(&top.path().join("state"), 0o755);
    judge.private_dir(&state).unwrap();
    judge.private_dir(&state.join("a/b")).unwrap();
    // What is in the way is for the one who uses it.
    let in_the_way = file(&top.path().join("file"), 0o600);
    judge.private_dir(&in_the_way).unwrap();
    judge.private_dir(&in_the_way.join("state")).unwrap();
}

#[test]
fn everybody_may_write_neither_it_nor_what_lies_above() {
    let top = place();
    let judge = Judge::of_process();
    for mode in [0o777, 0o1777] {
        let open = dir(&top.path().join(format!("{mode:o}")), mode);
        let found = refused(judge.private_dir(&open));
        assert_eq!(found, (open, Why::Everybody));
    }
    let shared = top.path().join("777");
    for below in ["there", "missing"] {
        let _ = fs::create_dir(shared.join("there"));
        let found = refused(judge.private_dir(&shared.join(below)));
        assert_eq!(found, (shared.clone(), Why::Everybody), "{below}");
    }
    // The sticky bit keeps the names.
    let sticky = top.path().join("1777");
    judge.private_dir(&sticky.join("missing")).unwrap();
    judge
        .private_dir(&dir(&sticky.join("mine"), 0o700))
        .unwrap();
}

#[test]
fn a_way_through_links_is_judged_where_it_leads() {
    let top = place();
    let judge = Judge::of_process();
    let real = dir(&top.path().join("open/state"), 0o700);
    symlink(&real, top.path().join("absolute")).unwrap();
    symlink("open/../open/state", top.path().join("relative")).unwrap();
    symlink("loop", top.path().join("loop")).unwrap();
    for link in ["absolute", "relative"] {
        judge.private_dir(&top.path().join(link)).unwrap();
    }
    let open = dir(&top.path().join("open"), 0o777);
    for link in ["absolute", "relative", "relative/below"] {
        let found = refused(judge.private_dir(&top.path().join(link)));
        assert_eq!(found, (open.clone(), Why::Everybody), "{link}");
    }
    let found = refused(judge.private_dir(&top.path().join("loop")));
    assert_eq!(found.1, Why::Link);
}

#[test]
fn a_private_file_is_no_link_and_nobody_else_writes_it() {
    let top = place();
    let judge = Judge::of_process();
    let path = top.path().join("db");
    judge.private_file(&path).unwrap();
    file(&path, 0o600);
    judge.private_file(&path).unwrap();
    let link = top.path().join("link");
    symlink(&path, &link).unwrap();
    assert_eq!(refused(judge.private_file(&link)).1, Why::Link);
    file(&path, 0o602);
    assert_eq!(refused(judge.private_file(&path)).1, Why::Everybody);
}

#[test]
fn a_file_that_was_found_is_judged_with_its_directory_and_its_links() {
    let top = place();
    let judge = Judge::of_process();
    let found = |path: &Path| judge.open_found(path).unwrap().map(drop);
    let project = file(&dir(&top.path().join("a"), 0o755).join("p.toml"), 0o664);
    found(&project).unwrap();
    let link = dir(&top.path().join("b"), 0o700).join("p.toml");
    symlink("../a/p.toml", &link).unwrap();
    found(&link).unwrap();
    // The link's own directory, and that of what it leads to.
    for (open, why) in [("a", Why::Everybody), ("b", Why::Everybody)] {
        let open = dir(&top.path().join(open), 0o1777);
        assert_eq!(refused(found(&link)).1, why, "{}", open.display());
        dir(&open, 0o755);
    }
    file(&project, 0o666);
    assert_eq!(refused(found(&link)).1, Why::Everybody);
    assert_eq!(refused(found(&project)), (project, Why::Everybody));
    assert_eq!(refused(found(top.path())).1, Why::Kind);
}

#[test]
fn a_file_that_is_named_lies_where_only_its_owner_can_put_it() {
    let top = place();
    let judge = Judge::of_process();
    let shared = dir(&top.path().join("shared"), 0o1777);
    let plugin = file(&shared.join("p.wasm"), 0o644);
    judge.named_file(&plugin).unwrap();
    judge.named_file(&shared.join("missing")).unwrap();
    file(&plugin, 0o646);
    let found = refused(judge.named_file(&plugin));
    assert_eq!(found, (plugin.clone(), Why::Everybody));
    file(&plugin, 0o644);
    dir(&shared, 0o777);
    let found = refused(judge.named_file(&plugin));
    assert_eq!(found, (shared, Why::Everybody));
}

#[test]
fn what_is_made_is_for_the_caller_alone() {
    let top = place();
    make_private_dir(&top.path().join("a/b")).unwrap();
    for made in ["a", "a/b"] {
        let mode = fs::metadata(top.path().join(made)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o700, "{made}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_owner_and_how_it_is_mended() {
    let top = place();
    let open = dir(&top.path().join("a b"), 0o777);
    let found = Judge::of_process().private_dir(&open).unwrap_err();
    let text = found.to_string();
    assert!(text.contains("a b can be written by everybody (mode 0777, owner "));
    let mend = found.mend().unwrap();
    assert!(mend.starts_with("chmod o-w '/"), "{mend}");
}
