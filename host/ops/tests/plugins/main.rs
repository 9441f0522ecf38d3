//! The engine, the gate and the driver with real WASM guests and a world that
//! exists only here. The guests are built by `cargo xtask fixtures`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod bad_guests;
mod budgets;
mod cache;
mod checks;
mod crash;
mod crash_world;
mod driver;
mod fenced;
mod gate;
mod given_up;
mod hostile;
mod journal;
mod lineage;
mod outcomes;
mod own_snapshot;
mod refusal;
mod replay;
mod secrets;
mod session;
mod stage;
