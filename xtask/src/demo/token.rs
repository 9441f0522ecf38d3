//! The token that guards the sample service: made for one demo, kept in a file
//! that only its owner can read, never shown.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};

/// The environment variable from which the default plan takes the token.
pub(super) const VARIABLE: &str = "VERS_AUTH_TOKEN";

/// Makes a new token, writes it to `file`, which must not exist, and returns
/// it.
pub(super) fn create(file: &Path) -> Result<String> {
    let mut bytes = [0_u8; 32];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut file| file.write_all(token.as_bytes()))
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_is_new_and_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        let token = create(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), token);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_ne!(create(&dir.path().join("b")).unwrap(), token);
        assert!(create(&file).is_err(), "an old token was written over");
    }
}
