//! One unit file: how it is marked as deploykit's own, and what is there in its place.

use std::fmt::Write as _;
use std::io::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};

use super::UnitError;
use crate::managed::{MARK, is_ours};
use crate::name::UnitName;

/// A unit file, or a drop-in of one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnitFile {
    /// Its path below the directory of unit files: `web.service`,
    /// `deploykit-recover@srv-app.timer.d/10-deploykit.conf`.
    pub name: Utf8PathBuf,
    /// All of its text, the mark included.
    pub text: String,
    /// Whose it is: the directory of an application, or [`SHARED`].
    of: String,
}

/// What is there in the place of a unit file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Present {
    /// Nothing.
    Absent,
    /// Just this file.
    Same,
    /// One that deploykit has made, and that is to be another now.
    Outdated,
    /// One that deploykit has made, and somebody has changed.
    Edited,
    /// One that somebody else has made.
    Foreign,
    /// One that deploykit has made for another application.
    Other,
    /// Nothing, but a unit of that name is elsewhere, the distribution's: this one would hide it.
    Elsewhere,
}

/// Of what application a file is; those that all applications share are of none.
const SHARED: &str = "every application";

impl Present {
    /// Whether it is not deploykit's to replace.
    pub(super) fn is_in_the_way(self) -> bool {
        matches!(self, Self::Edited | Self::Foreign | Self::Other | Self::Elsewhere)
    }

    /// Whether there is a unit that somebody else works with.
    pub(super) fn is_of_others(self) -> bool {
        matches!(self, Self::Foreign | Self::Other | Self::Elsewhere)
    }

    /// What somebody has to know of it whose file it is not.
    pub(crate) fn why_not(self) -> &'static str {
        match self {
            Self::Foreign => "was not made by deploykit",
            Self::Other => "was made for another application",
            Self::Elsewhere => "would hide a unit of the distribution",
            _ => "was changed by hand",
        }
    }
}

impl UnitFile {
    /// A file of an application.
    pub(super) fn of(root: &Utf8Path, name: impl Into<Utf8PathBuf>, body: &str) -> Self {
        Self::new(name, root.as_str(), body)
    }

    /// A file that all applications share.
    pub(super) fn shared(name: impl Into<Utf8PathBuf>, body: &str) -> Self {
        Self::new(name, SHARED, body)
    }

    fn new(name: impl Into<Utf8PathBuf>, of: &str, body: &str) -> Self {
        let name = name.into();
        let unit = name.parent().filter(|dir| dir.as_str().ends_with(".d"));
        let unit = unit.unwrap_or(&name).as_str().trim_end_matches(".d").to_owned();
        let text = format!(
            "{MARK} for {of}; {}\n\
             # Changes made here are in the way of the next `deploykit unit install`; make them with\n\
             # `systemctl edit {unit}`, of a user's with `systemctl --user edit {unit}`.\n\n{body}",
            digest(body)
        );
        Self { name, text, of: of.to_owned() }
    }

    /// Whether somebody has changed this file, which was found.
    pub(super) fn is_edited(&self) -> bool {
        !is_untouched(&self.text)
    }

    /// What is there in its place, and its text.
    pub(super) fn present(&self, directory: &Utf8Path) -> Result<(Present, String), UnitError> {
        let path = directory.join(&self.name);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let present = if is_elsewhere(directory, &self.name) {
                    Present::Elsewhere
                } else {
                    Present::Absent
                };
                return Ok((present, String::new()));
            }
            Err(source) => return Err(UnitError::File { operation: "read", path, source }),
        };
        let present = match () {
            () if text == self.text => Present::Same,
            // A link to /dev/null, which masks a unit, is read as an empty file.
            () if !text.starts_with(MARK) => Present::Foreign,
            () if !is_of(&text, &self.of) => Present::Other,
            () if is_untouched(&text) => Present::Outdated,
            () => Present::Edited,
        };
        Ok((present, text))
    }

    /// Puts it in its place, on disk before it returns; whoever reads meanwhile sees the old one or the
    /// new one.
    pub(super) fn write(&self, directory: &Utf8Path) -> Result<(), UnitError> {
        let path = directory.join(&self.name);
        let parent = path.parent().unwrap_or(directory);
        let failed = |operation: &'static str, path: &Utf8Path| {
            let path = path.to_owned();
            move |source| UnitError::File { operation, path, source }
        };
        std::fs::create_dir_all(parent).map_err(failed("make", parent))?;
        // Of one name, so that what a kill has left is gone with the next that is written.
        let new = parent.join(format!(".{}.deploykit-new", path.file_name().unwrap_or_default()));
        let _ = std::fs::remove_file(&new);
        let made = self.write_new(&new).and_then(|()| std::fs::rename(&new, &path));
        if made.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        made.map_err(failed("write", &path))?;
        std::fs::File::open(parent)
            .and_then(|parent| parent.sync_all())
            .map_err(failed("write", parent))
    }

    fn write_new(&self, path: &Utf8Path) -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
        // Whatever the mask of whoever installs it: everybody may know how a service is run.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        file.write_all(self.text.as_bytes())?;
        file.sync_all()
    }
}

