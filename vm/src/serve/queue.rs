//! Requests of clients: what is waiting, what is computed, what was answered. One list under one lock, between the connections
//! of clients and the thread that computes.
//!
//! A request is named by its id and goes one way: *pending* → *running* → *ended*, with an answer or a refusal. What has ended
//! is remembered until the id is too old to be accepted, so an id is computed at most once and a repeated request gets the
//! stored outcome.
use super::wire::{Refusal, RequestId, now};
use crate::exec::Pieces;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

/// An answer, or why there is none.
pub type Reply = Result<Arc<Vec<u8>>, Refusal>;
/// Where the reply to a request goes; a closed one is fine.
pub type Waiter = UnboundedSender<(RequestId, Reply)>;

/// Bounds of the list.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests that wait.
    pub pending: usize,
    /// Requests that have ended and are remembered.
    pub remembered: usize,
    /// Bytes of answers that are kept.
    pub answer_bytes: usize,
    /// How long a request waits for the other parties to have it.
    pub patience: Duration,
    /// How old an id may be, and how far ahead.
    pub age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            pending: 1024,
            remembered: 1 << 16,
            answer_bytes: 64 << 20,
            patience: Duration::from_secs(10),
            age: Duration::from_secs(120),
        }
    }
}

enum State {
    Pending { pieces: Pieces, not_before: Instant },
    Running,
    Ended { reply: Reply, since: Instant },
}

struct Entry {
    /// Of the pieces: an id belongs to one message.
    digest: [u8; 32],
    since: Instant,
    waiters: Vec<Waiter>,
    state: State,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<RequestId, Entry>,
    /// Oldest first.
    pending: VecDeque<RequestId>,
    ended: VecDeque<RequestId>,
    answer_bytes: usize,
    running: usize,
    draining: bool,
}

/// The list.
pub struct Queue {
    inner: Mutex<Inner>,
    changed: Condvar,
    limits: Limits,
    /// Milliseconds since 1970 when it was made: what an earlier process of this party has computed is not known here.
    since: u64,
}

impl Queue {
    /// An empty list.
    pub fn new(limits: Limits) -> Queue {
        Queue { inner: Mutex::default(), changed: Condvar::new(), limits, since: now().as_millis() as u64 }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.lock().pending.len()
    }

    /// Whether none waits and none runs.
    pub fn is_idle(&self) -> bool {
        let inner = self.lock();
        inner.pending.is_empty() && inner.running == 0
    }

    /// Refuses what is new from now on.
    pub fn drain(&self) {
        self.lock().draining = true;
        self.changed.notify_all();
    }

    /// Whether it does.
    pub fn is_draining(&self) -> bool {
        self.lock().draining
    }

    /// Whether a request would be refused at once, before its bytes are read: the list is full, or the party leaves. One that
    /// is known already is not.
    pub fn refusal(&self, id: RequestId) -> Option<Refusal> {
        let inner = self.lock();
        if inner.entries.contains_key(&id) {
            return None;
        }
        self.refuse_new(&inner, id)
    }

    fn refuse_new(&self, inner: &Inner, id: RequestId) -> Option<Refusal> {
        if inner.draining {
            return Some(Refusal::new(10, "this party is leaving; ask again when it is back"));
        }
        if id.distance() > self.limits.age {
            let most = self.limits.age.as_secs();
            let what = format!("the time in the id is more than {most} s from now; use a fresh id, or set the clock");
            return Some(Refusal::new(30, what));
        }
        if id.time() < self.since {
            return Some(Refusal::new(
                10,
                "the id is older than this server, which may have been asked before it started; use a fresh id",
            ));
        }
        if inner.pending.len() >= self.limits.pending {
            return Some(Refusal::new(5, format!("{} requests wait already; ask again later", inner.pending.len())));
        }
        (inner.entries.len() >= self.limits.remembered + self.limits.pending)
            .then(|| Refusal::new(5, "too many requests in too short a time; ask again later"))
    }

    /// Takes a request, or answers a repeated one. The reply comes to `waiter`.
    pub fn submit(&self, id: RequestId, digest: [u8; 32], pieces: Pieces, waiter: &Waiter) {
        let mut inner = self.lock();
        let now = Instant::now();
        let reply = match inner.entries.get_mut(&id) {
            Some(entry) if entry.digest != digest => {
                Some(Err(Refusal::new(30, "this id belongs to a request with other data; use a fresh id")))
            }
            Some(entry) => match &entry.state {
                State::Ended { reply, .. } => Some(reply.clone()),
                _ => {
                    entry.waiters.push(waiter.clone());
                    None
                }
            },
            None => match self.refuse_new(&inner, id) {
                Some(refusal) => Some(Err(refusal)),
                None => {
                    let state = State::Pending { pieces, not_before: now };
                    inner.entries.insert(id, Entry { digest, since: now, waiters: vec![waiter.clone()], state });
                    inner.pending.push_back(id);
                    self.changed.notify_all();
                    None
                }
            },
        };
        drop(inner);
        if let Some(reply) = reply {
            // A client that has gone does not want it.
            let _ = waiter.send((id, reply));
        }
    }

