//! The loop of an exchange: write what the sockets take, then wait on all of them at once and read and write whichever
//! is ready. So messages larger than all buffers cannot block each other, and the end of any peer is seen while waiting
//! for another. It wakes several times a second, also when nothing happens, to send beats and to look at the clock.
//!
//! Messages may be made and used in parts: between two steps of the exchange this party computes, and the sockets' buffers
//! move what is ready.

use super::frame::{self, HEADER, Header, Kind};
use super::handshake::{self, NONCE};
use super::meter::Meter;
use super::peer::{AT_A_TIME, Peer, Quiet, Transfer, linger};
use super::poll::{self, HANGUP};
use super::watch::Watch;
use super::{LinkError, Place, Timeouts, party};
use rustix::event::{PollFd, PollFlags};
use smallvec::SmallVec;
use std::{
    io::{self, ErrorKind, IoSlice},
    time::{Duration, Instant},
};

/// The connections of a party and what has gone over them.
pub(super) struct Core {
    pub(super) me: usize,
    pub(super) timeouts: Timeouts,
    /// By party; none for this one.
    pub(super) peers: Vec<Option<Peer>>,
    pub(super) meter: Meter,
    /// Level of the exchange under way.
    pub(super) level: u32,
    /// Bytes read in exchanges so far.
    pub(super) read: u64,
    pub(super) failed: Option<LinkError>,
    pub(super) closed: bool,
    /// When the session must be over.
    pub(super) ends: Instant,
}

/// One entry for each peer; a few need no allocation.
pub(super) type Waiting<T> = SmallVec<[T; 8]>;

/// The time of an exchange, without what this party computed meanwhile.
pub(super) struct Clock {
    begun: Instant,
    /// Since when it listens.
    heard: Instant,
    limit: Duration,
    /// When to look next.
    next: Instant,
}

impl Clock {
    /// This party does something else.
    pub(super) fn aside<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.heard = Instant::now();
        self.begun += self.heard - start;
        result
    }
}

impl Core {
    /// Longest time that the loop of an exchange sleeps.
    fn tick(&self) -> Duration {
        const LONGEST: Duration = Duration::from_millis(200);
        (self.timeouts.silence / 20).clamp(Duration::from_millis(5), LONGEST)
    }

    /// Runs the exchange that `out` and `incoming` describe, within `limit`.
    pub(super) fn run(
        &mut self,
        at: &Place<'_>,
        (out, expect): (&[Vec<u8>], &[usize]),
        incoming: &mut [Vec<u8>],
        limit: Duration,
        watch: &Watch,
    ) -> Result<(), LinkError> {
        let lengths: Waiting<usize> = out.iter().map(Vec::len).collect();
        let mut clock = self.open(at, [&lengths, expect], incoming, limit, watch)?;
        self.offer(at, out, incoming)?;
        while !self.advance(at, out, incoming, &mut clock, watch)? {}
        watch.leave();
        Ok(())
    }

    /// Begins an exchange.
    pub(super) fn open(
        &mut self,
        at: &Place<'_>,
        [lengths, expect]: [&[usize]; 2],
        incoming: &mut [Vec<u8>],
        limit: Duration,
        watch: &Watch,
    ) -> Result<Clock, LinkError> {
        self.level = self.meter.next_level();
        let begun = Instant::now();
        watch.enter(at.round, at.what, begun);
        // An exchange that is over sooner than the clock is looked at would never look.
        self.go_on(at, begun, watch)?;
        for p in 0..self.peers.len() {
            incoming[p].resize(expect[p], 0);
            let Some(peer) = &mut self.peers[p] else { continue };
            if peer.quiet == Quiet::Ended && (expect[p] > 0 || lengths[p] > 0) {
                return Err(LinkError::lost(at, party(p), 0, expect[p], "it has ended"));
            }
            let (length, sequence) = (lengths[p] as u64, peer.sent);
            peer.open(Header { length, level: self.level, sequence, kind: Kind::Data }, lengths[p]);
            peer.incoming.due(expect[p]);
            if peer.incoming.pending() && peer.quiet == Quiet::Ahead {
                peer.quiet = Quiet::Open;
                self.arrived(at, p, &mut incoming[p])?;
            }
        }
        Ok(Clock { begun, heard: begun, limit, next: begun + self.tick() })
    }

