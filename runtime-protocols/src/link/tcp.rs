//! Links over TCP, one connection for each pair of parties.
//!
//! One thread does everything: it writes what the sockets take, then waits on all of them at once and reads and writes
//! whichever is ready. So messages larger than all buffers cannot block each other, and the end of any peer is seen
//! while waiting for another. Nothing here is encrypted: whoever calls it sees to it that the addresses are loopback.

use super::connect::{Met, meet};
use super::frame::{self, HEADER, Header, Kind, REASON_LIMIT};
use super::handshake::{self, NONCE};
use super::meter::Meter;
use super::poll::{self, HANGUP};
use super::{Hello, Link, LinkError, LinkStats, Party, Place, Timeouts, check_lists, keys, party};
use rustix::event::{PollFd, PollFlags};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use smallvec::SmallVec;
use std::{
    io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    time::{Duration, Instant},
};

/// Settings of a TCP link.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How long to wait.
    pub timeouts: Timeouts,
    /// Size of the socket buffers, for tests; the system's own choice is better.
    pub socket_buffers: Option<usize>,
}

/// Connects party `me` to all others: it listens on its own entry of `addresses` for parties after it and dials those
/// before it. Returns when all parties are connected, agree on `hello` and have derived one session.
///
/// # Panics
/// When `me` has no address, there are more than 255, or `hello` is larger than [`HELLO_LIMIT`](super::HELLO_LIMIT).
pub fn connect(me: Party, addresses: &[SocketAddr], timeouts: Timeouts, hello: &Hello) -> Result<TcpLink, LinkError> {
    let options = Options { timeouts, socket_buffers: None };
    let listener = match addresses.get(me.index()) {
        Some(&address) if me.index() + 1 < addresses.len() => Some(listen(address, &options)?),
        _ => None,
    };
    establish(listener, me, addresses, &options, hello)
}

/// Listens on `address`, for [`connect_on`].
pub fn listen(address: SocketAddr, options: &Options) -> Result<TcpListener, LinkError> {
    let bind = || -> io::Result<TcpListener> {
        let listener = TcpListener::bind(address)?;
        // What is accepted inherits the sizes.
        socket_buffers(&listener, options)?;
        Ok(listener)
    };
    bind().map_err(|e| LinkError::Listen { address, reason: e.to_string() })
}

/// Sets the buffer sizes that `options` asks for.
pub(super) fn socket_buffers(socket: impl AsFd, options: &Options) -> io::Result<()> {
    if let Some(bytes) = options.socket_buffers {
        set_socket_send_buffer_size(&socket, bytes)?;
        set_socket_recv_buffer_size(&socket, bytes)?;
    }
    Ok(())
}

/// Like [`connect`], on a socket that listens already.
pub fn connect_on(
    listener: TcpListener,
    me: Party,
    addresses: &[SocketAddr],
    options: &Options,
    hello: &Hello,
) -> Result<TcpLink, LinkError> {
    establish(Some(listener), me, addresses, options, hello)
}

fn establish(
    listener: Option<TcpListener>,
    me: Party,
    addresses: &[SocketAddr],
    options: &Options,
    hello: &Hello,
) -> Result<TcpLink, LinkError> {
    let n = addresses.len();
    let mut nonce = [0; NONCE];
    keys::random(&mut nonce)?;
    let met = meet(listener, me, addresses, options, hello, &nonce)?;
    let nonces: Vec<[u8; NONCE]> = met.iter().map(|met| met.as_ref().map_or(nonce, |met| met.nonce)).collect();
    let mut link = TcpLink {
        me: me.index(),
        session: handshake::session(&nonces),
        timeouts: options.timeouts,
        peers: met.into_iter().map(|met| met.map(Peer::new)).collect(),
        meter: Meter::new(n),
        failed: None,
        closed: false,
    };
    link.compare_nonces(&nonces)?;
    link.begin();
    Ok(link)
}

