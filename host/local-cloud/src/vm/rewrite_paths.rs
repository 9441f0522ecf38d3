//! Rewrites the arguments, environment and paths of a restored service.
//!
//! On the platform a restored VM has the same paths and ports. Here every VM has its own directory
//! and port.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

pub(crate) struct PathRewrite<'a> {
    pub old_dir: &'a Path,
    pub new_dir: &'a Path,
    pub old_port: u16,
    pub new_port: u16,
    pub old_id: String,
    pub new_id: String,
}

impl PathRewrite<'_> {
    /// Rewrites one argument, variable value or path:
    /// - the VM's directory wherever it occurs;
    /// - the port when it is the whole text, or stands after `:` or `=` and no digit follows;
    /// - the VM's id only when it is the whole text (an address with the old host name stays stale,
    ///   as on the platform).
    pub(crate) fn apply(&self, text: &OsStr) -> OsString {
        let text = text.as_bytes();
        if text == self.old_id.as_bytes() {
            return self.new_id.clone().into();
        }
        let old_port = self.old_port.to_string();
        let new_port = self.new_port.to_string();
        if text == old_port.as_bytes() {
            return new_port.into();
        }
        let old_dir = self.old_dir.as_os_str().as_bytes();
        let new_dir = self.new_dir.as_os_str().as_bytes();
        let moved = replace(text, old_dir, new_dir, |_, _| true);
        let moved = replace(
            &moved,
            old_port.as_bytes(),
            new_port.as_bytes(),
            |before, after| {
                matches!(before, Some(b':' | b'=')) && !after.is_some_and(|b| b.is_ascii_digit())
            },
        );
        OsString::from_vec(moved)
    }
}

/// Replaces `from` where `matches` accepts the byte before and the byte after it.
fn replace(
    text: &[u8],
    from: &[u8],
    to: &[u8],
    matches: impl Fn(Option<u8>, Option<u8>) -> bool,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        match rest.strip_prefix(from) {
            Some(after)
                if !from.is_empty() && matches(out.last().copied(), after.first().copied()) =>
            {
                out.extend_from_slice(to);
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(text: &str) -> String {
        PathRewrite {
            old_dir: Path::new("/cloud/vms/old"),
            new_dir: Path::new("/cloud/vms/new"),
            old_port: 2000,
            new_port: 31_000,
            old_id: "old".into(),
            new_id: "new".into(),
        }
        .apply(OsStr::new(text))
        .into_string()
        .unwrap()
    }

    #[test]
    fn the_directory_is_replaced_everywhere() {
        assert_eq!(
            moved("/cloud/vms/old/home/bin:/usr/bin:/cloud/vms/old/tmp"),
            "/cloud/vms/new/home/bin:/usr/bin:/cloud/vms/new/tmp"
        );
    }

    #[test]
    fn a_port_is_replaced_only_where_it_is_one() {
        assert_eq!(moved("2000"), "31000");
        assert_eq!(moved("--port=2000"), "--port=31000");
        assert_eq!(moved("http://localhost:2000/x"), "http://localhost:31000/x");
        assert_eq!(moved("2000ms"), "2000ms");
        assert_eq!(moved("limit=20000"), "limit=20000");
        assert_eq!(moved("year-2000"), "year-2000");
    }

    #[test]
    fn an_id_inside_an_address_stays() {
        assert_eq!(moved("old"), "new");
        assert_eq!(
            moved("https://old.vm.localhost"),
            "https://old.vm.localhost"
        );
    }
}
