//! Links: how a party exchanges messages with all others.
//!
//! One [`Link::exchange`] is one round of one party. The caller knows the length of every message beforehand, so a
//! link never allocates by a number that a peer sent. Rounds are measured, not declared: each message carries
//! 1 + the largest level its sender had received since [`Link::begin`], and [`LinkStats::level`] is the largest level
//! seen. What the messages mean is left to the protocols.
//!
//! [`memory`] joins parties of one process, [`tcp`] joins processes, encrypted by [`tls`] or plain. [`tamper`] is for tests that
//! attack a protocol.

mod connect;
mod dial;
mod error;
mod exchange;
mod frame;
mod handshake;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod keys;
pub mod memory;
mod meter;
mod peer;
mod poll;
mod stream;
pub mod tamper;
pub mod tcp;
pub mod tls;
mod watch;

use std::time::Duration;

pub use error::{Fault, LinkError};
pub use handshake::{HELLO_LIMIT, Hello};
pub(crate) use keys::random;
pub use keys::{PairKeys, exchange_keys};
pub use tls::{Certificate, Fingerprint, Identity, TlsError};
pub use watch::Control;

pub use ir::Party;

/// The party at position `index` of a list with one entry per party.
pub(crate) fn party(index: usize) -> Party {
    Party(u8::try_from(index).expect("links have at most 255 parties"))
}

/// Where in the program an exchange happens, for error messages.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Round of the schedule.
    pub round: u32,
    /// Layer or step, for example the name of the TFLite operator.
    pub what: &'a str,
}

/// What a link has counted since [`Link::begin`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Payload bytes written, by receiving party.
    pub payload_sent: Vec<u64>,
    /// Bytes written with frame headers, by receiving party.
    pub wire_sent: Vec<u64>,
    /// Largest level of a message sent or received: the measured number of rounds.
    pub level: u32,
    /// Time spent blocked in exchanges.
    pub wait: Duration,
    /// Messages written.
    pub messages: u64,
}

/// How long a party waits before it gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For all peers to be there.
    pub connect: Duration,
    /// For one peer to answer the handshake.
    pub handshake: Duration,
    /// For the messages of one exchange, the peers' computation before it included. Large messages get more: one
    /// second for each 64 KiB.
    pub round: Duration,
    /// Without any sign of life from a peer that is waited for. Parties send one every fifth of it.
    pub silence: Duration,
    /// From the first connection to the end.
    pub session: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
            round: Duration::from_secs(60),
            silence: Duration::from_secs(10),
            session: Duration::from_secs(24 * 3600),
        }
    }
}

impl Timeouts {
    /// How often a sign of life is due.
    pub(crate) fn every(&self) -> Duration {
        const SHORTEST: Duration = Duration::from_millis(10);
        (self.silence / 5).max(SHORTEST)
    }

    /// The time allowed for an exchange that moves `bytes` bytes.
    pub(crate) fn exchange(&self, bytes: usize) -> Duration {
        const SLOWEST_BYTES_PER_SECOND: u64 = 64 << 10;
        self.round + Duration::from_secs(bytes as u64 / SLOWEST_BYTES_PER_SECOND)
    }
}

/// What a party does during an exchange whose messages it makes and uses in parts.
pub trait Work {
    /// Appends a part of the messages to `out[p]` for every party p; `false` when all parts are there.
    fn produce(&mut self, out: &mut [Vec<u8>]) -> bool;

    /// Uses what has come so far: the first `got[p]` bytes of `incoming[p]`.
    fn consume(&mut self, incoming: &[Vec<u8>], got: &[usize]);
}

/// Connects this party to all others.
///
/// After an error the link is of no more use: it has told the peers and every later exchange returns the same error.
/// A link that is dropped without [`Link::close`] shows up at the peers as [`LinkError::Lost`].
pub trait Link: Send {
    /// This party.
    fn me(&self) -> Party;

    /// Number of parties, this one included.
    fn parties(&self) -> usize;

    /// Identifies this connection of all parties: equal at all, and never the same twice.
    fn session(&self) -> [u8; 16];

    /// Sends `out[p]` to every party p where it is not empty and receives exactly `expect[p]` bytes from every p
    /// where that is not 0, into `incoming[p]` (resized; emptied where nothing is expected). Reads while it writes.
    ///
    /// # Panics
    /// When a list has not one entry per party, or this party's own entry is not empty.
    fn exchange(
        &mut self,
        at: &Place<'_>,
        out: &[Vec<u8>],
        expect: &[usize],
        incoming: &mut [Vec<u8>],
    ) -> Result<(), LinkError>;

    /// The same exchange of messages of `lengths[p]` bytes to every p, of which `out[p]` may hold a part: the rest is made by
    /// `work`, which also uses what comes. A link may move what is ready meanwhile. Afterwards `work` has made and been shown all.
    fn exchange_parts(
        &mut self,
        at: &Place<'_>,
        out: &mut [Vec<u8>],
        [lengths, expect]: [&[usize]; 2],
        incoming: &mut [Vec<u8>],
        work: &mut dyn Work,
    ) -> Result<(), LinkError> {
        while work.produce(out) {}
        debug_assert!(out.iter().map(Vec::len).eq(lengths.iter().copied()), "messages have the length of the program");
        self.exchange(at, out, expect, incoming)?;
        work.consume(incoming, expect);
        Ok(())
    }

    /// A secret that only the two ends of the channel to `peer` have; `None` where nothing is encrypted.
    fn binding(&self, peer: Party) -> Option<[u8; 32]> {
        let _ = peer;
        None
    }

    /// Starts an inference: levels and counts begin at zero. All parties do so after the same message.
    fn begin(&mut self);

    /// What has been counted since [`Link::begin`].
    fn stats(&self) -> LinkStats;

    /// Tells every peer that this party gives up, as far as they can still be told, and why. `code` is this party's
    /// exit code. The link calls it by itself when an exchange fails.
    fn abort(&mut self, code: u8, reason: &str);

    /// Takes leave, so that peers that finish later do not take the end of this party for a loss.
    fn close(&mut self) -> Result<(), LinkError>;
}

/// Panics unless the lists of an exchange fit the link.
fn check_lists(me: Party, parties: usize, out: &[Vec<u8>], expect: &[usize], incoming: &[Vec<u8>]) {
    assert!(
        out.len() == parties && expect.len() == parties && incoming.len() == parties,
        "an exchange among {parties} parties got lists of {}, {} and {}",
        out.len(),
        expect.len(),
        incoming.len()
    );
    assert!(out[me.index()].is_empty() && expect[me.index()] == 0, "{me} exchanges with itself");
}
