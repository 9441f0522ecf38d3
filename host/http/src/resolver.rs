//! Name resolution for HTTP clients. Names under `localhost` stay on this machine; a
//! name that resolves into its network is refused. A client connects to the
//! addresses that were checked: the name is not resolved a second time.

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::io;
use std::net::{IpAddr, SocketAddr};
use vdeploy_net::resolve::{self, inside, is_link_local, is_localhost};

/// Why a name was not resolved.
#[derive(Debug, thiserror::Error)]
pub(super) enum NameError {
    #[error("{0}")]
    Unknown(#[from] io::Error),
    #[error("it leads to {ip}, {}", inside(*.ip).unwrap_or("an address that was not asked for"))]
    Inside {
        /// The first address that is not public.
        ip: IpAddr,
        /// Every address of the name.
        all: Vec<SocketAddr>,
    },
}

/// Resolves names like the machine does, except those under `localhost`.
#[derive(Debug)]
pub struct LocalNames;

impl Resolve for LocalNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = resolve::resolve(name.as_str(), 0).await?;
            Ok::<Addrs, _>(Box::new(found.into_iter()))
        })
    }
}

/// Resolves a name; the port comes from the URL.
pub(super) type Lookup = fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

/// The resolver of every outgoing connection.
pub(super) fn of_this_machine(name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
    Box::pin(async move { resolve::resolve(&name, 0).await })
}

/// The addresses that a name must not have.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refuses {
    /// Link-local ones: for the target and its platform.
    LinkLocal,
    /// All that are not public: for all other hosts. Names under `localhost` are
    /// explicit about their address.
    Inside,
}

/// Refuses a name that has any forbidden address.
#[derive(Debug)]
pub(super) struct CheckedNames(pub(super) Refuses, pub(super) Lookup);

impl Resolve for CheckedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let Self(refuses, lookup) = *self;
        Box::pin(async move { Ok(checked(name.as_str(), refuses, lookup).await?) })
    }
}

async fn checked(name: &str, refuses: Refuses, lookup: Lookup) -> Result<Addrs, NameError> {
    let found = lookup(name.to_owned()).await?;
    let refused = |ip| match refuses {
        Refuses::LinkLocal => is_link_local(ip),
        Refuses::Inside => !is_localhost(name) && inside(ip).is_some(),
    };
    match found.iter().find(|a| refused(a.ip())) {
        Some(address) => Err(NameError::Inside {
            ip: address.ip(),
            all: found,
        }),
        None => Ok(Box::new(found.into_iter())),
    }
}
