//! Finding the peers: this party dials those before it and listens for those after it.
//!
//! Anyone can connect to a listening port, so a caller counts only when it has sent a whole handshake with the index of
//! a party that is missing; everyone else is dropped. A difference between two parties does not end the search at once:
//! the others get a little time to be told.

use super::handshake::{self, NONCE, PREAMBLE, Preamble, Side};
use super::poll;
use super::tcp::{Options, socket_buffers};
use super::{Fault, Hello, LinkError, Party, Place, frame, party};
use rustix::event::{PollFd, PollFlags};
use rustix::net::{AddressFamily, SocketType};
use std::{
    io::{self, ErrorKind, Read},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// Strangers heard at a time; the oldest goes first.
const CALLERS: usize = 64;
const AT: Place<'static> = Place { round: 0, what: "handshake" };

/// A connected peer.
pub(super) struct Met {
    pub(super) stream: TcpStream,
    pub(super) nonce: [u8; NONCE],
    agrees: bool,
}

/// Connects to all peers; the entry of this party is `None`. The listener is closed on return.
pub(super) fn meet(
    listener: Option<TcpListener>,
    me: Party,
    addresses: &[SocketAddr],
    options: &Options,
    hello: &Hello,
    nonce: &[u8; NONCE],
) -> Result<Vec<Option<Met>>, LinkError> {
    assert!(me.index() < addresses.len(), "{me} has no address");
    let parties = u8::try_from(addresses.len()).expect("links have at most 255 parties");
    let start = Instant::now();
    let mut meeting = Meeting {
        me,
        parties,
        addresses,
        options,
        hello,
        handshake: handshake::encode(me, parties, nonce, hello),
        start,
        deadline: start + options.timeouts.connect,
        met: (0..parties).map(|_| None).collect(),
        difference: None,
    };
    let result = (0..me.index()).try_for_each(|p| meeting.dial(p)).and_then(|()| match listener {
        Some(listener) => meeting.accept(&listener),
        None => Ok(()),
    });
    match meeting.difference.take().map_or(result, Err) {
        Ok(()) => Ok(meeting.met),
        Err(e) => {
            meeting.tell(&e);
            Err(e)
        }
    }
}

struct Meeting<'a> {
    me: Party,
    parties: u8,
    addresses: &'a [SocketAddr],
    options: &'a Options,
    hello: &'a Hello,
    /// What this party sends.
    handshake: Vec<u8>,
    start: Instant,
    deadline: Instant,
    met: Vec<Option<Met>>,
    /// The first difference found.
    difference: Option<LinkError>,
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(())
}

/// Why one attempt to reach a peer failed.
enum Failed {
    /// It may work later.
    Now(String),
    /// It never will.
    Ever(LinkError),
}

