//! The local cloud: a small Vers-compatible cloud on loopback, inside this binary.
//!
//! It is for first steps, rehearsals and tests, on code that you trust. **It is no security
//! boundary**: a VM is a directory of this machine, and what runs "on a VM" runs as the user who
//! started the cloud, with that user's rights.
//!
//! What it serves:
//! - the REST paths of the platform ([`Endpoints::api_url`], bearer key);
//! - SSH inside TLS, the VM picked by SNI `{vm_id}.vm.localhost` ([`Endpoints::gateway`]); bytes
//!   that are not SSH go to the VM's app port, as on port 443 of the platform;
//! - HTTP by host name, plain or TLS ([`Endpoints::router_port`]).
//!
//! A VM has `home/` and `tmp/`, an app port of its own (`PORT`), an SSH key and a host key. A
//! commit is a copy of both directories, made while the VM's processes stand still, with the list
//! of the services that ran. A restore is a new VM with those services started again.
//!
//! Where it differs from the platform, so that nobody is surprised:
//! - the home directory has another path in every VM; a file that holds an absolute path of the
//!   old VM still points there after a restore (arguments, environment and working directory of a
//!   restored service are rewritten, files are not);
//! - only processes that listen on the app port come back after a restore, started anew; the
//!   platform goes on with the memory they had;
//! - every VM has another app port, because all VMs share one loopback interface;
//! - processes are found by their environment (`VERS_VM_ID`), their parents and the app port; one
//!   that empties its environment, leaves its parents and does not listen there is not found;
//! - a command whose SSH channel is closed gets SIGHUP, unless it left its process group.
//!
//! A service must listen on IPv6 (`::`), as on the platform: the router connects to `[::1]` only.
//!
//! This module must not know runs, plans, plugins or the CLI.

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
