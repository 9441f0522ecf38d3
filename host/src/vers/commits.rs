//! Calls about commits: take, find, list, trace.

use super::client::VersClient;
use super::error::VersError;
use super::request::Call;
use super::types::{Commit, CommitId, CommitPage};
use crate::backoff::{Backoff, deadline};
use crate::ids::{SnapshotId, VmId};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The largest page that the API gives.
const PAGE: usize = 100;
/// Against a server that never says that a list is over.
const MOST_PAGES: usize = 500;
/// How far this machine's clock and the platform's may differ.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// What tells our commit from all others.
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

impl VersClient {
    /// Takes a commit of a VM. `description` must be unique to this call: when
    /// no answer comes the commit is looked for by it. The call is never made
    /// twice.
    pub async fn commit(
        &self,
        vm: &VmId,
        name: &str,
        description: &str,
    ) -> Result<SnapshotId, VersError> {
        let call = format!("commit VM {vm}");
        let mark = CommitMark {
            vm,
            name,
            description,
            since: Some(Timestamp::now()),
        };
        let made = self
            .send(Call {
                name: call.clone(),
                method: Method::POST,
                path: &["vm", vm.as_str(), "commit"],
                query: &[],
                body: Some(json!({ "name": name, "description": description })),
                timeout: self.commit_timeout,
            })
            .await
            .and_then(|answer| answer.json::<CommitId>());
        let cause = match made {
            Ok(commit) => return Ok(commit.commit_id),
            Err(cause) if cause.maybe_applied() => cause,
            Err(error) => return Err(error),
        };
        let deadline = deadline(self.reconcile_for);
        let mut backoff = Backoff::up_to(Duration::from_secs(5));
        loop {
            match self.find_commit(mark).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "looking for the commit"),
            }
            let wait = backoff.next_wait();
            if Instant::now() + wait >= deadline {
                return Err(VersError::InDoubt {
                    call,
                    cause: Box::new(cause),
                    looked: format!(
                        "no commit with the description `{description}` appeared; look at the \
                         commit list before starting again"
                    ),
                });
            }
            sleep(wait).await;
        }
    }

    /// The commit with this mark, if there is one.
    pub(super) async fn find_commit(
        &self,
        mark: CommitMark<'_>,
    ) -> Result<Option<SnapshotId>, VersError> {
        let mut found = None;
        self.each_commit(|commit| {
            if mark.matches(&commit) {
                found = Some(commit.commit_id);
            }
            found.is_none()
        })
        .await?;
        Ok(found)
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

    /// Pages through the commits until `take` gives false. Tolerates servers
    /// that leave out the total, and such that ignore paging.
    async fn each_commit(&self, mut take: impl FnMut(Commit) -> bool) -> Result<(), VersError> {
        let mut offset = 0;
        let mut first_of_last_page = None;
        for _ in 0..MOST_PAGES {
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

    /// The commit itself and then its ancestors, up to the root.
    pub async fn parents(&self, commit: &SnapshotId) -> Result<Vec<Commit>, VersError> {
        let path = ["vm", "commits", commit.as_str(), "parents"];
        let call = Call::get(
            format!("parents of commit {commit}"),
            &path,
            self.call_timeout,
        );
        self.send(call).await?.json()
    }

    /// Whether the platform knows the commit and lets us use it.
    pub async fn has_commit(&self, commit: &SnapshotId) -> Result<bool, VersError> {
        match self.parents(commit).await {
            Ok(_) => Ok(true),
            // 400 and 422: this can be no commit's id.
            Err(
                VersError::NotFound { .. }
                | VersError::NotYours { .. }
                | VersError::Status {
                    status: 400 | 422, ..
                },
            ) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
