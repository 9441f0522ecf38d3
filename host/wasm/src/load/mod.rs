//! From bytes to a plugin that can be called: reading it within bounds, compiling
//! it, keeping the code.

pub mod bounds;
pub mod cache;
pub mod compiler;
pub mod component;
pub mod features;
pub mod native;
