//! The person who runs vdeploy, as OpenSSH would see them.

use super::error::CliError;
use crate::openssh::Person;
use crate::ownership::users::Users;
use std::path::{Path, PathBuf};

/// Home and name; the variables are those of the environment.
#[derive(Clone, Debug)]
pub struct User {
    home: PathBuf,
    name: Option<String>,
    uid: u32,
}

impl User {
    /// As the environment and the user database say.
    pub fn from_environment() -> Result<Self, CliError> {
        let home = variable("HOME").map(PathBuf::from).ok_or_else(|| {
            CliError::usage("HOME is not set, so there is no place for ~/.ssh")
                .hint("export HOME=DIRECTORY")
        })?;
        let uid = rustix::process::getuid().as_raw();
        let name = Users::of_machine()
            .name_of(uid)
            .map(str::to_owned)
            .or_else(|| variable("USER"))
            .or_else(|| variable("LOGNAME"));
        Ok(Self::new(home, name, uid))
    }

    /// Somebody.
    pub fn new(home: PathBuf, name: Option<String>, uid: u32) -> Self {
        Self { home, name, uid }
    }

    /// The path with `~/` as the home directory.
    pub fn expand(&self, path: &Path) -> PathBuf {
        match path.strip_prefix("~") {
            Ok(rest) => self.home.join(rest),
            Err(_) => path.to_owned(),
        }
    }
}

impl Person for User {
    fn home(&self) -> &Path {
        &self.home
    }
    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
    fn uid(&self) -> u32 {
        self.uid
    }
    fn variable(&self, name: &str) -> Option<String> {
        variable(name)
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_is_the_home_directory() {
        let user = User::new("/home/me".into(), None, 1000);
        let expanded = |path: &str| user.expand(Path::new(path));
        assert_eq!(expanded("~/.ssh/key"), Path::new("/home/me/.ssh/key"));
        assert_eq!(expanded("/a/~/key"), Path::new("/a/~/key"));
    }
}
