//! What is done between fork and exec: only calls of the system, which may be made there in a program with
//! threads (signal-safety(7)). All that is needed is made before; nothing is allocated.

#![allow(
    unsafe_code,
    reason = "std has no way to a session, a mask, limits and descriptors of its own"
)]

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::sys::stat::{Mode, umask};

use super::{Identity, Limits};

/// What an [`Image`] is made of.
pub(super) struct Parts {
    /// The program, with its path.
    pub(super) program: CString,
    /// Its arguments, its name first.
    pub(super) arguments: Vec<CString>,
    /// Its environment.
    pub(super) environment: Vec<CString>,
    /// Where it works.
    pub(super) dir: CString,
    /// Its descriptors 0, 1, 2, … The last one is that of the word, and it does not keep it.
    pub(super) fds: Vec<RawFd>,
    /// The control groups that it joins.
    pub(super) groups: Vec<RawFd>,
    /// As whom it runs.
    pub(super) identity: Option<Identity>,
    pub(super) umask: u32,
    pub(super) limits: Limits,
    /// It ends when whoever starts it does.
    pub(super) is_bound: bool,
    /// It is told its number in `LISTEN_PID`.
    pub(super) has_sockets: bool,
}

/// A process that is to be, down to the pointers that execve(2) wants.
pub(super) struct Image {
    parts: Parts,
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    /// `LISTEN_PID=` with room for the digits, which only the process itself knows.
    listen_pid: Box<[Cell<u8>; LISTEN_PID.len() + DIGITS]>,
    /// Descriptors that lay where others go. Kept as long as this is.
    _moved: Vec<OwnedFd>,
}

const LISTEN_PID: &[u8] = b"LISTEN_PID=";

/// The number of a process has no more, with the end of the text.
const DIGITS: usize = 11;

impl Image {
    /// # Errors
    /// When no descriptors are left.
    pub(super) fn new(mut parts: Parts) -> io::Result<Self> {
        let count = i32::try_from(parts.fds.len()).unwrap_or(i32::MAX);
        let mut moved = Vec::new();
        // Where one goes no other one may lie: it would be overwritten.
        for fd in parts.fds.iter_mut().filter(|fd| **fd < count) {
            // SAFETY: whoever made the parts has it open, and keeps it open.
            let own = unsafe { std::os::fd::BorrowedFd::borrow_raw(*fd) };
            let away = rustix::io::fcntl_dupfd_cloexec(own, count)?;
            *fd = away.as_raw_fd();
            moved.push(away);
        }
        let listen_pid = Box::new([const { Cell::new(0) }; LISTEN_PID.len() + DIGITS]);
        listen_pid.iter().zip(LISTEN_PID).for_each(|(cell, byte)| cell.set(*byte));
        let pointers = |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).collect();
        let mut arguments: Vec<*const c_char> = pointers(&parts.arguments);
        let mut environment: Vec<*const c_char> = pointers(&parts.environment);
        if parts.has_sockets {
            environment.push(listen_pid.as_ptr().cast());
        }
        arguments.push(std::ptr::null());
        environment.push(std::ptr::null());
        Ok(Self { parts, arguments, environment, listen_pid, _moved: moved })
    }
}

/// Makes the process, which waits for a word before its program runs. Its number.
///
/// # Errors
/// When there can be no more processes.
pub(super) fn fork(image: &Image) -> io::Result<u32> {
    // What is done at a signal is for this process: the new one hears none before it is another program.
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), Some(&mut before))?;
    // SAFETY: the child calls only what may be called there, and never returns.
    let forked = match unsafe { nix::unistd::fork() } {
        Ok(nix::unistd::ForkResult::Child) => become_it(image),
        Ok(nix::unistd::ForkResult::Parent { child }) => {
            Ok(u32::try_from(child.as_raw()).unwrap_or_default())
        }
        Err(error) => Err(error.into()),
    };
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    forked
}

/// Becomes the program, or says why not and ends.
fn become_it(image: &Image) -> ! {
    let mut word = image.parts.fds.last().copied().unwrap_or(-1);
    let Err(error) = exec(image, &mut word);
    let code = (error as i32).to_ne_bytes();
    // SAFETY: plain system calls.
    unsafe {
        libc::write(word, code.as_ptr().cast(), code.len());
        libc::_exit(127);
    }
}