    /// Writes what the sockets take of what is there of the messages. Of messages to which more comes, it also reads what is there.
    pub(super) fn offer(&mut self, at: &Place<'_>, out: &[Vec<u8>], incoming: &mut [Vec<u8>]) -> Result<(), LinkError> {
        let mut more = false;
        for p in 0..self.peers.len() {
            let Some(peer) = &mut self.peers[p] else { continue };
            peer.offer(&out[p]);
            more |= out[p].len() + HEADER < peer.outgoing.total;
            self.send(at, p, &out[p], &mut incoming[p])?;
        }
        for (p, payload) in incoming.iter_mut().enumerate().filter(|_| more) {
            if self.peers[p].as_ref().is_some_and(|peer| peer.incoming.pending()) {
                self.receive(at, p, payload)?;
            }
        }
        Ok(())
    }

    /// Goes on with an exchange whose messages are there until more has come; `true` when it is over.
    pub(super) fn advance(
        &mut self,
        at: &Place<'_>,
        out: &[Vec<u8>],
        incoming: &mut [Vec<u8>],
        clock: &mut Clock,
        watch: &Watch,
    ) -> Result<bool, LinkError> {
        let before = self.read;
        loop {
            self.held(at, incoming)?;
            if !self.peers.iter().flatten().any(|peer| peer.writes() || peer.incoming.pending()) {
                return Ok(true);
            }
            if self.read > before {
                return Ok(false);
            }
            for (p, ready) in self.wait(at, clock, watch)? {
                let peer = self.peers[p].as_ref().expect("only peers are waited for");
                if peer.incoming.pending() {
                    if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                        self.receive(at, p, &mut incoming[p])?;
                    }
                } else if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR | HANGUP) {
                    self.look(at, p)?;
                }
                if ready.intersects(PollFlags::OUT | PollFlags::HUP | PollFlags::ERR) {
                    self.send(at, p, &out[p], &mut incoming[p])?;
                }
            }
            self.watch(at, clock, watch)?;
        }
    }

    /// How much of each message has come.
    pub(super) fn got(&self, incoming: &[Vec<u8>], got: &mut Waiting<usize>) {
        let of = |(peer, all): (&Option<Peer>, &Vec<u8>)| match peer {
            Some(peer) if peer.incoming.pending() => peer.incoming.payload_done(),
            _ => all.len(),
        };
        got.clear();
        got.extend(self.peers.iter().zip(incoming).map(of));
    }

    /// Reads what connections have already decrypted, which no waiting would show.
    fn held(&mut self, at: &Place<'_>, incoming: &mut [Vec<u8>]) -> Result<(), LinkError> {
        for (p, payload) in incoming.iter_mut().enumerate() {
            let Some(peer) = &self.peers[p] else { continue };
            if !peer.stream.holds() {
                continue;
            }
            if peer.incoming.pending() {
                self.receive(at, p, payload)?;
            } else if peer.quiet == Quiet::Open {
                self.look(at, p)?;
            }
        }
        Ok(())
    }

    /// Whether the session may go on; sends beats that are due.
    fn go_on(&mut self, at: &Place<'_>, now: Instant, watch: &Watch) -> Result<(), LinkError> {
        if let Some((code, reason)) = watch.stopped() {
            return Err(LinkError::GaveUp { code, reason });
        }
        if now >= self.ends {
            let (limit, what) = (self.timeouts.session, at.what.to_owned());
            return Err(LinkError::Session { round: at.round, what, limit });
        }
        self.beat(now);
        Ok(())
    }

    /// Looks at the clock, when it is time to.
    fn watch(&mut self, at: &Place<'_>, clock: &mut Clock, watch: &Watch) -> Result<(), LinkError> {
        let now = Instant::now();
        if now < clock.next.min(clock.begun + clock.limit) {
            return Ok(());
        }
        clock.next = now + self.tick();
        self.go_on(at, now, watch)?;
        let (silence, listens) = (self.timeouts.silence, clock.heard);
        let silent = |peer: &Peer| {
            // Behind a message that is not due yet, signs of life cannot be seen.
            let hears = peer.incoming.pending() || peer.quiet == Quiet::Open;
            let waited_for = peer.incoming.pending() || peer.writes();
            hears && waited_for && now.saturating_duration_since(peer.heard.max(listens)) >= silence
        };
        if let Some((p, peer)) = self.pending(silent) {
            let (got, expected) = (peer.incoming.payload_done() as u64, peer.incoming.payload() as u64);
            let (round, what, after) = (at.round, at.what.to_owned(), now.saturating_duration_since(peer.heard));
            return Err(LinkError::Silent { peer: party(p), round, what, got, expected, after });
        }
        if now < clock.begun + clock.limit {
            return Ok(());
        }
        match self.pending(|peer| peer.incoming.pending()).or_else(|| self.pending(Peer::writes)) {
            Some((p, peer)) => {
                let (got, expected) = (peer.incoming.payload_done(), peer.incoming.payload());
                Err(LinkError::deadline(at, party(p), got, expected, clock.limit))
            }
            None => Ok(()),
        }
    }

    /// Says to every peer that this party is alive, where that is due; `false` when it is no longer of use.
    pub(super) fn beat(&mut self, now: Instant) -> bool {
        if self.failed.is_some() || self.closed {
            return false;
        }
        let every = self.timeouts.every();
        for peer in self.peers.iter_mut().flatten() {
            // The end of a connection is found where it is read.
            let _ = peer.beat(now, every);
        }
        true
    }

    /// Waits until something happens on a connection that matters, or it is time to look at the clock.
    fn wait(&mut self, at: &Place<'_>, clock: &Clock, watch: &Watch) -> Result<Waiting<(usize, PollFlags)>, LinkError> {
        let start = Instant::now();
        let mut who = Waiting::new();
        let mut set = Waiting::new();
        let mut first = true;
        for (p, peer) in self.peers.iter().enumerate() {
            let Some(peer) = peer else { continue };
            if first && (peer.incoming.pending() || peer.writes()) {
                first = false;
                watch.waits(p, peer.incoming.payload_done(), peer.incoming.payload(), peer.heard);
            }
            if let Some(events) = peer.events() {
                who.push((p, PollFlags::empty()));
                set.push(PollFd::new(peer.stream.socket(), events));
            }
        }
        let ready = poll::wait(&mut set, clock.next.min(clock.begun + clock.limit));
        for (entry, fd) in who.iter_mut().zip(&set) {
            entry.1 = fd.revents();
        }
        self.meter.waited(start.elapsed());
        match ready {
            Ok(_) => Ok(who),
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
    fn send(&mut self, at: &Place<'_>, p: usize, payload: &[u8], incoming: &mut [u8]) -> Result<(), LinkError> {
        let Some(peer) = &mut self.peers[p] else { return Ok(()) };
        if !peer.writes() {
            return Ok(());
        }
        let pending = peer.outgoing.pending();
        if let Err(e) = peer.push(payload) {
            // Its last words may have come before the reset.
            if peer.incoming.pending() {
                self.receive(at, p, incoming)?;
            } else {
                self.look(at, p)?;
            }
            return Err(LinkError::lost(at, party(p), 0, 0, e));
        }
        if pending && !peer.outgoing.pending() {
            peer.sent = peer.sent.wrapping_add(1);
            self.meter.sent(p, payload.len(), self.level);
        }
        Ok(())
    }

    /// Reads what has come of the message from `p` that is due.
    fn receive(&mut self, at: &Place<'_>, p: usize, payload: &mut [u8]) -> Result<(), LinkError> {
        for _ in 0..AT_A_TIME {
            let peer = self.peers[p].as_mut().expect("only peers send");
            let before = peer.incoming.done;
            let lost = |peer: &Peer, reason: &dyn ToString| {
                let (got, due) = (peer.incoming.payload_done(), peer.incoming.payload());
                LinkError::lost(at, party(p), got, due, reason.to_string())
            };
            match peer.pull(payload) {
                Ok(Some(0)) => return Err(lost(peer, &CLOSED)),
                Ok(Some(n)) => self.read += n as u64,
                Ok(None) => return Ok(()),
                Err(e) => return Err(lost(peer, &e)),
            }
            if before < HEADER {
                self.arrived(at, p, payload)?;
            }
            let peer = self.peers[p].as_mut().expect("only peers send");
            if !peer.incoming.pending() {
                let header = Header::decode(&peer.incoming.header);
                peer.received = peer.received.wrapping_add(1);
                peer.incoming = Transfer::default();
                self.meter.received(header.map_or(0, |header| header.level));
                return Ok(());
            }
            if !peer.stream.holds() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Judges the header of the message from `p` that is due, once it has come.
    fn arrived(&mut self, at: &Place<'_>, p: usize, payload: &mut [u8]) -> Result<(), LinkError> {
        let peer = self.peers[p].as_mut().expect("only peers send");
        let malformed = |fault| LinkError::malformed(at, party(p), fault);
        let Some(header) = peer.header().transpose().map_err(malformed)? else { return Ok(()) };
        match header.kind {
            Kind::Data => header.check(payload.len(), peer.received).map_err(malformed),
            Kind::Abort => {
                let start = peer.incoming.payload_done();
                let (code, reason) = peer.last_words(&header, &payload[..start]);
                Err(LinkError::aborted(at, party(p), code, &reason))
            }
            Kind::Bye => Err(LinkError::lost(at, party(p), 0, payload.len(), "it has ended")),
            Kind::Beat => Ok(()),
        }
    }

    /// Finds out what has come from `p` though nothing is due: its end, or the header of a message for later.
    fn look(&mut self, at: &Place<'_>, p: usize) -> Result<(), LinkError> {
        let peer = self.peers[p].as_mut().expect("only peers send");
        let lost = |reason: &dyn ToString| Err(LinkError::lost(at, party(p), 0, 0, reason.to_string()));
        match peer.quiet {
            Quiet::Ended => return Ok(()),
            // Only a reset brings us here again.
            Quiet::Ahead => return lost(&io::Error::from(ErrorKind::ConnectionReset)),
            Quiet::Open => {}
        }
        for _ in 0..AT_A_TIME {
            match peer.pull(&mut []) {
                Ok(Some(0)) => return lost(&CLOSED),
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(e) => return lost(&e),
            }
            match peer.header() {
                None => {}
                Some(Ok(header)) if header.kind == Kind::Abort => {
                    let (code, reason) = peer.last_words(&header, &[]);
                    return Err(LinkError::aborted(at, party(p), code, &reason));
                }
                Some(Ok(header)) if header.kind == Kind::Bye => {
                    peer.quiet = Quiet::Ended;
                    return Ok(());
                }
                // Faults are found when the message is due.
                Some(_) => {
                    peer.quiet = Quiet::Ahead;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Makes sure that all parties have met the same parties over the same channels; the session.
    pub(super) fn agree(&mut self, nonces: &[[u8; NONCE]], watch: &Watch) -> Result<[u8; 16], LinkError> {
        let n = nonces.len();
        let me = self.me;
        let tags: Vec<[u8; 32]> = self
            .peers
            .iter()
            .map(|peer| peer.as_ref().map_or([0; 32], |peer| handshake::tag(peer.stream.binding())))
            .collect();
        let secure = self.peers.iter().flatten().any(|peer| peer.stream.binding().is_some());
        let mine = match secure {
            true => [nonces.as_flattened(), tags.as_flattened()].concat(),
            false => nonces.as_flattened().to_vec(),
        };
        let out: Vec<Vec<u8>> = (0..n).map(|p| if p == me { Vec::new() } else { mine.clone() }).collect();
        let mut incoming = vec![Vec::new(); n];
        let expect: Vec<usize> = out.iter().map(Vec::len).collect();
        // Others may still wait for the last party to come.
        let limit = self.timeouts.connect + self.timeouts.handshake;
        let at = Place { round: 0, what: "handshake" };
        let result = self.run(&at, (&out, &expect), &mut incoming, limit, watch);
        self.settle(result)?;
        incoming[me] = mine;
        let show = |bytes: &[u8]| blake3::hash(bytes).to_hex()[..16].to_owned();
        let differ = |p: usize, field: &str, mine: &[u8], theirs: &[u8]| LinkError::Disagree {
            peer: party(p),
            field: field.to_owned(),
            mine: show(mine),
            theirs: show(theirs),
        };
        let met = nonces.as_flattened().len();
        let of = |p: usize, other: usize| incoming[p].get(met + 32 * other..met + 32 * (other + 1));
        let mut result = Ok(());
        let mut pairs = Vec::new();
        for p in 0..n {
            if incoming[p][..met] != incoming[me][..met] {
                result = result.and(Err(differ(p, "who takes part", &incoming[me], &incoming[p])));
            }
            for other in 0..p {
                let (one, two) = (of(p, other).unwrap_or_default(), of(other, p).unwrap_or_default());
                if one != two {
                    let peer = if other == me { p } else { other };
                    result = result.and(Err(differ(peer, "channel", one, two)));
                }
                pairs.extend_from_slice(one);
            }
        }
        self.settle(result)?;
        Ok(handshake::session(nonces, &pairs))
    }

    /// Makes an error final and tells the peers.
    pub(super) fn settle(&mut self, result: Result<(), LinkError>) -> Result<(), LinkError> {
        if let Err(e) = &result {
            self.abort(e.exit_code(), &e.to_string());
            self.failed = Some(e.clone());
        }
        result
    }

    /// Gives up, and says so.
    pub(super) fn abort(&mut self, code: u8, reason: &str) {
        const PATIENCE: Duration = Duration::from_millis(300);
        if self.failed.is_some() || self.closed {
            return;
        }
        self.failed = Some(LinkError::GaveUp { code, reason: reason.to_owned() });
        for peer in self.peers.iter_mut().flatten() {
            // Behind half a message nobody would look for it.
            if peer.between_frames() {
                let _ = peer.stream.write(&[IoSlice::new(&frame::abort(peer.sent, code, reason))]);
            }
            peer.stream.end();
        }
        linger(self.peers.iter_mut().flatten(), Instant::now() + PATIENCE, PATIENCE, || false);
    }

    /// Takes leave.
    pub(super) fn close(&mut self, watch: &Watch) -> Result<(), LinkError> {
        if let Some(e) = &self.failed {
            return Err(e.clone());
        }
        if self.closed {
            return Ok(());
        }
        self.closed = true;
        // A peer that has ended already needs no goodbye, so failures are none.
        let deadline = Instant::now() + self.timeouts.handshake;
        for peer in self.peers.iter_mut().flatten() {
            let _ = peer.finish_beat(deadline);
            let bye = Header { length: 0, level: 0, sequence: peer.sent, kind: Kind::Bye };
            let _ = peer.stream.write_full(&bye.encode(), deadline);
            peer.stream.end();
        }
        let (limit, silence) = (Instant::now() + self.timeouts.round, self.timeouts.silence);
        linger(self.peers.iter_mut().flatten(), limit, silence, || watch.stopped().is_some());
        Ok(())
    }
}

const CLOSED: &str = "it closed the connection without a word, as after a crash";
