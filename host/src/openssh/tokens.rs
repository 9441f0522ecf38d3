//! `%h` and its like, `~` and `${VARIABLE}` in values of `ssh_config`.

use super::Person;
use std::path::PathBuf;

/// What the tokens stand for.
pub struct Tokens<'t> {
    /// Whose files they are.
    pub person: &'t dyn Person,
    /// `%n`: the host as it was named.
    pub named: &'t str,
    /// `%h`: the host that is dialled.
    pub host: &'t str,
    /// `%p`.
    pub port: u16,
    /// `%r`: the user to log in as.
    pub user: &'t str,
    /// `%k`: what the host key is known under.
    pub key_name: &'t str,
}

impl Tokens<'_> {
    /// A value with its `%` tokens replaced. The error says which is unknown.
    pub fn percent(&self, text: &str) -> Result<String, String> {
        replace(text, |token| {
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
        })
    }

    /// A path: `~/` is the home directory, `${VARIABLE}` one of the
    /// environment.
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
        'h' => Some(named.to_owned()),
        '%' => Some("%".to_owned()),
        _ => None,
    })
}

/// `~/` at the start is the home directory.
pub(super) fn home(person: &dyn Person, text: &str) -> PathBuf {
    match text.strip_prefix("~/") {
        Some(rest) => person.home().join(rest),
        None if text == "~" => person.home().to_owned(),
        None => PathBuf::from(text),
    }
}

fn replace(text: &str, value: impl Fn(char) -> Option<String>) -> Result<String, String> {
    let (mut out, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let token = chars.next().unwrap_or(' ');
        let value = value(token);
        out.push_str(&value.ok_or_else(|| {
            format!("`{text}` has the token %{token}, which vdeploy does not know there")
        })?);
    }
    Ok(out)
}
