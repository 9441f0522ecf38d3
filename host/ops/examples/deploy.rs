//! Deploys a project with the plan `default` and prints every event as a line
//! of JSON. The environment has the secrets that the project names.
//!
//!     vdeploy local up --detach
//!     VERS_AUTH_TOKEN=… cargo run -p vdeploy-ops --example deploy -- PROJECT_FILE STATE_DIR

use anyhow::{Context as _, Result, ensure};
use tokio::sync::mpsc;
use vdeploy_core::event::Outcome;
use vdeploy_ops::{Cancel, Deploy, Operation, Session, SessionOptions};

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let project = args.next().context("no project file is named")?;
    let state = args.next().context("no state directory is named")?;
    let cache = |variable: &str| std::env::var_os(variable).map(Into::into);
    let session = Session::open(SessionOptions {
        project: Some(project.into()),
        code_cache: cache("VDEPLOY_CACHE"),
        code_cache_key: cache("VDEPLOY_CACHE_KEY"),
        environment: std::env::vars_os().collect(),
        ..SessionOptions::new(std::env::current_dir()?, state)
    })?;
    let deploy = Deploy {
        set: vec!["smoke.stable-seconds=1".to_owned()],
        ..Deploy::default()
    };
    // Nothing is touched so far; what is wrong with the files is an error here.
    let prepared = session.prepare(Operation::Deploy(deploy)).await?;
    let (events, mut happened) = mpsc::unbounded_channel();
    let printing = async {
        while let Some(event) = happened.recv().await {
            println!("{}", serde_json::to_string(&event)?);
        }
        Ok::<(), serde_json::Error>(())
    };
    let (finished, printed) = tokio::join!(prepared.execute(events, Cancel::new()), printing);
    printed?;
    ensure!(
        finished.outcome == Outcome::Deployed,
        "{}",
        finished.message
    );
    Ok(())
}
