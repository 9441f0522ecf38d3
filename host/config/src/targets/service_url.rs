//! What is odd about a service's URL on the Vers platform. Pure.

use url::Url;

/// The ports that every document of the platform grants.
const PORTS: [u16; 12] = [
    80, 443, 1337, 3000, 3210, 3306, 3724, 5173, 8000, 8080, 9000, 9999,
];

/// A warning about the URL of a VM under `vm_domain`, if it needs one.
pub fn service_url_oddity(url: &str, vm_domain: &str) -> Option<String> {
    let parsed = Url::parse(&url.replace("{vm}", "vm")).ok()?;
    let below = parsed.host_str()?.strip_suffix(vm_domain)?;
    if !below.ends_with('.') {
        return None;
    }
    let port = parsed.port_or_known_default()?;
    match parsed.scheme() {
        "http" => Some(format!(
            "the target's url is {url}: the platform ends TLS for every port of a VM, and nobody \
             says that it answers plain http; write {}",
            url.replacen("http://", "https://", 1)
        )),
        _ if !PORTS.contains(&port) => Some(format!(
            "the target's url has port {port}: some documents of the platform say that only {} \
             lead to a VM; if the service is not reached from outside, use one of these",
            PORTS.map(|p| p.to_string()).join(", ")
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c21_plain_http_to_a_vm_is_pointed_out() {
        let says = service_url_oddity("http://{vm}.vm.vers.sh:3000", "vm.vers.sh").unwrap();
        assert!(
            says.ends_with("write https://{vm}.vm.vers.sh:3000"),
            "{says}"
        );
        for fine in [
            "https://{vm}.vm.vers.sh:3000",
            "http://services.example.com",
            "http://127.0.0.1:3000",
        ] {
            assert_eq!(service_url_oddity(fine, "vm.vers.sh"), None, "{fine}");
        }
    }

    #[test]
    fn c22_a_port_that_not_every_document_grants_is_pointed_out() {
        let odd = |url| service_url_oddity(url, "vm.vers.sh");
        let says = odd("https://{vm}.vm.vers.sh:4000").unwrap();
        assert!(
            says.contains("port 4000") && says.contains("3000"),
            "{says}"
        );
        assert_eq!(odd("https://{vm}.vm.vers.sh"), None);
        assert_eq!(odd("https://elsewhere.example.com:4000"), None);
    }
}
