//! The client against a real OpenSSH server and against a server that
//! misbehaves on purpose, both behind TLS on the loopback.

mod faults;
mod fixture;
mod openssh;
mod trust;
