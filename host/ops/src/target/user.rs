//! The person who runs vdeploy, as OpenSSH would see them.

use crate::error::OpsError;
use crate::options::Environment;
use std::path::{Path, PathBuf};
use vdeploy_files::users::Users;
use vdeploy_ssh::openssh::Person;

/// Home, name and variables.
#[derive(Clone, Debug)]
pub struct User {
    home: PathBuf,
    name: Option<String>,
    uid: u32,
    environment: Environment,
}

impl User {
    /// As the environment and the user database say.
    ///
    /// # Errors
    /// HOME is not set.
    pub fn of(environment: &Environment) -> Result<Self, OpsError> {
        let home = environment.text("HOME").map(PathBuf::from);
        let home = home.ok_or_else(|| {
            OpsError::usage("HOME is not set, so there is no place for ~/.ssh")
                .hint("export HOME=DIRECTORY")
        })?;
        let uid = rustix::process::getuid().as_raw();
        let name = Users::of_machine()
            .name_of(uid)
            .map(str::to_owned)
            .or_else(|| environment.text("USER"))
            .or_else(|| environment.text("LOGNAME"));
        Ok(Self::new(home, name, uid, environment.clone()))
    }

    pub fn new(home: PathBuf, name: Option<String>, uid: u32, environment: Environment) -> Self {
        Self {
            home,
            name,
            uid,
            environment,
        }
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
        self.environment.text(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_is_the_home_directory() {
        let user = User::new("/home/me".into(), None, 1000, Environment::default());
        let expanded = |path: &str| user.expand(Path::new(path));
        assert_eq!(expanded("~/.ssh/key"), Path::new("/home/me/.ssh/key"));
        assert_eq!(expanded("/a/~/key"), Path::new("/a/~/key"));
    }
}
