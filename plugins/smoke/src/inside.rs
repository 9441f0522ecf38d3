//! The checks from inside the target: health on the loopback address, the process
//! on the port, its log, and whether it stays up.

use std::time::Duration;

use vdeploy_plugin::{Cx, Error};
use vdeploy_service::listener::Listener;
use vdeploy_service::log;
use vdeploy_service::process::{field, log_lines, with_functions};

use crate::report::Verdict;
use crate::{Config, Expectation};

const INSIDE: &str = include_str!("inside.sh");
const STABLE: &str = include_str!("stable.sh");

#[derive(Debug, Clone, Default)]
pub(crate) struct Inside {
    pub(crate) port: u16,
    ipv4: String,
    /// None on a machine without IPv6.
    ipv6: Option<String>,
    log: Option<String>,
    open: bool,
    pub(crate) last_lines: String,
}

impl Inside {
    pub(crate) fn read(
        cx: &Cx<Config>,
        port: Option<u16>,
        in_log: Option<&str>,
        app_dir: Option<&str>,
    ) -> Result<Self, Error> {
        let config = cx.config();
        let port = port.map(|port| port.to_string()).unwrap_or_default();
        let text = cx
            .script("inside", &log::with_functions(INSIDE))
            .args([
                &port,
                &config.health,
                in_log.unwrap_or_default(),
                &config.open_warning,
                app_dir.unwrap_or_default(),
            ])
            .timeout(Duration::from_secs(60))
            .probe()?
            .into_success("check the service from inside")?
            .stdout_text();
        let value = |key: &str| field(&text, key).map(str::to_owned);
        Ok(Self {
            port: value("port")
                .and_then(|port| port.parse().ok())
                .unwrap_or_default(),
            ipv4: value("ipv4").unwrap_or_default(),
            ipv6: value("ipv6"),
            log: value("log"),
            open: value("open").is_some(),
            last_lines: log_lines(&text).to_owned(),
        })
    }

    pub(crate) fn answers(&self) -> bool {
        self.ipv4 == "200"
    }

    fn answers_over_ipv6(&self) -> bool {
        self.ipv6.as_deref() == Some("200")
    }

    pub(crate) fn health(&self) -> Verdict {
        match self.ipv4.as_str() {
            "200" => Verdict::Passed(None),
            "none" => Verdict::Skipped("the target has neither curl nor node nor wget".to_owned()),
            status => Verdict::Failed(format!(
                "expected 200 from 127.0.0.1:{}, found {}",
                self.port,
                describe(status)
            )),
        }
    }

    /// Clients connect to a VM over IPv6; a service on 0.0.0.0 does not answer.
    pub(crate) fn health_over_ipv6(&self, wanted: bool) -> Verdict {
        match self.ipv6.as_deref() {
            _ if !wanted => Verdict::Skipped("switched off by `ipv6`".to_owned()),
            None => Verdict::Skipped("the target has no IPv6".to_owned()),
            Some("none") => {
                Verdict::Skipped("the target has neither curl nor node nor wget".to_owned())
            }
            Some("200") => Verdict::Passed(None),
            Some(status) if self.answers() => Verdict::Failed(format!(
                "expected 200 from [::1]:{}, found {} while 127.0.0.1 answers: the service listens on IPv4 only; let it listen on `::`",
                self.port,
                describe(status)
            )),
            Some(status) => Verdict::Failed(format!(
                "expected 200 from [::1]:{}, found {}",
                self.port,
                describe(status)
            )),
        }
    }

    pub(crate) fn log_is_clean(&self, warning: &str) -> Verdict {
        match &self.log {
            None => Verdict::Skipped("there is no log file to read".to_owned()),
            Some(log) if self.open => Verdict::Failed(format!(
                "expected no `{warning}` in {log}, found it: the server was started without its token"
            )),
            Some(_) => Verdict::Passed(None),
        }
    }

    /// Why the service does not answer outside, as far as known inside.
    pub(crate) fn hint(&self) -> &'static str {
        match (
            self.answers(),
            self.answers_over_ipv6(),
            self.ipv6.is_some(),
        ) {
            (true, false, true) => {
                "; inside it answers over IPv4 only: let it listen on `::`, not on 0.0.0.0"
            }
            (true, _, _) => {
                "; inside it answers: check the url of the target, the network between, and whether it listens on `::`"
            }
            (false, _, _) => "",
        }
    }
}

