//! Who listens where somebody else wants to.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::Address;

/// The state of a socket that listens, in /proc/net/tcp; see proc_pid_net(5).
const LISTENS: &str = "0A";

/// The flag of a unix socket that listens (`__SO_ACCEPTCON`), in /proc/net/unix.
const ACCEPTS: u32 = 0x1_0000;

/// The processes that listen there, as far as this one may know.
pub(crate) fn owners(address: &Address) -> Vec<u32> {
    let sockets = sockets_at(address);
    if sockets.is_empty() {
        return Vec::new();
    }
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| has_one(*pid, &sockets)).collect()
}

/// Why nobody can listen there, in words.
pub(crate) fn why(address: &str, error: &io::Error) -> String {
    let others = match Address::parse(address) {
        Some(address) if error.kind() == io::ErrorKind::AddrInUse => owners(&address),
        _ => Vec::new(),
    };
    let Some(first) = others.first() else { return error.to_string() };
    let name = std::fs::read_to_string(format!("/proc/{first}/comm")).unwrap_or_default();
    format!("{} (process {first}) listens there", name.trim_end())
}

fn has_one(pid: u32, sockets: &HashSet<u64>) -> bool {
    let all = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    all.filter_map(|entry| inode(&std::fs::read_link(entry.path()).ok()?))
        .any(|inode| sockets.contains(&inode))
}

/// The number in `socket:[123]`.
fn inode(link: &Path) -> Option<u64> {
    let text = std::str::from_utf8(link.as_os_str().as_bytes()).ok()?;
    text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The inodes of the sockets that listen there.
fn sockets_at(address: &Address) -> HashSet<u64> {
    let lines = |file: &str| -> Vec<String> {
        let text = std::fs::read(format!("/proc/self/net/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().skip(1).map(str::to_owned).collect()
    };
    let (ip, port) = match address {
        Address::Unix(path) => {
            return lines("unix").iter().filter_map(|line| unix(line, path.as_str())).collect();
        }
        Address::Port(port) => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), *port),
        Address::Tcp(address) => (address.ip(), address.port()),
    };
    let all = lines("tcp").into_iter().chain(lines("tcp6"));
    all.filter_map(|line| tcp(&line, ip, port)).collect()
}

/// The inode of a line of /proc/net/tcp, if that socket is in the way of another one.
fn tcp(line: &str, ip: IpAddr, port: u16) -> Option<u64> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (local, number) = words.get(1)?.split_once(':')?;
    if *words.get(3)? != LISTENS || u16::from_str_radix(number, 16) != Ok(port) {
        return None;
    }
    let local = parse_ip(local)?;
    let is_in_the_way = local == ip || local.is_unspecified() || ip.is_unspecified();
    is_in_the_way.then(|| words.get(9)?.parse().ok())?
}

/// An address as it is there: words of four bytes each, in the order of the host.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    if text.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let words = [word(0)?, word(8)?, word(16)?, word(24)?];
    let ip = Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?);
    Some(ip.to_canonical())
}

/// The inode of a line of /proc/net/unix, if it listens at this path.
fn unix(line: &str, path: &str) -> Option<u64> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let accepts = u32::from_str_radix(words.get(3)?, 16).ok()? & ACCEPTS != 0;
    let is_it = words.get(7..)?.join(" ") == path;
    (accepts && is_it).then(|| words.get(6)?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use camino::Utf8PathBuf;

    use super::*;

    #[test]
    fn whoever_listens_is_found_by_every_address_that_is_in_the_way() {
        let own = std::process::id();
        for there in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"] {
            let listener = TcpListener::bind(there).unwrap();
            let address = listener.local_addr().unwrap();
            let port = address.port();
            assert_eq!(owners(&Address::Tcp(address)), [own], "{there}");
            assert_eq!(owners(&Address::Port(port)), [own], "{there}");
            let other = Address::Tcp(([127, 0, 0, 2], port).into());
            assert_eq!(owners(&other).is_empty(), !address.ip().is_unspecified(), "{there}");
            drop(listener);
            assert_eq!(owners(&Address::Tcp(address)), [0; 0], "{there}");
        }
    }

    #[test]
    fn whoever_listens_at_a_path_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().join("a b")).unwrap();
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(owners(&Address::Unix(path.clone())), [std::process::id()]);
        let in_use = io::Error::from(io::ErrorKind::AddrInUse);
        let told = why(path.as_str(), &in_use);
        assert!(
            told.ends_with(&format!("(process {}) listens there", std::process::id())),
            "{told}"
        );
        drop(listener);
        assert_eq!(owners(&Address::Unix(path)), [0; 0]);
        assert_eq!(why("/nowhere", &in_use), in_use.to_string());
    }
}
