//! The names of things: revisions, source ids, releases, deployments.
//!
//! Every one of them is a type of its own, so that a branch name is never taken for a commit and
//! the number of a deployment never for anything else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// A text that is not a valid name of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid {what}: {why}")]
#[non_exhaustive]
pub struct InvalidName {
    /// What the text was meant to be: `revision`, `release id`, …
    pub what: &'static str,
    /// The text as it was given.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

fn invalid(what: &'static str, text: &str, why: &'static str) -> InvalidName {
    InvalidName { what, text: text.to_owned(), why }
}

/// What a person types to say which version they mean: a branch, a tag, a full or partial commit
/// hash, or nothing, which means the remote's default branch.
///
/// ```
/// use deploykit_core::Revision;
///
/// let release: Revision = "v1.2.0".parse()?;
/// assert_eq!(release.name(), Some("v1.2.0"));
/// assert_eq!(Revision::remote_head().name(), None);
/// assert!("two words".parse::<Revision>().is_err());
/// # Ok::<(), deploykit_core::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "Option<String>", into = "Option<String>")]
pub struct Revision(Option<String>);

impl Revision {
    /// The remote's HEAD: what is deployed when no revision is named.
    pub fn remote_head() -> Self {
        Self(None)
    }

    /// The name that was typed; `None` for the remote's HEAD.
    pub fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Whether a person chose this revision by name.
    pub fn is_named(&self) -> bool {
        self.0.is_some()
    }
}

impl FromStr for Revision {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let refuse = |why| Err(invalid("revision", text, why));
        if text.is_empty() {
            return refuse("it is empty");
        }
        if text.starts_with('-') {
            return refuse("it starts with a dash");
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return refuse("it contains white space or control characters");
        }
        if text.contains("..") || text.contains(['~', '^', ':', '?', '*', '[', '\\']) {
            return refuse("only names of branches and tags and commit hashes can be deployed");
        }
        if text == "HEAD" {
            return Ok(Self(None));
        }
        Ok(Self(Some(text.to_owned())))
    }
}

impl TryFrom<Option<String>> for Revision {
    type Error = InvalidName;

    fn try_from(text: Option<String>) -> Result<Self, InvalidName> {
        text.map_or_else(|| Ok(Self::remote_head()), |t| t.parse())
    }
}

impl From<Revision> for Option<String> {
    fn from(revision: Revision) -> Self {
        revision.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or("HEAD"))
    }
}

/// What a revision resolves to, once, before anything else happens: the kind of source and the
/// digest that names the exact content. For git it is the full hash of a commit.
///
/// Its text form is `kind:digest`.
///
/// ```
/// use deploykit_core::SourceId;
///
/// let id: SourceId = "git:92965fdb8a7c8da1fd1532ab9e3497990eee0519".parse()?;
/// assert_eq!(id.kind(), "git");
/// assert_eq!(id.short(), "92965fdb8a7c");
/// # Ok::<(), deploykit_core::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SourceId {
    kind: String,
    digest: String,
}

impl SourceId {
    /// A source id of the given kind (lower-case letters) and digest (at least eight hexadecimal
    /// digits, lower case).
    ///
    /// # Errors
    /// [`InvalidName`] when one of them has another form.
    pub fn new(kind: &str, digest: &str) -> Result<Self, InvalidName> {
        if kind.is_empty() || !kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') {
            return Err(invalid("kind of source", kind, "it is made of lower-case letters"));
        }
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if digest.len() < 8 || digest.len() > 128 || !digest.bytes().all(hex) {
            return Err(invalid("digest", digest, "it is made of 8 to 128 hexadecimal digits"));
        }
        Ok(Self { kind: kind.to_owned(), digest: digest.to_owned() })
    }

    /// The kind of source: `git`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The digest in full.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> &str {
        &self.digest[..self.digest.len().min(12)]
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.digest)
    }
}

impl FromStr for SourceId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (kind, digest) = text
            .split_once(':')
            .ok_or_else(|| invalid("source id", text, "it has the form KIND:DIGEST"))?;
        Self::new(kind, digest)
    }
}

