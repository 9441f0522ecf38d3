//! Jobs of other runs that still run on the target: whoever holds the lease
//! there ends them before it changes anything.

use super::{line, marks};
use crate::backoff::deadline;
use crate::capability::ssh::OtherJobs;
use crate::capability::{EffectError, ErrorKind};
use crate::ids::RunId;
use crate::ssh::RusshSsh;
use std::time::Duration;
use tokio::time::timeout_at;

/// Each one may take some seconds.
const LIMIT: Duration = Duration::from_secs(60);
/// Bytes of an answer that are kept.
const MAX_ANSWER: usize = 256 * 1024;

impl RusshSsh {
    /// Ends those of every run but this one.
    pub(in crate::ssh) async fn end_jobs_of_others(
        &self,
        run: &RunId,
    ) -> Result<OtherJobs, EffectError> {
        let place = self.place()?;
        let asked = async {
            let opened = self.open_session(&place).await.map_err(|e| e.error)?;
            let (_connection, mut channel, _permit) = opened.into_parts();
            let mark = marks::mark();
            let line = line::others(run, &mark);
            let asked = channel.exec(true, line).await;
            asked.map_err(|e| failed(&e.to_string()))?;
            let mut answer = Vec::new();
            while let Some(message) = channel.wait().await {
                if let russh::ChannelMsg::Data { data } = message
                    && answer.len() < MAX_ANSWER
                {
                    answer.extend_from_slice(&data);
                }
            }
            read(&String::from_utf8_lossy(&answer), &mark)
                .ok_or_else(|| failed("the answer is not whole"))
        };
        timeout_at(deadline(LIMIT), asked)
            .await
            .unwrap_or_else(|_| Err(failed("no answer in time")))
    }
}

fn failed(why: &str) -> EffectError {
    let text =
        format!("whether a command of another run still runs on the target is not known: {why}");
    EffectError::new(ErrorKind::Unavailable, "ssh.job", text)
}

/// None when the script did not come to its end.
fn read(answer: &str, mark: &str) -> Option<OtherJobs> {
    let mut found = OtherJobs::default();
    let said = answer
        .lines()
        .filter_map(|line| line.split_once(mark)?.1.strip_prefix(' '));
    for line in said {
        let (list, run) = match line.split_once(' ') {
            None if line == "done" => return Some(found),
            Some(("ended", run)) => (&mut found.ended, run),
            Some(("stays", run)) => (&mut found.stay, run),
            _ => continue,
        };
        let run = RunId::from(run);
        if !list.contains(&run) {
            list.push(run);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_when_it_is_whole() {
        let text = "motd\n@ ended A\n@ ended A\n@ stays B\n@ done\n";
        let found = read(text, "@").unwrap();
        assert_eq!(found.ended, [RunId::from("A")]);
        assert_eq!(found.stay, [RunId::from("B")]);
        assert_eq!(read("@ ended A\n", "@"), None);
        assert_eq!(read("", "@"), None);
    }
}
