//! Names of units.

use std::fmt;

/// The kinds of units that there are (systemd.unit(5)).
const SUFFIXES: [&str; 11] = [
    ".service",
    ".socket",
    ".timer",
    ".path",
    ".target",
    ".mount",
    ".automount",
    ".swap",
    ".slice",
    ".scope",
    ".device",
];

/// The name of a unit, with its suffix.
///
/// ```
/// use deploykit_systemd::UnitName;
///
/// let unit = UnitName::complete("app@1");
/// assert_eq!(unit.as_str(), "app@1.service");
/// assert_eq!((unit.stem(), unit.instance()), ("app@1", Some("1")));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitName(String);

impl UnitName {
    /// The unit that a person means: a name without a suffix is that of a service.
    pub fn complete(name: &str) -> Self {
        if Self::is_complete(name) {
            Self(name.to_owned())
        } else {
            Self(format!("{name}.service"))
        }
    }

    /// Whether a name has the suffix of a unit.
    pub fn is_complete(name: &str) -> bool {
        SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without its suffix.
    pub fn stem(&self) -> &str {
        self.0.rsplit_once('.').map_or(&self.0, |(stem, _)| stem)
    }

    /// The suffix, with its dot.
    pub fn suffix(&self) -> &str {
        &self.0[self.stem().len()..]
    }

    /// What stands before the `@`, or the stem.
    pub fn prefix(&self) -> &str {
        self.stem().split_once('@').map_or(self.stem(), |(prefix, _)| prefix)
    }

    /// Which instance of a template it is.
    pub fn instance(&self) -> Option<&str> {
        self.stem().split_once('@').map(|(_, instance)| instance)
    }

    /// Whether it is a service.
    pub fn is_service(&self) -> bool {
        self.suffix() == ".service"
    }

    /// The same name, of another kind of unit.
    #[must_use]
    pub fn with_suffix(&self, suffix: &str) -> Self {
        Self(format!("{}{suffix}", self.stem()))
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A path as it stands in the name of a unit: `/srv/my app` is `srv-my\x20app`. The rules are those
/// of systemd.unit(5), "String escaping for inclusion in unit names".
///
/// ```
/// assert_eq!(deploykit_systemd::escape_path("/srv/my-app/.x"), r"srv-my\x2dapp-.x");
/// assert_eq!(deploykit_systemd::escape_path("/"), "-");
/// ```
pub fn escape_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return "-".to_owned();
    }
    let mut escaped = String::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            escaped.push('-');
        }
        for (at, byte) in part.bytes().enumerate() {
            let leading_dot = byte == b'.' && index == 0 && at == 0;
            let plain = byte.is_ascii_alphanumeric() || b":_.".contains(&byte);
            if plain && !leading_dot {
                escaped.push(char::from(byte));
            } else {
                escaped.push_str(&format!("\\x{byte:02x}"));
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_and_taken_apart() {
        for (given, name, prefix, instance) in [
            ("web", "web.service", "web", None),
            ("web.service", "web.service", "web", None),
            ("web.socket", "web.socket", "web", None),
            ("my.app", "my.app.service", "my.app", None),
            ("app@1", "app@1.service", "app", Some("1")),
            ("app@a.b.service", "app@a.b.service", "app", Some("a.b")),
        ] {
            let unit = UnitName::complete(given);
            assert_eq!((unit.as_str(), unit.prefix(), unit.instance()), (name, prefix, instance));
        }
        assert_eq!(UnitName::complete("app@1").with_suffix(".socket").as_str(), "app@1.socket");
    }

    // What `systemd-escape --path` of systemd 252 prints.
    #[test]
    fn paths_are_escaped_as_systemd_does() {
        for (path, escaped) in [
            ("/srv/app", "srv-app"),
            ("/srv//app/", "srv-app"),
            ("/srv/my app", r"srv-my\x20app"),
            ("/.hidden/a", r"\x2ehidden-a"),
            ("/a/ü", r"a-\xc3\xbc"),
            ("/a:b_c.d", "a:b_c.d"),
        ] {
            assert_eq!(escape_path(path), escaped, "{path}");
        }
    }
}
