//! The client against a real OpenSSH server and against a server that
//! misbehaves on purpose, both behind TLS on the loopback.

mod faults;
mod job_ends;
mod jobs;
mod logins;
mod openssh;
mod round_trips;
mod server;
mod sha1;
mod trust;
