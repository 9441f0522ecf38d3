//! A bare git remote with the sample service, to which variants are pushed.

use crate::binary::{git, run};
use crate::fixtures;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A remote and the work tree that pushes to it.
#[derive(Debug)]
pub struct Remote {
    bare: PathBuf,
    work: PathBuf,
}

impl Remote {
    /// A new remote below `dir`, with the good service on `main`.
    pub fn create(dir: &Path) -> Result<Self> {
        let bare = dir.join("remote.git");
        let work = dir.join("work");
        std::fs::create_dir_all(&work)?;
        git(
            dir,
            &[
                "init",
                "--quiet",
                "--bare",
                "--initial-branch=main",
                "remote.git",
            ],
        )?;
        git(&work, &["init", "--quiet", "--initial-branch=main", "."])?;
        let origin = bare.display().to_string();
        git(&work, &["remote", "add", "origin", &origin])?;
        let remote = Self { bare, work };
        remote.push("good", None)?;
        Ok(remote)
    }

    /// A copy of another remote below `dir`.
    pub fn copy_of(other: &Self, dir: &Path) -> Result<Self> {
        let bare = dir.join("remote.git");
        let work = dir.join("work");
        let from = other.bare.display().to_string();
        git(dir, &["clone", "--quiet", "--bare", &from, "remote.git"])?;
        let origin = bare.display().to_string();
        git(dir, &["clone", "--quiet", &origin, "work"])?;
        Ok(Self { bare, work })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.bare
    }

    /// Commits the good service with a variant's files laid over it and pushes
    /// it to `main`; returns the commit.
    pub fn push_variant(&self, variant: &str) -> Result<String> {
        self.push(variant, Some(&fixtures().join("variants").join(variant)))
    }

    /// Commits the good service with these files written over it and pushes it
    /// to `main`; returns the commit.
    pub fn push_files(&self, message: &str, files: &[(&str, &str)]) -> Result<String> {
        self.lay_out(None)?;
        for (name, text) in files {
            std::fs::write(self.work.join(name), text)?;
        }
        self.commit(message)
    }

    fn push(&self, message: &str, overlay: Option<&Path>) -> Result<String> {
        self.lay_out(overlay)?;
        self.commit(message)
    }

    /// Fills the work tree with the good service and what lies over it.
    fn lay_out(&self, overlay: Option<&Path>) -> Result<()> {
        for entry in std::fs::read_dir(&self.work)? {
            let path = entry?.path();
            if path.ends_with(".git") {
                continue;
            }
            if path.is_dir() {
                std::fs::remove_dir_all(&path)?;
            } else {
                std::fs::remove_file(&path)?;
            }
        }
        copy(&fixtures().join("agent-services"), &self.work)?;
        if let Some(overlay) = overlay {
            copy(overlay, &self.work)?;
        }
        Ok(())
    }

    fn commit(&self, message: &str) -> Result<String> {
        git(&self.work, &["add", "--all"])?;
        git(
            &self.work,
            &["commit", "--quiet", "--allow-empty", "-m", message],
        )?;
        git(&self.work, &["push", "--quiet", "origin", "HEAD:main"])?;
        git(&self.work, &["rev-parse", "HEAD"])
    }
}

/// Copies the content of `from` over `to`, without what a build leaves.
fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if ["node_modules", "dist", "data"]
            .iter()
            .any(|skip| name == *skip)
        {
            continue;
        }
        run(Command::new("cp").arg("-a").arg(entry.path()).arg(to))?;
    }
    Ok(())
}
