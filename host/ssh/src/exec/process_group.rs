//! Learns the process group of a command on the target, and signals it.
//!
//! sshd refuses signals in a session of root (it has no second process there).
//! So the wrapper on the target prints its process id in the first line of
//! stderr, and another command signals the group.

use crate::connection::connect::Connection;
use russh::ChannelMsg;
use std::time::Duration;
use tokio::time::timeout;

/// Begins the line that the wrapper prints; the process id follows.
const MARK: &str = "vdeploy-process-group:";
/// A longer line is not ours.
const LONGEST: usize = 256;

/// Shell text that prints the process id. The wrapper leads its group: sshd
/// starts each command in a session of its own.
pub(crate) fn announcement() -> String {
    format!("echo {MARK}$$ >&2")
}

/// Removes the announcement from stderr.
#[derive(Debug, Default)]
pub(crate) struct GroupFilter {
    state: State,
}

#[derive(Debug)]
enum State {
    /// The line so far. The login shell may print something first.
    Looking(Vec<u8>),
    Found(u32),
    GaveUp,
}

impl Default for State {
    fn default() -> Self {
        State::Looking(Vec::new())
    }
}

impl GroupFilter {
    pub(crate) fn group(&self) -> Option<u32> {
        match self.state {
            State::Found(group) => Some(group),
            _ => None,
        }
    }

    /// Returns what of `bytes` (and of bytes held back before) the command printed.
    pub(crate) fn pass<'a>(&mut self, bytes: &'a [u8]) -> std::borrow::Cow<'a, [u8]> {
        let State::Looking(line) = &mut self.state else {
            return bytes.into();
        };
        let mut out = Vec::new();
        let mut rest = bytes.iter().copied();
        for byte in rest.by_ref() {
            line.push(byte);
            if byte == b'\n' {
                if let Some(group) = announced(line) {
                    self.state = State::Found(group);
                    break;
                }
                out.append(line);
            } else if line.len() > LONGEST {
                out.append(line);
                self.state = State::GaveUp;
                break;
            }
        }
        out.extend(rest);
        out.into()
    }

    /// The bytes held back, when the stream is over.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        match std::mem::replace(&mut self.state, State::GaveUp) {
            State::Looking(line) => line,
            other => {
                self.state = other;
                Vec::new()
            }
        }
    }
}

fn announced(line: &[u8]) -> Option<u32> {
    let line = std::str::from_utf8(line).ok()?.trim_end();
    line.strip_prefix(MARK)?.parse().ok().filter(|id| *id > 1)
}

/// Signals the group; false if the target gave no answer.
pub(crate) async fn signal(connection: &Connection, group: u32, name: &str) -> bool {
    /// It takes two round trips; other signals may be queued before.
    const LONGEST: Duration = Duration::from_secs(5);
    let asked = async {
        let _permit = connection.signals.acquire().await.ok()?;
        let mut channel = connection.handle.channel_open_session().await.ok()?;
        let line = format!("kill -s {name} -- -{group}");
        channel.exec(true, line).await.ok()?;
        while let Some(message) = channel.wait().await {
            if let ChannelMsg::ExitStatus { exit_status } = message {
                return Some(exit_status == 0);
            }
        }
        None
    };
    matches!(timeout(LONGEST, asked).await, Ok(Some(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(pieces: &[&[u8]]) -> (Vec<u8>, Option<u32>) {
        let mut filter = GroupFilter::default();
        let mut out = Vec::new();
        for p in pieces {
            out.extend_from_slice(&filter.pass(p));
        }
        out.extend(filter.rest());
        (out, filter.group())
    }

    #[test]
    fn the_announcement_is_taken_out_wherever_it_is_cut() {
        let all = b"shell noise\nvdeploy-process-group:4711\nerror\n";
        for at in 0..all.len() {
            let (a, b) = all.split_at(at);
            let expected = (b"shell noise\nerror\n".to_vec(), Some(4711));
            assert_eq!(passed(&[a, b]), expected, "cut at {at}");
        }
    }

    #[test]
    fn only_the_first_announcement_counts() {
        let twice = b"vdeploy-process-group:4711\nvdeploy-process-group:1\n";
        let (out, group) = passed(&[twice]);
        assert_eq!(group, Some(4711));
        assert_eq!(out, b"vdeploy-process-group:1\n");
    }

    #[test]
    fn output_without_one_comes_through_whole() {
        for text in [
            &b"no line end"[..],
            b"vdeploy-process-group:x\n",
            &[b'x'; 1000],
        ] {
            assert_eq!(passed(&[text]), (text.to_vec(), None));
        }
    }
}
