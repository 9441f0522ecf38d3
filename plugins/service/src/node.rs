//! Node versions as `node --version` prints them. Modules with native code are
//! built for one major version and are not loaded by another.
//!
//! This module must not know where a version was seen.

/// Whether modules that were installed under `installed` may not load under
/// `now`. A version that is not known differs from none.
pub fn other_major(installed: &str, now: &str) -> bool {
    match (major(installed), major(now)) {
        (Some(installed), Some(now)) => installed != now,
        _ => false,
    }
}

/// 22 of `v22.1.0`.
fn major(version: &str) -> Option<u32> {
    let (major, _) = version.trim().strip_prefix('v')?.split_once('.')?;
    major.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_major_version_counts() {
        assert!(other_major("v20.20.2", "v22.1.0"));
        assert!(!other_major("v22.20.2", "v22.1.0"));
        assert!(!other_major("", "v22.1.0"));
        assert!(!other_major("v22.1.0", "unknown"));
    }
}
