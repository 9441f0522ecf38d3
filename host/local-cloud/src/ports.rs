//! Picks the app ports of VMs.
//!
//! The range lies below the ports that Linux hands out for outgoing connections: otherwise an
//! outgoing connection could sit on the port of a VM whose service is being restarted.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use uuid::Uuid;

use super::error::LocalError;

const FIRST: u16 = 20_000;
const LAST: u16 = 31_999;

/// Picks a port that no VM of the cloud has and that nothing listens on.
///
/// The search starts at a random place, so that two clouds on one machine rarely meet.
///
/// # Errors
/// [`LocalError::NoFreePort`] when the range is used up.
pub(super) fn pick(taken: &BTreeSet<u16>) -> Result<u16, LocalError> {
    let span = LAST - FIRST + 1;
    let start = (Uuid::new_v4().as_u128() % u128::from(span)) as u16;
    (0..span)
        .map(|step| FIRST + (start + step) % span)
        .find(|port| !taken.contains(port) && is_free(*port))
        .ok_or(LocalError::NoFreePort {
            first: FIRST,
            last: LAST,
        })
}

fn is_free(port: u16) -> bool {
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    TcpListener::bind(v4).is_ok() && TcpListener::bind(v6).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_never_picked() {
        let free = pick(&BTreeSet::new()).unwrap();
        let taken: BTreeSet<u16> = (FIRST..=LAST).filter(|port| *port != free).collect();
        assert_eq!(pick(&taken).unwrap(), free);
    }

    #[test]
    fn a_port_with_a_listener_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
    }
}
