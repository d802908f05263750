//! Messages: a text each, and a descriptor with some.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The longest text: a word, and an address or a name of a file.
const LONGEST: usize = 4096;

/// Sends a message. Whoever does not listen is waited for as long as the socket says.
pub(super) fn send(to: impl AsFd, text: &str, what: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    let those = what.map(|what| [what]);
    if let Some(those) = &those {
        with.push(SendAncillaryMessage::ScmRights(those));
    }
    let flags = SendFlags::NOSIGNAL;
    loop {
        match sendmsg(&to, &[IoSlice::new(text.as_bytes())], &mut with, flags) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives a message; nothing when the other one is gone.
pub(super) fn receive(from: impl AsFd) -> io::Result<Option<(String, Option<OwnedFd>)>> {
    let mut buffer = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    loop {
        let mut with = RecvAncillaryBuffer::new(&mut space);
        let parts = &mut [IoSliceMut::new(&mut buffer)];
        let length = match recvmsg(&from, parts, &mut with, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => message.bytes,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        if length == 0 {
            return Ok(None);
        }
        let what = with.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut those) => those.next(),
            _ => None,
        });
        return Ok(Some((String::from_utf8_lossy(&buffer[..length]).into_owned(), what)));
    }
}
