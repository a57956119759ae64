//! Links between the parties of one process, for tests and simulation.
//!
//! Counts as TCP does. A test can look at every message and damage it on the way, and record all of them.

use super::frame::{Header, Kind};
use super::meter::Meter;
use super::{Fault, Link, LinkError, LinkStats, Party, Place, Timeouts, check_lists, keys, party};
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Links of `parties` parties, the link of party i at position i.
pub fn network(parties: usize) -> Vec<MemoryLink> {
    Network::new(parties).links()
}

/// A message on its way.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// Where the sender is.
    pub at: Place<'a>,
    /// Sender.
    pub from: Party,
    /// Receiver.
    pub to: Party,
    /// How many messages went from this sender to this receiver before.
    pub sequence: u32,
}

/// What happens to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    Deliver,
    /// It is lost.
    Drop,
    /// It arrives twice.
    Twice,
    /// It arrives after the next message of this pair.
    Late,
    /// It arrives this much later; what the pair sends after it waits behind it.
    After(Duration),
    /// It arrives, and behind it the first message of this pair once more, with the number that it had.
    Replay,
}

/// One recorded message. `Debug` prints its length.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// Round the sender was in.
    pub round: u32,
    /// Sender.
    pub from: Party,
    /// Receiver.
    pub to: Party,
    /// Number of the message from this sender to this receiver.
    pub sequence: u32,
    /// The bytes as they were sent, before any damage.
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Record { round, from, to, sequence, payload } = self;
        write!(f, "Record(round {round}, {from} to {to}, number {sequence}, {} bytes)", payload.len())
    }
}

/// All messages of a network so far.
#[derive(Clone)]
pub struct Transcript(Arc<Hub>);

impl Transcript {
    /// The messages ordered by round, sender, receiver and sequence.
    pub fn records(&self) -> Vec<Record> {
        let mut records = self.0.lock().records.clone().unwrap_or_default();
        records.sort();
        records
    }
}

