//! As whom a process runs.

use std::ffi::OsString;
use std::path::PathBuf;

use nix::unistd::{Gid, Uid};

use super::SpawnError;

/// As whom something runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    pub(super) others: Vec<Gid>,
    name: String,
    home: PathBuf,
    shell: PathBuf,
}

impl Identity {
    /// The number of the user.
    pub fn uid(&self) -> Uid {
        self.uid
    }

    /// A user, with a group in the place of the user's own where one is given, and with all other groups
    /// that the user has. Nothing where that is who this process is already.
    ///
    /// # Errors
    /// When one of them does not exist, and when only root could bring that about.
    pub fn find(user: Option<&str>, group: Option<&str>) -> Result<Option<Self>, SpawnError> {
        if user.is_none() && group.is_none() {
            return Ok(None);
        }
        let found = match user {
            Some(name) => {
                let by_number =
                    || nix::unistd::User::from_uid(Uid::from_raw(name.parse().ok()?)).ok()?;
                let by_name = nix::unistd::User::from_name(name).ok().flatten();
                by_name
                    .or_else(by_number)
                    .ok_or_else(|| SpawnError::NoUser { name: name.into() })?
            }
            None => nix::unistd::User::from_uid(Uid::effective())
                .ok()
                .flatten()
                .ok_or_else(|| SpawnError::NoUser { name: Uid::effective().to_string() })?,
        };
        let gid = match group {
            Some(name) => {
                let by_number = || Some(Gid::from_raw(name.parse().ok()?));
                let by_name =
                    nix::unistd::Group::from_name(name).ok().flatten().map(|group| group.gid);
                by_name
                    .or_else(by_number)
                    .ok_or_else(|| SpawnError::NoGroup { name: name.into() })?
            }
            None => found.gid,
        };
        let same = found.uid == Uid::effective() && gid == Gid::effective();
        if !Uid::effective().is_root() {
            let name = found.name;
            return if same { Ok(None) } else { Err(SpawnError::NotRoot { name }) };
        }
        if same {
            return Ok(None);
        }
        let name = std::ffi::CString::new(&*found.name).unwrap_or_default();
        let others = nix::unistd::getgrouplist(&name, gid).unwrap_or_else(|_| vec![gid]);
        let (home, shell) = (found.dir, found.shell);
        Ok(Some(Self { uid: found.uid, gid, others, name: found.name, home, shell }))
    }

    /// What the environment says of who somebody is.
    pub fn environment(&self) -> [(OsString, OsString); 4] {
        let name = || OsString::from(&self.name);
        [
            ("HOME".into(), self.home.clone().into()),
            ("SHELL".into(), self.shell.clone().into()),
            ("USER".into(), name()),
            ("LOGNAME".into(), name()),
        ]
    }
}
