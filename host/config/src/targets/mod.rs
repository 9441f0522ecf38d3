//! `[targets.NAME]`: where a run can go, a file a kind. Resolves names and
//! defaults; makes no connection.

mod local;
mod parts;
mod registry;
mod ssh;
mod vers;

pub use local::LocalTarget;
pub use parts::VmSource;
pub use registry::RegistrySource;
pub use ssh::{ServerKey, SshTarget, UserConfig};
pub use vers::{DEFAULT_API_URL, HostKey, VersTarget};

use super::parse::{At, TableReader};
use std::path::Path;

/// One target of the project.
#[derive(Clone, Debug)]
pub enum TargetConfig {
    /// A VM of the Vers platform.
    Vers(Box<VersTarget>),
    /// Any server that speaks SSH.
    Ssh(Box<SshTarget>),
    /// A VM of the local cloud.
    Local(LocalTarget),
}

impl TargetConfig {
    /// The secrets that the host itself needs for this target.
    pub fn secrets(&self) -> Vec<&At<String>> {
        match self {
            Self::Vers(target) => {
                let mut all = vec![&target.api_key];
                if let VmSource::Registry(source) = &target.vm {
                    all.push(&source.token);
                }
                all
            }
            Self::Ssh(target) => target.secrets(),
            Self::Local(_) => Vec::new(),
        }
    }

    /// Reads `[targets.NAME]`. Paths are relative to `base`.
    pub(super) fn read(name: &str, table: TableReader<'_>, base: &Path) -> Option<Self> {
        let what = format!("[targets.{name}]");
        #[derive(Clone, Copy)]
        enum Kind {
            Vers,
            Ssh,
            Local,
        }
        if !table.has("type") {
            table.problem(
                format!("{what} has no `type`"),
                "write type = \"vers\", type = \"ssh\" or type = \"local\"",
            );
        }
        let kinds = [
            ("vers", Kind::Vers),
            ("ssh", Kind::Ssh),
            ("local", Kind::Local),
        ];
        let Some(kind) = table.one_of("type", &kinds) else {
            // Of no kind it has a meaning: it is not hidden until `type` is right.
            let all = [&vers::KEYS[..], &ssh::KEYS, &local::KEYS].concat();
            table.only(&what, &all);
            return None;
        };
        match kind.value {
            Kind::Vers => vers::read(&what, table, base).map(|t| Self::Vers(Box::new(t))),
            Kind::Ssh => ssh::read(&what, table, base).map(|t| Self::Ssh(Box::new(t))),
            Kind::Local => Some(Self::Local(local::read(&what, table, base))),
        }
    }
}
