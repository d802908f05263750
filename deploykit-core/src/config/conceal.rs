//! Keeps secrets out of the source text that an error shows.
//!
//! The text may be anything: it is shown because something is wrong with it. So this does not rely
//! on a parse that succeeded. It scans for values that stand behind a key which sounds like a
//! secret's, misspelt ones included, and for passwords in addresses, and errs on the side of
//! hiding. Every hidden byte becomes one `*`, so that all places in the text stay where they are.

use super::telling::{is_telling_name, is_token, is_token_as_user, sounds_secret};

/// The text with whatever may be a secret replaced, byte for byte.
pub(super) fn conceal(text: &str) -> String {
    masked(text, &hidden_in(text))
}

/// The same of a text that is not TOML. Nothing in it stands certainly where it seems to stand, so a
/// line that is not TOML by itself shows nothing behind a word that sounds like a secret's, whatever
/// stands between the two; nor do the lines after it, until one is TOML again.
pub(super) fn conceal_broken(text: &str) -> String {
    let mut hidden = hidden_in(text);
    let mut at = 0;
    let mut open = false;
    for line in text.split_inclusive('\n') {
        let here = &mut hidden[at..at + line.len()];
        at += line.len();
        if is_toml(line) {
            open = false;
            // By itself: a quote that is open since an earlier line would have hidden its keys.
            here.iter_mut().zip(hidden_in(line)).for_each(|(all, alone)| *all |= alone);
        } else if open {
            here.fill(true);
        } else if let Some(end) = end_of_telling_word(line) {
            here[end..].fill(true);
            // What is written about a secret in a comment does not go on in the next line.
            open = !line.trim_start().starts_with('#');
        }
    }
    masked(text, &hidden)
}

fn hidden_in(text: &str) -> Vec<bool> {
    let mut scan = Scan::new(text);
    scan.run();
    hide_in_addresses(text, &mut scan.hidden);
    hide_tokens(text, &mut scan.hidden);
    scan.hidden
}

/// Whether a line says something in TOML without the lines around it.
fn is_toml(line: &str) -> bool {
    toml::de::DeTable::parse(line).is_ok_and(|table| !table.get_ref().is_empty())
}

/// Where the first word ends that sounds like a secret's.
fn end_of_telling_word(line: &str) -> Option<usize> {
    let mut end = 0;
    for piece in line.split_inclusive(|c: char| !is_part_of_word(c)) {
        let word = piece.trim_end_matches(|c: char| !is_part_of_word(c));
        if sounds_secret(word) {
            return Some(end + word.len());
        }
        end += piece.len();
    }
    None
}

