//! The start of an answer's body, as messages quote it: one short line without
//! secrets. Of an HTML page, which comes from a proxy, its title or first text.

use vdeploy_core::capability::secrets::SecretValue;
use vdeploy_core::clean;

/// Characters of an answer in a message.
const LONGEST: usize = 200;

/// The line for a body; `key` is hidden.
pub(crate) fn excerpt(body: &str, key: &SecretValue) -> String {
    if body.contains("PRIVATE KEY") {
        return "(hidden: it holds a private key)".to_owned();
    }
    let masked = clean::block(body).replace(key.expose(), "***");
    let text = match is_page(&masked) {
        true => of_page(&masked),
        false => masked,
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let clean = line.chars().filter(|c| !c.is_control());
    let mut short: String = clean.clone().take(LONGEST).collect();
    if clean.count() > LONGEST {
        short.push('…');
    }
    match short.is_empty() {
        true => "no text".to_owned(),
        false => short,
    }
}

/// Whether it is HTML. JSON never begins like that.
fn is_page(body: &str) -> bool {
    body.trim_start().starts_with('<')
}

/// The title of a page, or its first line of text.
fn of_page(page: &str) -> String {
    let title = element(page, "title").map(text_lines);
    let body = element(page, "body").unwrap_or(page);
    let mut lines = title.into_iter().flatten().chain(text_lines(body));
    match lines.next() {
        Some(line) => format!("a web page, \"{line}\""),
        None => "a web page without text".to_owned(),
    }
}

/// The content of the first element of this name; its end tag may be missing.
fn element<'a>(page: &'a str, name: &str) -> Option<&'a str> {
    // ASCII only, so that byte offsets stay valid.
    let small = page.to_ascii_lowercase();
    let open = small.find(&format!("<{name}"))?;
    let start = open + small.get(open..)?.find('>')? + 1;
    let rest = small.get(start..)?;
    let end = rest.find(&format!("</{name}")).unwrap_or(rest.len());
    page.get(start..start + end)
}

/// The lines of text between the tags; none of a script or a style.
fn text_lines(html: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut hidden = false;
    for (n, piece) in html.split('<').enumerate() {
        let (tag, text) = match piece.split_once('>') {
            Some(parts) if n > 0 => parts,
            // Everything before the first tag is text.
            _ if n == 0 => ("", piece),
            _ => (piece, ""),
        };
        let tag = tag.to_ascii_lowercase();
        if tag.starts_with("script") || tag.starts_with("style") {
            hidden = true;
        } else if tag.starts_with("/script") || tag.starts_with("/style") {
            hidden = false;
        }
        if !hidden {
            let of_piece = text.lines().map(str::trim).filter(|line| !line.is_empty());
            lines.extend(of_piece.map(str::to_owned));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> String {
        excerpt(body, &SecretValue::new("s3cret-key".to_owned()))
    }

    #[test]
    fn of_a_page_the_title_or_the_first_line_is_shown_and_no_tag() {
        for (body, shown) in [
            (
                "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
                 <center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>",
                "a web page, \"502 Bad Gateway\"",
            ),
            (
                "\n<!DOCTYPE html>\n<HTML><Head><TITLE lang=en>\n Down \n</TITLE>",
                "a web page, \"Down\"",
            ),
            (
                "<html><head><style>p { color: red }</style><title></title></head><body>\
                 <script>alert(1)</script><p>Back <b>soon</b></p></body></html>",
                "a web page, \"Back\"",
            ),
            (
                "<h1>503 Service Unavailable</h1>\nNo server is available",
                "a web page, \"503 Service Unavailable\"",
            ),
            ("<html></html>", "a web page without text"),
            ("<", "a web page without text"),
            ("<title", "a web page without text"),
        ] {
            assert_eq!(of(body), shown, "{body}");
        }
    }

    #[test]
    fn what_is_no_page_is_quoted_on_one_short_line_without_secrets() {
        assert_eq!(of("a\n  b\t\u{7}c"), "a b c");
        assert_eq!(of(""), "no text");
        assert_eq!(of("{\"e\": \"s3cret-key\"}"), "{\"e\": \"***\"}");
        assert_eq!(of("<title>s3cret-key</title>"), "a web page, \"***\"");
        assert_eq!(
            of("x BEGIN PRIVATE KEY"),
            "(hidden: it holds a private key)"
        );
        assert_eq!(of(&"x".repeat(300)).chars().count(), LONGEST + 1);
    }
}
