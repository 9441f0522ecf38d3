//! Name resolution for HTTP clients: names under `localhost` stay on this
//! machine, and a name that leads to a link-local address can be refused.

use crate::resolve;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::io;
use std::net::IpAddr;

/// Why a name was not resolved.
#[derive(Debug, thiserror::Error)]
pub(super) enum NameError {
    #[error("{0}")]
    Unknown(#[from] io::Error),
    #[error("it leads to {0}, which is link-local or serves cloud metadata")]
    LinkLocal(IpAddr),
}

/// Resolves names like the machine does, except those under `localhost`.
#[derive(Debug)]
pub struct LocalNames;

impl Resolve for LocalNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move { Ok(addresses(name, true).await?) })
    }
}

/// The same, and a name with any link-local address is refused.
#[derive(Debug)]
pub(super) struct NoLinkLocal;

impl Resolve for NoLinkLocal {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move { Ok(addresses(name, false).await?) })
    }
}

async fn addresses(name: Name, link_local: bool) -> Result<Addrs, NameError> {
    // The port comes from the URL.
    let found = resolve::resolve(name.as_str(), 0).await?;
    let bad = found.iter().find(|a| resolve::is_link_local(a.ip()));
    match bad {
        Some(address) if !link_local => Err(NameError::LinkLocal(address.ip())),
        _ => Ok(Box::new(found.into_iter())),
    }
}
