//! Which kind of screen a run gets. Pure: the command line reads the
//! environment and asks here.

/// What the operator asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Progress {
    /// Live on a terminal, plain elsewhere.
    #[default]
    Auto,
    /// One line an event, also on a terminal.
    Plain,
    /// JSON lines.
    Json,
}

/// What is known about the place the run is started from.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Standard output is a terminal.
    pub terminal: bool,
    /// `TERM`.
    pub term: Option<String>,
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// `CI` is set and neither empty nor `false`.
    pub ci: bool,
}

/// What a run gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Screen {
    /// A live terminal.
    Live {
        /// With colour.
        colour: bool,
    },
    /// Lines of text.
    Plain,
    /// Lines of JSON.
    Json,
}

/// Decides. A dumb terminal and a CI job get plain lines, because a live line
/// cannot be drawn there.
pub fn choose(asked: Progress, around: &Surroundings) -> Screen {
    let dumb = around.term.as_deref() == Some("dumb");
    match asked {
        Progress::Json => Screen::Json,
        Progress::Auto if around.terminal && !dumb && !around.ci => Screen::Live {
            colour: !around.no_color,
        },
        Progress::Auto | Progress::Plain => Screen::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_line_needs_a_terminal_that_can_draw() {
        let terminal = Surroundings {
            terminal: true,
            term: Some("xterm".to_owned()),
            ..Surroundings::default()
        };
        let auto = |around: Surroundings| choose(Progress::Auto, &around);
        assert_eq!(auto(terminal.clone()), Screen::Live { colour: true });
        let no_color = Surroundings {
            no_color: true,
            ..terminal.clone()
        };
        assert_eq!(auto(no_color), Screen::Live { colour: false });
        for plain in [
            Surroundings::default(),
            Surroundings {
                term: Some("dumb".to_owned()),
                ..terminal.clone()
            },
            Surroundings {
                ci: true,
                ..terminal.clone()
            },
        ] {
            assert_eq!(auto(plain), Screen::Plain);
        }
        assert_eq!(choose(Progress::Plain, &terminal), Screen::Plain);
        assert_eq!(choose(Progress::Json, &terminal), Screen::Json);
    }
}