    /// Waits at most `idle` for a request, then at most `delay` for a batch of `most`. Their ids, oldest first.
    pub fn propose(&self, most: usize, idle: Duration, delay: Duration) -> Vec<RequestId> {
        let start = Instant::now();
        let mut first: Option<Instant> = None;
        let mut inner = self.lock();
        loop {
            let now = Instant::now();
            let ready = |id: &&RequestId| {
                matches!(inner.entries.get(*id), Some(Entry { state: State::Pending { not_before, .. }, .. })
                    if *not_before <= now)
            };
            let ids: Vec<RequestId> = inner.pending.iter().filter(ready).take(most).copied().collect();
            if !ids.is_empty() {
                first.get_or_insert(now);
            }
            let idle = if inner.draining { idle.min(Duration::from_millis(20)) } else { idle };
            let until = first.map_or(start + idle, |first| first + delay);
            if ids.len() == most || now >= until {
                return ids;
            }
            // Short, as a request may become due by time alone.
            let wait = until.saturating_duration_since(now).min(Duration::from_millis(20));
            inner = self.changed.wait_timeout(inner, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits at most `delay` until all of `ids` are here.
    pub fn gather(&self, ids: &[RequestId], delay: Duration) {
        let until = Instant::now() + delay;
        let mut inner = self.lock();
        loop {
            let here = |id: &RequestId| inner.entries.contains_key(id);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || ids.iter().all(here) {
                return;
            }
            inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes those of `ids` that are pending; they are running now.
    pub fn claim(&self, ids: &[RequestId]) -> Vec<Option<Pieces>> {
        let mut inner = self.lock();
        let mut claim = |id: &RequestId| {
            let entry = inner.entries.get_mut(id)?;
            if !matches!(entry.state, State::Pending { .. }) {
                return None;
            }
            let State::Pending { pieces, .. } = std::mem::replace(&mut entry.state, State::Running) else {
                return None;
            };
            inner.running += 1;
            inner.pending.retain(|other| other != id);
            Some(pieces)
        };
        ids.iter().map(&mut claim).collect()
    }

    /// Puts one back that another party lacks, to be proposed later.
    pub fn put_back(&self, id: RequestId, pieces: Pieces) {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(&id) else { return };
        let age = entry.since.elapsed();
        // The longer it is missing elsewhere, the less often it is proposed.
        let pause = (age / 4).clamp(Duration::from_millis(5), Duration::from_secs(1));
        entry.state = State::Pending { pieces, not_before: Instant::now() + pause };
        inner.running -= 1;
        inner.pending.push_front(id);
    }

    /// Ends a request and tells whoever waits.
    pub fn end(&self, id: RequestId, reply: Reply) {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(&id) else { return };
        let before = std::mem::replace(&mut entry.state, State::Ended { reply: reply.clone(), since: Instant::now() });
        let waiters = std::mem::take(&mut entry.waiters);
        match before {
            State::Running => inner.running -= 1,
            State::Pending { .. } => inner.pending.retain(|other| *other != id),
            State::Ended { .. } => {}
        }
        inner.answer_bytes += reply.as_ref().map_or(0, |a| a.len());
        inner.ended.push_back(id);
        drop(inner);
        for waiter in waiters {
            // A client that has gone asks again, or does not want it.
            let _ = waiter.send((id, reply.clone()));
        }
        self.changed.notify_all();
    }

    /// Ends what has waited too long, and forgets what nobody may ask for any more.
    pub fn sweep(&self) -> usize {
        let (late, forgotten) = {
            let mut inner = self.lock();
            let patience = self.limits.patience;
            let late: Vec<RequestId> = inner
                .pending
                .iter()
                .filter(|id| inner.entries.get(*id).is_some_and(|e| e.since.elapsed() > patience))
                .copied()
                .collect();
            let mut forgotten = Vec::new();
            // An id may come from a clock that is ahead, so it is remembered twice as long as it may be old.
            while let Some(id) = inner.ended.front().copied() {
                let due = match inner.entries.get(&id) {
                    Some(Entry { state: State::Ended { since, .. }, .. }) => since.elapsed() > 2 * self.limits.age,
                    _ => true,
                };
                if !due {
                    break;
                }
                inner.ended.pop_front();
                forgotten.extend(inner.entries.remove(&id));
            }
            // Answers take more than ids: the oldest are dropped first, their ids stay.
            let mut at = 0;
            while inner.answer_bytes > self.limits.answer_bytes && at < inner.ended.len() {
                let id = inner.ended[at];
                at += 1;
                if let Some(Entry { state: State::Ended { reply, .. }, .. }) = inner.entries.get_mut(&id) {
                    let gone =
                        Err(Refusal::new(11, "it was answered, and the answer is no longer kept; use a fresh id"));
                    let bytes = std::mem::replace(reply, gone).map_or(0, |a| a.len());
                    inner.answer_bytes -= bytes;
                }
            }
            let bytes: usize = forgotten.iter().map(Entry::answer_bytes).sum();
            inner.answer_bytes -= bytes;
            (late, forgotten)
        };
        drop(forgotten);
        for id in &late {
            let what = "not every party has got this request in time; send its pieces to all, with a fresh id";
            self.end(*id, Err(Refusal::new(12, what)));
        }
        late.len()
    }
}

impl Entry {
    fn answer_bytes(&self) -> usize {
        match &self.state {
            State::Ended { reply: Ok(answer), .. } => answer.len(),
            _ => 0,
        }
    }
}
