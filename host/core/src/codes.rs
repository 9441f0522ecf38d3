//! The codes of the host's errors: one table. `docs/error-codes.md` shows it to
//! plugin authors. A plugin's own errors have codes of its own.

macro_rules! codes {
    ($($code:ident = $text:literal, $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $code: &str = $text;)*

        /// Every code with its meaning.
        pub const ALL: &[(&str, &str)] = &[$(($text, $meaning),)*];
    };
}

codes! {
    GATE_CANCELLED = "gate.cancelled", "The run is being stopped.";
    GATE_CHECK = "gate.check", "`check` called a change; it may only probe.";
    GATE_CLOSED = "gate.closed", "The journal cannot be written, or the lease was lost. Nothing more is done in this run.";
    GATE_CUT = "gate.cut", "A stop ended a sleep early. Only the journal has this code: the plugin's next call gets `gate.cancelled`.";
    GATE_DEADLINE = "gate.deadline", "The step's time is over.";
    GATE_DIVERGED = "gate.diverged", "In a resumed run the plugin makes another call than it made before. The run cannot be resumed.";
    GATE_JOURNAL = "gate.journal", "The journal cannot be read.";
    GATE_NO_SNAPSHOT = "gate.no-snapshot", "The target may not be changed: this run has no snapshot of it.";
    GATE_NOT_DECLARED = "gate.not-declared", "The step ran commands to make a snapshot and declared none.";
    GATE_PRETEND = "gate.pretend", "A probe has no answer in a dry run. A defect of vdeploy.";
    GATE_REPLAY = "gate.replay", "The recording has no answer to this call.";
    GATE_TOO_MUCH = "gate.too-much", "The call of the plugin has used up its calls or its bytes of the journal.";
    GATE_UNANSWERED = "gate.unanswered", "The run was interrupted during this change. It may have happened, and it is not repeated.";
    HTTP_CLOSED = "http.closed", "The connection ended before the answer was complete.";
    HTTP_CONNECT = "http.connect", "No connection to the server.";
    HTTP_DENIED = "http.denied", "No grant covers the request or a redirect of it.";
    HTTP_DNS = "http.dns", "The name cannot be resolved.";
    HTTP_INVALID = "http.invalid", "The request is malformed.";
    HTTP_NO_ROOM = "http.no-room", "The answers could exceed the memory that a call of a plugin has in the host.";
    HTTP_REDIRECTS = "http.redirects", "Too many redirects.";
    HTTP_TIMEOUT = "http.timeout", "No complete answer within the request's timeout.";
    HTTP_TLS = "http.tls", "The TLS handshake failed.";
    HTTP_TOO_LARGE = "http.too-large", "The answer is longer than the request allows.";
    PLUGIN_CPU = "plugin.cpu", "The plugin used more CPU time than allowed.";
    PLUGIN_DEADLINE = "plugin.deadline", "The plugin did not return in the step's time.";
    PLUGIN_INCOMPATIBLE = "plugin.incompatible", "The plugin needs something that this host does not offer.";
    PLUGIN_LOAD = "plugin.load", "The plugin cannot be loaded.";
    PLUGIN_MEMORY = "plugin.memory", "The plugin needs more memory, tables or instances than allowed.";
    PLUGIN_OUTPUT = "plugin.output", "`run` returned something that is no JSON object within the size limit.";
    PLUGIN_TRAP = "plugin.trap", "The plugin crashed.";
    SECRET_DENIED = "secret.denied", "No grant covers the secret, or the place that it is sent to.";
    SECRET_IN_CONFIG = "secret.in-config", "A step's configuration contains the value of a secret.";
    SECRET_MISSING = "secret.missing", "The project has no such secret.";
    SECRET_REVEAL_DENIED = "secret.reveal-denied", "No grant lets the plugin read the secret's value.";
    SNAPSHOT_CURRENT_TARGET = "snapshot.current-target", "The VM to pause is the run's target.";
    SNAPSHOT_DENIED = "snapshot.denied", "No grant covers this use of snapshots.";
    SNAPSHOT_FAILED = "snapshot.failed", "The platform failed to take, restore or find the snapshot.";
    SNAPSHOT_INVALID = "snapshot.invalid", "A declared id or label is malformed.";
    SNAPSHOT_NOT_LEFT = "snapshot.not-left", "The VM to pause was not left by a restore of this run or of the run that it rolls back.";
    SNAPSHOT_NOT_OF_TARGET = "snapshot.not-of-target", "The snapshot to restore is not known to be one of this target.";
    SNAPSHOT_UNSUPPORTED = "snapshot.unsupported", "The target is no VM of a platform that takes snapshots.";
    SSH_AUTH = "ssh.auth", "The target refused the login.";
    SSH_CLOSED = "ssh.closed", "The connection was lost while the command ran.";
    SSH_DENIED = "ssh.denied", "No grant covers the command.";
    SSH_FENCED = "ssh.fenced", "This run has lost its lease on the target, so the command was not started.";
    SSH_HOST_KEY = "ssh.host-key", "The target's host key is unknown or has changed.";
    SSH_IDLE = "ssh.idle", "The command printed nothing for longer than its idle timeout.";
    SSH_INVALID = "ssh.invalid", "The command is malformed.";
    SSH_JOB = "ssh.job", "The target cannot keep a job: its home is not writable, or its disk is full. Nothing was started.";
    SSH_JOB_LOST = "ssh.job-lost", "The status of the command is lost, for example after a power failure.";
    SSH_PLATFORM = "ssh.platform", "The platform does not say how to connect to the target.";
    SSH_REFUSED = "ssh.refused", "The SSH server refused a session or a command.";
    SSH_STOPPED = "ssh.stopped", "The command was terminated before it ended.";
    SSH_TIMEOUT = "ssh.timeout", "The command ran longer than its timeout.";
    SSH_TLS = "ssh.tls", "The TLS connection that carries SSH failed.";
    SSH_UNREACHABLE = "ssh.unreachable", "No SSH connection to the target.";
    STATE_DENIED = "state.denied", "The plugin has no grant for `state`.";
    STATE_KEY = "state.key", "A key is empty or too long.";
    STATE_SECRET = "state.secret", "The key or the value contains a secret.";
    STATE_STORE = "state.store", "The store of the host failed.";
    STATE_TOO_LARGE = "state.too-large", "The value is too long.";
}

