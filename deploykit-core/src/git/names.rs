//! Names of references, and which of them a revision means.

use gix::ObjectId;

/// A reference of a repository, near or far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefEntry {
    /// Its full name: `refs/heads/main`, `HEAD`.
    pub(crate) name: String,
    /// The object that it names; none if it has no commit yet.
    pub(crate) object: Option<ObjectId>,
    /// What is found behind that when it is an annotated tag; the same otherwise.
    pub(crate) peeled: Option<ObjectId>,
    /// The reference that it stands for.
    pub(crate) target: Option<String>,
}

impl RefEntry {
    /// A reference.
    pub(crate) fn new(
        name: String,
        object: Option<ObjectId>,
        peeled: Option<ObjectId>,
        target: Option<String>,
    ) -> Self {
        Self { name, object, peeled, target }
    }
}

/// The full names that `name` may stand for, the one that counts first. The order is git's
/// (gitrevisions): a tag comes before a branch of the same name.
pub(crate) fn candidates(name: &str) -> Vec<String> {
    let mut names = vec![format!("refs/tags/{name}"), format!("refs/heads/{name}")];
    if name.starts_with("refs/") {
        names.insert(0, name.to_owned());
    } else {
        names.insert(0, format!("refs/{name}"));
    }
    names
}

/// What a name was found to mean.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    /// The reference that counts.
    pub(crate) entry: &'a RefEntry,
    /// Another one that the name could have meant as well.
    pub(crate) other: Option<&'a RefEntry>,
}

/// Finds what `name` means among `refs`.
pub(crate) fn find<'a>(refs: &'a [RefEntry], name: &str) -> Option<Found<'a>> {
    let names = candidates(name);
    let mut hits = names.iter().filter_map(|full| refs.iter().find(|entry| entry.name == *full));
    let entry = hits.next()?;
    let other = hits.find(|other| other.peeled != entry.peeled);
    Some(Found { entry, other })
}

/// The names of branches and tags that look like `name`, the most alike first, three at most.
pub(crate) fn similar(refs: &[RefEntry], name: &str) -> Vec<String> {
    let short = |entry: &RefEntry| -> Option<String> {
        let full = &entry.name;
        full.strip_prefix("refs/heads/")
            .or_else(|| full.strip_prefix("refs/tags/"))
            .map(str::to_owned)
    };
    let wanted = name.to_lowercase();
    let mut scored: Vec<(f64, String)> = refs
        .iter()
        .filter_map(short)
        .map(|short| (strsim::jaro_winkler(&wanted, &short.to_lowercase()), short))
        .filter(|(score, _)| *score > 0.8)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    scored.dedup_by(|a, b| a.1 == b.1);
    scored.truncate(3);
    scored.into_iter().map(|(_, name)| name).collect()
}

/// What a name can be as a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hex {
    /// Forty digits.
    Full(ObjectId),
    /// Four digits at least.
    Partial(gix::hash::Prefix),
}

/// Reads a name as a hash or as the beginning of one.
pub(crate) fn as_hash(name: &str) -> Option<Hex> {
    if name.len() == 40 {
        return ObjectId::from_hex(name.as_bytes()).ok().map(Hex::Full);
    }
    if name.len() > 40 || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    gix::hash::Prefix::from_hex(name).ok().map(Hex::Partial)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, digit: u8) -> RefEntry {
        let id = ObjectId::from_bytes_or_panic(&[digit; 20]);
        RefEntry::new(name.into(), Some(id), Some(id), None)
    }

    #[test]
    fn a_tag_counts_before_a_branch_and_the_other_is_told() {
        let refs = [entry("refs/heads/x", 1), entry("refs/tags/x", 2)];
        let found = find(&refs, "x").unwrap();
        assert_eq!(found.entry.name, "refs/tags/x");
        assert_eq!(found.other.unwrap().name, "refs/heads/x");
        assert_eq!(find(&refs, "heads/x").unwrap().entry.name, "refs/heads/x");
        assert_eq!(find(&refs, "refs/heads/x").unwrap().entry.name, "refs/heads/x");
    }

    #[test]
    fn a_tag_and_a_branch_on_one_commit_are_no_question() {
        let refs = [entry("refs/heads/x", 1), entry("refs/tags/x", 1)];
        assert_eq!(find(&refs, "x").unwrap().other, None);
    }

    #[test]
    fn a_slip_of_the_fingers_is_recognised_and_a_stranger_is_not() {
        let refs = [entry("refs/heads/main", 1), entry("refs/tags/v1.2.0", 1), entry("HEAD", 1)];
        assert_eq!(similar(&refs, "mian"), ["main"]);
        assert_eq!(similar(&refs, "V1.2.1"), ["v1.2.0"]);
        assert_eq!(similar(&refs, "zzz"), [""; 0]);
    }

    #[test]
    fn four_to_forty_digits_are_a_hash() {
        assert_eq!(as_hash("abc"), None);
        assert!(matches!(as_hash("abcd"), Some(Hex::Partial(_))));
        assert!(matches!(as_hash(&"a".repeat(40)), Some(Hex::Full(_))));
        assert_eq!(as_hash(&"a".repeat(41)), None);
        assert_eq!(as_hash("abcdefgh"), None);
    }
}
