//! The names of a log's files, and which of them there are.

use std::collections::BTreeMap;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_core::Timestamp;

use super::{LogError, LogSettings};

/// Beside a plain file: when its lines were written.
const INDEX: &str = ".times";
const PACKED: &str = ".gz";
/// Of a file that is being compressed.
const HALF: &str = ".gz.tmp";

/// A file that was rotated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rotated {
    /// Its place in the order.
    pub(super) number: u64,
    pub(super) path: Utf8PathBuf,
    pub(super) packed: bool,
}

/// What a file of a log is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Packed,
    Half,
    Index,
}

/// The file that is written.
pub(super) fn live(settings: &LogSettings) -> Utf8PathBuf {
    settings.dir.join(format!("{}.log", settings.name))
}

/// The file that is about to become the live one.
pub(super) fn next(settings: &LogSettings) -> Utf8PathBuf {
    settings.dir.join(format!(".{}.log.next", settings.name))
}

/// What the live file is renamed to.
pub(super) fn target(settings: &LogSettings, now: Timestamp, number: u64) -> Utf8PathBuf {
    settings.dir.join(format!("{}-{}-{number}.log", settings.name, now.compact()))
}

/// The index of a file, which it keeps when it is compressed.
pub(super) fn index_of(path: &Utf8Path) -> Utf8PathBuf {
    let path = path.as_str();
    Utf8PathBuf::from(format!("{}{INDEX}", path.strip_suffix(PACKED).unwrap_or(path)))
}

/// What a rotated file becomes, and what it is called until it is whole.
pub(super) fn packed_of(path: &Utf8Path) -> (Utf8PathBuf, Utf8PathBuf) {
    (format!("{path}{PACKED}").into(), format!("{path}{HALF}").into())
}

/// Refuses what is no name of a file, and what would be a rotated file of another log.
pub(super) fn check(settings: &LogSettings) -> Result<(), LogError> {
    let name = &settings.name;
    let bad = name.is_empty() || name.starts_with('.') || name.contains(['/', '\0', '\n']);
    if bad || name.len() > 200 || is_rotated(name) {
        return Err(LogError::Name { name: name.clone() });
    }
    Ok(())
}

/// The files of a directory at one moment. Whoever opens many logs in one directory reads it once.
#[derive(Debug, Clone, Default)]
pub struct Listing(Vec<String>);

impl Listing {
    /// The files that are there now.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn read(dir: &Utf8Path) -> io::Result<Self> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(Self(names))
    }

    /// Those of a log, but for the live one.
    fn of(&self, settings: &LogSettings) -> Vec<(u64, Kind, Utf8PathBuf)> {
        let begin = format!("{}-", settings.name);
        let from = self.0.partition_point(|name| *name < begin);
        let of_it = self.0[from..].iter().take_while(|name| name.starts_with(&begin));
        let file = |name: &String| {
            let (number, kind) = parse(&settings.name, name)?;
            Some((number, kind, settings.dir.join(name)))
        };
        of_it.filter_map(file).collect()
    }
}

/// The rotated files, in their order. When one is there twice, because it was just compressed, it is
/// the plain one, which is surely whole.
pub(super) fn rotated(settings: &LogSettings) -> io::Result<Vec<Rotated>> {
    Ok(rotated_of(&Listing::read(&settings.dir)?.of(settings)))
}

fn rotated_of(files: &[(u64, Kind, Utf8PathBuf)]) -> Vec<Rotated> {
    let mut found = BTreeMap::new();
    for (number, kind, path) in files {
        let packed = match kind {
            Kind::Plain => false,
            Kind::Packed => true,
            Kind::Half | Kind::Index => continue,
        };
        let file = Rotated { number: *number, path: path.clone(), packed };
        if !packed || !found.contains_key(number) {
            found.insert(*number, file);
        }
    }
    found.into_values().collect()
}

