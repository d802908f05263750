//! Secrets: values that are never shown, and the masks that keep them out of every output.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use secrecy::{ExposeSecret as _, SecretString};

/// What is printed in the place of a secret.
pub const MASK: &str = "***";

/// A secret value. `Debug` shows the mask, it cannot be serialised, and its memory is wiped when it
/// is dropped.
///
/// ```
/// use deploykit_core::Secret;
///
/// let token = Secret::new("ghp_s3cret");
/// assert_eq!(format!("{token:?}"), "***");
/// assert_eq!(token.expose(), "ghp_s3cret");
/// ```
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// A secret with this value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(SecretString::from(value.into()))
    }

    /// The value itself. Do not print, log or store it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// Replaces known secrets in texts. Clones share what they know.
///
/// A secret is masked as it stands, percent-encoded (as in a URL), and in each alignment of
/// base64 (as in a basic-authorisation header). Each line of a secret of several lines is masked
/// by itself, since outputs are handled line by line. Pieces shorter than four bytes are left
/// alone: masking them would make texts unreadable and would protect nothing.
///
/// ```
/// use deploykit_core::{Masker, Secret};
///
/// let masker = Masker::default();
/// masker.learn(&Secret::new("s3cret/token"));
/// assert_eq!(masker.mask("https://x:s3cret%2Ftoken@host"), "https://x:***@host");
/// assert_eq!(masker.mask("nothing to hide"), "nothing to hide");
/// ```
#[derive(Clone, Default)]
pub struct Masker(Arc<RwLock<Vec<Needle>>>);

/// What is looked for in texts.
struct Needle {
    form: Secret,
    /// It is the middle of an encoded secret: the digits beside it hold the rest of that.
    is_base64: bool,
}

const SHORTEST: usize = 4;

impl Masker {
    /// Masks this secret from now on.
    pub fn learn(&self, secret: &Secret) {
        let mut needles = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for piece in secret.expose().lines().map(str::trim) {
            if piece.len() < SHORTEST {
                continue;
            }
            let plain = [piece.to_owned(), percent_encoded(piece)].map(|form| (form, false));
            let encoded = (0..3).map(|skip| (base64_core(piece.as_bytes(), skip), true));
            for (form, is_base64) in plain.into_iter().chain(encoded) {
                if form.len() >= SHORTEST && !needles.iter().any(|n| n.form.expose() == form) {
                    needles.push(Needle { form: Secret::new(form), is_base64 });
                }
            }
        }
        // The longest first, so that a secret that contains another leaves nothing of itself.
        needles.sort_by_key(|n| std::cmp::Reverse(n.form.expose().len()));
    }

    /// The text with every known secret replaced by [`MASK`].
    pub fn mask<'a>(&self, text: &'a str) -> std::borrow::Cow<'a, str> {
        let needles = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut masked = std::borrow::Cow::Borrowed(text);
        for needle in needles.iter() {
            let form = needle.form.expose();
            if masked.contains(form) {
                let beside = if needle.is_base64 { GROUP } else { 0 };
                masked = replace_with_neighbours(&masked, form, beside).into();
            }
        }
        masked
    }

    /// Masks every text in a JSON value. It is done before the value is written, since quoting would
    /// hide a secret.
    pub fn mask_json(&self, value: &mut serde_json::Value) {
        use serde_json::Value;
        match value {
            Value::String(text) => {
                if let std::borrow::Cow::Owned(masked) = self.mask(text) {
                    *text = masked;
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.mask_json(value)),
            Value::Object(map) => map.values_mut().for_each(|value| self.mask_json(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masker")
    }
}

/// How many digits of base64 encode the three bytes of a group.
const GROUP: usize = 4;

/// Replaces `form`, and up to so many digits of base64 on either side of it.
fn replace_with_neighbours(text: &str, form: &str, beside: usize) -> String {
    let is_digit = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
    let (mut replaced, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(form) {
        let (before, after) = (&rest[..at], &rest[at + form.len()..]);
        let left = before.bytes().rev().take(beside).take_while(|byte| is_digit(&byte)).count();
        let right = after.bytes().take(beside).take_while(|byte| is_digit(&byte)).count();
        replaced.push_str(&before[..at - left]);
        replaced.push_str(MASK);
        rest = &after[right..];
    }
    replaced.push_str(rest);
    replaced
}

/// A text as it stands in a URL: everything but letters, digits and `-._~` is encoded.
///
/// ```
/// assert_eq!(deploykit_core::percent_encoded("a b&ü"), "a%20b%26%C3%BC");
/// ```
pub fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The digits of base64 that depend on `bytes` alone when `skip` (0 to 2) bytes stand before them
/// in a group of three: the same wherever the bytes stand in what is encoded.
fn base64_core(bytes: &[u8], skip: usize) -> String {
    let aligned = bytes.get((3 - skip) % 3..).unwrap_or_default();
    base64(&aligned[..aligned.len() / 3 * 3])
}

/// In base64, without the signs that fill it up.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for shift in [18, 12, 6, 0].into_iter().take(group.len() + 1) {
            encoded.push(char::from(DIGITS[(bits >> shift & 63) as usize]));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_plain_encoded_and_basic_authorisation() {
        let masker = Masker::default();
        masker.learn(&Secret::new("hunter2!!longer"));
        // base64 of "me:hunter2!!longer", "you:hunter2!!longer" and "them:hunter2!!longer"
        for text in [
            "bWU6aHVudGVyMiEhbG9uZ2Vy",
            "eW91Omh1bnRlcjIhIWxvbmdlcg==",
            "dGhlbTpodW50ZXIyISFsb25nZXI=",
        ] {
            let masked = masker.mask(text);
            assert!(masked.contains(MASK), "{text} was not masked");
            assert!(masked.len() < text.len() - 4, "{masked} still says too much");
        }
        assert_eq!(masker.mask("hunter2%21%21longer"), MASK);
    }

    #[test]
    fn a_secret_inside_another_leaves_nothing_of_the_longer() {
        let masker = Masker::default();
        masker.learn(&Secret::new("abcd"));
        masker.learn(&Secret::new("abcdefgh"));
        assert_eq!(masker.mask("x abcdefgh y abcd"), "x *** y ***");
    }

    #[test]
    fn every_line_of_a_key_is_masked_and_short_ones_are_not() {
        let masker = Masker::default();
        masker.learn(&Secret::new("-----BEGIN KEY-----\nMIIBVAIBADANBg\nab\n"));
        assert_eq!(masker.mask("MIIBVAIBADANBg"), MASK);
        assert_eq!(masker.mask("a cab"), "a cab");
    }

    #[test]
    fn no_end_of_an_encoded_secret_is_left_over() {
        let masker = Masker::default();
        masker.learn(&Secret::new("tok-canary-en"));
        for (before, after) in [("", "\n"), ("", ""), ("x", "y"), ("xy", ""), ("xyz", "more")] {
            let whole = base64(format!("{before}tok-canary-en{after}").as_bytes());
            let masked = masker.mask(&whole).into_owned();
            assert!(masked.contains(MASK), "{masked}");
            // What is left encodes whole groups of what is not secret, or nothing.
            let left = masked.replace(MASK, "");
            assert!(left.len() <= 4 * after.len().div_ceil(3), "{whole}: {masked}");
        }
        assert_eq!(masker.mask("é dG9rLWNhbmFyeS1lbgo= é"), "é *** é");
    }
}
