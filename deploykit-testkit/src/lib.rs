//! What the tests of deploykit share: fakes, and real git repositories and servers on the loopback
//! interface. It panics where something goes wrong: it is for tests only.

pub mod certificates;
pub mod conformance;
pub mod fake;
pub mod git_repo;
pub mod git_server;
pub mod load;
pub mod mail_server;
pub mod systemd;
