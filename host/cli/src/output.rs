//! Which reporters a run gets, from its arguments and the environment.

use crate::error::CliError;
use crate::invocation::GlobalFlags;
use clap::{Arg, ArgMatches, Args, FromArgMatches};
use std::io::IsTerminal as _;
use std::path::PathBuf;
use vdeploy_core::event::RunEvent;
use vdeploy_report::{
    EventBus, FILE_REPORTS, FileReport, FileReporter, GithubReporter, JsonReporter, LiveReporter,
    OutputMode, PlainReporter, Reporter, Sink, TerminalInfo,
};

/// How a run is reported.
#[derive(Clone, Debug, Args)]
pub struct OutputArgs {
    /// One JSON event a line on stdout; the first line has the format version
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    files: ReportFiles,
}

/// One flag for each of [`FILE_REPORTS`].
#[derive(Clone, Debug, Default)]
struct ReportFiles(Vec<(FileReport, PathBuf)>);

impl Args for ReportFiles {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.args(FILE_REPORTS.iter().map(|report| {
            Arg::new(report.flag)
                .long(report.flag)
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help(report.help)
        }))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ReportFiles {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let path = |report: &FileReport| matches.get_one::<PathBuf>(report.flag).cloned();
        let asked = FILE_REPORTS
            .iter()
            .filter_map(|report| Some((*report, path(report)?)));
        Ok(Self(asked.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Starts the reporters. The commands in an event can be pasted: they carry the
/// global flags of this command line.
pub fn start(args: &OutputArgs, verbose: bool, flags: &GlobalFlags) -> Result<EventBus, CliError> {
    let flags = flags.clone();
    let complete = move |event: &mut RunEvent| match event {
        RunEvent::RunFinished { message, next, .. } => {
            *message = flags.complete(message).into_owned();
            *next = flags.complete_all(std::mem::take(next));
        }
        RunEvent::Log {
            step: None,
            message,
            ..
        } => *message = flags.complete(message).into_owned(),
        _ => {}
    };
    Ok(EventBus::start_with(reporters(args, verbose)?, complete))
}

fn reporters(args: &OutputArgs, verbose: bool) -> Result<Vec<Box<dyn Reporter>>, CliError> {
    let env = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let terminal = TerminalInfo {
        is_terminal: std::io::stdout().is_terminal(),
        term: env("TERM"),
        no_color: env("NO_COLOR").is_some(),
        ci: env("CI").is_some_and(|v| v != "false"),
    };
    let is_github = env("GITHUB_ACTIONS").as_deref() == Some("true");
    let out = Sink::stdout();
    let on_stdout: Box<dyn Reporter> = match OutputMode::select(args.json, &terminal) {
        OutputMode::Json => Box::new(JsonReporter::new(out)),
        OutputMode::Plain if is_github => Box::new(GithubReporter::new(out, verbose)),
        OutputMode::Plain => Box::new(PlainReporter::new(out, verbose)),
        OutputMode::Live { colour } => Box::new(LiveReporter::stdout(colour, verbose)),
    };
    let mut all = vec![on_stdout];
    for (report, path) in &args.files.0 {
        let file = FileReporter::create(*report, path, Sink::stderr()).map_err(|error| {
            CliError::usage(format!("--{} {}: {error}", report.flag, path.display()))
        })?;
        all.push(Box::new(file));
    }
    Ok(all)
}
