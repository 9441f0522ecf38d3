//! What a refused call is answered with: the scope that allows this call and no
//! other, or that there is none. Never a wider one: the plugin chose the words.
//! Pure.

use super::address::PathPattern;
use super::grants::Grants;
use super::http::HttpScope;
use super::ssh::SshScope;
use super::ssh::chosen_by;
use url::Url;
use vdeploy_core::capability::ssh::Command;
use vdeploy_core::ids::PluginName;

/// Stands before the lines to add.
const ADD: &str = "to allow it, add to the project file:\n";
/// Longest scope that is shown as an advice, in bytes.
const LONGEST_ADVICE: usize = 500;

fn no_scope(odd: &str) -> String {
    format!(
        "no scope allows exactly this ({odd}); a wider one allows more than this call, so look at \
         the plugin before you write one"
    )
}

impl Grants {
    /// What to do about this refused command: the scope that covers it and no
    /// other command, or why none does. Never a wider one: the plugin chose the
    /// words.
    pub fn advice_for_ssh(&self, plugin: &PluginName, command: &Command, probe: bool) -> String {
        let mut names: Vec<String> = chosen_by(command).map(|n| format!("`{n}`")).collect();
        names.dedup();
        let without = match names.is_empty() {
            true => String::new(),
            false => format!(
                "leave out {}: which program or library is loaded depends on it, so only a scope \
                 for any program takes it",
                names.join(", ")
            ),
        };
        if !names.is_empty() && self.ssh.iter().any(|s| s.allows_words(command, probe)) {
            return without;
        }
        let advice = match SshScope::exactly(command, probe) {
            Err(odd) => no_scope(&odd),
            Ok(scope) if scope.to_string().len() > LONGEST_ADVICE => no_scope("it is too long"),
            Ok(scope) => {
                let warning = match scope.can_do_anything() {
                    true => "\n# this scope can do anything on the target",
                    false => "",
                };
                let line = Self::line_to_add("ssh", plugin, &[scope.to_string()]);
                format!("{ADD}{line}{warning}")
            }
        };
        match without.is_empty() {
            true => advice,
            false => format!("{without}; then {advice}"),
        }
    }

    /// What to do about this refused request: the scope that covers its method
    /// and address and no other, or why none does.
    pub fn advice_for_http(
        plugin: &PluginName,
        method: &str,
        url: &Url,
        target_url: Option<&str>,
    ) -> String {
        let at_target = target_url.is_some_and(|base| super::address::same_origin(url, base));
        let origin = match at_target {
            true => "target".to_owned(),
            false => url.origin().ascii_serialization(),
        };
        let exact = PathPattern::exactly(url).and_then(|path| {
            let text = format!("{method} {origin}/{path}");
            let scope = HttpScope::parse(&text).ok()?;
            (text.len() <= LONGEST_ADVICE && scope.allows(method, url, target_url)).then_some(text)
        });
        match exact {
            Some(text) => format!("{ADD}{}", Self::line_to_add("http", plugin, &[text])),
            None => no_scope("its method or address cannot be written in one"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants() -> Grants {
        Grants {
            ssh: vec![
                SshScope::parse("probe:git **").unwrap(),
                SshScope::parse("npm ci").unwrap(),
            ],
            ..Grants::default()
        }
    }

    fn command(program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args = args.iter().map(|a| (*a).to_owned()).collect();
        command
    }

    /// The scope that an advice has, if it has one.
    fn scope_of(advice: &str) -> Option<String> {
        let (_, lines) = advice.split_once(ADD)?;
        let table: toml::Table = lines.parse().unwrap();
        let grants = table["plugins"]["p"]["grants"].as_table().unwrap();
        let (_, list) = grants.iter().next().unwrap();
        assert_eq!(list.as_array().unwrap().len(), 1);
        Some(list[0].as_str().unwrap().to_owned())
    }

    #[test]
    fn the_advice_for_a_refused_command_is_its_own_words_and_never_wider() {
        let plugin = PluginName::from("p");
        let none = Grants::default();
        for (c, probe, expected) in [
            (
                command("git", &["fetch", "origin"]),
                false,
                Some("git fetch origin"),
            ),
            (command("git", &["fetch"]), true, Some("probe:git fetch")),
            (
                command("echo", &["it's", "\"x\""]),
                false,
                Some("echo it's \"x\""),
            ),
            (command("git", &["fetch", "a b"]), false, None),
            (command("two words", &["x"]), false, None),
            (command("rm", &["**"]), false, None),
            (command("cat", &["*"]), true, None),
            (command("echo", &[""]), true, None),
            (command("echo", &[&"x".repeat(600)]), true, None),
        ] {
            let advice = none.advice_for_ssh(&plugin, &c, probe);
            assert_eq!(scope_of(&advice).as_deref(), expected, "{advice}");
            match expected {
                Some(text) => {
                    let scope = SshScope::parse(text).unwrap();
                    assert!(scope.allows(&c, probe), "{advice}");
                    assert!(!advice.contains("can do anything"), "{advice}");
                }
                None => assert!(advice.contains("no scope allows exactly this"), "{advice}"),
            }
        }
        let shell = command("sh", &["-s", "--", "facts"]);
        let advice = none.advice_for_ssh(&plugin, &shell, true);
        assert_eq!(scope_of(&advice).as_deref(), Some("probe:sh -s -- facts"));
        assert!(
            advice.ends_with("# this scope can do anything on the target"),
            "{advice}"
        );
    }

    #[test]
    fn a_variable_that_chooses_the_program_widens_no_advice() {
        let plugin = PluginName::from("p");
        let mut c = command("git", &["status"]);
        c.env.push(("PATH".to_owned(), "/x".to_owned()));
        let advice = grants().advice_for_ssh(&plugin, &c, true);
        assert!(advice.starts_with("leave out `PATH`"), "{advice}");
        assert_eq!(scope_of(&advice), None);
        let advice = Grants::default().advice_for_ssh(&plugin, &c, true);
        assert!(advice.starts_with("leave out `PATH`"), "{advice}");
        assert_eq!(scope_of(&advice).as_deref(), Some("probe:git status"));
    }

    #[test]
    fn the_advice_for_a_refused_request_is_its_own_address_and_never_wider() {
        let plugin = PluginName::from("p");
        let target = Some("https://vm:3000");
        for (url, expected) in [
            ("https://vm:3000/a?b", Some("PUT target/a")),
            ("https://h/x", Some("PUT https://h/x")),
            ("http://h:81/a%41b", Some("PUT http://h:81/aAb")),
            ("https://h/", Some("PUT https://h/")),
            ("http://h:81/a%2Fb", None),
            ("http://h:81/a%20b", None),
            ("https://h/a/*", None),
            ("https://h/a/..;/b", None),
            ("https://u:p@h/a", None),
        ] {
            let url = Url::parse(url).unwrap();
            let advice = Grants::advice_for_http(&plugin, "PUT", &url, target);
            assert_eq!(scope_of(&advice).as_deref(), expected, "{advice}");
            if let Some(text) = expected {
                assert!(HttpScope::parse(text).unwrap().allows("PUT", &url, target));
            }
        }
        let url = Url::parse("https://h/x").unwrap();
        let advice = Grants::advice_for_http(&plugin, "a b", &url, target);
        assert_eq!(scope_of(&advice), None);
    }
}
