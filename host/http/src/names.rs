//! Name resolution for HTTP clients: names under `localhost` stay on this
//! machine, and a name that leads into its network is not followed by itself.
//! A client connects to the addresses that were checked, with no second
//! question in between.

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
        /// The first one that is not public.
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

/// Who is asked for the addresses of a name; the port comes from the URL.
pub(super) type Lookup = fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

/// Asks as everything else here does.
pub(super) fn of_this_machine(name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
    Box::pin(async move { resolve::resolve(&name, 0).await })
}

/// Which addresses a name may not have.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refuses {
    /// Link-local ones: for the target and its platform.
    LinkLocal,
    /// All that are not public: for everybody else. Names under `localhost`
    /// say themselves where they lead.
    Inside,
}

/// Resolves names, and refuses one that has any address that it may not have.
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
