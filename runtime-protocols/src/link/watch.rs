//! What runs beside the exchanges of a link: beats, interruptions, and the answer to "what is it waiting for".
//!
//! Peers must tell a party that computes from one that is dead, also while its only thread is deep in a matrix product.
//! So one small thread per link sends a beat to every peer whenever nothing else has gone there for a while. It takes the
//! lock that an exchange holds while it moves bytes, and only if it is free: then no message is half written, and a beat
//! can stand between two frames, or a message is made in parts, and a byte of it that was held back is as good. When the lock is taken, the party is in an exchange, whose loop wakes several times a
//! second anyway and sends the beats itself. So there is one writer at a time, no queue and no second socket, and an
//! exchange pays one uncontended lock. A beat proves that the process is scheduled and the network carries its bytes; that
//! the computation gets on is what the time limit of a round is for.

use super::exchange::Core;
use super::{LinkError, Party, party};
use std::{
    fmt::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak, mpsc},
    thread,
    time::{Duration, Instant},
};

/// What a link and its helpers share.
pub(super) struct Shared {
    core: Mutex<Core>,
    pub(super) watch: Watch,
}

impl Shared {
    pub(super) fn new(core: Core) -> Self {
        Shared { core: Mutex::new(core), watch: Watch::default() }
    }

    pub(super) fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` while an exchange runs.
    fn idle(&self) -> Option<MutexGuard<'_, Core>> {
        match self.core.try_lock() {
            Ok(core) => Some(core),
            Err(TryLockError::Poisoned(core)) => Some(core.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Seen by other threads while an exchange runs.
#[derive(Default)]
pub(super) struct Watch {
    stop: Mutex<Option<(u8, String)>>,
    state: Mutex<State>,
}

/// What a party does.
struct State {
    round: u32,
    what: String,
    since: Instant,
    /// Who is waited for, bytes that have come, bytes that are due, when it was last heard; none between exchanges.
    waiting: Option<(Party, usize, usize, Instant)>,
}

impl Default for State {
    fn default() -> Self {
        // Names longer than this are cut, so that exchanges allocate nothing.
        State { round: 0, what: String::with_capacity(LONGEST_NAME), since: Instant::now(), waiting: None }
    }
}

const LONGEST_NAME: usize = 240;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    /// Why the exchange is to end, if it is.
    pub(super) fn stopped(&self) -> Option<(u8, String)> {
        lock(&self.stop).clone()
    }

    /// An exchange begins.
    pub(super) fn enter(&self, round: u32, what: &str, now: Instant) {
        let state = &mut *lock(&self.state);
        let cut = (0..=what.len().min(LONGEST_NAME)).rev().find(|&cut| what.is_char_boundary(cut)).unwrap_or(0);
        (state.round, state.since) = (round, now);
        state.what.clear();
        state.what.push_str(&what[..cut]);
    }

    /// It waits for this peer: bytes that have come and that are due, and when it was last heard.
    pub(super) fn waits(&self, peer: usize, got: usize, expected: usize, heard: Instant) {
        lock(&self.state).waiting = Some((party(peer), got, expected, heard));
    }

    /// It is over.
    pub(super) fn leave(&self) {
        let state = &mut *lock(&self.state);
        (state.waiting, state.since) = (None, Instant::now());
    }
}

/// A handle to a running link, for other threads. It does not keep the link alive.
#[derive(Clone)]
pub struct Control(Weak<Shared>);

impl Control {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Control(Arc::downgrade(shared))
    }

    /// Ends the link with this exit code and tells the peers; returns when they have been told, as far as that is possible
    /// within a second.
    pub fn interrupt(&self, code: u8, reason: &str) {
        const PATIENCE: Duration = Duration::from_secs(1);
        const TICK: Duration = Duration::from_millis(5);
        let Some(shared) = self.0.upgrade() else { return };
        lock(&shared.watch.stop).get_or_insert_with(|| (code, reason.to_owned()));
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(mut core) = shared.idle() {
                // Nothing happens when the exchange has done it.
                core.abort(code, reason);
                return;
            }
            thread::sleep(TICK);
        }
    }

    /// What the link waits for, in one line, without any secret.
    pub fn status(&self) -> String {
        let Some(shared) = self.0.upgrade() else { return "the link has ended".to_owned() };
        let state = lock(&shared.watch.state);
        let now = Instant::now();
        let seconds = |then: Instant| now.saturating_duration_since(then).as_secs_f64();
        let mut line = String::new();
        let place = format!("round {} ({})", state.round, state.what);
        // Writing to a string cannot fail.
        let _ = match state.waiting {
            None if state.round == 0 => write!(line, "connected, computing for {:.1} s", seconds(state.since)),
            None => write!(line, "computing for {:.1} s since {place}", seconds(state.since)),
            Some((peer, got, expected, heard)) => write!(
                line,
                "{place}: waiting for {peer} for {:.1} s, {got} of {expected} bytes, last sign of life {:.1} s ago",
                seconds(state.since),
                seconds(heard)
            ),
        };
        line
    }
}

/// Starts the thread that sends beats while no exchange runs. It ends with the link, or when the sender is dropped.
pub(super) fn beats(shared: &Arc<Shared>, every: Duration) -> Result<mpsc::Sender<()>, LinkError> {
    let (alive, link) = mpsc::channel::<()>();
    let shared = Arc::downgrade(shared);
    let run = move || {
        while link.recv_timeout(every / 2) == Err(mpsc::RecvTimeoutError::Timeout) {
            let Some(shared) = shared.upgrade() else { return };
            if let Some(mut core) = shared.idle()
                && !core.beat(Instant::now())
            {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("beats".to_owned()).stack_size(128 << 10).spawn(run);
    thread.map(|_| alive).map_err(|e| LinkError::GaveUp { code: 5, reason: format!("no thread: {e}") })
}
