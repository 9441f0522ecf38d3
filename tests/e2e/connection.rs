//! What a dropped connection does to a deploy.

use crate::Add;
use anyhow::{Context as _, Result, ensure};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use vdeploy_tests::{Base, Site, Wire};

pub fn add(add: &mut Add<'_>) {
    crate::test(
        add,
        "connection::a_deploy_whose_connection_is_cut_during_the_build_ends_deployed",
        cut_during_build,
    );
}

/// Deploys, and cuts the connection twice in each command of npm: when it
/// begins, and when it prints its first line.
fn cut_during_build(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.remote.push_variant("good-v2")?;
    let gateway = base.endpoints()?;
    let gateway = gateway.get("gateway").and_then(|g| g.as_str());
    let wire = Wire::to(gateway.context("no gateway")?)?;
    site.write_platform_project(&wire.address, "")?;
    let log = deploy_with_cuts(&site, &wire)?;
    ensure!(
        log.code == Some(0),
        "ended with {:?}:\n{}",
        log.code,
        log.text
    );
    ensure!(log.cut >= 2, "only {} connections were cut", log.cut);
    ensure!(
        site.version().as_deref() == Some("2.0.0"),
        "version {:?} is live",
        site.version()
    );
    let jobs = site.home(&site.vm)?.join(".vdeploy/jobs");
    let left: Vec<_> = std::fs::read_dir(&jobs)?.flatten().collect();
    ensure!(left.is_empty(), "{left:?} is left");
    crate::variants::lease_is_free(&site)
}

struct Log {
    code: Option<i32>,
    text: String,
    cut: usize,
}

fn deploy_with_cuts(site: &Site<'_>, wire: &Wire) -> Result<Log> {
    let mut child = site
        .command(&["run", "--plan", "default", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdout = child.stdout.take().context("no stdout")?;
    let (mut text, mut cut, mut silent) = (String::new(), 0, false);
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        let event: serde_json::Value = serde_json::from_str(&line)?;
        let word = |key: &str| event.get(key).and_then(|v| v.as_str()).unwrap_or_default();
        match word("type") {
            "call-started" => {
                silent = word("action").starts_with("ssh npm ");
                if silent {
                    cut += wire.cut();
                }
            }
            "output" if silent => {
                silent = false;
                cut += wire.cut();
            }
            _ => {}
        }
        text.push_str(&line);
        text.push('\n');
    }
    let code = child.wait()?.code();
    Ok(Log { code, text, cut })
}
