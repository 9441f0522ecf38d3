//! Calls about commits: take, find, list, ancestors.

use super::api::client::VersClient;
use super::api::error::VersError;
use super::api::request::Call;
use super::api::types::{Commit, CommitId, CommitPage};
use super::progress::with_progress;
use super::reconcile::Poll;
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use vdeploy_core::backoff::deadline;
use vdeploy_core::capability::snapshot::Progress;
use vdeploy_core::ids::{SnapshotId, VmId};

/// Commits per page; the API's maximum.
const PAGE: usize = 100;
/// Pages; guards against a server that never ends a list.
const MAX_PAGES: usize = 500;
/// How far this machine's clock and the platform's may differ.
pub(super) const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Tells the run's commit from all others.
#[derive(Clone, Copy, Debug)]
pub(super) struct CommitMark<'a> {
    pub(super) vm: &'a VmId,
    pub(super) name: &'a str,
    /// Unique to one snapshot of one run.
    pub(super) description: &'a str,
    pub(super) since: Option<Timestamp>,
}

impl CommitMark<'_> {
    fn matches(&self, commit: &Commit) -> bool {
        let marked = match &commit.description {
            Some(text) => text == self.description,
            None => commit.name.as_deref() == Some(self.name),
        };
        let since = self.since.and_then(|t| t.checked_sub(CLOCK_SKEW).ok());
        let recent = match (since, commit.created_at) {
            (Some(since), Some(made)) => made >= since,
            _ => true,
        };
        marked && recent && commit.parent_vm_id.as_ref() == Some(self.vm)
    }
}

/// The result of a search through the commits.
#[derive(Debug, Default)]
struct Found {
    ours: Option<SnapshotId>,
    /// Commits of the VM, taken since the call began, without any mark.
    unmarked: Vec<SnapshotId>,
    /// Whether any commit has a mark: then this server keeps marks.
    keeps_marks: bool,
}

impl VersClient {
    /// Takes a commit of a VM. `description` must be unique to this call: without
    /// an answer the commit is searched by it. A call that may have had its effect
    /// is never repeated.
    pub async fn commit(
        &self,
        vm: &VmId,
        name: &str,
        description: &str,
        progress: &dyn Progress,
    ) -> Result<SnapshotId, VersError> {
        let call = format!("commit VM {vm}");
        let mark = CommitMark {
            vm,
            name,
            description,
            since: Some(Timestamp::now()),
        };
        let begun = self.clock.now();
        let marked = json!({ "name": name, "description": description });
        let taking = async {
            match self.take(&call, vm, marked).await {
                // The body was refused: some versions do not know these fields.
                Err(VersError::Status {
                    status: 400 | 415 | 422,
                    ..
                }) => self.take(&call, vm, json!({})).await,
                other => other,
            }
        };
        let text = format!("taking a snapshot of VM {vm}");
        let cause = match with_progress(progress, &text, taking).await {
            Ok(id) => return Ok(id),
            Err(cause) if cause.maybe_applied() => cause,
            Err(error) => return Err(error),
        };
        let text = format!("{cause}; looking for the snapshot, to avoid taking a second one");
        match with_progress(progress, &text, self.look_for(mark, begun)).await {
            Ok(id) => Ok(id),
            Err(looked) => Err(VersError::InDoubt {
                call,
                cause: Box::new(cause),
                looked,
            }),
        }
    }

    async fn take(&self, call: &str, vm: &VmId, body: Value) -> Result<SnapshotId, VersError> {
        let answer = self
            .send(Call {
                name: call.to_owned(),
                method: Method::POST,
                path: &["vm", vm.as_str(), "commit"],
                query: &[],
                body: Some(body),
                timeout: self.commit_timeout,
                wakes: false,
            })
            .await?;
        Ok(answer.json::<CommitId>()?.commit_id)
    }