/// The link of one party over TCP.
pub struct TcpLink {
    me: usize,
    session: [u8; 16],
    timeouts: Timeouts,
    /// By party; none for this one.
    peers: Vec<Option<Peer>>,
    meter: Meter,
    failed: Option<LinkError>,
    closed: bool,
}

struct Peer {
    stream: TcpStream,
    /// Messages sent and received in whole.
    sent: u32,
    received: u32,
    outgoing: Transfer,
    incoming: Transfer,
    quiet: Quiet,
}

/// A message under way.
#[derive(Default)]
struct Transfer {
    header: [u8; HEADER],
    /// Bytes moved of header and payload.
    done: usize,
    /// Bytes of header and payload; 0 when there is no message.
    total: usize,
}

impl Transfer {
    fn new(header: [u8; HEADER], payload: usize) -> Self {
        Transfer { header, done: 0, total: if payload == 0 { 0 } else { HEADER + payload } }
    }

    fn pending(&self) -> bool {
        self.done < self.total
    }

    fn payload_done(&self) -> usize {
        self.done.saturating_sub(HEADER)
    }

    fn payload(&self) -> usize {
        self.total.saturating_sub(HEADER)
    }
}

/// What is known of a peer from whom nothing is due.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quiet {
    /// Nothing has come.
    Open,
    /// It is ahead: a message for a later exchange has come. What is behind that cannot be seen yet.
    Ahead,
    /// It has taken leave.
    Ended,
}

impl Peer {
    fn new(met: Met) -> Self {
        Peer {
            stream: met.stream,
            sent: 0,
            received: 0,
            outgoing: Transfer::default(),
            incoming: Transfer::default(),
            quiet: Quiet::Open,
        }
    }

    /// What to wait for; `None` when nothing can come of it.
    fn events(&self) -> Option<PollFlags> {
        let mut events = PollFlags::empty();
        if self.outgoing.pending() {
            events |= PollFlags::OUT;
        }
        if self.incoming.pending() {
            events |= PollFlags::IN;
        } else {
            match self.quiet {
                Quiet::Open => events |= PollFlags::IN | HANGUP,
                // Resets are always reported.
                Quiet::Ahead => {}
                Quiet::Ended => return None,
            }
        }
        Some(events)
    }

