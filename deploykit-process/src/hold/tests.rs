use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use camino::Utf8PathBuf;

use super::*;

/// A directory with a holder that runs in a thread, and waits so long for somebody.
fn holder(alone: Duration) -> (tempfile::TempDir, Utf8PathBuf, std::thread::JoinHandle<()>) {
    let temporary = tempfile::tempdir().unwrap();
    let dir = Utf8PathBuf::from_path_buf(temporary.path().to_owned()).unwrap();
    let listener = socket().unwrap();
    bind(&listener, &SocketAddrUnix::new(dir.join(NAME).as_std_path()).unwrap()).unwrap();
    listen(&listener, 8).unwrap();
    let thread = std::thread::spawn(move || serve::serve(&listener, alone).unwrap());
    (temporary, dir, thread)
}

#[test]
fn what_is_held_outlives_whoever_had_it() {
    let (_temporary, dir, thread) = holder(Duration::from_secs(60));
    let first = Holder::begin(&dir, None).unwrap();
    let (socket, port) = {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        (socket, port)
    };
    let (mut reads, writes) = io::pipe().unwrap();
    first.keep("socket a", &socket);
    first.keep("pipe a", &writes);
    drop((socket, first));
    // Whoever connects meanwhile waits.
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let second = Holder::begin(&dir, None).unwrap();
    let mut found = second.held("socket ");
    assert_eq!(found.keys().collect::<Vec<_>>(), ["socket a"]);
    let socket = TcpListener::from(found.remove("socket a").unwrap());
    socket.accept().unwrap().0.write_all(b"x").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "x");
    // The pipe ends when it is let go of.
    drop(writes);
    second.let_go_of("pipe a");
    assert_eq!(reads.read(&mut [0]).unwrap(), 0);
    assert!(second.held("pipe").is_empty());
    Holder::end_of(&dir);
    thread.join().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok(), "it is held here still");
    drop((socket, found));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(Holder::begin(&dir, None).is_err());
}

#[test]
fn nobody_is_waited_for_without_an_end() {
    let (_temporary, dir, thread) = holder(Duration::from_millis(50));
    let one = Holder::begin(&dir, None).unwrap();
    std::thread::sleep(Duration::from_millis(150));
    assert!(one.held("").is_empty() && !thread.is_finished(), "somebody is there");
    drop(one);
    thread.join().unwrap();
}