fn describe(status: &str) -> String {
    match status {
        "000" | "" => "no answer".to_owned(),
        status => status.to_owned(),
    }
}

pub(crate) fn judge_process(expected: &Expectation, found: Option<&Listener>) -> Verdict {
    let Some(found) = found else {
        return Verdict::Failed("expected a process that listens, found none".to_owned());
    };
    match expected {
        Expectation::Exactly(wanted) if wanted.is_same_process(found) => {
            Verdict::Passed(Some(found.describe()))
        }
        Expectation::Exactly(wanted) => Verdict::Failed(format!(
            "expected {} on the port, found {}",
            wanted.describe(),
            found.describe()
        )),
        Expectation::Not(old) if old.is_same_process(found) => Verdict::Failed(format!(
            "expected a new process, found the old one, {}: it was not restarted",
            found.describe()
        )),
        Expectation::Not(_) | Expectation::Any => Verdict::Passed(Some(found.describe())),
    }
}

/// The login user cannot inspect the process on the port.
pub(crate) fn hidden(uid: &str) -> Verdict {
    Verdict::Failed(format!(
        "expected a process that the login user can inspect, found one of user id {uid}; log in as that user or as root"
    ))
}

/// Whether the process runs in its checkout: in another directory it creates an
/// empty `data/` and looks healthy. The old process is not judged.
pub(crate) fn judge_directory(
    app_dir: Option<&str>,
    old: Option<&Listener>,
    found: Option<&Listener>,
) -> Verdict {
    let (Some(app_dir), Some(found)) = (app_dir, found) else {
        let why = "the process or its directory is unknown";
        return Verdict::Skipped(why.to_owned());
    };
    if old.is_some_and(|old| old.is_same_process(found)) {
        return Verdict::Skipped("the process is the old one".to_owned());
    }
    if found.cwd.is_empty() {
        return Verdict::Skipped(
            "the login user cannot see the directory of the process".to_owned(),
        );
    }
    let app_dir = app_dir.trim_end_matches('/');
    let inside = |cwd: &str| cwd == app_dir || cwd.starts_with(&format!("{app_dir}/"));
    // A relative path starts at the login directory, which is unknown here.
    let matches = match app_dir.starts_with('/') {
        true => inside(&found.cwd),
        false => {
            found.cwd.ends_with(&format!("/{app_dir}"))
                || found.cwd.contains(&format!("/{app_dir}/"))
        }
    };
    match matches {
        true => Verdict::Passed(Some(found.cwd.clone())),
        false => Verdict::Failed(format!(
            "expected the service to run in {app_dir}, found {}: it would use another `data`",
            found.cwd
        )),
    }
}

/// Watches the process for `window`. The past uptime of a process from before
/// this run counts; that of a new one does not, because its start may be slow.
pub(crate) fn judge_stability(
    cx: &Cx<Config>,
    found: Option<&Listener>,
    port: u16,
    window: Duration,
    ran_before: bool,
) -> Result<Verdict, Error> {
    let Some(found) = found else {
        return Ok(Verdict::Skipped("there is no process to watch".to_owned()));
    };
    let text = cx
        .script("stable", &with_functions(STABLE))
        .args([found.pid.to_string(), found.start_ticks.to_string()])
        .args([port.to_string(), window.as_secs().to_string()])
        .arg(if ran_before { "yes" } else { "no" })
        .timeout(window.saturating_add(Duration::from_secs(30)))
        .probe()?
        .into_success("watch the service")?
        .stdout_text();
    Ok(match field(&text, "stable") {
        Some("yes") => Verdict::Passed(None),
        Some("ended") => Verdict::Failed(format!(
            "expected {} to stay up, found that it has ended: it crashed after its start",
            found.describe()
        )),
        Some("silent") => Verdict::Failed(format!(
            "expected {} to keep port {port}, found that nobody listens there",
            found.describe()
        )),
        _ => Verdict::Failed(format!("the script gave no result: {text}")),
    })
}
