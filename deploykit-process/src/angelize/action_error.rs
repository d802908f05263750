//! What is wrong with an action.

use super::action::{ActionList, Verb};

/// An action that cannot be read, or has no meaning where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ActionError {
    /// A verb does not exist.
    #[error("`{verb}` at character {at} of the action `{action}` is no verb")]
    UnknownVerb {
        /// The action.
        action: String,
        /// The character at which the verb begins, counted from 1.
        at: usize,
        /// What stands there.
        verb: String,
        /// The verb that was probably meant.
        near: Option<Verb>,
    },
    /// There is no verb where there must be one.
    #[error("a verb is missing at character {at} of the action `{action}`")]
    NoVerb {
        /// The action.
        action: String,
        /// The character at which it is missing.
        at: usize,
    },
    /// `sleep` without a number, or together with another verb.
    #[error(
        "`sleep` stands alone, and a number of milliseconds follows: `{action}`, character {at}"
    )]
    Sleep {
        /// The action.
        action: String,
        /// The character at which the number must begin.
        at: usize,
    },
    /// `http` or `https` without an address.
    #[error("no address without spaces follows at character {at} of the action `{action}`")]
    Address {
        /// The action.
        action: String,
        /// The character at which the address must begin.
        at: usize,
    },
    /// A NUL character.
    #[error("the action `{}` contains a NUL character behind character {at}", action.escape_debug())]
    Nul {
        /// The action.
        action: String,
        /// The character at which its parameter begins.
        at: usize,
    },
    /// No verb of the action has a meaning in its list.
    #[error("the action `{action}` has no meaning in `{list}`")]
    NotInList {
        /// The action.
        action: String,
        /// The list that it stands in.
        list: ActionList,
    },
}

impl ActionError {
    pub(super) fn unknown(action: &str, at: usize, verb: &str) -> Self {
        let action = action.to_owned();
        if verb.is_empty() {
            return Self::NoVerb { action, at };
        }
        let lower = verb.to_ascii_lowercase();
        let likeness = |known: &Verb| strsim::osa_distance(&lower, known.as_str());
        let near = Verb::ALL.into_iter().min_by_key(likeness).filter(|verb| likeness(verb) <= 2);
        Self::UnknownVerb { action, at, verb: verb.to_owned(), near }
    }

    /// What can be written instead.
    pub fn hint(&self) -> Option<String> {
        let all = |list: Option<ActionList>| {
            let allowed = |verb: &Verb| list.is_none_or(|list| list.allows(*verb));
            let names = Verb::ALL.into_iter().filter(allowed).map(Verb::as_str);
            names.collect::<Vec<_>>().join(", ")
        };
        Some(match self {
            Self::UnknownVerb { near: Some(near), .. } => {
                format!("did you mean `{near}`? Allowed are {}", all(None))
            }
            Self::UnknownVerb { near: None, .. } | Self::NoVerb { .. } => {
                format!("allowed are {}", all(None))
            }
            Self::Sleep { .. } => "`sleep:1000` waits for a second".into(),
            Self::Address { .. } => {
                "`http://127.0.0.1:8080/health`, or `http://127.0.0.1:8080/health=204`".into()
            }
            Self::NotInList { list, .. } => format!("allowed there are {}", all(Some(*list))),
            Self::Nul { .. } => return None,
        })
    }
}
