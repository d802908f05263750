//! Colours, or none.

use anstyle::{AnsiColor, Style};

/// Puts colours into texts, if the output takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    pub(crate) fn new(on: bool) -> Self {
        Self { on }
    }

    fn with(self, style: Style, text: &str) -> String {
        if self.on && !text.is_empty() {
            format!("{}{text}{}", style.render(), style.render_reset())
        } else {
            text.to_owned()
        }
    }

    fn colour(self, colour: AnsiColor, text: &str) -> String {
        self.with(Style::new().fg_color(Some(colour.into())), text)
    }

    /// What is well.
    pub(crate) fn good(self, text: &str) -> String {
        self.colour(AnsiColor::Green, text)
    }

    /// What is not.
    pub(crate) fn bad(self, text: &str) -> String {
        self.colour(AnsiColor::Red, text)
    }

    /// What a person should look at.
    pub(crate) fn warn(self, text: &str) -> String {
        self.colour(AnsiColor::Yellow, text)
    }

    /// Names.
    pub(crate) fn name(self, text: &str) -> String {
        self.colour(AnsiColor::Cyan, text)
    }

    /// What matters most.
    pub(crate) fn strong(self, text: &str) -> String {
        self.with(Style::new().bold(), text)
    }

    /// What matters least.
    pub(crate) fn dim(self, text: &str) -> String {
        self.with(Style::new().dimmed(), text)
    }

    /// The word before an error.
    pub(crate) fn error_word(self, text: &str) -> String {
        self.with(Style::new().bold().fg_color(Some(AnsiColor::Red.into())), text)
    }

    /// The word before a hint.
    pub(crate) fn hint_word(self, text: &str) -> String {
        self.with(Style::new().bold().fg_color(Some(AnsiColor::Cyan.into())), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colours_nothing_is_added() {
        assert_eq!(Paint::new(false).error_word("error:"), "error:");
        assert!(Paint::new(true).good("x").contains('\u{1b}'));
        assert_eq!(Paint::new(true).dim(""), "");
    }
}