/// The number that the live file will have.
pub(super) fn next_number(rotated: &[Rotated]) -> u64 {
    rotated.last().map_or(1, |last| last.number.saturating_add(1))
}

/// Removes the oldest of the rotated files, until those that are kept are left.
pub(super) fn prune(settings: &LogSettings) -> io::Result<()> {
    let files = Listing::read(&settings.dir)?.of(settings);
    let rotated = rotated_of(&files);
    let surplus = rotated.len().saturating_sub(settings.keep as usize);
    let Some(last) = surplus.checked_sub(1).and_then(|last| rotated.get(last)) else {
        return Ok(());
    };
    for (_, _, path) in files.iter().filter(|(number, ..)| *number <= last.number) {
        remove(path)?;
    }
    Ok(())
}

/// Removes what a crash has left half done: compressed files without their end, and indexes of files
/// that are not there. Whether there are rotated files.
pub(super) fn sweep(settings: &LogSettings, listing: &Listing) -> io::Result<bool> {
    let files = listing.of(settings);
    let whole: Vec<u64> = rotated_of(&files).iter().map(|file| file.number).collect();
    for (number, kind, path) in &files {
        if *kind == Kind::Half || (*kind == Kind::Index && !whole.contains(number)) {
            remove(path)?;
        }
    }
    remove(&next(settings))?;
    Ok(!whole.is_empty())
}

fn remove(path: &Utf8Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The number and the kind of a file of the log `name`, if it is one.
fn parse(name: &str, file: &str) -> Option<(u64, Kind)> {
    let rest = file.strip_prefix(name)?.strip_prefix('-')?;
    let (stem, extension) = rest.split_once(".log")?;
    let kind = match extension {
        "" => Kind::Plain,
        PACKED => Kind::Packed,
        HALF => Kind::Half,
        INDEX => Kind::Index,
        _ => return None,
    };
    Some((parse_stem(stem)?, kind))
}

/// `YYYYMMDD-HHMMSS-N`.
fn parse_stem(stem: &str) -> Option<u64> {
    let mut parts = stem.splitn(3, '-');
    let mut digits = |length: Option<usize>| {
        let part = parts.next()?;
        let fits = length.is_none_or(|length| part.len() == length);
        (fits && !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())).then_some(part)
    };
    digits(Some(8))?;
    digits(Some(6))?;
    digits(None)?.parse().ok()
}

fn is_rotated(name: &str) -> bool {
    let dashes: Vec<usize> = name.match_indices('-').map(|(at, _)| at).collect();
    let Some(third) = dashes.len().checked_sub(3) else { return false };
    parse_stem(&name[dashes[third] + 1..]).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_files_of_the_log_itself_are_its_rotated_ones() {
        let number = |file: &str| parse("web", file);
        assert_eq!(number("web-20261121-223039-12.log"), Some((12, Kind::Plain)));
        assert_eq!(number("web-20261121-223039-3.log.gz"), Some((3, Kind::Packed)));
        assert_eq!(number("web-20261121-223039-3.log.gz.tmp"), Some((3, Kind::Half)));
        assert_eq!(number("web-20261121-223039-3.log.times"), Some((3, Kind::Index)));
        for other in [
            "web.log",
            "web-2.log",
            "web-2-20261121-223039-1.log",
            "web-20261121-223039-1.log.bak",
            "web-20261121-223039-.log",
            "web-20261121-223039-1-1.log",
            "website-20261121-223039-1.log",
        ] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn names_that_would_meet_files_of_others_are_refused() {
        let check = |name: &str| check(&LogSettings::new("/", name)).is_ok();
        for good in ["web", "web-2", "web.1", "a-20261121-223039", "ä b"] {
            assert!(check(good), "{good}");
        }
        for bad in ["", ".", "..", ".web", "a/b", "web-20261121-223039-1", "a\nb"] {
            assert!(!check(bad), "{bad}");
        }
    }
}
