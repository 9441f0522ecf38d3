//! `vdeploy plan`: look at plans without running them.

use crate::Global;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::{options, terminal};
use clap::Subcommand;
use vdeploy_core::clean::line;
use vdeploy_ops::prepare::check_plan;

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
    let session = options::session(global)?;
    match command {
        PlanCommand::List => {
            let plans = session.project().plans.values();
            let names = plans.clone().map(|plan| plan.name.as_str().len());
            let width = names.max().unwrap_or(0);
            let lines = plans.map(|plan| format!("{:<width$}  {}", plan.name, line(&plan.summary)));
            terminal::give(&lines.collect::<Vec<_>>().join("\n"))?;
        }
        PlanCommand::Show { plan } => {
            let plan = session.plan(&plan)?;
            terminal::give(vdeploy_config::render_plan(&plan, session.project()).trim_end())?;
        }
        PlanCommand::Check { plan } => {
            let plans = match plan {
                Some(name) => vec![session.plan(&name)?],
                None => session.project().plans.values().cloned().collect(),
            };
            for plan in &plans {
                let checked = check_plan(&session, plan).await?;
                terminal::say(&format!(
                    "plan {}: fine ({}, {})",
                    plan.name,
                    counted(plan.all_steps().count(), "step"),
                    counted(checked.plugins, "plugin")
                ));
                for warning in checked.warnings {
                    terminal::say(&format!("  warning: {warning}"));
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
