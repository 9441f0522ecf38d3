//! The functions that a plugin can call: the one table of their names, with
//! the capability of each, and of whether they change something.

use std::fmt;

/// Whether a function changes something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Probe,
    Change,
    /// The arguments decide: the method of a request, a label that is taken.
    ByCall,
}

macro_rules! functions {
    ($($function:ident = $capability:literal . $name:literal, $access:ident;)*) => {
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
                    $(Self::$function => concat!($capability, ".", $name),)*
                }
            }

            /// The interface, which is the word of a grant; `clock` needs none.
            pub fn capability(self) -> &'static str {
                match self {
                    $(Self::$function => $capability,)*
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
    ClockNow = "clock" . "now-unix-ms", Probe;
    ClockSleep = "clock" . "sleep-ms", Probe;
    HttpSend = "http" . "send", ByCall;
    SecretsGet = "secrets" . "get", Probe;
    SecretsReveal = "secrets-reveal" . "reveal", Probe;
    SnapshotCreate = "snapshot" . "create", ByCall;
    SnapshotDeclare = "snapshot" . "declare", ByCall;
    SnapshotExists = "snapshot" . "exists", Probe;
    SnapshotPauseOld = "snapshot" . "pause-old", Change;
    SnapshotRestore = "snapshot" . "restore", Change;
    SshExec = "ssh" . "exec", Change;
    SshProbe = "ssh" . "probe", Probe;
    StateDelete = "state" . "delete", Change;
    StateGet = "state" . "get", Probe;
    StatePut = "state" . "put", Change;
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
    fn every_function_is_found_by_its_name() {
        for function in HostFunction::ALL {
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
