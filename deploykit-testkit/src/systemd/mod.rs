//! A real systemd in namespaces of its own, on a machine that may have none as process 1.
//!
//! What is inside sees a copy-on-write view of the host's `/`, with what packages have installed and
//! nothing that this host has enabled; a network of its own with nothing but loopback; control groups
//! below the test's own. The host sees nothing of it but processes and control groups: its mounts are in another namespace, and all
//! that is written inside lies in memory. The disk outlives [`Sandbox::power_off`]; everything
//! ends with the [`Sandbox`], or with the test process, however that one ends.
//!
//! ```no_run
//! use deploykit_testkit::systemd::Sandbox;
//!
//! let Some(mut sandbox) = Sandbox::boot(&[]) else { return Ok(()) };
//! sandbox.write_unit(
//!     "web.service",
//!     "[Service]\nExecStart=sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
//! );
//! assert!(sandbox.command("systemctl").args(["enable", "--now", "web"]).status()?.success());
//! sandbox.power_off();
//! sandbox.boot_again();
//! assert!(sandbox.command("systemctl").args(["is-active", "web"]).status()?.success());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What differs from a whole machine
//!
//! - The kernel is the host's: `/proc/sys` is read-only, there are no devices, and the clocks go on across a boot.
//!   The boot id does change, except for a unit with `ProtectProc=` or `ProcSubset=`, which gets a `/proc` of its own.
//! - Nothing under `/tmp` is shared unless it is named as live, and a unit with `PrivateTmp=` does not see even that.
//! - Programs that [`Sandbox::command`] runs are in a control group beside systemd's, and in no session.
//! - Changes that the host makes outside the live directories after the boot may or may not be seen.

mod available;
mod disk;
mod enter;
mod guard;

use std::io::Write as _;

use camino::{Utf8Path, Utf8PathBuf};

use guard::Guard;

/// The variable that makes a sandbox a must when it says `required`.
pub const REQUIRE: &str = "DEPLOYKIT_TEST_SYSTEMD";

/// A real systemd in namespaces of its own, gone when dropped.
#[derive(Debug)]
pub struct Sandbox {
    guard: Guard,
    /// The number by which the outside knows process 1, while the power is on.
    init: Option<u32>,
    root: Utf8PathBuf,
}

impl Sandbox {
    /// Boots a new machine and returns when systemd has finished with that. The directories in
    /// `live` are the host's own, seen and written inside at the same path.
    ///
    /// `None`, with a line on standard error that says why, where none can be had: without root's
    /// rights, without systemd installed, or where the kernel refuses namespaces.
    ///
    /// # Panics
    ///
    /// When none can be had and the variable `DEPLOYKIT_TEST_SYSTEMD` says `required`; when the
    /// boot fails.
    pub fn boot(live: &[&Utf8Path]) -> Option<Self> {
        let guard = available::check().and_then(|()| Guard::start(live));
        let guard = match guard {
            Ok(guard) => guard,
            Err(reason) if std::env::var_os(REQUIRE).is_some_and(|it| it == "required") => {
                panic!("no systemd for the test: {reason}")
            }
            Err(reason) => {
                let _ = writeln!(std::io::stderr(), "skipped, no systemd for the test: {reason}");
                return None;
            }
        };
        let mut sandbox = Self { root: guard.disk(), guard, init: None };
        sandbox.boot_again();
        Some(sandbox)
    }

    /// Loses power: every process inside is killed at once, and nothing is flushed by anybody. What
    /// is on the disk stays (`/etc`, `/var`, `/home` and the rest inside, and the live directories); `/run`
    /// and `/tmp` are lost. Does nothing when the power is off already.
    pub fn power_off(&mut self) {
        if self.init.take().is_some() {
            self.root = self.guard.disk();
            self.guard.power_off();
        }
    }

    /// Boots the same disk, under another boot id, and returns when systemd has finished with that and the
    /// managers of lingering users are up. When the power is on it is lost first.
    ///
    /// # Panics
    ///
    /// When the boot fails or takes longer than a minute.
    pub fn boot_again(&mut self) {
        self.power_off();
        let init = self.guard.power_on();
        self.init = Some(init);
        self.root = Utf8PathBuf::from(format!("/proc/{init}/root"));
        self.wait_for_lingering_users();
    }

    /// The address of the system bus from the outside, as for `DBUS_SYSTEM_BUS_ADDRESS`. Another one
    /// after each boot.
    pub fn system_bus(&self) -> String {
        format!("unix:path={}/run/dbus/system_bus_socket", self.root)
    }

    /// The inside's `/`, as the outside sees it; while the power is off, the disk without `/run` and
    /// `/tmp`. Another path after each boot. An absolute symbolic link below it leads to the outside.
    pub fn root(&self) -> &Utf8Path {
        &self.root
    }

    /// The number of process 1 as the outside knows it, or `None` while the power is off.
    pub fn init(&self) -> Option<u32> {
        self.init
    }

    /// The directories of this sandbox's control groups on the host, one for each hierarchy; none
    /// while the power is off.
    pub fn control_groups(&self) -> Vec<Utf8PathBuf> {
        self.guard.control_groups()
    }
}