type Interceptor = dyn Fn(&Sent<'_>, &mut Vec<u8>) -> Fate + Send + Sync;

/// Settings of a network in memory.
pub struct Network {
    parties: usize,
    timeouts: Timeouts,
    interceptor: Option<Box<Interceptor>>,
}

impl Network {
    /// A network that delivers everything.
    pub fn new(parties: usize) -> Self {
        Network { parties, timeouts: Timeouts::default(), interceptor: None }
    }

    /// Other deadlines.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Shows every message to `f`, which may change it and decides its fate.
    pub fn intercept(mut self, f: impl Fn(&Sent<'_>, &mut Vec<u8>) -> Fate + Send + Sync + 'static) -> Self {
        self.interceptor = Some(Box::new(f));
        self
    }

    /// The links.
    pub fn links(self) -> Vec<MemoryLink> {
        self.build(None).1
    }

    /// The links and a record of all messages.
    pub fn recorded(self) -> (Vec<MemoryLink>, Transcript) {
        let (hub, links) = self.build(Some(Vec::new()));
        (links, Transcript(hub))
    }

    fn build(self, records: Option<Vec<Record>>) -> (Arc<Hub>, Vec<MemoryLink>) {
        let n = self.parties;
        let mut session = [0; 16];
        keys::random(&mut session).expect("tests run where the system has random bytes");
        let state = State {
            queues: (0..n * n).map(|_| VecDeque::new()).collect(),
            late: (0..n * n).map(|_| None).collect(),
            first: (0..n * n).map(|_| None).collect(),
            ends: vec![End::Running; n],
            records,
        };
        let hub = Arc::new(Hub {
            parties: n,
            timeouts: self.timeouts,
            session,
            interceptor: self.interceptor,
            state: Mutex::new(state),
            news: (0..n).map(|_| Condvar::new()).collect(),
        });
        let link = |me| MemoryLink {
            hub: hub.clone(),
            me,
            meter: Meter::new(n),
            sent: vec![0; n],
            received: vec![0; n],
            spare: Vec::new(),
            failed: None,
            round: 0,
        };
        let links = (0..n).map(link).collect();
        (hub, links)
    }
}

/// What all links of a network share.
struct Hub {
    parties: usize,
    timeouts: Timeouts,
    session: [u8; 16],
    interceptor: Option<Box<Interceptor>>,
    state: Mutex<State>,
    /// Signals each party that its queues or a peer's end have changed.
    news: Vec<Condvar>,
}

struct State {
    /// Messages under way, by sender · parties + receiver.
    queues: Vec<VecDeque<Message>>,
    /// Messages waiting for the next of their pair.
    late: Vec<Option<Message>>,
    /// The first message of each pair, where somebody intercepts.
    first: Vec<Option<Message>>,
    ends: Vec<End>,
    records: Option<Vec<Record>>,
}

#[derive(Clone)]
struct Message {
    sequence: u32,
    level: u32,
    payload: Vec<u8>,
    /// When it arrives; at once without.
    at: Option<Instant>,
}

impl Message {
    /// How long it still travels.
    fn left(&self, now: Instant) -> Duration {
        self.at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }
}

#[derive(Clone)]
enum End {
    Running,
    Closed,
    Lost,
    Aborted { code: u8, reason: String },
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A party that panics while it holds the lock leaves whole messages only.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, me: usize, end: End) {
        let mut state = self.lock();
        if matches!(state.ends[me], End::Running) {
            state.ends[me] = end;
            self.news.iter().for_each(Condvar::notify_all);
        }
    }
}

/// The link of one party of a network in memory.
pub struct MemoryLink {
    hub: Arc<Hub>,
    me: usize,
    meter: Meter,
    sent: Vec<u32>,
    received: Vec<u32>,
    /// Buffers to send in, taken from received messages.
    spare: Vec<Vec<u8>>,
    failed: Option<LinkError>,
    /// Of the last exchange.
    round: u32,
}

impl MemoryLink {
    fn send(&mut self, at: &Place<'_>, out: &[Vec<u8>]) {
        let level = self.meter.next_level();
        for (to, payload) in out.iter().enumerate().filter(|(_, payload)| !payload.is_empty()) {
            self.meter.sent(to, payload.len(), level);
            let mut bytes = self.spare.pop().unwrap_or_default();
            bytes.clear();
            bytes.extend_from_slice(payload);
            let sequence = self.sent[to];
            self.sent[to] = sequence.wrapping_add(1);
            let sent = Sent { at: *at, from: party(self.me), to: party(to), sequence };
            let fate = self.hub.interceptor.as_ref().map_or(Fate::Deliver, |f| f(&sent, &mut bytes));
            let arrives = if let Fate::After(time) = fate { Some(Instant::now() + time) } else { None };
            let message = Message { sequence, level, payload: bytes, at: arrives };

            let mut state = self.hub.lock();
            if let Some(records) = &mut state.records {
                let Sent { from, to, .. } = sent;
                records.push(Record { round: at.round, from, to, sequence, payload: payload.clone() });
            }
            let pair = self.me * self.hub.parties + to;
            if self.hub.interceptor.is_some() && state.first[pair].is_none() {
                state.first[pair] = Some(message.clone());
            }
            match fate {
                Fate::Deliver | Fate::After(_) => state.queues[pair].push_back(message),
                Fate::Replay => {
                    let first = state.first[pair].clone();
                    state.queues[pair].extend([Some(message), first].into_iter().flatten());
                }
                Fate::Drop => {}
                Fate::Twice => state.queues[pair].extend([message.clone(), message]),
                Fate::Late => {
                    if let Some(earlier) = state.late[pair].replace(message) {
                        state.queues[pair].push_back(earlier);
                    }
                }
            }
            if fate != Fate::Late
                && let Some(late) = state.late[pair].take()
            {
                state.queues[pair].push_back(late);
            }
            drop(state);
            self.hub.news[to].notify_all();
        }
    }

    fn receive(&mut self, at: &Place<'_>, expect: &[usize], incoming: &mut [Vec<u8>]) -> Result<(), LinkError> {
        let (n, me) = (self.hub.parties, self.me);
        let limit = self.hub.timeouts.exchange(expect.iter().sum());
        let deadline = Instant::now() + limit;
        let mut due: Vec<usize> = (0..n).filter(|&from| expect[from] > 0).collect();
        (0..n).filter(|&from| expect[from] == 0).for_each(|from| incoming[from].clear());
        let hub = self.hub.clone();
        let mut state = hub.lock();
        loop {
            let mut arrived = Vec::new();
            let now = Instant::now();
            // Until the first of those under way is here.
            let mut travels = Duration::MAX;
            due.retain(|&from| {
                let queue = &mut state.queues[from * n + me];
                let left = queue.front().map_or(Duration::MAX, |message| message.left(now));
                travels = travels.min(left.max(Duration::from_nanos(1)));
                match if left.is_zero() { queue.pop_front() } else { None } {
                    Some(message) => {
                        arrived.push((from, message));
                        false
                    }
                    None => true,
                }
            });
            for (from, message) in arrived {
                let Message { sequence, level, payload, .. } = message;
                let header = Header { length: payload.len() as u64, level, sequence, kind: Kind::Data };
                header
                    .check(expect[from], self.received[from])
                    .map_err(|fault| LinkError::malformed(at, party(from), fault))?;
                self.received[from] = sequence.wrapping_add(1);
                self.meter.received(level);
                self.spare.push(std::mem::replace(&mut incoming[from], payload));
            }
            self.spare.truncate(n);
            if due.is_empty() {
                return Ok(());
            }
            for from in (0..n).filter(|&from| from != me && state.queues[from * n + me].is_empty()) {
                match &state.ends[from] {
                    End::Aborted { code, reason } => {
                        return Err(LinkError::aborted(at, party(from), *code, reason));
                    }
                    End::Lost => return Err(LinkError::lost(at, party(from), 0, expect[from], "it is gone")),
                    End::Closed if due.contains(&from) => {
                        return Err(LinkError::lost(at, party(from), 0, expect[from], "it has ended"));
                    }
                    End::Running | End::Closed => {}
                }
            }
            let start = Instant::now();
            let left = deadline.saturating_duration_since(start);
            if left.is_zero() {
                return Err(LinkError::deadline(at, party(due[0]), 0, expect[due[0]], limit));
            }
            state = hub.news[me].wait_timeout(state, left.min(travels)).unwrap_or_else(PoisonError::into_inner).0;
            self.meter.waited(start.elapsed());
        }
    }
}

impl Link for MemoryLink {
    fn me(&self) -> Party {
        party(self.me)
    }

    fn parties(&self) -> usize {
        self.hub.parties
    }

    fn session(&self) -> [u8; 16] {
        self.hub.session
    }

    fn exchange(
        &mut self,
        at: &Place<'_>,
        out: &[Vec<u8>],
        expect: &[usize],
        incoming: &mut [Vec<u8>],
    ) -> Result<(), LinkError> {
        check_lists(self.me(), self.parties(), out, expect, incoming);
        if let Some(e) = &self.failed {
            return Err(e.clone());
        }
        self.round = at.round;
        self.send(at, out);
        self.receive(at, expect, incoming).inspect_err(|e| {
            self.abort(e.exit_code(), &e.to_string());
            self.failed = Some(e.clone());
        })
    }

    fn begin(&mut self) {
        self.meter.begin();
    }

    fn stats(&self) -> LinkStats {
        self.meter.stats()
    }

    fn abort(&mut self, code: u8, reason: &str) {
        self.hub.end(self.me, End::Aborted { code, reason: reason.to_owned() });
        self.failed.get_or_insert(LinkError::GaveUp { code, reason: reason.to_owned() });
    }

    fn close(&mut self) -> Result<(), LinkError> {
        if let Some(e) = &self.failed {
            return Err(e.clone());
        }
        let (n, me) = (self.hub.parties, self.me);
        let unread = |from: usize| {
            let state = self.hub.lock();
            let front = state.queues[from * n + me].front();
            front.map(|m| (from, Fault::Extra { got: m.sequence }))
        };
        if let Some((from, fault)) = (0..n).find_map(unread) {
            let e = LinkError::malformed(&Place { round: self.round, what: "end" }, party(from), fault);
            self.abort(e.exit_code(), &e.to_string());
            self.failed = Some(e.clone());
            return Err(e);
        }
        self.hub.end(self.me, End::Closed);
        Ok(())
    }
}

impl Drop for MemoryLink {
    fn drop(&mut self) {
        self.hub.end(self.me, End::Lost);
    }
}
