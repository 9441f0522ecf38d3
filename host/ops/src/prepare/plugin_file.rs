//! Reading a plugin's file: a regular one, of a size that a plugin has.

use rustix::fs::OFlags;
use std::fs::{FileType, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use vdeploy_wasm::MAX_FILE;

/// Its bytes. The error is a fragment without the path.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    // A named pipe that nobody writes to is opened at once, and refused.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|e| e.to_string())?;
    let meta = file.metadata().map_err(|e| e.to_string())?;
    if !meta.is_file() {
        return Err(format!(
            "it is {}; a plugin is a file with a WASM component",
            kind(meta.file_type())
        ));
    }
    // It may grow while it is read.
    let mut bytes = Vec::new();
    if meta.len() <= MAX_FILE {
        file.take(MAX_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| e.to_string())?;
    }
    let found = meta
        .len()
        .max(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    if found > MAX_FILE {
        return Err(format!(
            "it has {found} bytes, and a plugin has at most {} MiB; build it without debug \
             information (`strip = true`), and keep data out of it",
            MAX_FILE >> 20
        ));
    }
    Ok(bytes)
}

fn kind(found: FileType) -> &'static str {
    if found.is_dir() {
        "a directory"
    } else if found.is_fifo() {
        "a named pipe"
    } else if found.is_char_device() || found.is_block_device() {
        "a device"
    } else {
        "no regular file"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_far_as_a_plugin_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.wasm");
        std::fs::write(&path, b"abc").unwrap();
        assert_eq!(read(&path).unwrap(), b"abc");
        std::fs::File::create(&path)
            .unwrap()
            .set_len(MAX_FILE + 1)
            .unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.contains("at most 64 MiB"), "{error}");
        // Of endless length, but none by its metadata.
        let error = read(Path::new("/dev/zero")).unwrap_err();
        assert!(error.contains("a device"), "{error}");
        let error = read(dir.path()).unwrap_err();
        assert!(error.contains("a directory"), "{error}");
    }
}