/// What cannot be.
enum Never {}

fn exec(image: &Image, word: &mut RawFd) -> Result<Never, Errno> {
    let Parts { groups, identity, limits, dir, fds, .. } = &image.parts;
    nix::unistd::setsid()?;
    hear_all_signals();
    for group in groups {
        join(*group)?;
    }
    umask(Mode::from_bits_truncate(image.parts.umask));
    for (limit, resource) in
        [(limits.open_files, Resource::RLIMIT_NOFILE), (limits.stack, Resource::RLIMIT_STACK)]
    {
        if let Some(limit) = limit {
            set_limit(resource, limit)?;
        }
    }
    if let Some(identity) = identity {
        nix::unistd::setgroups(&identity.others)?;
        nix::unistd::setresgid(identity.gid, identity.gid, identity.gid)?;
        nix::unistd::setresuid(identity.uid, identity.uid, identity.uid)?;
    }
    if image.parts.is_bound {
        // SAFETY: a plain system call. Becoming somebody else would undo it.
        Errno::result(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
    }
    nix::unistd::chdir::<CStr>(dir)?;
    for (to, from) in (0..).zip(fds) {
        // SAFETY: both are numbers of descriptors; no later one lies where one goes.
        Errno::result(unsafe { libc::dup2(*from, to) })?;
        *word = to;
    }
    // An embedding program may have opened some that would go on to the service, and whoever else is
    // just being started holds the other end of this word.
    close_from(*word + 1);
    await_word(*word)?;
    if image.parts.has_sockets {
        note_own_number(image);
    }
    // SAFETY: what the pointers lead to is in `image`, and each array ends with none.
    unsafe {
        libc::fcntl(*word, libc::F_SETFD, libc::FD_CLOEXEC);
        let program = image.parts.program.as_ptr();
        libc::execve(program, image.arguments.as_ptr(), image.environment.as_ptr());
    }
    Err(Errno::last())
}

/// Waits until whoever has started it has taken note of it. When they are gone it ends.
fn await_word(word: RawFd) -> Result<(), Errno> {
    let mut byte = 0_u8;
    loop {
        // SAFETY: it reads one byte, for which there is room.
        match Errno::result(unsafe { libc::read(word, (&raw mut byte).cast(), 1) }) {
            Ok(0) => return Err(Errno::ECANCELED),
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes the number of this process into its environment.
fn note_own_number(image: &Image) {
    // SAFETY: a plain system call.
    let mut rest = unsafe { libc::getpid() }.unsigned_abs();
    let mut digits = [0_u8; DIGITS];
    let mut at = DIGITS - 1;
    while rest > 0 && at > 0 {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
    // With the end of the text they have room behind its name.
    let room = image.listen_pid.iter().skip(LISTEN_PID.len());
    room.zip(&digits[at..]).for_each(|(cell, byte)| cell.set(*byte));
}

/// Sets a limit, or as much of it as this process may give away: who is not root raises nothing above what
/// they were given.
fn set_limit(resource: Resource, limit: u64) -> nix::Result<()> {
    match setrlimit(resource, limit, limit) {
        Err(Errno::EPERM) => {
            let (_, most) = getrlimit(resource)?;
            setrlimit(resource, limit.min(most), most)
        }
        result => result,
    }
}

/// Undoes what this process, or whoever has started it, ignores or blocks: a shell lets what it starts in
/// the background ignore SIGINT.
fn hear_all_signals() {
    for number in 1..=64 {
        // SAFETY: it sets the default. Those that cannot be changed are refused.
        unsafe {
            libc::signal(number, libc::SIG_DFL);
        }
    }
    let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

fn join(group: RawFd) -> Result<(), Errno> {
    // "0" is whoever writes it (cgroups(7)).
    // SAFETY: it writes one byte.
    Errno::result(unsafe { libc::write(group, b"0".as_ptr().cast(), 1) }).map(drop)
}

/// Where the kernel (before 5.9) cannot close all of them at once, no more are looked for.
const MOST: RawFd = 4096;

fn close_from(first: RawFd) {
    // SAFETY: nothing is used any more that was open.
    unsafe {
        if libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) < 0 {
            for fd in first..MOST {
                libc::close(fd);
            }
        }
    }
}
