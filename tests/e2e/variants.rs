//! The table *app variant → outcome, exit code, what is live, message*.

use crate::Add;
use anyhow::{Result, ensure};
use vdeploy_tests::base::text;
use vdeploy_tests::{Base, Site};

/// What must come of deploying a variant over the good service.
#[derive(Clone, Copy)]
struct Row {
    variant: &'static str,
    code: i32,
    outcome: &'static str,
    /// The version that answers afterwards.
    live: &'static str,
    /// Words that the message must contain: the cause.
    says: &'static [&'static str],
    /// The step that fails; empty for none.
    step: &'static str,
}

const GOOD: &str = "1.0.0";

#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row { variant: "good-v2", code: 0, outcome: "deployed", live: "2.0.0", step: "", says: &["deployed and verified"] },
    Row { variant: "slow-start", code: 0, outcome: "deployed", live: "2.0.0-slow-start", step: "", says: &["deployed and verified"] },
    Row { variant: "install-fails", code: 11, outcome: "rolled-back", live: GOOD, step: "npm-build", says: &["npm ci"] },
    Row { variant: "lock-out-of-sync", code: 11, outcome: "rolled-back", live: GOOD, step: "npm-build", says: &["npm ci"] },
    Row { variant: "build-breaks", code: 11, outcome: "rolled-back", live: GOOD, step: "npm-build", says: &["npm run build", "error TS"] },
    Row { variant: "crashes-at-start", code: 11, outcome: "rolled-back", live: GOOD, step: "restart", says: &["crash"] },
    Row { variant: "crashes-later", code: 11, outcome: "rolled-back", live: GOOD, step: "smoke", says: &[] },
    Row { variant: "open-warning", code: 11, outcome: "rolled-back", live: GOOD, step: "restart", says: &["VERS_AUTH_TOKEN"] },
    Row { variant: "open-server", code: 11, outcome: "rolled-back", live: GOOD, step: "smoke", says: &["401", "200"] },
    Row { variant: "wrong-json", code: 11, outcome: "rolled-back", live: GOOD, step: "smoke", says: &["/board/tasks"] },
    Row { variant: "not-json", code: 11, outcome: "rolled-back", live: GOOD, step: "smoke", says: &["JSON"] },
    Row { variant: "error-500", code: 11, outcome: "rolled-back", live: GOOD, step: "smoke", says: &["/feed/events", "500"] },
    Row { variant: "loses-data", code: 11, outcome: "rolled-back", live: GOOD, step: "smoke", says: &["board"] },
    Row { variant: "ipv4-only", code: 11, outcome: "rolled-back", live: GOOD, step: "smoke", says: &["outside"] },
];

pub fn add(add: &mut Add<'_>) {
    for row in TABLE {
        let name = format!("variant::{}", row.variant);
        add(name, Box::new(move |base| check(base, *row)));
    }
}

fn check(base: &Base, row: Row) -> Result<()> {
    let site = base.site()?;
    site.add_task("keep me")?;
    let before = site.head()?;
    let pushed = site.remote.push_variant(row.variant)?;
    let ran = site.deploy(&[])?.expect_code(row.code)?;
    let end = ran.event("run-finished")?;
    ensure!(text(&end, "outcome")? == row.outcome, "{end}");
    let message = text(&end, "message")?;
    for word in row.says {
        ensure!(
            message.contains(word),
            "`{word}` is not in the message:\n{message}"
        );
    }
    ensure!(
        site.version().as_deref() == Some(row.live),
        "live: {:?}\n{message}",
        site.version()
    );
    if row.step.is_empty() {
        ensure!(site.head()? == pushed, "the new commit is not checked out");
    } else {
        ensure!(
            message.contains(&format!("step `{}`", row.step)),
            "the step is not named:\n{message}"
        );
        ensure!(site.head()? == before, "the old commit is not checked out");
    }
    still_guarded(&site)?;
    lease_is_free(&site)
}

/// The service keeps its data and asks for the token.
fn still_guarded(site: &Site<'_>) -> Result<()> {
    let (status, board) = site.get(&site.vm, "/board/tasks", Some(vdeploy_tests::base::TOKEN))?;
    ensure!(
        status == 200 && board.contains("keep me"),
        "{status} {board}"
    );
    let (status, _) = site.get(&site.vm, "/board/tasks", None)?;
    ensure!(status == 401, "without a token: {status}");
    Ok(())
}

/// [`lease_is_free`] for runs of another machine, which know nothing of this
/// one's state.
pub fn lease_is_free_elsewhere(site: &Site<'_>) -> Result<()> {
    crate::hold::smoke_elsewhere(site, &[])?.expect_code(0)?;
    Ok(())
}

/// Nobody holds the target: a plan that only looks is not refused.
pub fn lease_is_free(site: &Site<'_>) -> Result<()> {
    site.vdeploy(&["run", "--plan", "smoke", "--set", "smoke.stable-seconds=0"])?
        .expect_code(0)?;
    Ok(())
}
