//! Resolves names in the same way for SSH, the Vers API and plugins' requests. Names under `localhost` never leave this machine (RFC 6761).

mod inside;

pub use inside::inside;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whether `host` is `localhost` or a name below it.
pub fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let Some(at) = host.len().checked_sub("localhost".len()) else {
        return false;
    };
    let (above, last) = match host.split_at_checked(at) {
        Some(parts) => parts,
        None => return false,
    };
    last.eq_ignore_ascii_case("localhost") && (above.is_empty() || above.ends_with('.'))
}

/// The addresses of `host`: a literal address is itself (brackets allowed), a
/// name under `localhost` is the loopback, any other is resolved.
pub async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let bare = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    if is_localhost(host) {
        return Ok(vec![
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
            SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port),
        ]);
    }
    let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    if found.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the name has no address",
        ));
    }
    Ok(found)
}

/// Whether `ip` is link-local or one of the addresses on which clouds serve
/// instance metadata (and with it credentials).
pub fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_link_local_v4(v4),
        IpAddr::V6(v6) => {
            let s = v6.segments();
            let embedded = inside::carried(v6);
            (s[0] & 0xffc0) == 0xfe80
                || embedded.is_some_and(is_link_local_v4)
                || v6 == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
                || v6 == Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)
        }
    }
}

fn is_link_local_v4(ip: Ipv4Addr) -> bool {
    ip.is_link_local()
        || ip == Ipv4Addr::new(100, 100, 100, 200)
        || ip == Ipv4Addr::new(168, 63, 129, 16)
        || ip == Ipv4Addr::new(192, 0, 0, 192)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_below_localhost_are_local() {
        for name in ["localhost", "a.localhost", "A.B.LocalHost", "x.localhost."] {
            assert!(is_localhost(name), "{name}");
        }
        for name in ["notlocalhost", "localhost.example.com", "host", ""] {
            assert!(!is_localhost(name), "{name}");
        }
    }

    #[tokio::test]
    async fn a_vm_name_below_localhost_is_the_loopback_without_dns() {
        let found = resolve("one.vm.localhost", 443).await.unwrap();
        assert_eq!(found[0], "127.0.0.1:443".parse().unwrap());
        assert_eq!(
            resolve("[::1]", 80).await.unwrap(),
            ["[::1]:80".parse().unwrap()]
        );
    }

    #[test]
    fn metadata_addresses_are_link_local_in_every_disguise() {
        for ip in [
            "169.254.169.254",
            "fe80::1",
            "febf::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fd00:ec2::254",
            "100.100.100.200",
        ] {
            assert!(is_link_local(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "127.0.0.1",
            "10.0.0.1",
            "::1",
            "fec0::1",
            "fd00::1",
            "8.8.8.8",
        ] {
            assert!(!is_link_local(ip.parse().unwrap()), "{ip}");
        }
    }
}
