//! The plugins that are shipped inside the binary. They are loaded, granted
//! and called like anyone's.

include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// The bytes of the built-in plugin `name`.
pub fn bytes(name: &str) -> Option<&'static [u8]> {
    BUILTIN
        .iter()
        .find(|(builtin, _)| *builtin == name)
        .map(|(_, bytes)| *bytes)
}

/// The names of all built-in plugins.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|(name, _)| *name)
}

/// Whether these are the bytes of a built-in plugin, from wherever they come.
pub fn is_one(bytes: &[u8]) -> bool {
    BUILTIN.iter().any(|(_, builtin)| *builtin == bytes)
}
