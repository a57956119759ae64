//! One peer of a link: its connection and the messages under way.

use super::frame::{self, HEADER, Header, REASON_LIMIT};
use super::stream::Stream;
use super::{Fault, poll};
use rustix::event::{PollFd, PollFlags};
use smallvec::SmallVec;
use std::{
    io::{self, ErrorKind, IoSlice, IoSliceMut},
    time::{Duration, Instant},
};

/// Reads from one peer before the others have their turn and the clock is looked at, whatever it sends.
pub(super) const AT_A_TIME: usize = 64;
/// Signs of life that a connection may bring in each second, and as many again as pile up while the network is down. An
/// honest peer sends a tenth, see `Timeouts::every`.
const BEATS_A_SECOND: u64 = 1000;
const BEATS_AT_ONCE: u64 = 10_000;
/// Bytes of half a message that are held back.
const HELD: usize = 64;

pub(super) struct Peer {
    pub(super) stream: Stream,
    /// Messages sent and received in whole.
    pub(super) sent: u32,
    pub(super) received: u32,
    pub(super) outgoing: Transfer,
    /// Bytes of it that may be written: it may come in parts.
    offered: usize,
    /// The last bytes that are there of a message to which more comes. They are signs of life, one at a time, while the rest is made.
    held: SmallVec<[u8; HELD]>,
    /// Of a message that is not due yet, the header may have come.
    pub(super) incoming: Transfer,
    pub(super) quiet: Quiet,
    /// When something last came from it, and last went to it.
    pub(super) heard: Instant,
    pub(super) told: Instant,
    /// Bytes of a beat that the socket has not taken.
    beat: usize,
    /// When it came, and the signs of life since.
    since: Instant,
    beats: u64,
}

/// A message under way.
#[derive(Default)]
pub(super) struct Transfer {
    pub(super) header: [u8; HEADER],
    /// Bytes moved of header and payload.
    pub(super) done: usize,
    /// Bytes of header and payload; 0 when there is no message.
    pub(super) total: usize,
}

impl Transfer {
    pub(super) fn new(header: [u8; HEADER], payload: usize) -> Self {
        Transfer { header, done: 0, total: if payload == 0 { 0 } else { HEADER + payload } }
    }

    /// A message of this length becomes due. What has come of it already stays.
    pub(super) fn due(&mut self, payload: usize) {
        self.total = if payload == 0 { 0 } else { HEADER + payload };
    }

    pub(super) fn pending(&self) -> bool {
        self.done < self.total
    }

    pub(super) fn payload_done(&self) -> usize {
        self.done.saturating_sub(HEADER)
    }

    pub(super) fn payload(&self) -> usize {
        self.total.saturating_sub(HEADER)
    }
}

/// What is known of a peer from whom nothing is due.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Quiet {
    /// Nothing has come.
    Open,
    /// It is ahead: the header of a message for a later exchange has come. What is behind that cannot be seen yet.
    Ahead,
    /// It has taken leave.
    Ended,
}

impl Peer {
    pub(super) fn new(stream: Stream) -> Self {
        let now = Instant::now();
        Peer {
            stream,
            sent: 0,
            received: 0,
            outgoing: Transfer::default(),
            offered: 0,
            held: SmallVec::new(),
            incoming: Transfer::default(),
            quiet: Quiet::Open,
            heard: now,
            told: now,
            beat: 0,
            since: now,
            beats: 0,
        }
    }

    /// Whether something that is there must still be written.
    pub(super) fn writes(&self) -> bool {
        self.outgoing.done < self.offered || self.stream.unsent()
    }

    /// A message of `length` bytes is to be written, from its first byte on as far as it is there.
    pub(super) fn open(&mut self, header: Header, length: usize) {
        self.outgoing = Transfer::new(header.encode(), length);
        self.offered = 0;
    }

    /// So much of the message is there.
    pub(super) fn offer(&mut self, there: &[u8]) {
        self.held.clear();
        if HEADER + there.len() == self.outgoing.total {
            self.offered = self.outgoing.total;
        } else if !there.is_empty() {
            let (now, later) = there.split_at(there.len().saturating_sub(HELD));
            self.offered = HEADER + now.len();
            self.held.extend_from_slice(later);
        }
    }