fn masked(text: &str, hidden: &[bool]) -> String {
    let mut shown = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        if hidden[at] && !character.is_whitespace() {
            shown.extend(std::iter::repeat_n('*', character.len_utf8()));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Keys of a table that say where a secret is: what stands behind them is none.
const REFERENCES: [&str; 3] = ["env", "file", "credential"];

/// The parts of a key.
fn parts(key: &str) -> impl DoubleEndedIterator<Item = &str> {
    key.split('.').map(|part| part.trim_matches([' ', '\t', '"', '\'']))
}

/// Whether what stands behind `key` may be a secret; `inside` tells whether the key is one of a
/// table that stands behind such a key itself.
fn is_secret(key: &str, inside: bool) -> bool {
    let reference = parts(key).next_back().is_some_and(|last| REFERENCES.contains(&last));
    !reference && (inside || parts(key).any(sounds_secret))
}

/// Whether this can be the name of an environment variable. What stands in its place and cannot is
/// perhaps the secret itself.
fn is_variable(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// What stands around the place that is scanned.
#[derive(Debug, Clone, Copy)]
struct Level {
    /// In a list: a comma does not end the value of the key.
    list: bool,
    /// Values in here may be secrets, whatever their key.
    secret: bool,
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
    hidden: Vec<bool>,
    levels: Vec<Level>,
    /// Where the key that is being read begins.
    key: usize,
    /// Behind an equals sign: whether the value may be a secret.
    value: Option<bool>,
    /// Whether the value is to be the name of an environment variable.
    variable: bool,
    /// Whether the table of the last header is a secret's.
    section: bool,
    comment: bool,
}

impl<'a> Scan<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            hidden: vec![false; text.len()],
            levels: Vec::new(),
            key: 0,
            value: None,
            variable: false,
            section: false,
            comment: false,
        }
    }

    fn run(&mut self) {
        let mut line_start = true;
        while let Some(byte) = self.text.as_bytes().get(self.at).copied() {
            match byte {
                b'\n' => self.end_line(),
                b'[' if line_start && self.levels.is_empty() => self.header(),
                b'#' => self.begin_comment(),
                b'"' | b'\'' => self.quoted(byte),
                b'=' if self.value.is_none() => self.equals(),
                b'[' | b'{' => self.open(byte == b'['),
                b']' | b'}' => self.close(),
                b',' => self.comma(),
                _ => self.at += 1,
            }
            line_start = byte == b'\n' || (line_start && byte.is_ascii_whitespace());
        }
    }

    fn inside(&self) -> bool {
        self.levels.last().map_or(self.section, |level| level.secret)
    }

    fn end_line(&mut self) {
        self.at += 1;
        self.comment = false;
        if self.levels.is_empty() {
            (self.key, self.value) = (self.at, None);
        }
    }

    /// A comment is read like the rest: what was commented out may be a secret, too.
    fn begin_comment(&mut self) {
        self.at += 1;
        self.comment = true;
        if self.levels.is_empty() {
            (self.key, self.value) = (self.at, None);
        }
    }

    fn header(&mut self) {
        let line = self.text[self.at..].split('\n').next().unwrap_or_default();
        let name = line.split(']').find(|part| !part.is_empty()).unwrap_or_default();
        self.section = is_secret(name.trim_matches('['), false);
        self.at += name.len().max(1);
        while self.text.as_bytes().get(self.at) == Some(&b']') {
            self.at += 1;
        }
    }

    fn equals(&mut self) {
        let key = &self.text[self.key..self.at];
        let secret = is_secret(key, self.inside());
        self.variable = parts(key).next_back() == Some("env");
        self.value = Some(secret);
        self.at += 1;
        let rest = &self.text[self.at..];
        let bare = !rest.trim_start_matches([' ', '\t']).starts_with(['"', '\'', '[', '{']);
        if secret && bare {
            let length = rest.find('\n').unwrap_or(rest.len());
            self.hide(self.at..self.at + length);
            self.at += length;
        }
    }

    fn open(&mut self, list: bool) {
        let secret = self.value.unwrap_or_else(|| self.inside());
        self.levels.push(Level { list, secret });
        self.at += 1;
        (self.key, self.value) = (self.at, list.then_some(secret));
    }

    fn close(&mut self) {
        self.levels.pop();
        self.at += 1;
        self.value = Some(self.levels.last().is_some_and(|level| level.list && level.secret));
    }

    fn comma(&mut self) {
        self.at += 1;
        let list = self.levels.last().is_some_and(|level| level.list);
        if !list {
            (self.key, self.value) = (self.at, None);
        }
    }

    /// A text in quotes; one that is not closed ends with the line.
    fn quoted(&mut self, quote: u8) {
        let rest = &self.text[self.at..];
        let triple = String::from_utf8(vec![quote; 3]).unwrap_or_default();
        let multiline = !self.comment && rest.starts_with(&triple);
        let marks = if multiline { 3 } else { 1 };
        let body = self.at + marks;
        let length = length_of(&self.text.as_bytes()[body..], quote, multiline);
        let no_name = self.variable && !is_variable(&self.text[body..body + length]);
        if self.value == Some(true) || (self.value.is_some() && no_name) {
            self.hide(body..body + length);
        }
        self.at = (body + length + marks).min(self.text.len());
        // An unclosed text leaves the line's end where it is, and with it the reset.
        if !multiline && self.text.as_bytes().get(body + length) != Some(&quote) {
            self.at = body + length;
        }
    }

    fn hide(&mut self, range: std::ops::Range<usize>) {
        if let Some(hidden) = self.hidden.get_mut(range) {
            hidden.fill(true);
        }
    }
}

