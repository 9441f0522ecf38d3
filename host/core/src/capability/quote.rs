//! Quoting for a POSIX shell. The host quotes every argument, so a plugin
//! cannot smuggle a second command into one.

/// `text` as one word of a POSIX shell; left as it is where nothing in it is
/// special.
pub fn sh(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::sh;

    #[test]
    fn a_quoted_word_comes_back_whole_from_a_real_shell() {
        for text in [
            "",
            "plain",
            "two words",
            "it's",
            "$(id)",
            "a\nb",
            "`x`",
            "~",
            "*",
            "é\"\\",
        ] {
            let out = std::process::Command::new("sh")
                .arg("-c")
                .arg(format!("printf %s {}", sh(text)))
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(out.stdout).unwrap(), text);
        }
    }
}
