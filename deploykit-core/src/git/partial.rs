//! The beginning of a hash, when several commits may begin so.

use gix::ObjectId;

use super::local::describe;
use super::names::RefEntry;
use crate::traits::SourceError;

/// The commits at the tips of `refs` that begin with `prefix`.
pub(crate) fn among_tips(refs: &[RefEntry], prefix: gix::hash::Prefix) -> Vec<ObjectId> {
    let tips = refs.iter().filter_map(|entry| {
        let named = |id: Option<ObjectId>| id.filter(|id| prefix.cmp_oid(id).is_eq());
        // Whoever types the hash of an annotated tag means the commit behind it.
        named(entry.peeled).or_else(|| named(entry.object).and(entry.peeled))
    });
    tips.collect()
}

/// The one commit that is meant; none if there is none.
pub(crate) fn decide(
    text: &str,
    mut commits: Vec<ObjectId>,
    known: Option<&gix::Repository>,
) -> Result<Option<ObjectId>, SourceError> {
    commits.sort();
    commits.dedup();
    match commits[..] {
        [] => Ok(None),
        [id] => Ok(Some(id)),
        _ => Err(SourceError::Ambiguous {
            revision: text.to_owned(),
            candidates: commits.into_iter().map(|id| describe(known, id)).collect(),
        }),
    }
}
