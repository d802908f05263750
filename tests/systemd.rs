//! Services under a real systemd, through the program: as root with the system's manager, and as a
//! user with a manager of their own.

#[path = "systemd/bad.rs"]
mod bad;
#[path = "systemd/inside.rs"]
mod inside;
#[path = "systemd/limits.rs"]
mod limits;
#[path = "systemd/machine.rs"]
mod machine;
#[path = "systemd/refusals.rs"]
mod refusals;
#[path = "systemd/several.rs"]
mod several;
#[path = "systemd/sockets.rs"]
mod sockets;
#[path = "systemd/types.rs"]
mod types;
