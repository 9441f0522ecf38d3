//! The person who runs vdeploy, as OpenSSH would see them.

use super::error::CliError;
use std::path::{Path, PathBuf};

/// Home, name and agent.
#[derive(Clone, Debug)]
pub struct User {
    /// The home directory.
    pub home: PathBuf,
    /// The login name, if it can be told.
    pub name: Option<String>,
    /// Where the SSH agent listens.
    pub agent: Option<PathBuf>,
}

impl User {
    /// As the environment and the user database say.
    pub fn from_environment() -> Result<Self, CliError> {
        let env = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
        let home = env("HOME").map(PathBuf::from).ok_or_else(|| {
            CliError::usage("HOME is not set, so there is no place for ~/.ssh")
                .hint("export HOME=DIRECTORY")
        })?;
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let uid = rustix::process::getuid().as_raw();
        let name = name_of(&users, uid).or_else(|| {
            let name = env("USER").or_else(|| env("LOGNAME"))?;
            name.into_string().ok()
        });
        Ok(Self {
            home,
            name,
            agent: env("SSH_AUTH_SOCK").map(PathBuf::from),
        })
    }

    /// The path with `~/` as the home directory.
    pub fn expand(&self, path: &Path) -> PathBuf {
        match path.strip_prefix("~") {
            Ok(rest) => self.home.join(rest),
            Err(_) => path.to_owned(),
        }
    }
}

/// The name of a user id in the user database.
fn name_of(users: &str, uid: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (id.parse() == Ok(uid) && !name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_that_of_the_user_id() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:7:\nme:x:1000:1000::/home/me:/bin/sh\n";
        assert_eq!(name_of(users, 1000).as_deref(), Some("me"));
        assert_eq!(name_of(users, 0).as_deref(), Some("root"));
        assert_eq!(name_of(users, 7), None);
        assert_eq!(name_of(users, 8), None);
    }

    #[test]
    fn a_tilde_is_the_home_directory() {
        let user = User {
            home: "/home/me".into(),
            name: None,
            agent: None,
        };
        let expanded = |path: &str| user.expand(Path::new(path));
        assert_eq!(expanded("~/.ssh/key"), Path::new("/home/me/.ssh/key"));
        assert_eq!(expanded("/a/~/key"), Path::new("/a/~/key"));
    }
}
