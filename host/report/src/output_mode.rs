//! What a run prints on standard output. Pure: the command line reads the
//! environment and asks here.

/// Where the command line runs.
#[derive(Clone, Debug, Default)]
pub struct TerminalInfo {
    /// Standard output is a terminal.
    pub is_terminal: bool,
    /// `TERM`.
    pub term: Option<String>,
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// `CI` is set and neither empty nor `false`.
    pub ci: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutputMode {
    Live { colour: bool },
    Plain,
    Json,
}

impl OutputMode {
    /// A dumb terminal and a CI job get plain lines: neither can draw a live line.
    pub fn select(json: bool, terminal: &TerminalInfo) -> Self {
        let is_dumb = terminal.term.as_deref() == Some("dumb");
        if json {
            Self::Json
        } else if terminal.is_terminal && !is_dumb && !terminal.ci {
            Self::Live {
                colour: !terminal.no_color,
            }
        } else {
            Self::Plain
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_line_needs_a_terminal_that_can_draw() {
        let terminal = TerminalInfo {
            is_terminal: true,
            term: Some("xterm".to_owned()),
            ..TerminalInfo::default()
        };
        let select = |terminal: TerminalInfo| OutputMode::select(false, &terminal);
        assert_eq!(select(terminal.clone()), OutputMode::Live { colour: true });
        let no_color = TerminalInfo {
            no_color: true,
            ..terminal.clone()
        };
        assert_eq!(select(no_color), OutputMode::Live { colour: false });
        for plain in [
            TerminalInfo::default(),
            TerminalInfo {
                term: Some("dumb".to_owned()),
                ..terminal.clone()
            },
            TerminalInfo {
                ci: true,
                ..terminal.clone()
            },
        ] {
            assert_eq!(select(plain), OutputMode::Plain);
        }
        assert_eq!(OutputMode::select(true, &terminal), OutputMode::Json);
    }
}
