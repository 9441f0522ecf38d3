//! What a dropped connection does to a deploy.

use crate::e2e::Add;
use anyhow::{Context as _, Result, ensure};
use vdeploy_tests::{Base, Wire};

pub fn add(add: &mut Add<'_>) {
    crate::e2e::test(
        add,
        "connection::a_deploy_whose_connection_is_cut_during_the_build_ends_deployed",
        cut_during_build,
    );
}

fn cut_during_build(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.remote.push_variant("good-v2")?;
    let gateway = base.endpoints()?;
    let gateway = gateway.get("gateway").and_then(|g| g.as_str());
    let wire = Wire::to(gateway.context("no gateway")?)?;
    site.write_platform_project(&wire.address, "")?;
    let mut deploy = site.command(&["run", "--plan", "default", "--json"]);
    let (ran, cut) = wire.cut_in_each_build(&mut deploy)?;
    ran.expect_code(0)?;
    ensure!(cut >= 2, "only {cut} connections were cut");
    ensure!(
        site.version().as_deref() == Some("2.0.0"),
        "version {:?} is live",
        site.version()
    );
    let jobs = site.home(&site.vm)?.join(".vdeploy/jobs");
    let left: Vec<_> = std::fs::read_dir(&jobs)?.flatten().collect();
    ensure!(left.is_empty(), "{left:?} is left");
    crate::e2e::hold::lease_is_free(&site)
}
