//! Node versions as `node --version` prints them. Modules with native code load
//! only in the major version that they were built for.

/// Whether modules installed under `installed` may not load under `now`. False
/// when a version is unknown.
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