/// Whether a unit of that name is where distributions put theirs (systemd.unit(5), "Unit File Load
/// Path").
fn is_elsewhere(directory: &Utf8Path, name: &Utf8Path) -> bool {
    let kind = if directory.ends_with("systemd/system") { "system" } else { "user" };
    ["/usr/local/lib", "/usr/lib", "/lib"].iter().any(|place| {
        let path = Utf8PathBuf::from(format!("{place}/systemd/{kind}")).join(name);
        path.symlink_metadata().is_ok() && !is_ours(path.as_str())
    })
}

/// A digest of what follows the mark, by which a change is seen.
fn digest(body: &str) -> String {
    let digest = Sha256::digest(body.as_bytes());
    digest.iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether a file that deploykit has made is still as it made it.
fn is_untouched(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\n\n") else { return false };
    let first = head.lines().next().unwrap_or_default();
    first.rsplit("; ").next() == Some(&digest(body))
}

/// Whether deploykit has made this file for that application.
fn is_of(text: &str, root: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    let of = first.strip_prefix(MARK).and_then(|rest| rest.strip_prefix(" for "));
    of.and_then(|of| of.rsplit_once("; ")).is_some_and(|(of, _)| of == root)
}

/// The files that deploykit has made for an application, with their texts.
pub(super) fn made_for(root: &Utf8Path, directory: &Utf8Path) -> Result<Vec<UnitFile>, UnitError> {
    let failed = |path: &Utf8Path| {
        let path = path.to_owned();
        move |source| UnitError::File { operation: "read", path, source }
    };
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(open) = directories.pop() {
        let entries = match open.read_dir_utf8() {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => return Err(failed(&open)(source)),
        };
        for entry in entries {
            // A name that is no text is no name of a unit.
            let Ok(entry) = entry else { continue };
            let (kind, path) = (entry.file_type().map_err(failed(entry.path()))?, entry.path());
            if kind.is_dir() && open == directory && path.as_str().ends_with(".d") {
                directories.push(path.to_owned());
            }
            // A copy that was kept of one is none.
            let is_unit = if open == directory {
                UnitName::is_complete(entry.file_name())
            } else {
                entry.file_name().ends_with(".conf")
            };
            let text =
                if kind.is_file() && is_unit { std::fs::read_to_string(path).ok() } else { None };
            if let Some(text) = text.filter(|text| is_of(text, root.as_str())) {
                let name = path.strip_prefix(directory).unwrap_or(path).to_owned();
                found.push(UnitFile { name, text, of: root.to_string() });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> (tempfile::TempDir, Utf8PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(directory.path().to_owned()).unwrap();
        (directory, path)
    }

    #[test]
    fn a_file_is_known_again_and_a_change_by_others_is_seen() {
        let (_keep, directory) = directory();
        let one = UnitFile::of("/srv/app".into(), "web.service", "[Service]\nExecStart=a\n");
        let two = UnitFile::of("/srv/app".into(), "web.service", "[Service]\nExecStart=b\n");
        let present = |file: &UnitFile| file.present(&directory).unwrap().0;
        assert_eq!(present(&one), Present::Absent);
        one.write(&directory).unwrap();
        assert_eq!((present(&one), present(&two)), (Present::Same, Present::Outdated));
        let path = directory.join("web.service");
        std::fs::write(&path, one.text.replace("=a", "=c")).unwrap();
        assert_eq!(present(&one), Present::Edited);
        std::fs::write(&path, "[Service]\n").unwrap();
        assert_eq!(present(&one), Present::Foreign);
        let of_another =
            UnitFile::of("/srv/app2".into(), "web.service", "[Service]\nExecStart=a\n");
        of_another.write(&directory).unwrap();
        assert_eq!(present(&one), Present::Other);
    }

    #[test]
    fn what_a_kill_has_left_half_written_goes_with_the_next_that_is_written() {
        let (_keep, directory) = directory();
        let file = UnitFile::of("/srv/app".into(), "web.service", "[Service]\nExecStart=a\n");
        std::fs::write(directory.join(".web.service.deploykit-new"), "[Serv").unwrap();
        file.write(&directory).unwrap();
        let names: Vec<_> = directory.read_dir_utf8().unwrap().flatten().collect();
        assert_eq!(names.iter().map(|name| name.file_name()).collect::<Vec<_>>(), ["web.service"]);
        assert_eq!(file.present(&directory).unwrap().0, Present::Same);
    }

    #[test]
    fn the_files_of_an_application_are_found_and_those_of_others_are_not() {
        let (_keep, directory) = directory();
        let drop_in = "a@x.timer.d/10-deploykit.conf";
        for (root, name) in
            [("/srv/app", "web.service"), ("/srv/app", drop_in), ("/srv/app2", "b.service")]
        {
            UnitFile::of(root.into(), name, "[Unit]\n").write(&directory).unwrap();
        }
        UnitFile::shared("c@.service", "[Unit]\n").write(&directory).unwrap();
        std::fs::write(directory.join("d.service"), "[Unit]\n").unwrap();
        let kept = directory.join("web.service.before-deploykit");
        std::fs::copy(directory.join("web.service"), kept).unwrap();
        let found = made_for("/srv/app".into(), &directory).unwrap();
        let names: Vec<_> = found.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, [drop_in, "web.service"]);
    }
}
