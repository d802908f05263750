//! Paths that stay below a directory.

use std::fmt;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

/// A relative path that stays below the directory it is relative to, and does not touch what
/// belongs to deploykit or git.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelPath(Utf8PathBuf);

impl RelPath {
    /// The path, without `.` and trailing slashes.
    pub fn as_path(&self) -> &Utf8Path {
        &self.0
    }
}

impl TryFrom<String> for RelPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut path = Utf8PathBuf::new();
        for component in Utf8Path::new(&text).components() {
            match component {
                Utf8Component::Normal(".git" | ".deploykit") => {
                    return Err(format!("{text:?} must not lead into .git or .deploykit"));
                }
                Utf8Component::Normal(name) if name.contains('\0') => {
                    return Err("a path cannot contain a NUL character".into());
                }
                Utf8Component::Normal(name) => path.push(name),
                Utf8Component::CurDir => {}
                _ => return Err(format!("{text:?} must be relative and must not contain ..")),
            }
        }
        if path.as_str().is_empty() {
            return Err("a path must not be empty".into());
        }
        Ok(Self(path))
    }
}

impl From<RelPath> for String {
    fn from(path: RelPath) -> Self {
        path.0.into_string()
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_leaves_the_directory_or_is_not_the_users_is_refused() {
        for text in ["", ".", "/etc", "../x", "a/../../x", "a/..", ".git", "a/.deploykit/b", "a\0b"]
        {
            assert!(RelPath::try_from(text.to_owned()).is_err(), "{text:?} was accepted");
        }
        assert_eq!(RelPath::try_from("./a//b/".to_owned()).unwrap().as_path(), "a/b");
    }

    proptest! {
        #[test]
        fn what_is_accepted_never_leaves(text in "[./a-c]{0,12}|\\PC{0,12}") {
            if let Ok(path) = RelPath::try_from(text) {
                let normal = |part| matches!(part, Utf8Component::Normal(_));
                prop_assert!(path.as_path().components().all(normal), "{path}");
                prop_assert_eq!(RelPath::try_from(path.to_string()), Ok(path));
            }
        }
    }
}
