//! Reaching one peer, in a thread of its own, until it answers or the time is over.

use super::handshake::{PREAMBLE, Preamble};
use super::stream::{Refusal, Stream, refusal};
use super::tcp::{Options, socket_buffers};
use super::{Fault, LinkError, Party, Place};
use rustix::net::{AddressFamily, SocketType};
use rustls::ClientConfig;
use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    sync::atomic::{AtomicBool, Ordering},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

pub(super) const AT: Place<'static> = Place { round: 0, what: "handshake" };

/// Whom to reach, and what to say.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) peer: Party,
    /// Host or address, and port.
    pub(super) address: String,
    pub(super) options: Options,
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// What this party sends first.
    pub(super) handshake: Arc<Vec<u8>>,
    pub(super) deadline: Instant,
    /// Nobody waits for it any more.
    pub(super) stop: Arc<AtomicBool>,
    /// Why the last attempt failed.
    pub(super) reason: Arc<Mutex<String>>,
}

/// A peer that has answered.
pub(super) struct Answer {
    pub(super) stream: Stream,
    pub(super) preamble: Preamble,
    pub(super) body: Vec<u8>,
}

/// Why one attempt failed.
enum Failed {
    /// It may work later.
    Now(String),
    /// It never will.
    Ever(LinkError),
}

impl Call {
    /// `None` when the time is over.
    pub(super) fn run(&self) -> Option<Result<Answer, LinkError>> {
        const LONGEST_PAUSE: Duration = Duration::from_millis(100);
        let mut pause = Duration::from_millis(2);
        loop {
            let reason = match self.attempt() {
                Ok(answer) => return Some(Ok(answer)),
                Err(Failed::Ever(e)) => return Some(Err(e)),
                Err(Failed::Now(reason)) => reason,
            };
            *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = reason;
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stop.load(Ordering::Relaxed) {
                return None;
            }
            thread::sleep(pause.min(left));
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    /// The first address of the host that can be reached.
    fn open(&self, limit: Duration) -> io::Result<TcpStream> {
        let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
        for address in self.address.to_socket_addrs()? {
            match self.open_address(address, limit) {
                Ok(stream) => return Ok(stream),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn open_address(&self, address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
        if self.options.socket_buffers.is_none() {
            return TcpStream::connect_timeout(&address, limit);
        }
        // Sizes count from the first packet on only when they are set before.
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
        socket_buffers(&socket, &self.options)?;
        rustix::net::connect(&socket, &address)?;
        Ok(socket.into())
    }

    fn attempt(&self) -> Result<Answer, Failed> {
        const LONGEST_ATTEMPT: Duration = Duration::from_secs(2);
        let now = |e: io::Error| Failed::Now(e.to_string());
        let left = self.deadline.saturating_duration_since(Instant::now());
        let socket = self.open(left.clamp(Duration::from_millis(1), LONGEST_ATTEMPT)).map_err(now)?;
        // A port nobody listens on can connect to itself.
        if socket.local_addr().map_err(now)? == socket.peer_addr().map_err(now)? {
            return Err(Failed::Now(io::Error::from(ErrorKind::ConnectionRefused).to_string()));
        }
        prepare(&socket).map_err(now)?;

        let deadline = Instant::now() + self.options.timeouts.handshake;
        let mut stream = Stream::dial(socket, self.tls.as_ref()).map_err(now)?;
        let failed = |e: io::Error| self.failed(&e);
        stream.shake_hands(deadline).map_err(failed)?;
        stream.write_full(&self.handshake, deadline).map_err(failed)?;
        let mut preamble = [0; PREAMBLE];
        stream.read_full(&mut preamble, deadline).map_err(failed)?;
        let preamble = Preamble::decode(&preamble)
            .ok_or_else(|| Failed::Ever(LinkError::malformed(&AT, self.peer, Fault::Magic)))?;
        let mut body = vec![0; preamble.body];
        stream.read_full(&mut body, deadline).map_err(failed)?;
        Ok(Answer { stream, preamble, body })
    }

    fn failed(&self, e: &io::Error) -> Failed {
        let refused =
            |reason| LinkError::Authentication { peer: Some(self.peer), address: self.address.clone(), reason };
        match refusal(e) {
            Some(Refusal::Certificate(reason)) => Failed::Ever(refused(reason)),
            Some(Refusal::Alert(alert)) => Failed::Ever(refused(format!(
                "it refused the certificate of this party ({alert}): is that the one in its `net.toml`, and valid by its clock?"
            ))),
            Some(Refusal::Nonsense(fault)) => Failed::Ever(LinkError::malformed(&AT, self.peer, fault)),
            None if e.kind() == ErrorKind::TimedOut => {
                Failed::Ever(LinkError::deadline(&AT, self.peer, 0, 0, self.options.timeouts.handshake))
            }
            None => Failed::Now(format!("it ended the connection during the handshake ({e})")),
        }
    }
}

/// Settings of every connection.
pub(super) fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)
}
