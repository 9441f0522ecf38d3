mod log;
mod port;

use super::*;
use serde_json::json;
use vdeploy_plugin::CheckStatus;
use vdeploy_plugin::testing::{self, FakeHost, FakeOutput, FakeResponse};

const SHA: &str = "03b077a9e4f1c2d3b4a5968778695a4b3c2d1e0f";
const OLD: &str = "1111111111111111111111111111111111111111";

const HEALTHY: &str = "port=3000
log=/root/.vdeploy/logs/app/agent-services.log
node-env=
git=git version 2.39.2
node=v22.1.0
npm=10.0.0
app=/root/app
free-kb=9000000
free-inodes=900000
modules=yes
app-writable=yes
data=writable
top=/root/app
branch=main
remote=origin
unpushed=0
";

const SERVICE: &str = "pid=7\nstart=99\nppid=1\nuid=0\ncwd=/root/app\nexe=/usr/bin/node\narg=node\narg=dist/server.js\n";

struct Target {
    facts: String,
    listener: String,
    remote: FakeOutput,
    network: String,
}

impl Target {
    fn healthy() -> Self {
        Target {
            facts: format!("{HEALTHY}sha={OLD}\n"),
            listener: SERVICE.to_owned(),
            remote: FakeOutput::ok(format!("{SHA}\tHEAD\n{SHA}\trefs/heads/main\n")),
            network: "resolves=git.example\nregistry=https://r.example/\nregistry-answer=ok\n"
                .to_owned(),
        }
    }

    fn facts(mut self, lines: &str) -> Self {
        self.facts.push_str(lines);
        self
    }

    fn without(mut self, key: &str) -> Self {
        let start = format!("{key}=");
        let kept = self.facts.lines().filter(|line| !line.starts_with(&start));
        self.facts = kept.map(|line| format!("{line}\n")).collect();
        self
    }

    fn listener(mut self, text: &str) -> Self {
        self.listener = text.to_owned();
        self
    }

    fn network(mut self, text: &str) -> Self {
        self.network = text.to_owned();
        self
    }

    fn host(self) -> FakeHost {
        FakeHost::new()
            .manifest(include_str!("../plugin.toml"))
            .secret("auth-token", "s3cret")
            .on_ssh("sh -s -- facts **", FakeOutput::ok(self.facts))
            .on_ssh("sh -s -- listener 3000", FakeOutput::ok(self.listener))
            .on_ssh("sh -s -- git ls-remote **", self.remote)
            .on_ssh("sh -s -- network", FakeOutput::ok(self.network))
    }
}

/// A service with one entry in each store.
fn answers(host: FakeHost, token: &'static str) -> FakeHost {
    host.http(move |request| {
        if request.header("authorization") != Some(format!("Bearer {token}").as_str()) {
            return FakeResponse::new(401, "{}");
        }
        let body = match request.path() {
            "/board/tasks" => json!({"tasks": [], "count": 3}),
            "/feed/stats" => json!({"total": 40}),
            "/registry/vms" => json!({"vms": [], "count": 1}),
            "/commits" => json!([1, 2]),
            _ => return FakeResponse::new(404, ""),
        };
        FakeResponse::json(200, &body)
    })
}

fn refusal(target: Target) -> String {
    let host = target.host();
    let error = testing::check::<Preflight>(&host).unwrap_err();
    assert_eq!(error.code, "preflight.refused");
    let run = testing::run::<Preflight>(&answers(host, "s3cret")).unwrap_err();
    assert_eq!(run, error);
    error.message
}

#[test]
fn says_what_is_there() {
    let host = answers(Target::healthy().host(), "s3cret");
    testing::check::<Preflight>(&host).unwrap();
    let baseline = testing::run::<Preflight>(&host).unwrap();
    assert_eq!(baseline.sha, OLD);
    assert_eq!(baseline.wanted_sha, SHA);
    assert_eq!(baseline.app_dir, "/root/app");
    assert_eq!(baseline.service.as_ref().unwrap().pid, 7);
    assert_eq!(
        baseline.counts.describe(),
        "board 3, commits 2, feed 40, registry 1"
    );
    assert!(!baseline.unchanged && !baseline.first_deploy && !baseline.open);
    assert_eq!(baseline.warnings, [""; 0]);
    assert_eq!(host.changes(), [""; 0]);
}

