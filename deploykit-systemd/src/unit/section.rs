//! A unit file while it is being made.

use std::collections::BTreeMap;

/// The sections of a unit file in the order in which they were begun, each with its lines.
#[derive(Debug, Default)]
pub(super) struct Sections(Vec<(String, Vec<(String, String)>)>);

impl Sections {
    /// Begins a section, or goes on with it.
    pub(super) fn section(&mut self, name: &str) -> &mut Self {
        match self.0.iter().position(|(other, _)| other == name) {
            Some(at) => {
                let found = self.0.remove(at);
                self.0.push(found);
            }
            None => self.0.push((name.to_owned(), Vec::new())),
        }
        self
    }

    /// Adds a line to the section that was begun last.
    pub(super) fn set(&mut self, key: &str, value: impl Into<String>) -> &mut Self {
        if let Some((_, lines)) = self.0.last_mut() {
            lines.push((key.to_owned(), value.into()));
        }
        self
    }

    /// Adds a line if there is a value.
    pub(super) fn set_if(&mut self, key: &str, value: Option<impl Into<String>>) -> &mut Self {
        match value {
            Some(value) => self.set(key, value),
            None => self,
        }
    }

    /// Puts these lines in the place of those of the same name, or adds them.
    pub(super) fn replace(&mut self, lines: &BTreeMap<String, BTreeMap<String, String>>) {
        for (section, lines) in lines {
            self.section(section);
            let Some((_, present)) = self.0.last_mut() else { continue };
            for (key, value) in lines {
                present.retain(|(other, _)| other != key);
                present.push((key.clone(), value.clone()));
            }
        }
    }

    /// The text of the file, sections in systemd's usual order.
    pub(super) fn text(&self) -> String {
        let order = ["Unit", "Service", "Socket", "Timer", "Install"];
        let rank = |name: &str| order.iter().position(|other| *other == name).unwrap_or(3);
        let mut sections: Vec<_> = self.0.iter().filter(|(_, lines)| !lines.is_empty()).collect();
        sections.sort_by_key(|(name, _)| rank(name));
        let text = sections.into_iter().map(|(name, lines)| {
            let lines: String =
                lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
            format!("[{name}]\n{lines}")
        });
        text.collect::<Vec<_>>().join("\n")
    }
}
