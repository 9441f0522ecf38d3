//! Expands tokens (`%h`), `~` and `${VARIABLE}` in values of `ssh_config`.

use super::Person;
use std::path::PathBuf;

pub struct Tokens<'t> {
    pub person: &'t dyn Person,
    /// `%n`: the host as the user named it.
    pub named: &'t str,
    /// `%h`: the host to dial.
    pub host: &'t str,
    /// `%p`.
    pub port: u16,
    /// `%r`: the user to log in as.
    pub user: &'t str,
    /// `%k`: the name of the host key in `known_hosts`.
    pub key_name: &'t str,
}

impl Tokens<'_> {
    /// Expands the `%` tokens of a value. The error names an unknown one.
    pub fn percent(&self, text: &str) -> Result<String, String> {
        replace(text, |token| {
            self.value(token).ok_or_else(|| unknown(text, token))
        })
    }

    /// Expands the tokens of a shell command. As in OpenSSH, a token may only
    /// insert a word: a name from elsewhere (a submodule, a link) could otherwise
    /// inject commands. OpenSSH forbids some characters; vdeploy allows only those
    /// of names.
    pub fn command(&self, text: &str) -> Result<String, String> {
        replace(text, |token| {
            let value = self.value(token).ok_or_else(|| unknown(text, token))?;
            match token == '%' || is_word(&value) {
                true => Ok(value),
                false => Err(format!(
                    "%{token} of `{text}` stands for {value:?}, which a shell would not read as one \
                     name; only letters, digits and any of {WORD} may be in it, and it may not begin \
                     with `-`"
                )),
            }
        })
    }

    fn value(&self, token: char) -> Option<String> {
        Some(match token {
            '%' => "%".to_owned(),
            'h' => self.host.to_owned(),
            'n' => self.named.to_owned(),
            'p' => self.port.to_string(),
            'r' => self.user.to_owned(),
            'k' => self.key_name.to_owned(),
            'd' => self.person.home().display().to_string(),
            'i' => self.person.uid().to_string(),
            'u' => self.person.name()?.to_owned(),
            _ => return None,
        })
    }

    /// Expands a path: `~/` and `${VARIABLE}`.
    pub fn path(&self, text: &str) -> Result<PathBuf, String> {
        let text = self.variables(text)?;
        let text = self.percent(&text)?;
        Ok(home(self.person, &text))
    }

    fn variables(&self, text: &str) -> Result<String, String> {
        let (mut out, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| format!("`{text}` has a `${{` without a `}}`"))?;
            let value = self
                .person
                .variable(name)
                .ok_or_else(|| format!("the variable {name} of `{text}` is not set"))?;
            out.push_str(before);
            out.push_str(&value);
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}

/// `%h` and `%%` in a `HostName`.
pub(super) fn host_name(text: &str, named: &str) -> Result<String, String> {
    replace(text, |token| match token {
        'h' => Ok(named.to_owned()),
        '%' => Ok("%".to_owned()),
        _ => Err(unknown(text, token)),
    })
}

/// Besides letters and digits: characters without a meaning in shells.
const WORD: &str = "- _ . : @ % + = , /";

fn is_word(value: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || (c != ' ' && WORD.contains(c));
    !value.is_empty() && !value.starts_with('-') && value.chars().all(fits)
}

fn unknown(text: &str, token: char) -> String {
    format!("`{text}` has the token %{token}, which vdeploy does not know there")
}

/// `~/` at the start is the home directory.
pub(super) fn home(person: &dyn Person, text: &str) -> PathBuf {
    match text.strip_prefix("~/") {
        Some(rest) => person.home().join(rest),
        None if text == "~" => person.home().to_owned(),
        None => PathBuf::from(text),
    }
}

fn replace(text: &str, value: impl Fn(char) -> Result<String, String>) -> Result<String, String> {
    let (mut out, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let token = chars.next().unwrap_or(' ');
        out.push_str(&value(token)?);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    struct Me;

    impl Person for Me {
        fn home(&self) -> &Path {
            Path::new("/home/me")
        }
        fn name(&self) -> Option<&str> {
            Some("me")
        }
        fn uid(&self) -> u32 {
            1000
        }
        fn variable(&self, _: &str) -> Option<String> {
            None
        }
    }

    fn tokens<'t>(host: &'t str, user: &'t str) -> Tokens<'t> {
        Tokens {
            person: &Me,
            named: "db",
            host,
            port: 22,
            user,
            key_name: "db",
        }
    }

    #[test]
    fn a_command_gets_names_addresses_and_users_as_they_are() {
        for (host, user) in [
            ("db.example.com", "root"),
            ("fe80::1%eth0", "first.last@example.com"),
            ("xn--bcher-kva.example", "svc_deploy-2"),
        ] {
            let command = tokens(host, user)
                .command("nc -X 5 %r %h:%p 100%%")
                .unwrap();
            assert_eq!(command, format!("nc -X 5 {user} {host}:22 100%"));
        }
    }

    #[test]
    fn no_token_of_a_command_brings_in_what_a_shell_reads() {
        let bad = [
            "a;id",
            "$(id)",
            "`id`",
            "a|id",
            "a&id",
            "a>f",
            "a<f",
            "a\nid",
            "a id",
            "a\tid",
            "'a",
            "\"a",
            "a\\",
            "a*",
            "a?",
            "[a]",
            "{a,b}",
            "(id)",
            "~root",
            "#a",
            "!a",
            "-oProxyCommand=id",
            "",
            "a\u{85}id",
            "a\u{2028}id",
            "a\0id",
        ];
        for value in bad {
            for (token, tokens) in [('h', tokens(value, "me")), ('r', tokens("db", value))] {
                let text = format!("nc %{token} 22");
                let why = tokens.command(&text).unwrap_err();
                assert!(why.contains(&format!("%{token} of `{text}`")), "{why}");
            }
            let named = Tokens {
                named: value,
                ..tokens("db", "me")
            };
            assert!(named.command("nc %n").is_err(), "{value:?}");
            let known = Tokens {
                key_name: value,
                ..tokens("db", "me")
            };
            assert!(known.command("nc %k").is_err(), "{value:?}");
        }
        let why = tokens("db", "me").command("nc %z").unwrap_err();
        assert!(why.contains("the token %z"), "{why}");
    }
}
