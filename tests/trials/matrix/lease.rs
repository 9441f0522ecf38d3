//! The lease on a VM, as `lease/src/target.sh` keeps it there: who has it, and the
//! number of its grant. The one run of a trial is the only one that asks, so
//! nothing here runs out.

/// What the script of the lease begins with.
const SCRIPT: &[u8] = b"# The lease on this machine";

/// The lease of one VM.
#[derive(Clone, Debug, Default)]
pub struct Lease {
    holder: Option<String>,
    token: u64,
    /// It came with the VM's snapshot, and nobody has taken it here.
    copied: bool,
}

/// Whether a command asks for the lease.
pub fn is_asked(stdin: &[u8]) -> bool {
    stdin.starts_with(SCRIPT)
}

impl Lease {
    /// Who has taken it on this VM.
    pub fn holder(&self) -> Option<&str> {
        self.holder.as_deref().filter(|_| !self.copied)
    }

    /// As a snapshot has it.
    pub fn copy(&self) -> Self {
        Self {
            copied: true,
            ..self.clone()
        }
    }

    /// Answers `sh -s -- VERB TTL RUN …`.
    pub fn answer(&mut self, args: &[String]) -> String {
        let mut words = args.iter().skip(2).map(String::as_str);
        let (verb, _ttl) = (words.next().unwrap_or_default(), words.next());
        let run = words.next().unwrap_or_default();
        let number = words.next().and_then(|n| n.parse().ok());
        let is_ours = self.holder.as_deref() == Some(run);
        match verb {
            "take" if self.holder.is_none() || is_ours => {
                self.token = self.token.max(number.unwrap_or_default()) + 1;
                self.holder = Some(run.to_owned());
                self.copied = false;
                format!("taken {}\n", self.token)
            }
            "renew" if is_ours && number == Some(self.token) => "renewed\n".to_owned(),
            "release" if is_ours => {
                self.holder = None;
                "released\n".to_owned()
            }
            "renew" | "release" => "lost - 0 0\n".to_owned(),
            _ => match &self.holder {
                Some(holder) => format!("held {holder} 0 30\n\n"),
                None => "free\n".to_owned(),
            },
        }
    }
}