/// How long the text behind an opening quote is.
fn length_of(body: &[u8], quote: u8, multiline: bool) -> usize {
    let mut at = 0;
    while let Some(&byte) = body.get(at) {
        match byte {
            b'\\' if quote == b'"' && body.get(at + 1).is_some_and(|&next| next != b'\n') => {
                at += 1;
            }
            b'\n' if !multiline => return at,
            _ if byte == quote && !multiline => return at,
            _ if multiline && body[at..].starts_with(&[quote; 3]) => return at,
            _ => {}
        }
        at += 1;
    }
    body.len()
}

/// What is a secret in `scheme://user:password@host/path?token=…`, wherever that stands.
fn hide_in_addresses(text: &str, hidden: &mut [bool]) {
    let mut end = 0;
    for piece in text.split_inclusive(|c: char| c.is_whitespace() || c == '"' || c == '\'') {
        let start = end;
        end += piece.len();
        let Some(scheme) = piece.find("://") else { continue };
        let (from, address) = (start + scheme + 3, &piece[scheme + 3..]);
        if let Some(at) = address.rfind('@') {
            if let Some(colon) = address[..at].find(':') {
                hidden[from + colon + 1..from + at].fill(true);
            } else if is_token_as_user(&address[..at]) {
                hidden[from..from + at].fill(true);
            }
        }
        let mut at = from;
        for part in address.split_inclusive(['?', '&', '#']) {
            if let Some((name, value)) = part.split_once('=')
                && is_telling_name(name)
            {
                let value_at = at + name.len() + 1;
                hidden[value_at..value_at + value.trim_end_matches(['"', '\'', '&']).len()]
                    .fill(true);
            }
            at += part.len();
        }
    }
}

/// What has the form of a token, wherever it stands.
fn hide_tokens(text: &str, hidden: &mut [bool]) {
    let mut end = 0;
    for piece in text.split_inclusive(|c: char| !is_part_of_word(c)) {
        let start = end;
        end += piece.len();
        let word = piece.trim_end_matches(|c: char| !is_part_of_word(c));
        if is_token(word) {
            hidden[start..start + word.len()].fill(true);
        }
    }
}

