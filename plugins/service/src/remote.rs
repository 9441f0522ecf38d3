//! The git remote of the checkout: commands that use it, and what a ref means
//! there.

use std::time::Duration;

use vdeploy_plugin::{CommandBuilder, Cx, Error};

const REMOTE: &str = include_str!("remote.sh");
const TIMEOUT: Duration = Duration::from_secs(60);

/// Prepended to every script that writes into `.vdeploy`.
pub const WORKDIR_FUNCTIONS: &str = include_str!("workdir.sh");

/// git in `app_dir`; never prompts for a password or a host key.
pub fn git<C>(cx: &Cx<C>, app_dir: &str) -> CommandBuilder {
    cx.script("git", REMOTE).cwd(app_dir)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefKind {
    Branch,
    Tag,
    /// A full commit id.
    Commit,
}

/// A ref and its commit at the remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    pub kind: RefKind,
    pub sha: String,
}

/// Whether the text is a full commit id.
pub fn is_full_sha(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Refuses a name that git reads as an option or a range.
///
/// # Errors
/// `git.ref` when the text cannot name a branch, a tag or a commit.
pub fn check_ref(name: &str) -> Result<(), Error> {
    let bad = name.is_empty()
        || name.starts_with(['-', '/'])
        || name.ends_with(['/', '.'])
        || name.contains("..")
        || name.contains("@{")
        || name
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c));
    if bad {
        return Err(Error::invalid(
            "git.ref",
            format!("`{name}` is not a branch, a tag or a full commit id; set `ref`"),
        ));
    }
    Ok(())
}

/// Asks the remote what `name` is. A probe. A full commit id is accepted as it
/// is: `ls-remote` cannot ask for a commit.
///
/// # Errors
/// `git.remote` when the remote cannot be read, `git.ref` when it has no such
/// branch or tag.
pub fn resolve<C>(cx: &Cx<C>, app_dir: &str, name: &str) -> Result<Resolved, Error> {
    check_ref(name)?;
    let output = git(cx, app_dir)
        .args(["ls-remote", "origin", "HEAD"])
        .args([
            format!("refs/heads/{name}"),
            format!("refs/tags/{name}"),
            format!("refs/tags/{name}^{{}}"),
        ])
        .timeout(TIMEOUT)
        .probe()?;
    if !output.ok() {
        let error = output.into_success("git ls-remote origin").err();
        let why = error.map(|error| error.message).unwrap_or_default();
        return Err(Error::failed(
            "git.remote",
            format!("the target cannot read the remote of its checkout: {why}"),
        ));
    }
    choose(&output.stdout_text(), name).ok_or_else(|| {
        Error::invalid(
            "git.ref",
            format!("the remote has no branch or tag `{name}`; push it or set `ref`"),
        )
    })
}

fn choose(listing: &str, name: &str) -> Option<Resolved> {
    let sha_of = |full: &str| {
        listing.lines().find_map(|line| {
            let (sha, found) = line.split_once('\t')?;
            (found == full).then(|| sha.to_owned())
        })
    };
    let found = |kind| move |sha| Resolved { kind, sha };
    sha_of(&format!("refs/heads/{name}"))
        .map(found(RefKind::Branch))
        .or_else(|| sha_of(&format!("refs/tags/{name}^{{}}")).map(found(RefKind::Tag)))
        .or_else(|| sha_of(&format!("refs/tags/{name}")).map(found(RefKind::Tag)))
        .or_else(|| is_full_sha(name).then(|| found(RefKind::Commit)(name.to_ascii_lowercase())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_precedes_a_tag_and_a_tag_is_its_commit() {
        let listing = "1\tHEAD\n2\trefs/heads/v1\n3\trefs/tags/v1\n4\trefs/tags/v1^{}\n";
        let branch = choose(listing, "v1").unwrap();
        assert_eq!((branch.kind, branch.sha.as_str()), (RefKind::Branch, "2"));
        let tag = choose("3\trefs/tags/v1\n4\trefs/tags/v1^{}\n", "v1").unwrap();
        assert_eq!((tag.kind, tag.sha.as_str()), (RefKind::Tag, "4"));
        assert_eq!(choose("1\tHEAD\n", "v1"), None);
        let sha = "0123456789ABCDEF0123456789abcdef01234567";
        assert_eq!(choose("", sha).unwrap().sha, sha.to_ascii_lowercase());
    }

    #[test]
    fn a_ref_cannot_be_an_option_or_a_range() {
        for bad in [
            "",
            "-x",
            "--upload-pack=x",
            "a..b",
            "a b",
            "HEAD~1",
            "a:b",
            "x@{1}",
        ] {
            assert!(check_ref(bad).is_err(), "{bad}");
        }
        for good in ["main", "feat/x", "v1.2.0", "0123abc"] {
            assert!(check_ref(good).is_ok(), "{good}");
        }
    }
}
