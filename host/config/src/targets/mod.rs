//! `[targets.NAME]`: where a run can go, a file a kind. Resolves names and
//! defaults; makes no connection.

mod local;
mod parts;
mod registry;
mod service_url;
mod ssh;
mod vers;

pub use local::LocalTarget;
pub use parts::VmSource;
pub use registry::RegistrySource;
pub use ssh::{ServerKey, SshTarget, UserConfig};
pub use vers::{DEFAULT_API_URL, HostKey, VersTarget};

use crate::read::parse::{At, TableReader};
use crate::read::span::Place;
use std::path::Path;

/// What the project says of a target of one kind. A kind is a module here that
/// implements this, and its row in [`KINDS`]; `ops::target` connects to it.
pub trait TargetKind {
    /// The secrets that the host itself needs for this target.
    fn secrets(&self) -> Vec<&At<String>>;
    /// Whether its platform takes snapshots of it.
    fn takes_snapshots(&self) -> bool;
    /// Where the service is reached, as it is written.
    fn url(&self) -> Option<&str>;
    /// A file that it names and that can start programs: the key, and its place.
    fn program_file(&self) -> Option<(&'static str, &Path, &Place)> {
        None
    }
    /// What is odd, though not wrong.
    fn oddity(&self) -> Option<String> {
        None
    }
}

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

struct Kind {
    /// The value of `type`.
    word: &'static str,
    keys: &'static [&'static str],
    read: fn(&str, TableReader<'_>, &Path) -> Option<TargetConfig>,
}

const KINDS: [Kind; 3] = [
    Kind {
        word: "vers",
        keys: &vers::KEYS,
        read: |what, table, base| {
            let target = vers::read(what, table, base)?;
            Some(TargetConfig::Vers(Box::new(target)))
        },
    },
    Kind {
        word: "ssh",
        keys: &ssh::KEYS,
        read: |what, table, base| {
            let target = ssh::read(what, table, base)?;
            Some(TargetConfig::Ssh(Box::new(target)))
        },
    },
    Kind {
        word: "local",
        keys: &local::KEYS,
        read: |what, table, base| Some(TargetConfig::Local(local::read(what, table, base))),
    },
];

impl TargetConfig {
    pub fn kind(&self) -> &dyn TargetKind {
        match self {
            Self::Vers(target) => &**target,
            Self::Ssh(target) => &**target,
            Self::Local(target) => target,
        }
    }

    /// Reads `[targets.NAME]`. Paths are relative to `base`.
    pub(super) fn read(name: &str, table: TableReader<'_>, base: &Path) -> Option<Self> {
        let what = format!("[targets.{name}]");
        if !table.has("type") {
            let all = KINDS.map(|kind| format!("type = \"{}\"", kind.word));
            table.problem(
                format!("{what} has no `type`"),
                format!("write {}", all.join(" or ")),
            );
        }
        let words = KINDS.each_ref().map(|kind| (kind.word, kind));
        let Some(kind) = table.one_of("type", &words) else {
            // Of no kind it has a meaning: it is not hidden until `type` is right.
            let all: Vec<&str> = KINDS.iter().flat_map(|kind| kind.keys).copied().collect();
            table.only(&what, &all);
            return None;
        };
        (kind.value.read)(&what, table, base)
    }
}
