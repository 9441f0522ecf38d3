//! The local cloud: a small Vers-compatible cloud on loopback, inside this binary.
//!
//! It is for first steps, rehearsals and tests with trusted code. **It is no security boundary**: a
//! VM is a directory of this machine, and what runs "on a VM" runs as the user who started the
//! cloud.
//!
//! It serves:
//! - the REST paths of the platform ([`Endpoints::api_url`], bearer key);
//! - SSH inside TLS, the VM chosen by SNI `{vm_id}.vm.localhost` ([`Endpoints::gateway`]); bytes
//!   that are not SSH go to the VM's app port, as on port 443 of the platform;
//! - HTTP by host name, plain or TLS ([`Endpoints::router_port`]).
//!
//! A VM has `home/` and `tmp/`, its own app port (`PORT`), an SSH key and a host key. A commit
//! copies both directories while the VM is suspended, and lists the running services. A restore
//! makes a new VM and starts those services.
//!
//! Differences from the platform:
//! - every VM has another home directory: after a restore, absolute paths in files still point to
//!   the old VM (arguments, environment and working directory of a restored service are rewritten);
//! - a restore restarts only processes that listened on the app port; the platform resumes all
//!   processes with their memory;
//! - every VM has another app port, because all VMs share one loopback interface;
//! - processes are found by their environment (`VERS_VM_ID`), their parents and the app port; a
//!   daemon that clears its environment and does not listen on the app port is not found;
//! - a command whose SSH channel closes gets SIGHUP, unless it left its process group.
//!
//! A service must listen on IPv6 (`::`), as on the platform: the router connects to `[::1]` only.
//!
//! Knows nothing of runs, plans, plugins or the CLI.

mod api;
mod cloud;
mod core;
mod endpoints;
mod error;
mod lifecycle;
mod listeners;
mod ports;
mod ssh;
mod state_file;
mod vm;

pub use cloud::{Cloud, CloudOptions, VmSummary, read_vms};
pub use endpoints::{Endpoints, read_endpoints, state_file};
pub use error::LocalError;

/// The domain under which every VM has its host name: `{vm_id}.vm.localhost`.
pub const VM_DOMAIN: &str = "vm.localhost";
