//! The mail server of the settings.

use std::fmt;

/// A mail server, with a password that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Smtp {
    /// The user; empty when none is given.
    pub user: String,
    /// The host.
    pub host: String,
    /// The port: 465 is TLS from the start, 587 is STARTTLS. 25 when none is given.
    pub port: u16,
    password: String,
}

impl Smtp {
    /// Reads `user:password@host:port`. A password may contain `@` and `:`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (login, server) = text.rsplit_once('@').unwrap_or(("", text));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)?),
            None => (server, 25),
        };
        let usable = !host.is_empty() && !host.contains(char::is_whitespace);
        let (user, password, host) = (user.into(), password.into(), host.into());
        usable.then_some(Self { user, password, host, port })
    }

    /// The password, in clear.
    pub fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, host, port, password: _ } = self;
        let mut shown = f.debug_struct("Smtp");
        shown.field("user", user).field("host", host).field("port", port).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_read_and_its_password_not_shown() {
        let smtp = Smtp::parse("bot:p@ss:w@mail.example.com:465").unwrap();
        assert_eq!((smtp.user.as_str(), smtp.password()), ("bot", "p@ss:w"));
        assert_eq!((smtp.host.as_str(), smtp.port), ("mail.example.com", 465));
        assert!(!format!("{smtp:?}").contains("p@ss"));
        assert_eq!(Smtp::parse("mail").unwrap().port, 25);
        for wrong in ["", "a:b@", "a@h:0", "a@h:70000", "a@h:x", "a@h h:1"] {
            assert_eq!(Smtp::parse(wrong), None, "{wrong}");
        }
    }
}
