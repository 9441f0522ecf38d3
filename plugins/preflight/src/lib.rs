//! Inspects the target before any change: fails on blockers, warns about
//! anomalies, and records the baseline for later steps. Probes only.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod findings;
mod judge;
mod port;

use std::time::Duration;

use serde::Deserialize;
use vdeploy_plugin::{Cx, Error, Secret, Step};
use vdeploy_service::data::{self, Counted};
use vdeploy_service::facts::{self, Facts, Location};
use vdeploy_service::listener::{self, Listener, Port};
use vdeploy_service::network;
use vdeploy_service::outputs::{Baseline, Counts};
use vdeploy_service::remote::{self, Resolved};

use findings::Findings;
use judge::{HotFixes, Policy};
use port::Foreign;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    #[serde(flatten)]
    location: Location,
    r#ref: String,
    min_free_mb: u64,
    hot_fixes: HotFixes,
    foreign_process: Foreign,
    new_token: bool,
    force: bool,
}

#[derive(Debug)]
pub struct Preflight;

impl Step for Preflight {
    type Config = Config;
    type Output = Baseline;

    fn check(cx: &Cx<Config>) -> Result<(), Error> {
        remote::check_ref(&cx.config().r#ref)?;
        let (facts, port) = survey(cx)?;
        let findings = findings(cx, &facts, &port);
        // `run` inspects again and reports what passes.
        let refused = findings.refuse();
        if refused.is_err() {
            findings.report(cx, Duration::ZERO);
        }
        refused
    }

    fn run(cx: &Cx<Config>) -> Result<Baseline, Error> {
        let config = cx.config();
        let token = cx.secret("auth-token")?;
        let began = cx.now_ms();
        let (facts, port) = survey(cx)?;
        let mut findings = findings(cx, &facts, &port);
        let resolved = check_network(cx, &facts, &mut findings)?;
        let (service, foreign) = match port {
            Port::Owned(listener) => match &facts.app_dir {
                Some(app_dir) if !port::is_foreign(app_dir, &listener) => (Some(listener), None),
                _ => (None, Some(listener)),
            },
            Port::Free | Port::Hidden { .. } => (None, None),
        };
        let counted = count(cx, &token, service.as_ref(), foreign.as_ref())?;
        findings.judge_version(&facts, service.as_ref());
        findings.judge_answers(&counted, config.new_token);
        let took = Duration::from_millis(cx.now_ms().saturating_sub(began));
        findings.report(cx, took);
        // The error of the remote has a more precise code.
        let wanted = match resolved {
            Some(Err(error)) if findings.failures() == 1 => return Err(error),
            Some(Ok(wanted)) => {
                findings.refuse()?;
                wanted
            }
            _ => {
                findings.refuse()?;
                return Err(Error::failed(
                    "preflight.refused",
                    "the checkout cannot be used",
                ));
            }
        };
        let app_dir = facts.app_dir(&config.location)?;
        for warning in findings.warnings() {
            cx.warn(warning);
        }
        let mut baseline = baseline(&facts, service, wanted.sha, app_dir);
        baseline.foreign = foreign;
        baseline.unit = port::unit_without_listener(&facts, baseline.service.as_ref());
        baseline.given = Some(config.location.clone());
        baseline.wanted_ref = config.r#ref.clone();
        baseline.new_token = config.new_token;
        baseline.open = counted.open;
        baseline.counts = counted.counts;
        baseline.warnings = findings.warnings();
        // Another token needs a restart.
        baseline.unchanged = !config.force && !counted.token_refused && judge::unchanged(&baseline);
        baseline.summary = summary(&baseline);
        Ok(baseline)
    }
}

fn count(
    cx: &Cx<Config>,
    token: &Secret,
    service: Option<&Listener>,
    foreign: Option<&Listener>,
) -> Result<Counted, Error> {
    match (service, foreign) {
        _ if cx.target_url().is_none() => Ok(Counted::default()),
        (Some(_), _) => data::count(cx, token),
        // Node in another directory can be the service: count its data, so
        // that a later check sees a loss. Another program has none.
        (None, Some(foreign)) if port::is_node(foreign) => {
            let Counted {
                counts, problems, ..
            } = data::count(cx, token)?;
            Ok(Counted {
                counts: match problems.is_empty() {
                    true => counts,
                    false => Counts::default(),
                },
                ..Counted::default()
            })
        }
        _ => Ok(Counted::default()),
    }
}

/// Checks the git remote and the network that a build needs. The network is
/// checked only where the result matters: in a dry run and before a first
/// build. None without a usable checkout.
fn check_network(
    cx: &Cx<Config>,
    facts: &Facts,
    findings: &mut Findings,
) -> Result<Option<Result<Resolved, Error>>, Error> {
    let usable = facts.git.is_some() && facts.checkout.error.is_none();
    let Some(app_dir) = facts.app_dir.as_deref().filter(|_| usable) else {
        return Ok(None);
    };
    if cx.dry_run() || !facts.modules {
        let network = network::read(cx, app_dir)?;
        findings.judge_network(&network, facts.modules);
    }
    if !facts
        .checkout
        .remotes
        .iter()
        .any(|remote| remote == "origin")
    {
        return Ok(None);
    }
    let name = &cx.config().r#ref;
    let resolved = remote::resolve(cx, app_dir, name);
    match &resolved {
        Err(error) if !error.code.starts_with("git.") => return Err(error.clone()),
        _ => findings.judge_remote(&resolved, name),
    }
    Ok(Some(resolved))
}

fn survey(cx: &Cx<Config>) -> Result<(Facts, Port), Error> {
    let facts = facts::read_with_data(cx, &cx.config().location)?;
    let port = listener::find(cx, facts.port)?;
    Ok((facts, port))
}

fn findings(cx: &Cx<Config>, facts: &Facts, port: &Port) -> Findings {
    let config = cx.config();
    let policy = Policy {
        min_free_mb: config.min_free_mb,
        hot_fixes: config.hot_fixes,
        foreign: config.foreign_process,
    };
    let mut findings = Findings::default();
    findings.judge_facts(facts, &config.location, policy);
    findings.judge_port(facts, port, policy);
    findings.judge_units(facts, port);
    findings.judge_log(facts, port);
    findings
}

fn baseline(
    facts: &Facts,
    service: Option<Listener>,
    wanted_sha: String,
    app_dir: &str,
) -> Baseline {
    let before = Baseline {
        first_deploy: service.is_none() && facts.built.is_none() && facts.running.is_none(),
        app_dir: app_dir.to_owned(),
        port: facts.port,
        log: facts.log.clone(),
        wanted_sha,
        head: facts.checkout.sha.clone(),
        branch: facts.checkout.branch.clone(),
        hot_fixes: facts.checkout.hot_fixes.clone(),
        unpushed: facts.checkout.unpushed,
        node: facts.node.clone().unwrap_or_default(),
        built: facts.built.clone(),
        running: facts.running.clone(),
        data_files: facts.data_files.clone(),
        service,
        ..Baseline::default()
    };
    Baseline {
        sha: before.serving().to_owned(),
        ..before
    }
}

fn summary(baseline: &Baseline) -> String {
    let short = |sha: &str| sha.get(..7).unwrap_or(sha).to_owned();
    let wanted = short(&baseline.wanted_sha);
    if baseline.unchanged {
        return format!("unchanged: {wanted} is built and runs");
    }
    let running = match &baseline.service {
        Some(listener) => match &listener.unit {
            Some(unit) => format!("pid {} of {unit} on port {}", listener.pid, baseline.port),
            None => format!("pid {} on port {}", listener.pid, baseline.port),
        },
        None if baseline.first_deploy => "first deploy".to_owned(),
        None => format!("nothing on port {}", baseline.port),
    };
    let counts = match baseline.counts.describe() {
        counts if counts.is_empty() => String::new(),
        counts => format!("; {counts}"),
    };
    format!("{} -> {wanted}; {running}{counts}", short(&baseline.sha))
}

vdeploy_plugin::register_step!(Preflight);

#[cfg(test)]
mod tests;