fn is_part_of_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the form, `S3CRET` must not be seen, and everything else keeps its place.
    #[test]
    fn a_secret_is_hidden_in_every_form_it_may_stand_in() {
        for text in [
            "token = \"S3CRET\"",
            "repo.token = 'S3CRET'",
            "\"token\" = \"S3CRET\"",
            "tokn = \"S3CRET\"",
            "Token=\"S3CRET",
            "token = S3CRET # forgotten quotes",
            "passwrod = \"S3CRET\"",
            "repo = { url = \"x\", password = \"S3CRET\" }",
            "token = \"\"\"\nS3CRET\nS3CRET\"\"\"\nurl = \"x\"",
            "token = [\"a\", \"S3CRET\"]",
            "token = [\n\"a\",\n\"S3CRET\",\n]",
            "token = { vaule = \"S3CRET\" }",
            "[repo.token]\nvaule = \"S3CRET\"",
            "url = \"https://me:S3CRET@host/x\"",
            "url = \"https://me:S3CRET/more@host/x\"",
            "url = \"https://ghp_S3CRET@host/x\"",
            "url = \"https://host/x?a=b&private_token=S3CRET&c=d\"",
            "ghp_S3CRET",
            "token = { ghp_S3CRET = 1 }",
            "# token = \"S3CRET\"",
            "# don't\ntoken = \"S3CRET\"",
            "# \"\"\"\ntoken = \"S3CRET\"",
            "url = \"a\\\"b\"\ntoken = \"S3\\\"S3CRET\"",
            "env = { MY_API_KEY = \"S3CRET\", B = \"b\" }",
            "url = \"unclosed\ntoken = \"S3CRET\"",
            "\"t\\u006fken\" = \"S3CRET\"",
            "send = { X-Auth-Key = \"S3CRET\", Mine = \"S3CRET\" }",
            "[health.check.send]\nCookie = \"S3CRET\"",
        ] {
            let shown = conceal(text);
            assert!(!shown.contains("S3CRET"), "{text}\nshows as\n{shown}");
            assert_eq!(shown.len(), text.len(), "{text}");
        }
    }

    #[test]
    fn what_is_no_secret_stays_as_it_is() {
        for text in [
            "[repo]\nurl = \"https://me@host/x\"\n",
            "token = { env = \"GIT_TOKEN\" }",
            "token = { file = '/etc/token' }\nunit = \"x\"",
            "repo.token.env = \"GIT_TOKEN\"",
            "commands = [[\"npm\", \"install\"], [\"a=b\", \"c\"]]",
            "[[health.check]]\ntype = \"http\"\nbody = \"token=.*\"",
            "username = \"me\"\n# a comment = \"x\"",
        ] {
            assert_eq!(conceal(text), text);
        }
    }

    /// A text that is not TOML: what was meant is a guess.
    #[test]
    fn a_secret_in_a_line_that_is_not_toml_is_hidden_whatever_stands_before_it() {
        for text in [
            "token: \"S3CRET\"",
            "token: S3CRET",
            "token \"S3CRET\"",
            "token =\n\"S3CRET\"",
            "token =\n\n  S3CRET\n",
            "token = \"S3C\"S3CRET\"",
            "token = { S3CRET }",
            "token = { env \"S3CRET\" }",
            "token = \"a\nS3CRET\"",
            "password = \"a\nb==\nS3CRET\"",
            "\"t\\u006fken\" = \"S3CRET\" x",
            "send = { X-Mine = \"S3CRET\" } x",
            "url = \"\"\"\ntoken = \"S3CRET\"",
            "repo = {\n  token = \"a\n S3CRET\",\n}",
        ] {
            let shown = conceal_broken(text);
            assert!(!shown.contains("S3C"), "{text}\nshows as\n{shown}");
            assert_eq!(shown.len(), text.len(), "{text}");
        }
    }

    #[test]
    fn in_a_text_that_is_not_toml_the_rest_is_still_shown() {
        for text in [
            "[repo]\nurl = /srv/app\nunit \"x\"\n",
            "# Where the token is.\nurl = /srv/app\n",
            "token = { env = \"GIT_TOKEN\" }\nurl = /srv/app\n",
        ] {
            let shown = conceal_broken(text);
            assert!(shown.contains("/srv/app") && !shown.contains("GIT_TOKEN *"), "{shown}");
        }
        let shown = conceal_broken("token: x\n[build]\ncommands = [\"x\n");
        assert_eq!(shown, "token* *\n[build]\ncommands = [\"x\n");
    }

    #[test]
    fn what_is_no_name_of_a_variable_may_be_the_secret_itself() {
        let shown = conceal("token = { env = \"ghp_S3CRET=\" }\nurl = \"x=\"");
        assert_eq!(shown, "token = { env = \"***********\" }\nurl = \"x=\"");
    }

    /// None of these takes the square of its length, which would be minutes.
    #[test]
    fn long_lines_are_looked_at_once() {
        for piece in ["{a=", "x://", "token", "a.", "= ", "\""] {
            let text = piece.repeat(300_000 / piece.len());
            assert_eq!(conceal_broken(&text).len(), text.len());
        }
    }

    #[test]
    fn hiding_a_wide_character_moves_nothing() {
        let shown = conceal("repo = { token = \"ä€𝄞\", url = 1 }");
        assert_eq!(shown, "repo = { token = \"*********\", url = 1 }");
    }
}
