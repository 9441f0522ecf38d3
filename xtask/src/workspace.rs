//! Where things are: the checkout, the target directory, the members. All of
//! it is asked from cargo, so `CARGO_TARGET_DIR` and cargo's configuration
//! count.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command;
use crate::sources_hash::PLUGINS_DIR;

/// This checkout, as cargo sees it.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The directory of the workspace's Cargo.toml.
    pub root: PathBuf,
    /// Where cargo puts what it builds.
    pub target: PathBuf,
    /// Where the built plugins are, `VDEPLOY_PLUGINS_DIR` or in the target
    /// directory. The host's build script looks in the same place.
    pub plugins: PathBuf,
    /// The packages of the workspace.
    pub members: Vec<Member>,
}

/// A package of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The package's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The directory of its Cargo.toml.
    pub dir: PathBuf,
}

impl Workspace {
    /// Finds the workspace of the package that is running, or of the xtask
    /// that was compiled.
    ///
    /// # Errors
    /// When cargo cannot read the workspace.
    pub fn find() -> Result<Self> {
        let dir = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let text = command::output(command::cargo(&dir).args([
            "metadata",
            "--no-deps",
            "--format-version=1",
        ]))?;
        let mut workspace = Self::parse(&text)?;
        if let Some(plugins) = env::var_os("VDEPLOY_PLUGINS_DIR") {
            workspace.plugins = PathBuf::from(plugins);
        }
        Ok(workspace)
    }

    /// Reads the output of `cargo metadata --no-deps`.
    fn parse(text: &str) -> Result<Self> {
        let metadata: Value =
            serde_json::from_str(text).context("`cargo metadata` did not print JSON")?;
        let target = PathBuf::from(string(&metadata, "target_directory")?);
        let packages = metadata
            .get("packages")
            .and_then(Value::as_array)
            .context("`cargo metadata` names no packages")?;
        let members = packages
            .iter()
            .map(Member::from_json)
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            root: PathBuf::from(string(&metadata, "workspace_root")?),
            plugins: target.join(PLUGINS_DIR),
            target,
            members,
        })
    }

    /// The member with this package name.
    ///
    /// # Errors
    /// When there is none.
    pub fn member(&self, name: &str) -> Result<&Member> {
        self.members
            .iter()
            .find(|member| member.name == name)
            .with_context(|| format!("the workspace has no package `{name}`"))
    }

    /// The program that a debug build of the host makes.
    pub fn debug_binary(&self) -> PathBuf {
        self.target
            .join("debug")
            .join(format!("vdeploy{}", env::consts::EXE_SUFFIX))
    }
}

impl Member {
    fn from_json(package: &Value) -> Result<Self> {
        let manifest = PathBuf::from(string(package, "manifest_path")?);
        let dir = manifest
            .parent()
            .map(Path::to_path_buf)
            .with_context(|| format!("{} is in no directory", manifest.display()))?;
        Ok(Self {
            name: string(package, "name")?.to_owned(),
            version: string(package, "version")?.to_owned(),
            dir,
        })
    }
}

fn string<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value
        .get(key)
        .and_then(Value::as_str)
        .with_context(|| format!("`cargo metadata` has no text `{key}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugins_are_in_the_target_directory_that_cargo_names() {
        let workspace = Workspace::parse(
            r#"{"workspace_root": "/c", "target_directory": "/t", "packages": [
                {"name": "vdeploy", "version": "1.2.3", "manifest_path": "/c/host/cli/Cargo.toml"}]}"#,
        )
        .unwrap();
        assert_eq!(workspace.plugins, Path::new("/t/vdeploy-plugins"));
        let host = workspace.member("vdeploy").unwrap();
        assert_eq!(host.dir, Path::new("/c/host/cli"));
        assert_eq!(host.version, "1.2.3");
        assert!(workspace.member("other").is_err());
    }

    #[test]
    fn what_cargo_did_not_say_is_named() {
        let error = Workspace::parse(r#"{"packages": []}"#).unwrap_err();
        assert!(error.to_string().contains("target_directory"), "{error}");
    }

    #[test]
    fn this_checkout_is_found() {
        let workspace = Workspace::find().unwrap();
        assert!(workspace.root.join("wit").is_dir());
        assert!(workspace.member("xtask").is_ok());
    }
}
