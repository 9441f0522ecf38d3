//! `vdeploy replay`: a recorded run again, without its target.

mod render;

use crate::Global;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::{options, terminal};
use clap::Args;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use vdeploy_core::ids::PluginName;
use vdeploy_journal::RunView;
use vdeploy_journal::recording::Recording;
use vdeploy_ops::{Replay, Session};
use vdeploy_report::{EventBus, JsonReporter, PlainReporter, Reporter, Sink};

/// What to type.
const EXAMPLES: &str = "Examples:
  vdeploy replay run.jsonl                          a file of `vdeploy runs export`
  vdeploy replay latest --until restart             a run of this machine, in part
  vdeploy replay run.jsonl --plugin smoke=new.wasm  what another build of a plugin would do

Nothing is reached and no secret is needed. Exit code 0: every call and every
result was the same. Exit code 50: something differs; the first such call is shown.";

/// Arguments of `vdeploy replay`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReplayArgs {
    /// A file of `vdeploy runs export`, `-` for standard input, or a run of
    /// this machine: an id, its beginning, or `latest`
    #[arg(value_name = "FILE|RUN")]
    pub recording: String,
    /// Stop when this step has run
    #[arg(long, value_name = "STEP")]
    pub until: Option<String>,
    /// Use this component for a plugin of the plan; can be repeated
    #[arg(long, value_name = "NAME=FILE")]
    pub plugin: Vec<String>,
    /// One JSON event a line on stdout, the last one of type `replayed`
    #[arg(long)]
    pub json: bool,
}

/// Repeats the run.
pub async fn main(global: &Global, args: ReplayArgs) -> Result<ExitCode, CliError> {
    let session = options::session(global)?;
    let recording = read(&args.recording, &session)?;
    let (record, journal) = (recording.record.clone(), recording.journal.clone());
    let replay = Replay {
        recording,
        until: args.until.clone(),
        plugins: files(&args.plugin)?,
    };
    let prepared = session.prepare_replay(replay).await?;
    let reporter: Box<dyn Reporter> = match args.json {
        true => Box::new(JsonReporter::new(Sink::stdout())),
        false => Box::new(PlainReporter::new(Sink::stdout(), global.verbose)),
    };
    let bus = EventBus::start(vec![reporter]);
    let replayed = prepared.execute(bus.sender()).await;
    bus.finish().await;
    let exit = match replayed.difference {
        None => ExitCode::Success,
        Some(_) => ExitCode::Differs,
    };
    let recorded = RunView::of(&journal).outcome();
    let until = args.until.as_deref();
    match args.json {
        true => terminal::say_json(&render::as_json(&record, &replayed, until, recorded, exit)),
        false => terminal::say(&render::as_text(&record, &replayed, until, recorded)),
    }
    Ok(exit)
}

/// A file if there is one of this name, else a run of the store.
fn read(name: &str, session: &Session) -> Result<Recording, CliError> {
    let path = Path::new(name);
    let failed = |what: String| CliError::usage(format!("{name}: {what}"));
    let text = if name == "-" {
        let mut text = String::new();
        let read = std::io::stdin().lock().read_to_string(&mut text);
        read.map_err(|e| failed(e.to_string()))?;
        text
    } else if path.exists() && !path.is_dir() {
        std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?
    } else if name.contains(['/', '.']) {
        return Err(failed("there is no such file".to_owned()));
    } else {
        return Ok(session.recording(name)?);
    };
    Recording::read(&text).map_err(|e| failed(e.to_string()))
}

/// `--plugin NAME=FILE`, by name.
fn files(given: &[String]) -> Result<BTreeMap<PluginName, PathBuf>, CliError> {
    let pair = |given: &String| match given.split_once('=') {
        Some((name, file)) => Ok((PluginName::from(name), PathBuf::from(file))),
        None => Err(CliError::usage(format!("--plugin {given}: not NAME=FILE"))
            .hint("for example `--plugin smoke=target/plugins/smoke.wasm`")),
    };
    given.iter().map(pair).collect()
}
