//! The step `smoke`: checks that the right process runs, answers, rejects
//! strangers, has its data and stays up. Probes only, so it may run at any time.
//! It makes and reports every check and fails at the end.
//!
//! This plugin must not know how the service was started.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod inside;
mod outside;
mod report;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vdeploy_plugin::{Cx, Error, Step};
use vdeploy_service::data;
use vdeploy_service::endpoints::Endpoint;
use vdeploy_service::listener::{self, Listener, Port};
use vdeploy_service::outputs::RolledBack;
use vdeploy_service::outputs::{Baseline, Pulled, Restarted};

use inside::Inside;
use report::{Report, Verdict};

/// Why the checks with the token are skipped.
const OTHER_TOKEN: &str =
    "the old process never stopped, and it has another token than the given one";

/// As in preflight.
const DEFAULT_APP_DIR: &str = "workspace/vers-agent-services";

/// See `plugin.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    app_dir: Option<String>,
    port: Option<u16>,
    log: Option<String>,
    health: String,
    health_expect: String,
    #[serde(default = "Endpoint::defaults")]
    endpoints: Vec<Endpoint>,
    auth_secret: String,
    open_warning: String,
    ipv6: bool,
    data_may_shrink: bool,
    stable_seconds: u64,
    outside_timeout: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Output {
    pub summary: String,
    pub passed: usize,
    pub skipped: usize,
    /// The tested process.
    pub service: Option<Listener>,
}

/// Which process should listen on the port.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expectation {
    Exactly(Listener),
    /// A step other than `restart` deployed: not the old process.
    Not(Listener),
    Any,
}

#[derive(Debug)]
pub struct Smoke;

impl Step for Smoke {
    type Config = Config;
    type Output = Output;

    fn check(cx: &Cx<Config>) -> Result<(), Error> {
        outside::validate(cx.config())?;
        cx.target_endpoint(&cx.config().health)?;
        cx.secret(&cx.config().auth_secret).map(drop)
    }

    fn run(cx: &Cx<Config>) -> Result<Output, Error> {
        let config = cx.config();
        let earlier = Earlier::read(cx)?;
        let mut report = Report::new(cx);
        let no_live_version = earlier
            .rolled_back
            .as_ref()
            .is_some_and(|back| back.no_live_version);
        let not_started = cx.dry_run()
            && match (&earlier.rolled_back, &earlier.before) {
                (Some(back), _) => back.service.is_none(),
                (None, Some(before)) => earlier.own && before.service.is_none(),
                (None, None) => false,
            };
        if no_live_version || not_started {
            let why = match (no_live_version, &earlier.rolled_back) {
                (true, _) => "the first deploy was rolled back, so there is no service to test",
                (false, Some(_)) => {
                    "a dry run does not start the old version, and the live version is the one to undo"
                }
                (false, None) => "no service runs, and a dry run starts none",
            };
            report.add("process", Verdict::Skipped(why.to_owned()));
            return Ok(Output {
                summary: why.to_owned(),
                skipped: 1,
                ..Output::default()
            });
        }
        let token = cx.secret(&config.auth_secret)?;

        let log = earlier.log(config);
        let app_dir = earlier.app_dir(config).unwrap_or(DEFAULT_APP_DIR);
        let read = |port| Inside::read(cx, port, log.as_deref(), Some(app_dir));
        let inside = read(earlier.port(config))?;
        report.add("health from inside", inside.health());
        report.add(
            "health from inside over IPv6",
            inside.health_over_ipv6(config.ipv6),
        );
        report.add(
            "no open-server warning in the log",
            inside.log_is_clean(&config.open_warning),
        );

        report.begin();
        let expected = earlier.expectation(cx);
        let (found, verdict) = match listener::find(cx, inside.port)? {
            Port::Owned(found) => {
                let verdict = inside::judge_process(&expected, Some(&found));
                (Some(found), verdict)
            }
            Port::Free => (None, inside::judge_process(&expected, None)),
            Port::Hidden { uid } => (None, inside::hidden(&uid)),
        };
        report.add("process", verdict);

        let old = earlier
            .before
            .as_ref()
            .and_then(|before| before.service.as_ref());
        let directory = inside::judge_directory(earlier.app_dir(config), old, found.as_ref());
        report.add("working directory", directory);

        report.begin();
        report.add("health from outside", outside::health(cx, inside.hint())?);
        report.begin();
        let other_token = earlier.never_stopped() && data::refuses(cx, &token)?;
        outside::endpoints(cx, &token, other_token, &mut report)?;

        report.begin();
        let counted = match other_token {
            true => Verdict::Skipped(OTHER_TOKEN.to_owned()),
            false => judge_data(cx, &token, &earlier)?,
        };
        report.add("data did not shrink", counted);

        report.begin();
        let window = Duration::from_secs(config.stable_seconds);
        let ran_before = match (&earlier.before, &found) {
            (Some(before), Some(found)) => before
                .service
                .as_ref()
                .is_some_and(|old| old.is_same_process(found)),
            (None, _) => true,
            (Some(_), None) => false,
        };
        let stays = inside::judge_stability(cx, found.as_ref(), inside.port, window, ran_before)?;
        report.add(&format!("stays up for {} s", config.stable_seconds), stays);

        match report.failure("") {
            None => Ok(Output {
                summary: format!(
                    "{} checks passed, {} skipped",
                    report.passed, report.skipped
                ),
                passed: report.passed,
                skipped: report.skipped,
                service: found,
            }),
            Some(_) => {
                // Read the log again: a crash may have written its reason.
                let last =
                    read(Some(inside.port)).map_or(inside.last_lines, |inside| inside.last_lines);
                Err(report
                    .failure(&last)
                    .unwrap_or_else(|| Error::failed("smoke.failed", "a check failed")))
            }
        }
    }
}