#[test]
fn a_first_deploy_is_no_error() {
    let host = Target::healthy().listener("").host();
    let baseline = testing::run::<Preflight>(&host).unwrap();
    assert!(baseline.first_deploy && !baseline.unchanged);
    assert_eq!(baseline.service, None);
    assert_eq!(host.requests(), []);
}

fn current() -> Target {
    let build = json!({"sha": SHA, "node": "v22.1.0"});
    let running = json!({"sha": SHA, "node": "v22.1.0", "pid": 7, "start-ticks": 99});
    Target::healthy()
        .without("sha")
        .facts(&format!("sha={SHA}\nbuild={build}\nrunning={running}\n"))
}

#[test]
fn what_serves_is_the_way_back_and_a_disagreement_is_told() {
    const PULLED: &str = "2222222222222222222222222222222222222222";
    let marker = |sha: &str| json!({"sha": sha, "pid": 7, "start-ticks": 99});
    // A run was interrupted after its build: the process has the old version.
    let cut_off = Target::healthy().without("sha").facts(&format!(
        "sha={PULLED}\nbuild={}\nrunning={}\n",
        marker(PULLED),
        marker(OLD)
    ));
    let baseline = testing::run::<Preflight>(&answers(cut_off.host(), "s3cret")).unwrap();
    assert_eq!(
        (baseline.sha.as_str(), baseline.head.as_str()),
        (OLD, PULLED)
    );
    assert!(
        baseline.summary.starts_with("1111111 -> 03b077a;"),
        "{}",
        baseline.summary
    );
    assert_eq!(
        baseline.warnings,
        [
            "pid 7 serves 1111111, the live build has 2222222, HEAD of the checkout is 2222222: a run was interrupted, or somebody changed the checkout by hand; if this run fails, it rolls back to 1111111"
        ]
    );
    // Somebody pulled by hand, and nothing runs.
    let pulled = Target::healthy()
        .without("sha")
        .listener("")
        .facts(&format!(
            "sha={PULLED}\nbuild={}\nrunning={}\n",
            marker(OLD),
            marker(SHA)
        ));
    let baseline = testing::run::<Preflight>(&answers(pulled.host(), "s3cret")).unwrap();
    assert_eq!(baseline.sha, OLD);
    assert!(
        baseline.warnings[0].starts_with("the live build has 1111111, HEAD"),
        "{:?}",
        baseline.warnings
    );
}

#[test]
fn unchanged_needs_every_proof() {
    let unchanged = |target: Target| {
        let host = answers(target.host(), "s3cret");
        testing::run::<Preflight>(&host).unwrap().unchanged
    };
    assert!(unchanged(current()));
    assert!(unchanged(current().facts("hot-fix=?? .auth-token\n")));
    assert!(!unchanged(current().facts("hot-fix= M src/a.ts\n")));
    assert!(!unchanged(current().without("build")));
    assert!(!unchanged(
        current().without("node").facts("node=v24.0.0\n")
    ));
    // The same pid, but a later process.
    assert!(!unchanged(
        current().listener(&SERVICE.replace("start=99", "start=100"))
    ));
    assert!(!unchanged(
        current().without("sha").facts(&format!("sha={OLD}\n"))
    ));
    let new_token = answers(current().host(), "another").config(json!({"new-token": true}));
    assert!(!testing::run::<Preflight>(&new_token).unwrap().unchanged);
    let same_token = answers(current().host(), "s3cret").config(json!({"new-token": true}));
    assert!(testing::run::<Preflight>(&same_token).unwrap().unchanged);
    let forced = answers(current().host(), "s3cret").config(json!({"force": true}));
    assert!(!testing::run::<Preflight>(&forced).unwrap().unchanged);
}

