//! The functions that a plugin can call: the one table of their names, the
//! capability of each, and whether it changes something.

use std::fmt;

/// What a grant is given for. `clock` needs none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Capability {
    Clock,
    Http,
    Secrets,
    SecretsReveal,
    Snapshot,
    Ssh,
    State,
}

impl Capability {
    /// As the contract and the project file spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Http => "http",
            Self::Secrets => "secrets",
            Self::SecretsReveal => "secrets-reveal",
            Self::Snapshot => "snapshot",
            Self::Ssh => "ssh",
            Self::State => "state",
        }
    }
}

/// Whether a function changes something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Probe,
    Change,
    /// The arguments decide: the method of a request, a label that is taken.
    ByCall,
}

macro_rules! functions {
    ($($function:ident = $name:literal, $capability:ident, $access:ident;)*) => {
        /// A function of the contract.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum HostFunction {
            $($function,)*
        }

        impl HostFunction {
            pub const ALL: &[Self] = &[$(Self::$function,)*];

            /// Interface and function; journals and recordings hold it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$function => $name,)*
                }
            }

            pub fn capability(self) -> Capability {
                match self {
                    $(Self::$function => Capability::$capability,)*
                }
            }

            pub fn access(self) -> Access {
                match self {
                    $(Self::$function => Access::$access,)*
                }
            }
        }
    };
}

functions! {
    ClockNow = "clock.now-unix-ms", Clock, Probe;
    ClockSleep = "clock.sleep-ms", Clock, Probe;
    HttpSend = "http.send", Http, ByCall;
    SecretsGet = "secrets.get", Secrets, Probe;
    SecretsReveal = "secrets-reveal.reveal", SecretsReveal, Probe;
    SnapshotCreate = "snapshot.create", Snapshot, ByCall;
    SnapshotDeclare = "snapshot.declare", Snapshot, ByCall;
    SnapshotExists = "snapshot.exists", Snapshot, Probe;
    SnapshotPauseOld = "snapshot.pause-old", Snapshot, Change;
    SnapshotRestore = "snapshot.restore", Snapshot, Change;
    SshExec = "ssh.exec", Ssh, Change;
    SshProbe = "ssh.probe", Ssh, Probe;
    StateDelete = "state.delete", State, Change;
    StateGet = "state.get", State, Probe;
    StatePut = "state.put", State, Change;
}

impl HostFunction {
    /// None for a name of another version of the contract.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|function| function.name() == name)
    }

    /// Whether the journal means this function.
    pub fn is(self, name: &str) -> bool {
        self.name() == name
    }
}

impl fmt::Display for HostFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::HostFunction;

    #[test]
    fn every_function_is_named_after_its_capability_and_found_by_its_name() {
        for function in HostFunction::ALL {
            let interface = function.name().split('.').next();
            assert_eq!(interface, Some(function.capability().name()));
            assert_eq!(HostFunction::from_name(function.name()), Some(*function));
        }
        assert_eq!(HostFunction::from_name("ssh.fly"), None);
    }

    #[test]
    fn the_contract_declares_every_function() {
        let wit = |interface: &str| {
            let path = format!("{}/../../wit/{interface}.wit", env!("CARGO_MANIFEST_DIR"));
            std::fs::read_to_string(&path).unwrap()
        };
        for function in HostFunction::ALL {
            let (interface, name) = function.name().split_once('.').unwrap();
            let file = interface.trim_end_matches("-reveal");
            assert!(wit(file).contains(&format!("{name}: func(")), "{function}");
        }
    }
}
