//! Telling the unit files that deploykit makes from those of others.

/// The first line of a file that deploykit has made begins like that.
pub(crate) const MARK: &str = "# Made by deploykit";

/// Whether deploykit has made this file.
pub(crate) fn is_ours(path: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.starts_with(MARK))
}

/// Whether somebody else has made this file. One that is not there was made by nobody.
pub(crate) fn is_foreign(path: &str) -> bool {
    !path.is_empty() && std::fs::read_to_string(path).is_ok_and(|text| !text.starts_with(MARK))
}
