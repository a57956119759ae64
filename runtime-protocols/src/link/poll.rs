//! Waiting on non-blocking sockets with a deadline.

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use std::{
    io::{self, ErrorKind},
    net::TcpStream,
    time::{Duration, Instant},
};

/// The peer has ended its direction of the connection.
#[cfg(target_os = "linux")]
pub(super) const HANGUP: PollFlags = PollFlags::RDHUP;
/// Elsewhere the end shows up as readable.
#[cfg(not(target_os = "linux"))]
pub(super) const HANGUP: PollFlags = PollFlags::empty();

/// Waits until one of `set` is ready; `false` when the deadline has passed first.
pub(super) fn wait(set: &mut [PollFd<'_>], deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left.min(Duration::from_secs(1 << 20))).map_err(io::Error::other)?;
        match rustix::event::poll(set, Some(&timeout)) {
            Ok(0) if Instant::now() >= deadline => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(e) => return Err(e.into()),
        }
    }
}

/// Whether a call on a non-blocking socket is to be repeated later.
pub(super) fn later(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Waits for one socket; fails with `TimedOut`.
pub(super) fn wait_one(stream: &TcpStream, events: PollFlags, deadline: Instant) -> io::Result<()> {
    match wait(&mut [PollFd::new(stream, events)], deadline)? {
        true => Ok(()),
        false => Err(ErrorKind::TimedOut.into()),
    }
}