fn judge_data(
    cx: &Cx<Config>,
    token: &vdeploy_plugin::Secret,
    earlier: &Earlier,
) -> Result<Verdict, Error> {
    let Some(before) = earlier.before.as_ref().map(|before| &before.counts) else {
        return Ok(Verdict::Skipped(
            "no step `preflight` counted the data".to_owned(),
        ));
    };
    let data::Counted { counts: now, .. } = data::count(cx, token)?;
    let lost: Vec<String> = before
        .shrunk(&now)
        .into_iter()
        .map(|(store, before, after)| match after {
            Some(after) => format!("{store} {before} before and {after} now"),
            None => format!("{store} {before} before and no count now"),
        })
        .collect();
    Ok(match lost.is_empty() {
        true => Verdict::Passed(Some(now.describe())),
        false if cx.config().data_may_shrink => {
            Verdict::Skipped(format!("`data-may-shrink` allows it: {}", lost.join(", ")))
        }
        false => Verdict::Failed(format!(
            "expected no store to lose entries, found {}: check that the service runs in its directory",
            lost.join(", ")
        )),
    })
}

/// The outputs of earlier steps.
#[derive(Debug, Default)]
struct Earlier {
    before: Option<Baseline>,
    /// `before` is from this run, not from the run that it rolls back.
    own: bool,
    pulled: Option<Pulled>,
    restarted: Option<Restarted>,
    rolled_back: Option<RolledBack>,
}

impl Earlier {
    fn read(cx: &Cx<Config>) -> Result<Self, Error> {
        let rolled_back: Option<RolledBack> = cx.output_of("rollback")?;
        let own: Option<Baseline> = cx.output_of("preflight")?;
        let is_own = own.is_some();
        let before = match own {
            None => cx.rolled_back_output_of("preflight")?,
            own => own,
        };
        Ok(Self {
            before,
            own: is_own,
            pulled: cx.output_of("git-pull")?,
            restarted: cx.output_of("restart")?,
            rolled_back,
        })
    }

    /// Whether this run failed and its rollback found the old process still
    /// running.
    fn never_stopped(&self) -> bool {
        let service = |back: &RolledBack| back.service.clone().filter(|_| back.untouched);
        let back = self.rolled_back.as_ref().and_then(service);
        let old = self.before.as_ref().filter(|_| self.own);
        let old = old.and_then(|before| before.service.as_ref());
        matches!((back, old), (Some(back), Some(old)) if back.is_same_process(old))
    }

    fn app_dir<'a>(&'a self, config: &'a Config) -> Option<&'a str> {
        let rolled_back = self.rolled_back.as_ref().map(|back| back.app_dir.as_str());
        let before = self.before.as_ref().map(|before| before.app_dir.as_str());
        let given = config.app_dir.as_deref();
        [given, rolled_back, before]
            .into_iter()
            .flatten()
            .find(|path| !path.is_empty())
    }

    fn port(&self, config: &Config) -> Option<u16> {
        let rolled_back = self.rolled_back.as_ref().map(|back| back.port);
        let before = self.before.as_ref().map(|before| before.port);
        let known = [rolled_back, before].into_iter().flatten();
        config.port.or(known.into_iter().find(|&port| port != 0))
    }

    fn log(&self, config: &Config) -> Option<String> {
        let rolled_back = self.rolled_back.as_ref().map(|back| &back.log);
        let restarted = self.restarted.as_ref().map(|restarted| &restarted.log);
        let before = self.before.as_ref().map(|before| &before.log);
        let known = rolled_back.or(restarted).or(before);
        let known = known.filter(|log| !log.is_empty());
        match (&config.log, known) {
            (Some(log), _) => Some(log.clone()),
            (None, Some(log)) if log.starts_with('/') => Some(log.clone()),
            // The log of a systemd unit is in its journal.
            (None, Some(_)) => None,
            (None, None) => Some("agent-services.log".to_owned()),
        }
    }

    fn expectation(&self, cx: &Cx<Config>) -> Expectation {
        let old = self
            .before
            .as_ref()
            .and_then(|before| before.service.clone());
        if cx.dry_run() {
            // The process from before the undone run no longer runs.
            let now = match &self.rolled_back {
                Some(back) => back.service.clone(),
                None => old.filter(|_| self.own),
            };
            return now.map_or(Expectation::Any, Expectation::Exactly);
        }
        if let Some(back) = &self.rolled_back {
            return back
                .service
                .clone()
                .map_or(Expectation::Any, Expectation::Exactly);
        }
        if let Some(restarted) = &self.restarted {
            return Expectation::Exactly(restarted.service.clone());
        }
        let unchanged = self.before.as_ref().is_some_and(|before| before.unchanged);
        match old {
            Some(old) if self.pulled.is_some() && !unchanged => Expectation::Not(old),
            _ => Expectation::Any,
        }
    }
}

vdeploy_plugin::register_step!(Smoke);

#[cfg(test)]
mod tests;