impl TryFrom<String> for SourceId {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<SourceId> for String {
    fn from(id: SourceId) -> Self {
        id.to_string()
    }
}

/// The digest (SHA-256, hexadecimal) of the configuration that shaped a build.
///
/// Two builds of one commit under one digest may stand in for each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BuildDigest(String);

impl BuildDigest {
    /// The digest of a canonical serialisation.
    pub fn of(canonical: &[u8]) -> Self {
        use sha2::Digest as _;
        use std::fmt::Write as _;
        let mut text = String::with_capacity(64);
        for byte in sha2::Sha256::digest(canonical) {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// The digest as 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What makes two releases interchangeable: the same source, built under the same configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// What was checked out.
    pub source: SourceId,
    /// Digest of the configuration that shaped the build.
    pub build: BuildDigest,
}

/// The name of one release, unique in its application; also the name of its directory.
///
/// deploykit makes `YYYYMMDD-HHMMSS-<12 digits of the source's digest>` in UTC, with `-2`, `-3` …
/// behind it should that exist already. Adopted releases keep the name of their directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReleaseId(String);

impl ReleaseId {
    /// A new id for a release of `source` made at `at`. `taken` tells which ids exist.
    pub fn generate(at: Timestamp, source: &SourceId, taken: impl Fn(&ReleaseId) -> bool) -> Self {
        let base = format!("{}-{}", at.compact(), source.short());
        let mut id = Self(base.clone());
        let mut counter = 2;
        while taken(&id) {
            id = Self(format!("{base}-{counter}"));
            counter += 1;
        }
        id
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ReleaseId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let refuse = |why| Err(invalid("release id", text, why));
        if text.is_empty() || text.len() > 128 {
            return refuse("it has 1 to 128 characters");
        }
        if text.starts_with(['.', '-']) {
            return refuse("it starts with a letter or a digit");
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            return refuse("it is made of letters, digits, '.', '_' and '-'");
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ReleaseId {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<ReleaseId> for String {
    fn from(id: ReleaseId) -> Self {
        id.0
    }
}

/// The number of a deployment: 1, 2, 3 … in one application.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct DeploymentId(pub u64);

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for DeploymentId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        text.strip_prefix('#')
            .unwrap_or(text)
            .parse()
            .map(Self)
            .map_err(|_| invalid("deployment id", text, "it is a number, as `history` shows it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_release_of_one_second_gets_another_id() {
        let source = SourceId::new("git", &"ab".repeat(20)).unwrap();
        let at = Timestamp::from_millis(1_700_000_000_000);
        let first = ReleaseId::generate(at, &source, |_| false);
        assert_eq!(first.as_str(), "20231114-221320-abababababab");
        let second = ReleaseId::generate(at, &source, |id| *id == first);
        assert_eq!(second.as_str(), "20231114-221320-abababababab-2");
    }

    #[test]
    fn ids_that_leave_their_directory_are_refused() {
        for text in ["", ".", "..", "../x", "a/b", "-rf", ".git", "a\0b", "ä"] {
            assert!(text.parse::<ReleaseId>().is_err(), "{text:?} was accepted");
        }
        assert!(
            "mfd_1625079600_a94a8fe5ccb19ba61c4c0873d391e987982fbbd3".parse::<ReleaseId>().is_ok()
        );
    }

    #[test]
    fn revision_expressions_are_refused_with_the_reason() {
        let error = "main~2".parse::<Revision>().unwrap_err();
        assert!(error.to_string().contains("only names of branches and tags"), "{error}");
        assert_eq!("HEAD".parse::<Revision>().unwrap(), Revision::remote_head());
    }

    #[test]
    fn source_ids_round_trip_as_text() {
        let id = SourceId::new("git", "0123456789abcdef").unwrap();
        assert_eq!(id.to_string().parse::<SourceId>().unwrap(), id);
        assert!("git".parse::<SourceId>().is_err());
        assert!(SourceId::new("git", "XYZ").is_err());
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_a_revision_stays_the_same_as_text_and_as_json(text in any_text()) {
            let Ok(revision) = text.parse::<Revision>() else { return Ok(()) };
            proptest::prop_assert_eq!(revision.to_string(), text);
            proptest::prop_assert_eq!(&revision.to_string().parse::<Revision>().unwrap(), &revision);
            let json = serde_json::to_string(&revision).unwrap();
            proptest::prop_assert_eq!(serde_json::from_str::<Revision>(&json).unwrap(), revision);
        }

        #[test]
        fn whatever_is_a_release_id_is_the_name_of_one_visible_directory(text in any_text()) {
            let Ok(id) = text.parse::<ReleaseId>() else { return Ok(()) };
            proptest::prop_assert_eq!(id.as_str(), &text);
            let mut components = camino::Utf8Path::new(&text).components();
            let only = components.next();
            proptest::prop_assert!(matches!(only, Some(camino::Utf8Component::Normal(n)) if n == text));
            proptest::prop_assert!(components.next().is_none() && !text.starts_with(['.', '-']));
        }

        #[test]
        fn whatever_is_a_source_id_is_written_as_it_is_read(text in any_text()) {
            let Ok(id) = text.parse::<SourceId>() else { return Ok(()) };
            proptest::prop_assert_eq!(id.to_string(), text);
            proptest::prop_assert!(id.digest().starts_with(id.short()) && id.short().len() >= 8);
        }

        #[test]
        fn whatever_is_a_deployment_id_is_a_number(text in any_text()) {
            let Ok(id) = text.parse::<DeploymentId>() else { return Ok(()) };
            proptest::prop_assert_eq!(id.to_string().parse::<DeploymentId>().unwrap(), id);
        }

        #[test]
        fn a_generated_release_id_is_one(millis: i64, digest in "[0-9a-f]{8,128}", taken in 0..5usize) {
            let source = SourceId::new("git", &digest).unwrap();
            let asked = std::cell::Cell::new(0);
            let is_taken = |_: &ReleaseId| asked.replace(asked.get() + 1) < taken;
            let id = ReleaseId::generate(Timestamp::from_millis(millis), &source, is_taken);
            proptest::prop_assert_eq!(asked.get(), taken + 1);
            proptest::prop_assert_eq!(&id.as_str().parse::<ReleaseId>().unwrap(), &id);
        }
    }

    /// Texts that are nearly names, and any others.
    fn any_text() -> impl proptest::strategy::Strategy<Value = String> {
        proptest::prop_oneof![
            "[a-zA-Z0-9._/#:@{}~^ -]{0,12}",
            "(git|archive):[0-9a-f]{6,14}",
            "(git|Git|):?[0-9a-fA-F]{8}",
            "[A-Za-z0-9._-]{120,132}",
            "#?[+]?[0-9]{1,22}",
            "HEAD|.*",
        ]
    }
}