#[test]
fn refuses_missing_tools_disk_and_data_in_one_go() {
    let target = Target::healthy()
        .without("npm")
        .without("free-kb")
        .without("data")
        .facts("npm=\nfree-kb=2048\ndata=readonly\n");
    let message = refusal(target);
    for part in [
        "no `npm`",
        "2 MiB are free",
        "the build needs 1024 MiB",
        "/root/app/data cannot be written",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn refuses_what_is_no_checkout() {
    assert!(refusal(Target::healthy().without("app")).contains("no directory `workspace/"));
    let message = refusal(Target::healthy().facts("git-error=fatal: dubious ownership\n"));
    assert!(message.contains("dubious ownership"), "{message}");
    assert!(refusal(Target::healthy().without("remote")).contains("no remote `origin`"));
    let inside = Target::healthy().without("top").facts("top=/root\n");
    assert!(refusal(inside).contains("inside the checkout /root;"));
}

const FOREIGN: &str = "pid=44\nstart=1\nsince=2026-02-13 09:41:07 UTC\nppid=1\nuid=33\nuser=www\ncwd=/srv\nexe=/usr/bin/python3\narg=python3\narg=-m\narg=http.server\n";

#[test]
fn warns_of_modules_for_another_node() {
    let build = json!({"sha": OLD, "node": "v20.20.2"});
    let target = Target::healthy().facts(&format!("build={build}\n"));
    let baseline = testing::run::<Preflight>(&answers(target.host(), "s3cret")).unwrap();
    assert!(
        baseline.warnings[0].contains("v20.20.2") && baseline.warnings[0].contains("v22.1.0"),
        "{:?}",
        baseline.warnings
    );
}

#[test]
fn hot_fixes_warn_or_refuse() {
    let fixed = || {
        Target::healthy()
            .without("unpushed")
            .facts("hot-fix= M src/board/store.ts\nunpushed=2\n")
    };
    let host = answers(fixed().host(), "s3cret");
    let baseline = testing::run::<Preflight>(&host).unwrap();
    assert!(baseline.warnings[0].contains("src/board/store.ts"));
    assert!(baseline.warnings[1].contains("2 commits"));
    let strict = fixed().host().config(json!({"hot-fixes": "refuse"}));
    let error = testing::check::<Preflight>(&strict).unwrap_err();
    assert!(error.message.contains("never pushed"), "{error}");
}

#[test]
fn warns_loudly_of_an_open_service() {
    let host = Target::healthy()
        .host()
        .http(|_| FakeResponse::new(200, r#"{"count":1,"total":1}"#));
    let baseline = testing::run::<Preflight>(&host).unwrap();
    assert!(baseline.open);
    assert!(host.warnings()[0].contains("OPEN"), "{:?}", host.warnings());
}

#[test]
fn refuses_a_token_that_the_service_does_not_take() {
    let host = answers(Target::healthy().host(), "another");
    let error = testing::run::<Preflight>(&host).unwrap_err();
    assert!(error.message.contains("another token"), "{error}");
    let told = answers(Target::healthy().host(), "another").config(json!({"new-token": true}));
    let baseline = testing::run::<Preflight>(&told).unwrap();
    assert!(
        baseline.warnings[0].contains("every agent"),
        "{:?}",
        baseline.warnings
    );
}

#[test]
fn a_silent_service_only_warns() {
    let gone = Error::failed("http.timeout", "no answer");
    let host = Target::healthy()
        .host()
        .http(move |_| Err::<FakeResponse, _>(gone.clone()));
    let baseline = testing::run::<Preflight>(&host).unwrap();
    assert_eq!(baseline.warnings.len(), 4);
    assert!(
        baseline.warnings[0].contains("board"),
        "{:?}",
        baseline.warnings
    );
}

#[test]
fn refuses_a_missing_secret_an_unreadable_remote_and_an_unknown_ref() {
    let run = |host: FakeHost| testing::run::<Preflight>(&answers(host, "s3cret")).unwrap_err();
    let host = FakeHost::new().manifest(include_str!("../plugin.toml"));
    assert_eq!(run(host).code, "secret.missing");
    let mut target = Target::healthy();
    target.remote = FakeOutput::fail(128, "fatal: could not read Username\n");
    let error = run(target.host());
    assert_eq!(error.code, "git.remote");
    assert!(error.message.contains("could not read Username"), "{error}");
    assert_eq!(
        run(Target::healthy().host().config(json!({"ref": "nope"}))).code,
        "git.ref"
    );
    assert_eq!(
        run(Target::healthy().host().config(json!({"ref": "--x"}))).code,
        "git.ref"
    );
}

#[test]
fn warns_of_node_env_production() {
    let target = Target::healthy()
        .without("node-env")
        .facts("node-env=production\n");
    let host = answers(target.host(), "s3cret");
    let baseline = testing::run::<Preflight>(&host).unwrap();
    assert!(baseline.warnings[0].contains("NODE_ENV"));
}

/// Name, status and detail of the named checks that warn or fail.
fn bad_checks(host: &FakeHost) -> Vec<(String, CheckStatus, String)> {
    let all = host.checks().into_iter();
    let all = all.map(|check| (check.name, check.status, check.detail.unwrap_or_default()));
    all.filter(|(_, status, detail)| {
        *status != CheckStatus::Passed || detail.starts_with("warning: ")
    })
    .collect()
}

#[test]
fn every_finding_is_a_named_check_with_its_fix() {
    let target = Target::healthy()
        .without("free-inodes")
        .without("node-env")
        .facts("free-inodes=3\nnode-env=production\n");
    let host = answers(target.host(), "another");
    testing::run::<Preflight>(&host).unwrap_err();
    let bad = bad_checks(&host);
    let names: Vec<&str> = bad.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["NODE_ENV", "inodes", "token"]);
    assert_eq!(bad[0].1, CheckStatus::Passed);
    assert!(bad[1].2.contains("3 more files fit") && bad[1].2.contains("; fix: delete files"));
    assert!(bad[2].2.contains("; fix: give the right token"), "{bad:?}");
    let good: Vec<String> = host.checks().into_iter().map(|c| c.name).collect();
    for name in ["git", "checkout", "data directory", "port", "git remote"] {
        assert!(good.iter().any(|found| found == name), "{name}: {good:?}");
    }
}

#[test]
fn a_check_reports_only_when_it_refuses() {
    let host = Target::healthy().host();
    testing::check::<Preflight>(&host).unwrap();
    assert!(host.checks().is_empty());
    let full = Target::healthy().without("free-kb").facts("free-kb=1024\n");
    let host = full.host();
    testing::check::<Preflight>(&host).unwrap_err();
    assert_eq!(bad_checks(&host)[0].0, "disk space");
}

#[test]
fn all_failures_are_reported_together() {
    let mut target = Target::healthy().without("npm").facts("npm=\n");
    target.remote = FakeOutput::fail(128, "fatal: unable to access\n");
    let error = testing::run::<Preflight>(&answers(target.host(), "s3cret")).unwrap_err();
    for part in ["2 checks failed", "no `npm`", "unable to access"] {
        assert!(error.message.contains(part), "{part}: {error}");
    }
}

#[test]
fn a_registry_that_is_down_refuses_a_first_build_only() {
    let down = "registry=https://r.example/\nregistry-answer=ECONNREFUSED\n";
    let first = Target::healthy().without("modules").network(down);
    let error = testing::run::<Preflight>(&answers(first.host(), "s3cret")).unwrap_err();
    assert!(error.message.contains("r.example"), "{error}");
    // A run with modules does not check; a dry run does, and only warns.
    let host = answers(Target::healthy().network(down).host(), "s3cret");
    testing::run::<Preflight>(&host).unwrap();
    assert!(
        !host
            .call_lines()
            .iter()
            .any(|line| line.contains("network"))
    );
    let dry = answers(Target::healthy().network(down).host(), "s3cret").dry_run(true);
    let baseline = testing::run::<Preflight>(&dry).unwrap();
    assert!(
        baseline.warnings[0].contains("needs new modules"),
        "{baseline:?}"
    );
}

#[test]
fn a_dead_resolver_is_named() {
    let target = Target::healthy().network("unresolved=git.example\n");
    let host = answers(target.host(), "s3cret").dry_run(true);
    let error = testing::run::<Preflight>(&host).unwrap_err();
    assert!(
        error
            .message
            .contains("cannot resolve the name git.example")
    );
    assert_eq!(bad_checks(&host)[0].0, "name resolution");
}

#[test]
fn warns_of_another_node_than_the_checkout_requires() {
    let target = Target::healthy().facts("nvmrc=18\npackage={\"engines\":{\"node\":\">=20\"}}\n");
    let host = answers(target.host(), "s3cret");
    let baseline = testing::run::<Preflight>(&host).unwrap();
    assert_eq!(baseline.warnings.len(), 1);
    assert!(baseline.warnings[0].contains(".nvmrc of the checkout requires 18"));
}
