//! `vdeploy init`: writes a project file that works, from flags and from what
//! can be seen here. Asks nothing.

mod detect;
mod draft;

use crate::Global;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::{options, terminal};
use clap::{Args, ValueEnum};
use detect::Detected;
use draft::{Draft, More, Target};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use vdeploy_config::Project;
use vdeploy_config::project::FILE_NAME;

/// What to type.
const EXAMPLES: &str = "Examples:
  vdeploy init                                       from what is seen here
  vdeploy init --vm 12d4a14f-9338-4f29-842e-6432632dc4f5
  vdeploy init --target vers --vm-env INFRA_VM --app-dir /srv/board --ref production
  vdeploy init --host db.example.com --user deploy   any server, as your ~/.ssh/config says
  vdeploy init --target local                        a VM on this machine (vdeploy local up)
  vdeploy init --full-plan                           with a copy of the whole plan";

/// Arguments of `vdeploy init`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct InitArgs {
    /// What kind of target [default: as the other options say, else as the
    /// environment looks]
    #[arg(long, short, value_enum)]
    pub target: Option<Kind>,
    /// The VM's id
    #[arg(long, value_name = "ID", conflicts_with = "vm_env")]
    pub vm: Option<String>,
    /// The environment variable that has the VM's id [default: VDEPLOY_VM]
    #[arg(long, value_name = "VARIABLE")]
    pub vm_env: Option<String>,
    /// The server: a name, an address or an alias of your OpenSSH configuration
    #[arg(long, value_name = "HOST", conflicts_with_all = ["vm", "vm_env", "cloud"])]
    pub host: Option<String>,
    /// The SSH user [default: root; of a server the one of your configuration]
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Where the service is reached from outside [default: the VM's name on
    /// port 3000; of a server none]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The directory of the local cloud [default: that of `vdeploy local up`]
    #[arg(long, value_name = "DIR")]
    pub cloud: Option<PathBuf>,
    /// The host key: first-use, a fingerprint SHA256:…, or for a server
    /// known-hosts [default: first-use; of a server known-hosts]
    #[arg(long, value_name = "KEY")]
    pub host_key: Option<String>,
    /// The checkout on the target: absolute, or relative to the login
    /// directory [default: workspace/ and the name of the repository]
    #[arg(long, value_name = "DIR")]
    pub app_dir: Option<String>,
    /// What is deployed: a branch, tag or full commit id [default: the
    /// remote's main branch]
    #[arg(long = "ref", value_name = "REF")]
    pub reference: Option<String>,
    /// Copy the whole built-in plan instead of extending it
    #[arg(long)]
    pub full_plan: bool,
    /// Write over a file that is there
    #[arg(long)]
    pub force: bool,
}

/// `--target`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Kind {
    /// A VM of the Vers platform
    Vers,
    /// Any server, by SSH
    Ssh,
    /// A VM of the local cloud on this machine
    Local,
}

/// Writes the file and says what comes next.
pub fn main(global: &Global, args: &InitArgs) -> Result<ExitCode, CliError> {
    let cwd = options::current_dir()?;
    let state_dir = options::private_state_dir(global).ok();
    let detected = Detected::detect(&cwd, state_dir.as_deref());
    let draft = Draft {
        target: target(args, &detected)?,
        app_dir: args.app_dir.clone().unwrap_or_else(|| detected.app_dir()),
        reference: args
            .reference
            .clone()
            .or_else(|| detected.branch.clone())
            .unwrap_or_else(|| "main".to_owned()),
        detected: &detected,
    };
    let file = match &global.project {
        Some(file) => cwd.join(file),
        None => cwd.join(FILE_NAME),
    };
    let text = checked(&draft, args.full_plan, &file)?;
    write(&file, &text, args.force)?;
    let shown = file.strip_prefix(&cwd).unwrap_or(&file);
    terminal::say(&draft.said(&shown.display().to_string()));
    if global.project.is_none()
        && let Some(above) = above(&cwd)
    {
        terminal::error_line(&format!(
            "warning: {} is not read here any more: the nearest project file counts",
            above.display()
        ));
    }
    Ok(ExitCode::Success)
}

