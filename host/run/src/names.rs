//! A step that failed because the target cannot resolve a name: said in words
//! that lead to the cause. Pure.

/// What git, node and the C library say, and where the name stands after it.
const SIGNS: [&str; 5] = [
    "Could not resolve host: ",
    "Could not resolve hostname ",
    "getaddrinfo EAI_AGAIN ",
    "getaddrinfo ENOTFOUND ",
    "Temporary failure in name resolution",
];

/// The line for a failure with this code and message, if it is one of these.
pub(super) fn hint(code: &str, message: &str) -> Option<String> {
    // What this machine cannot resolve is another matter.
    if ["http.", "ssh.", "snapshot."]
        .iter()
        .any(|own| code.starts_with(own))
    {
        return None;
    }
    let rest = SIGNS.iter().find_map(|sign| {
        let at = message.find(sign)?;
        message.get(at + sign.len()..)
    })?;
    let stop = |c: char| c.is_whitespace() || ":,;'\"".contains(c);
    let name = match rest.split(stop).next() {
        Some(name) if !name.is_empty() && rest.starts_with(name) => name,
        _ => "a name",
    };
    Some(format!(
        "the target cannot resolve {name}: when it resolves no name at all (`getent hosts \
         github.com` on it), its DNS is dead, as it can be after a restore; put a name server \
         into its /etc/resolv.conf (`nameserver 1.1.1.1`) or restart systemd-resolved"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_the_target_cannot_resolve_is_named_with_the_fix() {
        for (said, name) in [
            (
                "fatal: unable to access 'https://git.x/a/': Could not resolve host: git.x",
                "git.x",
            ),
            (
                "ssh: Could not resolve hostname git.x: Name or service not known",
                "git.x",
            ),
            (
                "npm error code EAI_AGAIN\nrequest failed, reason: getaddrinfo EAI_AGAIN npm.x",
                "npm.x",
            ),
            (
                "npm error network getaddrinfo ENOTFOUND npm.x\nnpm error",
                "npm.x",
            ),
            ("curl: Temporary failure in name resolution", "a name"),
        ] {
            let hint = hint("git.remote", said).unwrap();
            assert!(
                hint.starts_with(&format!("the target cannot resolve {name}: ")),
                "{hint}"
            );
            assert!(hint.contains("/etc/resolv.conf"), "{hint}");
        }
        assert_eq!(hint("git.remote", "repository not found"), None);
        assert_eq!(
            hint("http.unreachable", "Temporary failure in name resolution"),
            None
        );
    }
}
