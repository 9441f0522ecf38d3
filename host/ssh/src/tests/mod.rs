//! The client against a real OpenSSH server and against a server that
//! misbehaves on purpose, both behind TLS on the loopback.

pub(crate) mod faults;
pub(crate) mod fixture;
mod job_ends;
mod jobs;
mod openssh;
pub(crate) mod processes;
mod round_trips;
mod server;
mod sha1;
mod traffic;
mod trust;
mod way;