#[cfg(test)]
mod tests {
    use super::ALL;
    use crate::capability::function::HostFunction;
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    /// Names of files that look like codes.
    const FILES: [&str; 2] = ["state.db", "plugin.toml"];

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    fn host() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn the_page_shows_the_table() {
        let page = read(&host().join("../docs/error-codes.md"));
        let shown: Vec<&str> = page.lines().filter(|l| l.starts_with("| `")).collect();
        let rows = ALL
            .iter()
            .map(|(code, meaning)| format!("| `{code}` | {meaning} |"));
        assert_eq!(shown, rows.collect::<Vec<_>>());
    }

    #[test]
    fn the_table_is_sorted_and_says_each_code_once() {
        assert!(ALL.is_sorted_by(|(a, _), (b, _)| a.split('.').lt(b.split('.'))));
    }

    fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.ends_with("tests") {
                sources(&path, found);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn no_other_file_of_the_host_spells_a_code() {
        let families = ALL.iter().filter_map(|(code, _)| code.split_once('.'));
        let families: BTreeSet<&str> = families.map(|(family, _)| family).collect();
        let codes = |text: &str| -> Vec<String> {
            let mut codes = Vec::new();
            for family in &families {
                let begin = format!("\"{family}.");
                for (at, _) in text.match_indices(&begin) {
                    let literal = text[at + 1..].split('"').next().unwrap();
                    let word = &literal[begin.len() - 1..];
                    if !word.is_empty()
                        && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
                        && HostFunction::from_name(literal).is_none()
                        && !FILES.contains(&literal)
                    {
                        codes.push(literal.to_owned());
                    }
                }
            }
            codes
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(host()).unwrap() {
            let dir = entry.unwrap().path().join("src");
            if dir.is_dir() {
                sources(&dir, &mut found);
            }
        }
        assert!(found.len() > 100);
        for path in found {
            if path.ends_with("core/src/codes.rs") || path.ends_with("properties.rs") {
                continue;
            }
            let text = read(&path);
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            let spelled = codes(code);
            assert!(spelled.is_empty(), "{}: {spelled:?}", path.display());
        }
    }
}
