//! Why an error came about.

use std::error::Error;

/// An error and its causes in one line: `failed to open x: no such file`.
///
/// ```
/// #[derive(Debug, thiserror::Error)]
/// #[error("failed to open {path}")]
/// struct Unreadable {
///     path: &'static str,
///     source: std::io::Error,
/// }
///
/// let source = std::io::Error::other("the disk is gone");
/// assert_eq!(
///     deploykit_core::chain(&Unreadable { path: "x", source }),
///     "failed to open x: the disk is gone",
/// );
/// ```
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for cause in causes(error) {
        // A wrapper may end with what its cause says.
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// The causes of an error, the nearest first; what a transparent wrapper repeats is told once.
pub fn causes(error: &dyn Error) -> Vec<String> {
    let mut told = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if told.last() != Some(&text) {
            told.push(text);
        }
        next = cause.source();
    }
    told.split_off(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_that_repeat_what_they_cause_are_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error(transparent)]
        struct Transparent(#[from] Wrapper);
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Wrapper(#[source] std::io::Error);
        let error = Transparent(Wrapper(std::io::Error::other("same")));
        assert!(causes(&error).is_empty());
        assert_eq!(chain(&error), "same");
    }
}
