//! `vdeploy plan`: look at plans without running them.

use super::Global;
use super::by_word;
use super::error::CliError;
use super::exit::ExitCode;
use super::load;
use super::session::Session;
use super::terminal;
use crate::clean::line;
use crate::config::Overrides;
use crate::run::prepare;
use clap::Subcommand;

/// Subcommands of `vdeploy plan`.
#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// List the plans of the project and the built-in ones
    List,
    /// Print a plan as TOML, with its plugins and their grants
    Show {
        /// The plan
        #[arg(default_value = "default")]
        plan: String,
    },
    /// Load the plugins and check grants and configuration; touches no target
    Check {
        /// The plan [default: every plan]
        plan: Option<String>,
    },
}

/// Does it.
pub async fn main(global: &Global, command: PlanCommand) -> Result<ExitCode, CliError> {
    let session = Session::open(global)?;
    match command {
        PlanCommand::List => {
            let plans = session.project.plans.values();
            let names = plans.clone().map(|plan| plan.name.as_str().len());
            let width = names.max().unwrap_or(0);
            let lines = plans.map(|plan| format!("{:<width$}  {}", plan.name, line(&plan.summary)));
            terminal::give(&lines.collect::<Vec<_>>().join("\n"))?;
        }
        PlanCommand::Show { plan } => {
            let plan = session.plan(&plan)?;
            terminal::give(crate::config::render_plan(&plan, &session.project).trim_end())?;
        }
        PlanCommand::Check { plan } => {
            let plans = match plan {
                Some(name) => vec![session.plan(&name)?],
                None => session.project.plans.values().cloned().collect(),
            };
            let engine = load::engine(&session.state_dir)?;
            for plan in &plans {
                let plugins = load::plugins(&engine, &session.project, plan).await?;
                let none = Overrides::default();
                prepare::configs(plan, &plugins, false).map_err(|found| {
                    load::all_problems(found, |step, pointer| {
                        session.project.origin_of(&plan.name, step, pointer, &none)
                    })
                })?;
                terminal::say(&format!(
                    "plan {}: fine ({}, {})",
                    plan.name,
                    counted(plan.all_steps().count(), "step"),
                    counted(plugins.len(), "plugin")
                ));
                for plugin in by_word::of_plan(&session.project, plan, &plugins) {
                    terminal::say(&format!("  warning: {}", plugin.warning()));
                }
            }
        }
    }
    Ok(ExitCode::Success)
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}