fn target(args: &InitArgs, detected: &Detected) -> Result<Target, CliError> {
    let of_vers = args.vm.is_some() || args.vm_env.is_some() || args.host_key.is_some();
    let kind = match args.target {
        Some(kind) => kind,
        None if args.host.is_some() => Kind::Ssh,
        None if args.cloud.is_some() => Kind::Local,
        None if of_vers => Kind::Vers,
        // Who has the platform's variables means the platform.
        None if detected.vers => Kind::Vers,
        None if detected.local_cloud => Kind::Local,
        None => Kind::Vers,
    };
    let (name, others): (&str, &[(&str, bool)]) = match kind {
        Kind::Vers => (
            "vers",
            &[
                ("--cloud", args.cloud.is_some()),
                ("--host", args.host.is_some()),
            ],
        ),
        Kind::Ssh => (
            "ssh",
            &[
                ("--cloud", args.cloud.is_some()),
                ("--vm", args.vm.is_some()),
                ("--vm-env", args.vm_env.is_some()),
            ],
        ),
        Kind::Local => (
            "local",
            &[
                ("--vm-env", args.vm_env.is_some()),
                ("--host", args.host.is_some()),
                ("--host-key", args.host_key.is_some()),
                ("--user", args.user.is_some()),
                ("--url", args.url.is_some()),
            ],
        ),
    };
    if let Some((option, _)) = others.iter().find(|(_, given)| *given) {
        return Err(CliError::usage(format!(
            "{option} has no meaning for a target of type {name}"
        ))
        .hint("`vdeploy init --help` says which options belong together"));
    }
    let more = More {
        host_key: args.host_key.clone(),
        user: args.user.clone(),
        url: args.url.clone(),
    };
    match kind {
        Kind::Local => Ok(Target::Local {
            dir: args.cloud.as_ref().map(|dir| {
                let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
                dir.display().to_string()
            }),
            vm: args.vm.clone(),
        }),
        Kind::Vers => Ok(Target::Vers {
            vm: args.vm.clone(),
            vm_env: args.vm_env.clone(),
            more,
        }),
        Kind::Ssh => match &args.host {
            Some(host) => Ok(Target::Ssh {
                host: host.clone(),
                more,
            }),
            None => Err(CliError::usage("a target of type ssh needs its server")
                .hint("name it: --host NAME, an address or an alias of your ~/.ssh/config")),
        },
    }
}

/// The text, read as a project: what is written can be used.
fn checked(draft: &Draft<'_>, full_plan: bool, file: &Path) -> Result<String, CliError> {
    let base = file.parent().unwrap_or(Path::new("."));
    let read = |text: &str| {
        Project::from_text("what would be written", text, base).map_err(|e| {
            CliError::usage(e.to_string())
                .hint("nothing was written; mend the option and try again")
        })
    };
    let text = draft.text();
    let project = read(&text)?;
    if !full_plan {
        return Ok(text);
    }
    let plan = project
        .plan(&"default".into())
        .map_err(|e| CliError::usage(e.to_string()))?;
    let text = format!(
        "{}\n{}",
        draft.head(),
        vdeploy_config::render_plan(plan, &project)
    );
    read(&text)?;
    Ok(text)
}

fn write(file: &Path, text: &str, force: bool) -> Result<(), CliError> {
    let mut options = OpenOptions::new();
    options.write(true);
    match force {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    let shown = file.display();
    let mut open = options.open(file).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => CliError::usage(format!("{shown} is there already"))
            .hint("`--force` writes over it, `--project FILE` writes another file"),
        _ => CliError::usage(format!("{shown} cannot be written: {error}")),
    })?;
    open.write_all(text.as_bytes())
        .map_err(|error| CliError::usage(format!("{shown} cannot be written: {error}")))
}

/// A project file in a directory above.
fn above(cwd: &Path) -> Option<PathBuf> {
    let files = cwd.ancestors().skip(1).map(|dir| dir.join(FILE_NAME));
    files.into_iter().find(|file| file.is_file())
}

#[cfg(test)]
mod tests;