    /// What to wait for; `None` when nothing can come of it.
    pub(super) fn events(&self) -> Option<PollFlags> {
        let mut events = PollFlags::empty();
        if self.writes() {
            events |= PollFlags::OUT;
        }
        if self.incoming.pending() {
            events |= PollFlags::IN;
        } else {
            match self.quiet {
                Quiet::Open => events |= PollFlags::IN | poll::HANGUP,
                // Resets are always reported.
                Quiet::Ahead => {}
                Quiet::Ended if events.is_empty() => return None,
                Quiet::Ended => {}
            }
        }
        Some(events)
    }

    /// Writes what the socket takes.
    pub(super) fn push(&mut self, payload: &[u8]) -> io::Result<()> {
        if self.outgoing.done >= self.offered {
            return self.stream.flush();
        }
        let Transfer { header, done, .. } = &mut self.outgoing;
        let head = &header[(*done).min(HEADER)..];
        let beat = frame::beat();
        let rest = &beat[HEADER - self.beat..];
        let payload = &payload[done.saturating_sub(HEADER)..self.offered - HEADER];
        let parts = [IoSlice::new(rest), IoSlice::new(head), IoSlice::new(payload)];
        match self.stream.write(&parts) {
            Ok(n) => {
                let of_beat = n.min(self.beat);
                self.beat -= of_beat;
                *done += n - of_beat;
                self.told = Instant::now();
            }
            Err(e) if poll::later(&e) => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// Says that this party is alive, unless it has said anything since `every`. In the middle of a message only that can go on:
    /// by a byte of what was held back.
    pub(super) fn beat(&mut self, now: Instant, every: Duration) -> io::Result<()> {
        if self.quiet == Quiet::Ended || now.saturating_duration_since(self.told) < every {
            return Ok(());
        }
        if self.stream.unsent() {
            return self.stream.flush();
        }
        if self.outgoing.pending() && self.outgoing.done > 0 {
            let Some(byte) = self.outgoing.done.checked_sub(self.offered).and_then(|at| self.held.get(at)) else {
                return Ok(());
            };
            match self.stream.write(&[IoSlice::new(&[*byte])]) {
                Ok(n) => self.outgoing.done += n,
                Err(e) if poll::later(&e) => {}
                Err(e) => return Err(e),
            }
            self.told = now;
            return Ok(());
        }
        let beat = frame::beat();
        if self.beat == 0 {
            self.beat = HEADER;
        }
        match self.stream.write(&[IoSlice::new(&beat[HEADER - self.beat..])]) {
            Ok(n) => self.beat -= n,
            Err(e) if poll::later(&e) => {}
            Err(e) => return Err(e),
        }
        self.told = now;
        Ok(())
    }

    /// Writes what is left of a beat, so that another frame may follow.
    pub(super) fn finish_beat(&mut self, deadline: Instant) -> io::Result<()> {
        let rest = std::mem::take(&mut self.beat);
        self.stream.write_full(&frame::beat()[HEADER - rest..], deadline)
    }

    /// Whether another frame can begin now.
    pub(super) fn between_frames(&self) -> bool {
        self.beat == 0 && (self.outgoing.done == 0 || !self.outgoing.pending())
    }

    /// Reads what is there, but no byte more than the message that is due, or than the header of one that is not. Returns
    /// the number of bytes; 0 is the end, `None` that nothing is there.
    pub(super) fn pull(&mut self, payload: &mut [u8]) -> io::Result<Option<usize>> {
        let Transfer { header, done, .. } = &mut self.incoming;
        let head = &mut header[(*done).min(HEADER)..];
        let mut parts = [IoSliceMut::new(head), IoSliceMut::new(&mut payload[done.saturating_sub(HEADER)..])];
        match self.stream.read(&mut parts) {
            Ok(n) => {
                *done += n;
                if n > 0 {
                    self.heard = Instant::now();
                    self.skip_beats(payload)?;
                }
                Ok(Some(n))
            }
            Err(e) if poll::later(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Drops beats that stand before a message. What was read behind them moves to the front, once: nobody may make this
    /// party busy with moving bytes. Fails when there are more than anybody needs.
    fn skip_beats(&mut self, payload: &mut [u8]) -> io::Result<()> {
        let Transfer { header, done, .. } = &mut self.incoming;
        if *done < HEADER || !frame::is_beat(header) {
            return Ok(());
        }
        let behind = *done - HEADER;
        let more = payload[..behind].chunks_exact(HEADER);
        let more = more.take_while(|frame| frame.first_chunk().is_some_and(frame::is_beat)).count();
        let (from, rest) = (more * HEADER, behind - more * HEADER);
        let head = rest.min(HEADER);
        header[..head].copy_from_slice(&payload[from..from + head]);
        payload.copy_within(from + head..behind, 0);
        *done = rest;
        self.beats += 1 + more as u64;
        let seconds = self.heard.saturating_duration_since(self.since).as_secs();
        match self.beats <= BEATS_AT_ONCE + BEATS_A_SECOND * seconds {
            true => Ok(()),
            false => Err(io::Error::new(ErrorKind::InvalidData, "it sends signs of life without end")),
        }
    }

    /// The header that has come, if it has in whole.
    pub(super) fn header(&self) -> Option<Result<Header, Fault>> {
        (self.incoming.done >= HEADER).then(|| Header::decode(&self.incoming.header))
    }

    /// Reads the reason of an abort whose header is known and of which `start` has been read.
    pub(super) fn last_words(&mut self, header: &Header, start: &[u8]) -> (u8, String) {
        const PATIENCE: Duration = Duration::from_millis(500);
        let length = usize::try_from(header.length).map_or(0, |length| length.min(1 + REASON_LIMIT));
        let mut words = start[..start.len().min(length)].to_vec();
        let read = words.len();
        words.resize(length, 0);
        // What cannot be read any more stays empty.
        let _ = self.stream.read_full(&mut words[read..], Instant::now() + PATIENCE);
        let reason = String::from_utf8_lossy(words.get(1..).unwrap_or_default());
        (words.first().copied().unwrap_or_default(), reason.trim_end_matches('\0').to_owned())
    }

    /// Reads and forgets what comes, until nothing does; `false` when nothing more can come.
    pub(super) fn drain(&mut self) -> bool {
        let mut scrap = [0; 4096];
        for _ in 0..AT_A_TIME {
            match self.stream.read(&mut [IoSliceMut::new(&mut scrap)]) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(e) => return poll::later(&e),
            }
        }
        true
    }
}

/// Waits until all of `peers` have ended their side, what they still say unread, so that the end of this side's sockets
/// does not reset the connections while its own last words are under way. Ends at `deadline`, when `stop` says so, or
/// when those that are left have been silent for `silence`.
pub(super) fn linger<'a>(
    peers: impl Iterator<Item = &'a mut Peer>,
    deadline: Instant,
    silence: Duration,
    stop: impl Fn() -> bool,
) {
    const TICK: Duration = Duration::from_millis(100);
    let mut left: Vec<(&mut Peer, Instant)> = peers.map(|peer| (peer, Instant::now())).collect();
    loop {
        left.retain_mut(|(peer, _)| {
            let _ = peer.stream.flush();
            peer.drain()
        });
        let now = Instant::now();
        if left.is_empty() || now >= deadline || stop() || left.iter().all(|(_, heard)| now >= *heard + silence) {
            return;
        }
        let events = |peer: &Peer| match peer.stream.unsent() {
            true => PollFlags::IN | PollFlags::OUT,
            false => PollFlags::IN,
        };
        let mut set: Vec<_> = left.iter().map(|(p, _)| PollFd::new(p.stream.socket(), events(p))).collect();
        if poll::wait(&mut set, deadline.min(now + TICK)).is_err() {
            return;
        }
        let spoke: Vec<bool> = set.iter().map(|fd| !fd.revents().is_empty()).collect();
        for ((_, heard), _) in left.iter_mut().zip(spoke).filter(|(_, spoke)| *spoke) {
            *heard = now;
        }
    }
}
