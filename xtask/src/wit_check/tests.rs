//! Pairs of contracts: what an old plugin survives and what it does not.

use super::*;

const RELEASED: &str = "
    /// The contract.
    package vdeploy:plugin@1.0.0;
    /// Types.
    interface types {
        /// Kinds.
        enum kind { denied, failed }
        /// An error.
        record error { kind: kind, message: string }
    }
    /// Http.
    interface http {
        use types.{error};
        /// A request.
        resource request {
            /// Makes one.
            constructor(url: string);
            /// Adds a header.
            header: func(name: string);
        }
        /// Sends.
        send: func(request: request) -> result<u16, error>;
    }
    /// A step.
    interface step {
        use types.{error};
        /// Runs.
        run: func() -> result<string, error>;
    }
    /// A plugin.
    world step-plugin { import http; export step; }
";

fn files(text: &str) -> Files {
    vec![("contract.wit".to_owned(), text.to_owned())]
}

/// What [`breaks`] says when `from` is replaced by `to` in the next version.
fn change(from: &str, to: &str) -> Vec<String> {
    assert!(RELEASED.contains(from), "{from}");
    let next = RELEASED.replacen(from, to, 1).replace("1.0.0", "1.1.0");
    breaks(&files(RELEASED), &files(&next)).unwrap()
}

#[test]
fn the_same_contract_breaks_nothing_even_under_the_same_number() {
    assert_eq!(
        breaks(&files(RELEASED), &files(RELEASED)).unwrap(),
        Vec::<String>::new()
    );
}

#[test]
fn additions_to_what_a_plugin_imports_are_accepted() {
    let send = "send: func(request: request) -> result<u16, error>;";
    let header = "header: func(name: string);";
    let import = "import http;";
    for (from, more) in [
        (send, "send-all: func(requests: list<u8>);"),
        (header, "body: func(bytes: list<u8>);"),
        (import, "import clock;"),
    ] {
        let mut next = RELEASED.replacen(from, &format!("{from} {more}"), 1);
        next.push_str("interface clock { now: func() -> u64; }");
        let findings = breaks(&files(RELEASED), &files(&next)).unwrap();
        assert_eq!(findings, Vec::<String>::new(), "{more}");
    }
}

#[test]
fn a_closed_type_that_is_opened_is_refused() {
    for (from, to) in [
        ("{ denied, failed }", "{ denied, failed, timeout }"),
        ("{ denied, failed }", "{ denied }"),
        ("{ denied, failed }", "{ refused, failed }"),
        ("message: string }", "message: string, code: string }"),
    ] {
        let findings = change(from, to);
        assert_eq!(findings.len(), 1, "{to}: {findings:?}");
        assert!(
            findings[0].starts_with("world step-plugin: "),
            "{findings:?}"
        );
    }
}

#[test]
fn a_changed_or_removed_function_is_refused() {
    assert_eq!(change("header: func(name: string);", "").len(), 1);
    assert_eq!(
        change(
            "header: func(name: string);",
            "header: func(n: string, v: string);"
        )
        .len(),
        1
    );
    assert_eq!(
        change("constructor(url: string);", "constructor();").len(),
        1
    );
}

#[test]
fn more_to_export_is_refused_because_no_old_plugin_has_it() {
    let run = "run: func() -> result<string, error>;";
    assert_eq!(change(run, &format!("{run} plan: func();")).len(), 1);
    assert_eq!(
        change("export step;", "export step; export stop: func();").len(),
        1
    );
}

#[test]
fn a_world_may_come_and_may_not_go() {
    let world = "world step-plugin { import http; export step; }";
    let more = format!("{world} world other {{ import http; }}");
    assert_eq!(change(world, &more), Vec::<String>::new());
    assert_eq!(
        change(world, "world renamed { import http; export step; }"),
        ["world step-plugin: it is gone"]
    );
}

#[test]
fn what_is_unstable_may_change() {
    let send = "send: func(request: request) -> result<u16, error>;";
    let unstable = format!("{send} @unstable(feature = later) try: func();");
    let before = RELEASED.replacen(send, &unstable, 1);
    assert_eq!(
        breaks(&files(&before), &files(RELEASED)).unwrap(),
        Vec::<String>::new()
    );
}

#[test]
fn everything_without_a_doc_comment_is_named_and_nothing_else() {
    let (resolve, package) = load(&files(RELEASED)).unwrap();
    assert_eq!(undocumented(&resolve, package), Vec::<String>::new());

    let bare: String = RELEASED
        .lines()
        .filter(|line| !line.contains("///"))
        .collect::<Vec<_>>()
        .join("\n");
    let (resolve, package) = load(&files(&bare)).unwrap();
    let mut found = undocumented(&resolve, package);
    found.sort();
    assert_eq!(
        found,
        [
            "function http.request.constructor",
            "function http.request.header",
            "function http.send",
            "function step.run",
            "interface http",
            "interface step",
            "interface types",
            "type http.request",
            "type types.error",
            "type types.kind",
            "world step-plugin",
        ]
    );
}

#[test]
fn an_interface_in_no_world_is_named() {
    let more = format!("{RELEASED} interface lonely {{ f: func(); }}");
    let (resolve, package) = load(&files(&more)).unwrap();
    assert_eq!(outside_of_worlds(&resolve, package), ["interface lonely"]);
}

#[test]
fn a_broken_contract_is_refused_with_its_file() {
    let error = load(&files("package vdeploy:plugin@1.0.0; interface {")).unwrap_err();
    assert!(error.to_string().contains("contract.wit"), "{error}");
    let error = load(&files("package a:b@1.0.0; world w { import gone; }")).unwrap_err();
    assert!(error.to_string().contains("gone"), "{error}");
    assert!(load(&files("package a:b; interface i {}")).is_err());
}

#[test]
fn the_last_release_is_read_from_git() {
    let dir = tempfile::tempdir().unwrap();
    let git = |args: &[&str]| {
        let status = Command::new("git")
            .arg("-C")
            .arg(dir.path())
            .args([
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@localhost",
                "-c",
                "tag.gpgsign=false",
                "-c",
                "commit.gpgsign=false",
            ])
            .args(args)
            .status()
            .unwrap();
        assert!(status.success(), "git {args:?}");
    };
    let write = |text: &str| fs::write(dir.path().join("wit/contract.wit"), text).unwrap();
    git(&["init", "--quiet"]);
    fs::create_dir(dir.path().join("wit")).unwrap();
    write(RELEASED);
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "one"]);
    assert_eq!(last_release(dir.path()).unwrap(), None);
    git(&["tag", "wit-1.0.0"]);
    git(&["tag", "wit-1.9.0"]);
    git(&["tag", "wit-1.10.0"]);
    write("package vdeploy:plugin@1.11.0;");

    let tag = last_release(dir.path()).unwrap().unwrap();
    assert_eq!(tag, "wit-1.10.0", "sorted as versions");
    let released = of_tag(dir.path(), &tag).unwrap();
    assert_eq!(released[0].1.trim(), RELEASED.trim());
    let now = of_checkout(&dir.path().join("wit")).unwrap();
    assert_eq!(
        breaks(&released, &now).unwrap(),
        ["world step-plugin: it is gone"]
    );
}
