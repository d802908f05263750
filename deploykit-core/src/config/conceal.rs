//! Keeps secrets out of the source text that an error shows.
//!
//! The text may be anything: it is shown because something is wrong with it. So this does not rely
//! on a parse that succeeded. It scans for values that stand behind a key which sounds like a
//! secret's, misspelt ones included, and for passwords in addresses, and errs on the side of
//! hiding. Every hidden byte becomes one `*`, so that all places in the text stay where they are.

/// The text with whatever may be a secret replaced, byte for byte.
pub(super) fn conceal(text: &str) -> String {
    let mut scan = Scan::new(text);
    scan.run();
    hide_passwords_in_addresses(text, &mut scan.hidden);
    let mut shown = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        if scan.hidden[at] && !character.is_whitespace() {
            shown.extend(std::iter::repeat_n('*', character.len_utf8()));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Keys of a table that say where a secret is: what stands behind them is none.
const REFERENCES: [&str; 3] = ["env", "file", "credential"];

/// Parts of names that only secrets have.
const TELLING: [&str; 10] = [
    "token",
    "passw",
    "passphrase",
    "passwd",
    "secret",
    "pwd",
    "apikey",
    "api_key",
    "private_key",
    "authorization",
];

/// Whether what stands behind `key` may be a secret; `inside` tells whether the key is one of a
/// table that stands behind such a key itself.
fn is_secret(key: &str, inside: bool) -> bool {
    let parts = || key.split('.').map(|part| part.trim_matches([' ', '\t', '"', '\'']));
    let reference = parts().next_back().is_some_and(|last| REFERENCES.contains(&last));
    !reference && (inside || parts().any(sounds_secret))
}

fn sounds_secret(part: &str) -> bool {
    let part = part.to_lowercase().replace('-', "_");
    let near = |word: &str, distance| strsim::osa_distance(&part, word) <= distance;
    TELLING.iter().any(|telling| part.contains(telling))
        || (part.len() >= 3 && near("token", 2))
        || (part.len() >= 5 && near("password", 3))
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
        let secret = is_secret(&self.text[self.key..self.at], self.inside());
        self.value = Some(secret);
        self.at += 1;
        let rest = &self.text[self.at..];
        let line = rest.split('\n').next().unwrap_or_default();
        let bare = !line.trim_start().starts_with(['"', '\'', '[', '{']);
        if secret && bare {
            self.hide(self.at..self.at + line.len());
            self.at += line.len();
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
        if self.value == Some(true) {
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

/// `scheme://user:password@host`: the password, wherever it stands.
fn hide_passwords_in_addresses(text: &str, hidden: &mut [bool]) {
    for (start, _) in text.match_indices("://") {
        let rest = &text[start + 3..];
        let end = rest.find(|c: char| c.is_whitespace() || c == '"' || c == '\'');
        let address = &rest[..end.unwrap_or(rest.len())];
        let Some(at) = address.rfind('@') else { continue };
        if let Some(colon) = address[..at].find(':') {
            hidden[start + 3 + colon + 1..start + 3 + at].fill(true);
        }
    }
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
            "# token = \"S3CRET\"",
            "# don't\ntoken = \"S3CRET\"",
            "# \"\"\"\ntoken = \"S3CRET\"",
            "url = \"a\\\"b\"\ntoken = \"S3\\\"S3CRET\"",
            "env = { MY_API_KEY = \"S3CRET\", B = \"b\" }",
            "url = \"unclosed\ntoken = \"S3CRET\"",
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

    #[test]
    fn hiding_a_wide_character_moves_nothing() {
        let shown = conceal("repo = { token = \"ä€𝄞\", url = 1 }");
        assert_eq!(shown, "repo = { token = \"*********\", url = 1 }");
    }
}
