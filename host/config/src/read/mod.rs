//! Reading TOML with places: what is wrong is reported by line, all at once.

pub mod duration;
pub mod json;
pub mod nearest;
pub mod parse;
pub mod span;