impl Meeting<'_> {
    fn unreachable(&self, p: usize, reason: String) -> LinkError {
        let after = self.start.elapsed();
        LinkError::Unreachable { peer: party(p), address: self.addresses[p], after, reason }
    }

    /// Connects to a party before this one, until the deadline.
    fn dial(&mut self, p: usize) -> Result<(), LinkError> {
        const LONGEST_PAUSE: Duration = Duration::from_millis(100);
        let mut pause = Duration::from_millis(2);
        loop {
            let reason = match self.attempt(p) {
                Ok((stream, preamble, body)) => return self.judge(p, stream, preamble, &body),
                Err(Failed::Ever(e)) => return Err(e),
                Err(Failed::Now(reason)) => reason,
            };
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.unreachable(p, reason));
            }
            thread::sleep(pause.min(left));
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    fn open(&self, address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
        if self.options.socket_buffers.is_none() {
            return TcpStream::connect_timeout(&address, limit);
        }
        // Sizes count from the first packet on only when they are set before.
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
        socket_buffers(&socket, self.options)?;
        rustix::net::connect(&socket, &address)?;
        Ok(socket.into())
    }

    fn attempt(&self, p: usize) -> Result<(TcpStream, Preamble, Vec<u8>), Failed> {
        const LONGEST_ATTEMPT: Duration = Duration::from_secs(2);
        let now = |e: io::Error| Failed::Now(e.to_string());
        let left = self.deadline.saturating_duration_since(Instant::now());
        let limit = left.clamp(Duration::from_millis(1), LONGEST_ATTEMPT);
        let stream = self.open(self.addresses[p], limit).map_err(now)?;
        // A port nobody listens on can connect to itself.
        if stream.local_addr().map_err(now)? == stream.peer_addr().map_err(now)? {
            return Err(Failed::Now(io::Error::from(ErrorKind::ConnectionRefused).to_string()));
        }
        prepare(&stream).map_err(now)?;

        let limit = self.options.timeouts.handshake;
        let deadline = Instant::now() + limit;
        let failed = |e: io::Error| match e.kind() {
            ErrorKind::TimedOut => Failed::Ever(LinkError::deadline(&AT, party(p), 0, 0, limit)),
            _ => Failed::Now(format!("it ended the connection during the handshake ({e})")),
        };
        poll::write_full(&stream, &self.handshake, deadline).map_err(failed)?;
        let mut preamble = [0; PREAMBLE];
        poll::read_full(&stream, &mut preamble, deadline).map_err(failed)?;
        let preamble = Preamble::decode(&preamble)
            .ok_or_else(|| Failed::Ever(LinkError::malformed(&AT, party(p), Fault::Magic)))?;
        let mut body = vec![0; preamble.body];
        poll::read_full(&stream, &mut body, deadline).map_err(failed)?;
        Ok((stream, preamble, body))
    }

    /// Compares what `p` said with what this party says.
    fn judge(&mut self, p: usize, stream: TcpStream, preamble: Preamble, body: &[u8]) -> Result<(), LinkError> {
        let decoded = handshake::decode_body(body);
        let mine = Side::own(self.me, self.parties, self.hello);
        if preamble.version == mine.version && decoded.is_none() {
            let fault = Fault::Handshake { got: body.len() as u64 };
            return Err(LinkError::malformed(&AT, party(p), fault));
        }
        let (nonce, hello) = decoded.unzip();
        let theirs =
            Side { party: party(p), version: preamble.version, parties: preamble.parties, hello: hello.as_ref() };
        let mut difference = handshake::difference(&mine, &theirs);
        if difference.is_none() && preamble.party != party(p) {
            let (mine, theirs) = (party(p).to_string(), preamble.party.to_string());
            let field = format!("who is at {}", self.addresses[p]);
            difference = Some(LinkError::Disagree { peer: party(p), field, mine, theirs });
        }
        let agrees = difference.is_none();
        self.met[p] = Some(Met { stream, nonce: nonce.unwrap_or_default(), agrees });
        if let Some(difference) = difference {
            self.difference.get_or_insert(difference);
            self.deadline = self.deadline.min(Instant::now() + self.options.timeouts.handshake);
        }
        Ok(())
    }

    /// Waits for all parties after this one.
    fn accept(&mut self, listener: &TcpListener) -> Result<(), LinkError> {
        let address = self.addresses[self.me.index()];
        let listen = |e: io::Error| LinkError::Listen { address, reason: e.to_string() };
        listener.set_nonblocking(true).map_err(listen)?;
        let mut callers: Vec<Caller> = Vec::new();
        while let Some(missing) = (self.me.index() + 1..self.addresses.len()).find(|&p| self.met[p].is_none()) {
            let patience = self.options.timeouts.handshake;
            let oldest = callers.iter().map(|caller| caller.since + patience).min();
            let until = oldest.map_or(self.deadline, |oldest| oldest.min(self.deadline));
            let mut set: Vec<_> = callers.iter().map(|c| PollFd::new(&c.stream, PollFlags::IN)).collect();
            set.push(PollFd::new(listener, PollFlags::IN));
            poll::wait(&mut set, until).map_err(listen)?;
            drop(set);
            let now = Instant::now();
            if now >= self.deadline {
                return Err(self.unreachable(missing, "it did not connect".to_owned()));
            }
            callers.retain(|caller| now < caller.since + patience);
            // An error here is about one caller that has already gone.
            while let Ok((stream, _)) = listener.accept() {
                if prepare(&stream).is_ok() {
                    callers.push(Caller { stream, bytes: Vec::new(), since: now });
                }
                if callers.len() > CALLERS {
                    callers.remove(0);
                }
            }
            for mut caller in std::mem::take(&mut callers) {
                match caller.listen() {
                    Heard::Part => callers.push(caller),
                    Heard::Junk => {}
                    Heard::All(preamble) => self.answer(caller, preamble),
                }
            }
        }
        Ok(())
    }

    /// Answers a caller that has sent a whole handshake, and takes it in when it is a missing party.
    fn answer(&mut self, caller: Caller, preamble: Preamble) {
        let p = preamble.party.index();
        let missing = p > self.me.index() && self.met.get(p).is_some_and(Option::is_none);
        let readable = handshake::decode_body(&caller.bytes[PREAMBLE..]).is_some();
        let own = Side::own(self.me, self.parties, self.hello);
        let same_version = preamble.version == own.version;
        let patience = Instant::now() + self.options.timeouts.handshake;
        if same_version && preamble.parties != self.parties && !missing && readable {
            // It has no place here, but should learn why.
            let theirs =
                Side { party: preamble.party, version: preamble.version, parties: preamble.parties, hello: None };
            if poll::write_full(&caller.stream, &self.handshake, patience).is_ok()
                && let Some(difference) = handshake::difference(&own, &theirs)
            {
                self.difference.get_or_insert(difference);
                self.deadline = self.deadline.min(patience);
            }
            return;
        }
        if !missing || (same_version && !readable) {
            return;
        }
        if poll::write_full(&caller.stream, &self.handshake, patience).is_ok() {
            self.judge(p, caller.stream, preamble, &caller.bytes[PREAMBLE..])
                .expect("bodies of this version are readable");
        }
    }

    /// Tells the peers that have agreed why nothing comes of it.
    fn tell(&self, e: &LinkError) {
        for met in self.met.iter().flatten().filter(|met| met.agrees) {
            let deadline = Instant::now() + Duration::from_millis(100);
            let _ = poll::write_full(&met.stream, &frame::abort(0, e.exit_code(), &e.to_string()), deadline);
            let _ = met.stream.shutdown(Shutdown::Write);
        }
    }
}

/// Someone who has connected and may be a peer.
struct Caller {
    stream: TcpStream,
    bytes: Vec<u8>,
    since: Instant,
}

enum Heard {
    Part,
    All(Preamble),
    Junk,
}

impl Caller {
    /// Reads what has come, up to the end of the handshake.
    fn listen(&mut self) -> Heard {
        let mut chunk = [0; 4096];
        loop {
            let preamble = self.bytes.first_chunk().map(Preamble::decode);
            let total = match preamble {
                None => PREAMBLE,
                Some(None) => return Heard::Junk,
                Some(Some(preamble)) if self.bytes.len() == PREAMBLE + preamble.body => {
                    return Heard::All(preamble);
                }
                Some(Some(preamble)) => PREAMBLE + preamble.body,
            };
            let want = (total - self.bytes.len()).min(chunk.len());
            match self.stream.read(&mut chunk[..want]) {
                Ok(0) => return Heard::Junk,
                Ok(n) => self.bytes.extend_from_slice(&chunk[..n]),
                Err(e) if poll::later(&e) => return Heard::Part,
                Err(_) => return Heard::Junk,
            }
        }
    }
}