    /// Polls for the commit. The error says what was found instead.
    async fn look_for(
        &self,
        mark: CommitMark<'_>,
        begun: Option<Timestamp>,
    ) -> Result<SnapshotId, String> {
        let mut poll = Poll::until(deadline(self.reconcile_for));
        let mut last = String::new();
        loop {
            match self.look(mark, begun).await {
                Ok(Found { ours: Some(id), .. }) => return Ok(id),
                Ok(found) => match found.unmarked.as_slice() {
                    // The server keeps no marks, so it must be this one.
                    [only] if !found.keeps_marks => return Ok(only.clone()),
                    [] => last.clear(),
                    some => {
                        let ids: Vec<&str> = some.iter().map(SnapshotId::as_str).collect();
                        last = format!(" (without one, since then: {})", ids.join(", "));
                    }
                },
                Err(error) => last = format!(" ({error})"),
            }
            if !poll.wait().await {
                return Err(format!(
                    "no commit with the description `{}` appeared{last}; check the commit list before \
                     you start again",
                    mark.description
                ));
            }
        }
    }

    async fn look(
        &self,
        mark: CommitMark<'_>,
        begun: Option<Timestamp>,
    ) -> Result<Found, VersError> {
        let mut found = Found::default();
        self.each_commit(|commit| {
            let unmarked = commit.name.is_none() && commit.description.is_none();
            found.keeps_marks |= !unmarked;
            if mark.matches(&commit) {
                found.ours = Some(commit.commit_id);
            } else if unmarked
                && commit.parent_vm_id.as_ref() == Some(mark.vm)
                && matches!((commit.created_at, begun), (Some(made), Some(begun)) if made >= begun)
            {
                found.unmarked.push(commit.commit_id);
            }
            found.ours.is_none()
        })
        .await?;
        Ok(found)
    }

    /// Polls for the commit that an earlier process asked for at `since`
    /// (milliseconds since 1970), as long as it may still appear.
    pub(super) async fn earlier_commit(
        &self,
        mark: CommitMark<'_>,
        since: u64,
        progress: &dyn Progress,
    ) -> Result<Option<SnapshotId>, VersError> {
        let text = format!(
            "checking whether the snapshot of VM {} was taken before the interruption",
            mark.vm
        );
        let until = self.may_appear_until(since);
        let looking = async {
            let mut poll = Poll::until(until);
            loop {
                let looked = self.look(mark, None).await.map(|found| found.ours);
                if matches!(looked, Ok(Some(_))) || !poll.wait().await {
                    return looked;
                }
            }
        };
        with_progress(progress, &text, looking).await
    }

    /// Every commit of the account.
    pub async fn commits(&self) -> Result<Vec<Commit>, VersError> {
        let mut all = Vec::new();
        self.each_commit(|commit| {
            all.push(commit);
            true
        })
        .await?;
        Ok(all)
    }

    /// Pages through the commits until `take` returns false. Tolerates servers
    /// without a total, and servers that ignore paging.
    async fn each_commit(&self, mut take: impl FnMut(Commit) -> bool) -> Result<(), VersError> {
        let mut offset = 0;
        let mut first_of_last_page = None;
        for _ in 0..MAX_PAGES {
            let query = [("limit", PAGE.to_string()), ("offset", offset.to_string())];
            let mut call = Call::get("list commits", &["commits"], self.call_timeout);
            call.query = &query;
            let page: CommitPage = self.send(call).await?.json()?;
            let first = page.commits.first().map(|c| c.commit_id.clone());
            if first.is_none() || first == first_of_last_page {
                return Ok(());
            }
            first_of_last_page = first;
            offset += page.commits.len();
            for commit in page.commits {
                if !take(commit) {
                    return Ok(());
                }
            }
            if page.total.is_some_and(|total| offset as u64 >= total) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The commit and then its ancestors, up to the root.
    pub async fn parents(&self, commit: &SnapshotId) -> Result<Vec<Commit>, VersError> {
        let path = ["vm", "commits", commit.as_str(), "parents"];
        let call = Call::get(
            format!("parents of commit {commit}"),
            &path,
            self.call_timeout,
        );
        self.send(call).await?.json()
    }

    /// Whether the platform has the commit and allows its use.
    pub async fn has_commit(&self, commit: &SnapshotId) -> Result<bool, VersError> {
        Ok(self.line(commit).await?.is_some())
    }
}
