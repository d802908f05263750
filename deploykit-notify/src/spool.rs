//! What has not been told yet, on disk: one file for each message and each who is to be told of it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_core::Message;
use serde::{Deserialize, Serialize};

/// How the names of whole files end, and of those that are being written.
const WHOLE: &str = ".json";
const HALF: &str = ".new";

/// No message is longer, in bytes.
const LONGEST: u64 = 1 << 20;

/// A message on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Who is to be told, by label.
    pub(crate) to: String,
    pub(crate) message: Message,
}

/// What was there.
#[derive(Debug)]
pub(crate) struct Found {
    /// In their order, each with its file.
    pub(crate) kept: Vec<(Utf8PathBuf, Kept)>,
    /// What could not be read, and is removed where that can be done: why, in words.
    pub(crate) broken: Vec<String>,
}

/// A directory of them.
#[derive(Debug)]
pub(crate) struct Spool {
    dir: Utf8PathBuf,
    next: AtomicU64,
}

impl Spool {
    /// The directory, which need not be there yet, and what is in it. Whatever cannot be read keeps nobody
    /// from beginning.
    pub(crate) fn open(dir: &Utf8Path) -> (Self, Found) {
        let mut found = Found { kept: Vec::new(), broken: Vec::new() };
        let mut names: Vec<String> = match dir.read_dir_utf8() {
            Ok(entries) => entries.flatten().map(|entry| entry.file_name().to_owned()).collect(),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    found
                        .broken
                        .push(format!("what was to be told cannot be looked at: {dir}: {error}"));
                }
                Vec::new()
            }
        };
        names.sort();
        let mut last = 0;
        for name in names {
            let path = dir.join(&name);
            let Some(number) = name.strip_suffix(WHOLE) else {
                if name.ends_with(HALF) {
                    let _ = std::fs::remove_file(&path);
                }
                continue;
            };
            last = last.max(number.parse().unwrap_or(0));
            match read(&path) {
                Ok(one) => found.kept.push((path, one)),
                Err(why) => {
                    let _ = std::fs::remove_file(&path);
                    found.broken.push(format!("what was to be told cannot be read: {path}: {why}"));
                }
            }
        }
        (Self { dir: dir.to_owned(), next: AtomicU64::new(last + 1) }, found)
    }

    /// Keeps one. It is there as a whole, or not at all.
    pub(crate) fn keep(&self, kept: &Kept) -> io::Result<Utf8PathBuf> {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("{number:012}{WHOLE}"));
        let half = self.dir.join(format!("{number:012}{HALF}"));
        let text = serde_json::to_vec(kept)?;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let mut options = std::fs::File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&half)?;
        let written = io::Write::write_all(&mut file, &text);
        if let Err(error) = written.and_then(|()| std::fs::rename(&half, &path)) {
            let _ = std::fs::remove_file(&half);
            return Err(error);
        }
        Ok(path)
    }
}

/// Reads one, and nothing that could keep anybody waiting.
fn read(path: &Utf8Path) -> Result<Kept, String> {
    let found = std::fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    if !found.is_file() || found.len() > LONGEST {
        return Err("it is no file of ours".to_owned());
    }
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::tests::letter;

    #[test]
    fn what_was_kept_is_there_again_in_its_order_and_what_is_broken_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(directory.path()).unwrap().join("spool");
        let (spool, found) = Spool::open(&dir);
        assert!(found.kept.is_empty());
        for what in ["one", "two", "three"] {
            let message = letter("web", what).message;
            spool.keep(&Kept { to: "mail".into(), message }).unwrap();
        }
        std::fs::write(dir.join("000000000002.json"), "{").unwrap();
        std::fs::write(dir.join("000000000009.new"), "{").unwrap();
        std::fs::create_dir(dir.join("old.json")).unwrap();
        let (spool, Found { kept, broken }) = Spool::open(&dir);
        let whats: Vec<&str> = kept.iter().map(|(_, kept)| &*kept.message.what).collect();
        assert_eq!((whats, broken.len()), (vec!["one", "three"], 2));
        let message = letter("web", "four").message;
        let path = spool.keep(&Kept { to: "mail".into(), message }).unwrap();
        assert_eq!(path.file_name(), Some("000000000004.json"));
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 4, "what is not ours stays");
    }
}
