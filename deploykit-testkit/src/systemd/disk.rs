//! What a test puts inside, or takes away: units, users, polkit.

use std::io::ErrorKind;

use camino::Utf8PathBuf;

use super::Sandbox;

/// A line of the inside's `/etc/passwd`, as far as it matters.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) home: Utf8PathBuf,
}

impl Sandbox {
    /// Writes a unit into `/etc/systemd/system` and, while the power is on, makes systemd read its
    /// units again.
    ///
    /// # Panics
    ///
    /// When it cannot be written or read.
    pub fn write_unit(&self, name: &str, text: &str) {
        let path = self.root().join("etc/systemd/system").join(name);
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{path}: {error}"));
        if self.init().is_some() {
            self.run("systemctl", &["daemon-reload"]);
        }
    }

    /// Makes a user with a home, and returns the user id (at least 1000). Lingering is on: the user manager runs
    /// and its bus answers when this returns, and again after each boot.
    ///
    /// # Panics
    ///
    /// When the user is there already, or the manager does not start.
    pub fn add_user(&self, name: &str) -> u32 {
        self.run("useradd", &["--create-home", "--shell", "/bin/sh", name]);
        let uid = self.account(name).uid;
        self.run("loginctl", &["enable-linger", name]);
        self.wait_for_manager_of(uid);
        uid
    }

    /// At boot, too, the session manager starts what lingers on its own time.
    pub(super) fn wait_for_lingering_users(&self) {
        let lingering = std::fs::read_dir(self.root().join("var/lib/systemd/linger"));
        for user in lingering.into_iter().flatten().flatten() {
            let name = user.file_name().into_string().expect("a name in UTF-8");
            self.wait_for_manager_of(self.account(&name).uid);
        }
    }

    /// Starting what is starting already is waiting for it: it says when its sockets listen.
    fn wait_for_manager_of(&self, uid: u32) {
        self.run("systemctl", &["start", &format!("user@{uid}.service")]);
    }

    /// Makes the inside a machine without polkit, as if its package were not installed: whatever
    /// is not root is refused. Without this, polkit decides where the package is there.
    ///
    /// # Panics
    ///
    /// When the bus does not take it.
    pub fn remove_polkit(&self) {
        let service = "usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service";
        match std::fs::remove_file(self.root().join(service)) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("{service}: {error}"),
            _ => {}
        }
        self.run("systemctl", &["mask", "--now", "polkit.service"]);
        self.run("systemctl", &["reload", "dbus.service"]);
    }

    /// Whether polkit is there to decide what others than root may do.
    pub fn has_polkit(&self) -> bool {
        let unit = self.root().join("usr/lib/systemd/system/polkit.service");
        let masked = self.root().join("etc/systemd/system/polkit.service");
        unit.exists() && masked.symlink_metadata().is_err()
    }

    /// Runs a program inside that must succeed, and returns what it says on standard output.
    ///
    /// # Panics
    ///
    /// When it fails, with what it said on standard error.
    pub fn run(&self, program: &str, args: &[&str]) -> String {
        let output = self.command(program).args(args).output().expect("a shell");
        assert!(
            output.status.success(),
            "{program} {args:?}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("output in UTF-8")
    }

    pub(super) fn account(&self, name: &str) -> Account {
        let path = self.root().join("etc/passwd");
        let table = std::fs::read_to_string(&path).expect("a table of users");
        find(&table, name).unwrap_or_else(|| panic!("no user {name} in {path}"))
    }
}

fn find(table: &str, name: &str) -> Option<Account> {
    let mut lines = table.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let fields = lines.find(|fields| fields.first() == Some(&name))?;
    Some(Account {
        uid: fields.get(2)?.parse().ok()?,
        gid: fields.get(3)?.parse().ok()?,
        home: Utf8PathBuf::from(*fields.get(5)?),
    })
}