    /// Writes what the socket takes.
    fn push(&mut self, payload: &[u8]) -> io::Result<()> {
        let Transfer { header, done, .. } = &mut self.outgoing;
        let head = &header[(*done).min(HEADER)..];
        let parts = [IoSlice::new(head), IoSlice::new(&payload[done.saturating_sub(HEADER)..])];
        match self.stream.write_vectored(&parts) {
            Ok(n) => *done += n,
            Err(e) if poll::later(&e) => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// Reads what the socket has, but no byte more than the message that is due. Returns the number of bytes.
    fn pull(&mut self, payload: &mut [u8]) -> io::Result<Option<usize>> {
        let Transfer { header, done, .. } = &mut self.incoming;
        let head = &mut header[(*done).min(HEADER)..];
        let mut parts = [IoSliceMut::new(head), IoSliceMut::new(&mut payload[done.saturating_sub(HEADER)..])];
        match self.stream.read_vectored(&mut parts) {
            Ok(n) => {
                *done += n;
                Ok(Some(n))
            }
            Err(e) if poll::later(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Reads the reason of an abort whose header is known and of which `start` has been read.
    fn last_words(&self, header: &Header, start: &[u8]) -> (u8, String) {
        const PATIENCE: Duration = Duration::from_millis(500);
        let length = usize::try_from(header.length).map_or(0, |length| length.min(1 + REASON_LIMIT));
        let mut words = start[..start.len().min(length)].to_vec();
        let read = words.len();
        words.resize(length, 0);
        // What cannot be read any more stays empty.
        let _ = poll::read_full(&self.stream, &mut words[read..], Instant::now() + PATIENCE);
        let reason = String::from_utf8_lossy(words.get(1..).unwrap_or_default());
        (words.first().copied().unwrap_or_default(), reason.trim_end_matches('\0').to_owned())
    }
}

/// One entry for each peer that is waited for; a few need no allocation.
type Waiting<T> = SmallVec<[T; 8]>;

impl TcpLink {
    /// Runs the exchange that `out` and `incoming` describe, within `limit`.
    fn run(
        &mut self,
        at: &Place<'_>,
        out: &[Vec<u8>],
        expect: &[usize],
        incoming: &mut [Vec<u8>],
        limit: Duration,
    ) -> Result<(), LinkError> {
        let level = self.meter.next_level();
        for p in 0..self.peers.len() {
            incoming[p].resize(expect[p], 0);
            let Some(peer) = &mut self.peers[p] else { continue };
            if peer.quiet == Quiet::Ended && (expect[p] > 0 || !out[p].is_empty()) {
                return Err(LinkError::lost(at, party(p), 0, expect[p], "it has ended"));
            }
            let header = Header { length: out[p].len() as u64, level, sequence: peer.sent, kind: Kind::Data };
            peer.outgoing = Transfer::new(header.encode(), out[p].len());
            peer.incoming = Transfer::new([0; HEADER], expect[p]);
            if peer.quiet == Quiet::Ahead {
                peer.quiet = Quiet::Open;
            }
        }
        for p in 0..self.peers.len() {
            self.send(at, p, level, &out[p], &mut incoming[p])?;
        }
        let deadline = Instant::now() + limit;
        while self.peers.iter().flatten().any(|peer| peer.outgoing.pending() || peer.incoming.pending()) {
            for (p, ready) in self.wait(at, deadline, limit)? {
                let peer = self.peers[p].as_ref().expect("only peers are waited for");
                if peer.incoming.pending() {
                    if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                        self.receive(at, p, &mut incoming[p])?;
                    }
                } else if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR | HANGUP) {
                    self.look(at, p)?;
                }
                if ready.intersects(PollFlags::OUT | PollFlags::HUP | PollFlags::ERR) {
                    self.send(at, p, level, &out[p], &mut incoming[p])?;
                }
            }
        }
        Ok(())
    }

    /// Waits until something happens on a connection that matters.
    fn wait(
        &mut self,
        at: &Place<'_>,
        deadline: Instant,
        limit: Duration,
    ) -> Result<Waiting<(usize, PollFlags)>, LinkError> {
        let start = Instant::now();
        let mut who = Waiting::new();
        let mut set = Waiting::new();
        for (p, peer) in self.peers.iter().enumerate() {
            if let Some(peer) = peer
                && let Some(events) = peer.events()
            {
                who.push((p, PollFlags::empty()));
                set.push(PollFd::new(&peer.stream, events));
            }
        }
        let ready = poll::wait(&mut set, deadline);
        for (entry, fd) in who.iter_mut().zip(&set) {
            entry.1 = fd.revents();
        }
        self.meter.waited(start.elapsed());
        match ready {
            Ok(true) => Ok(who),
            Ok(false) => {
                let (p, peer) = self
                    .pending(|peer| peer.incoming.pending())
                    .or_else(|| self.pending(|peer| peer.outgoing.pending()))
                    .expect("the loop runs while something is pending");
                let (got, expected) = match peer.incoming.pending() {
                    true => (peer.incoming.payload_done(), peer.incoming.payload()),
                    false => (0, 0),
                };
                Err(LinkError::deadline(at, party(p), got, expected, limit))
            }
            Err(e) => {
                let (p, _) = self.pending(|_| true).expect("who waits has peers");
                Err(LinkError::lost(at, party(p), 0, 0, e))
            }
        }
    }

    fn pending(&self, which: impl Fn(&Peer) -> bool) -> Option<(usize, &Peer)> {
        let mut peers = self.peers.iter().enumerate().filter_map(|(p, peer)| Some((p, peer.as_ref()?)));
        peers.find(|(_, peer)| which(peer))
    }

    /// Writes to `p` what its socket takes.
    fn send(
        &mut self,
        at: &Place<'_>,
        p: usize,
        level: u32,
        payload: &[u8],
        incoming: &mut [u8],
    ) -> Result<(), LinkError> {
        let Some(peer) = &mut self.peers[p] else { return Ok(()) };
        if !peer.outgoing.pending() {
            return Ok(());
        }
        if let Err(e) = peer.push(payload) {
            // Its last words may have come before the reset.
            if peer.incoming.pending() {
                self.receive(at, p, incoming)?;
            } else {
                self.look(at, p)?;
            }
            return Err(LinkError::lost(at, party(p), 0, 0, e));
        }
        if !peer.outgoing.pending() {
            peer.sent = peer.sent.wrapping_add(1);
            self.meter.sent(p, payload.len(), level);
        }
        Ok(())
    }

    /// Reads what has come of the message from `p` that is due.
    fn receive(&mut self, at: &Place<'_>, p: usize, payload: &mut [u8]) -> Result<(), LinkError> {
        let peer = self.peers[p].as_mut().expect("only peers send");
        let before = peer.incoming.done;
        let lost = |peer: &Peer, reason: &dyn ToString| {
            LinkError::lost(at, party(p), peer.incoming.payload_done(), peer.incoming.payload(), reason.to_string())
        };
        match peer.pull(payload) {
            Ok(Some(0)) => return Err(lost(peer, &"it closed the connection")),
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            Err(e) => return Err(lost(peer, &e)),
        }
        let Transfer { header, done, .. } = &peer.incoming;
        if *done < HEADER {
            return Ok(());
        }
        let malformed = |fault| LinkError::malformed(at, party(p), fault);
        let header = Header::decode(header).map_err(malformed)?;
        if before < HEADER {
            match header.kind {
                Kind::Data => header.check(payload.len(), peer.received).map_err(malformed)?,
                Kind::Abort => {
                    let (code, reason) = peer.last_words(&header, &payload[..peer.incoming.payload_done()]);
                    return Err(LinkError::aborted(at, party(p), code, &reason));
                }
                Kind::Bye => return Err(LinkError::lost(at, party(p), 0, payload.len(), "it has ended")),
            }
        }
        if !peer.incoming.pending() {
            peer.received = peer.received.wrapping_add(1);
            self.meter.received(header.level);
        }
        Ok(())
    }

    /// Finds out what has come from `p` though nothing is due: its end, or a message for later, which stays where it is.
    fn look(&mut self, at: &Place<'_>, p: usize) -> Result<(), LinkError> {
        let peer = self.peers[p].as_mut().expect("only peers send");
        let lost = |reason: &dyn ToString| Err(LinkError::lost(at, party(p), 0, 0, reason.to_string()));
        if peer.quiet == Quiet::Ended {
            return Ok(());
        }
        let was_ahead = peer.quiet == Quiet::Ahead;
        let mut bytes = [0; HEADER];
        match peer.stream.peek(&mut bytes) {
            Ok(0) => return lost(&"it closed the connection"),
            Ok(HEADER) => match Header::decode(&bytes) {
                Ok(header) if header.kind == Kind::Abort => {
                    peer.stream.read_exact(&mut bytes).or_else(|e| lost(&e))?;
                    let (code, reason) = peer.last_words(&header, &[]);
                    return Err(LinkError::aborted(at, party(p), code, &reason));
                }
                Ok(header) if header.kind == Kind::Bye => {
                    peer.quiet = Quiet::Ended;
                    return Ok(());
                }
                // Faults are found when the message is due.
                _ => {}
            },
            Ok(_) => {}
            Err(e) if poll::later(&e) => return Ok(()),
            Err(e) => return lost(&e),
        }
        peer.quiet = Quiet::Ahead;
        if was_ahead {
            // Only a reset brings us here again.
            return lost(&io::Error::from(ErrorKind::ConnectionReset));
        }
        Ok(())
    }

    /// Makes sure that all parties have met the same parties.
    fn compare_nonces(&mut self, nonces: &[[u8; NONCE]]) -> Result<(), LinkError> {
        let n = nonces.len();
        let mine = nonces.as_flattened();
        let lists = |per_peer: &dyn Fn() -> Vec<u8>| -> Vec<Vec<u8>> {
            (0..n).map(|p| if p == self.me { Vec::new() } else { per_peer() }).collect()
        };
        let (out, mut incoming) = (lists(&|| mine.to_vec()), lists(&Vec::new));
        let expect: Vec<usize> = out.iter().map(Vec::len).collect();
        // Others may still wait for the last party to come.
        let limit = self.timeouts.connect + self.timeouts.handshake;
        let at = Place { round: 0, what: "handshake" };
        let result = self.run(&at, &out, &expect, &mut incoming, limit);
        self.settle(result)?;
        let differs = incoming.iter().position(|theirs| !theirs.is_empty() && theirs != mine);
        let result = differs.map_or(Ok(()), |p| {
            let show = |bytes: &[u8]| blake3::hash(bytes).to_hex()[..16].to_owned();
            let (field, mine, theirs) = ("who takes part".to_owned(), show(mine), show(&incoming[p]));
            Err(LinkError::Disagree { peer: party(p), field, mine, theirs })
        });
        self.settle(result)
    }

    /// Makes an error final and tells the peers.
    fn settle(&mut self, result: Result<(), LinkError>) -> Result<(), LinkError> {
        if let Err(e) = &result {
            self.abort(e.exit_code(), &e.to_string());
            self.failed = Some(e.clone());
        }
        result
    }
}

impl Link for TcpLink {
    fn me(&self) -> Party {
        party(self.me)
    }

    fn parties(&self) -> usize {
        self.peers.len()
    }

    fn session(&self) -> [u8; 16] {
        self.session
    }

    fn exchange(
        &mut self,
        at: &Place<'_>,
        out: &[Vec<u8>],
        expect: &[usize],
        incoming: &mut [Vec<u8>],
    ) -> Result<(), LinkError> {
        check_lists(self.me(), self.parties(), out, expect, incoming);
        assert!(!self.closed, "an exchange on a closed link");
        if let Some(e) = &self.failed {
            return Err(e.clone());
        }
        let limit = self.timeouts.exchange(out.iter().map(Vec::len).chain(expect.iter().copied()).sum());
        let result = self.run(at, out, expect, incoming, limit);
        self.settle(result)
    }

    fn begin(&mut self) {
        self.meter.begin();
    }

    fn stats(&self) -> LinkStats {
        self.meter.stats()
    }

    fn abort(&mut self, code: u8, reason: &str) {
        if self.failed.is_some() || self.closed {
            return;
        }
        self.failed = Some(LinkError::GaveUp { code, reason: reason.to_owned() });
        for peer in self.peers.iter_mut().flatten() {
            // Behind half a message nobody would look for it.
            if peer.outgoing.done == 0 || !peer.outgoing.pending() {
                let _ = peer.stream.write(&frame::abort(peer.sent, code, reason));
            }
            let _ = peer.stream.shutdown(Shutdown::Write);
        }
    }

    fn close(&mut self) -> Result<(), LinkError> {
        if let Some(e) = &self.failed {
            return Err(e.clone());
        }
        if self.closed {
            return Ok(());
        }
        self.closed = true;
        // A peer that has ended already needs no goodbye, so failures are none. A peer says goodbye when it has read
        // everything, so nothing is lost when this side's socket is gone by then.
        let deadline = Instant::now() + self.timeouts.handshake;
        for peer in self.peers.iter().flatten() {
            let bye = Header { length: 0, level: 0, sequence: peer.sent, kind: Kind::Bye };
            let _ = poll::write_full(&peer.stream, &bye.encode(), deadline);
            let _ = peer.stream.shutdown(Shutdown::Write);
        }
        Ok(())
    }
}
