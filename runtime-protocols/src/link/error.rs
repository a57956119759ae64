//! Why a link failed.

use super::{Party, Place};
use std::{net::SocketAddr, time::Duration};

/// Why a link failed. All errors are final for the link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The address of this party cannot be listened on.
    #[error("cannot listen on {address}: {reason}; is another process using it?")]
    Listen {
        /// Own address.
        address: SocketAddr,
        /// What the operating system said.
        reason: String,
    },
    /// A peer was not there in time.
    #[error("{peer} at {address} did not answer within {after:?}: {reason}")]
    Unreachable {
        /// Who was missing.
        peer: Party,
        /// Where it should be.
        address: SocketAddr,
        /// How long this party tried.
        after: Duration,
        /// The last failure.
        reason: String,
    },
    /// The connection to a peer ended before the computation did.
    #[error("round {round} ({what}): lost {peer}{}: {reason}", progress(*.got, *.expected))]
    Lost {
        /// Whose connection ended.
        peer: Party,
        /// Round of the schedule.
        round: u32,
        /// Layer or step.
        what: String,
        /// Payload bytes received from this peer in this exchange.
        got: u64,
        /// Payload bytes expected.
        expected: u64,
        /// How it ended.
        reason: String,
    },
    /// A peer took too long.
    #[error("round {round} ({what}): {peer} is not done after {after:?}{}", progress(*.got, *.expected))]
    Deadline {
        /// Whom this party waited for.
        peer: Party,
        /// Round of the schedule.
        round: u32,
        /// Layer or step.
        what: String,
        /// Payload bytes received from this peer in this exchange.
        got: u64,
        /// Payload bytes expected; 0 when the peer did not take what this party sent.
        expected: u64,
        /// How long this party waited.
        after: Duration,
    },
    /// A peer sent what no honest peer sends at this point.
    #[error("round {round} ({what}): malformed message from {peer}: {fault}")]
    Malformed {
        /// Who sent it.
        peer: Party,
        /// Round of the schedule.
        round: u32,
        /// Layer or step.
        what: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A peer runs something else. Both sides name the same field.
    #[error("{peer} disagrees about `{field}`: here {mine}, there {theirs}")]
    Disagree {
        /// The other side.
        peer: Party,
        /// Name of the first field that differs.
        field: String,
        /// Value of this party.
        mine: String,
        /// Value of the peer.
        theirs: String,
    },
    /// A peer gave up and said so.
    #[error("round {round} ({what}): {peer} gave up: {reason}")]
    Aborted {
        /// Who gave up.
        peer: Party,
        /// Round of the schedule.
        round: u32,
        /// Layer or step.
        what: String,
        /// Its exit code.
        code: u8,
        /// Its own words, control characters removed.
        reason: String,
    },
    /// What this party received is not what another vouches for. Nothing was made of it.
    #[error(
        "round {round} ({what}): {peer} vouches for other messages than this party received: a party cheats, or its program or \
         machine is broken; nothing was opened, find out who it is before the next run"
    )]
    Inconsistent {
        /// Whose word differs; it, or one of those who sent the messages, deviates.
        peer: Party,
        /// Round of the schedule.
        round: u32,
        /// Layer or step.
        what: String,
    },
    /// This party gave up by [`Link::abort`](super::Link::abort).
    #[error("the link was given up: {reason}")]
    GaveUp {
        /// Own exit code.
        code: u8,
        /// Own words.
        reason: String,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system: {reason}")]
    Random {
        /// What the operating system said.
        reason: String,
    },
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Another length than this round's.
    #[error("{got} bytes where {expected} are due")]
    Length {
        /// Announced length.
        got: u64,
        /// Length that is due.
        expected: u64,
    },
    /// A message was lost, repeated or out of order.
    #[error("message number {got} where {expected} is due")]
    Sequence {
        /// Number in the message.
        got: u32,
        /// Number that is due.
        expected: u32,
    },
    /// Neither data nor an end.
    #[error("unknown kind {got}")]
    Kind {
        /// Kind in the message.
        got: u8,
    },
    /// A level that cannot occur.
    #[error("impossible level {got}")]
    Level {
        /// Level in the message.
        got: u32,
    },
    /// Not the handshake of this program; something else listens there.
    #[error("not a handshake of qnnvm")]
    Magic,
    /// A handshake that cannot be read.
    #[error("handshake of {got} bytes cannot be read")]
    Handshake {
        /// Announced length.
        got: u64,
    },
}

impl LinkError {
    /// The exit code of a process that ends with this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            LinkError::Random { .. } => 1,
            LinkError::Listen { .. } => 6,
            LinkError::Unreachable { .. } => 10,
            LinkError::Lost { .. } | LinkError::Malformed { .. } => 11,
            LinkError::Deadline { .. } => 12,
            LinkError::Disagree { .. } => 13,
            LinkError::Inconsistent { .. } => 20,
            LinkError::GaveUp { code, .. } => *code,
            // Failures of the computation as a whole keep their code; a peer's own trouble makes it a lost peer.
            LinkError::Aborted { code, .. } => match code {
                10..=13 | 20 | 21 => *code,
                _ => 11,
            },
        }
    }

    /// The peer this error is about.
    pub fn peer(&self) -> Option<Party> {
        match self {
            LinkError::Unreachable { peer, .. }
            | LinkError::Lost { peer, .. }
            | LinkError::Deadline { peer, .. }
            | LinkError::Malformed { peer, .. }
            | LinkError::Disagree { peer, .. }
            | LinkError::Inconsistent { peer, .. }
            | LinkError::Aborted { peer, .. } => Some(*peer),
            LinkError::Listen { .. } | LinkError::GaveUp { .. } | LinkError::Random { .. } => None,
        }
    }

    pub(super) fn lost(at: &Place<'_>, peer: Party, got: usize, expected: usize, reason: impl ToString) -> Self {
        LinkError::Lost {
            peer,
            round: at.round,
            what: at.what.to_owned(),
            got: got as u64,
            expected: expected as u64,
            reason: reason.to_string(),
        }
    }

    pub(super) fn deadline(at: &Place<'_>, peer: Party, got: usize, expected: usize, after: Duration) -> Self {
        LinkError::Deadline {
            peer,
            round: at.round,
            what: at.what.to_owned(),
            got: got as u64,
            expected: expected as u64,
            after,
        }
    }

    pub(super) fn malformed(at: &Place<'_>, peer: Party, fault: Fault) -> Self {
        LinkError::Malformed { peer, round: at.round, what: at.what.to_owned(), fault }
    }

    pub(super) fn aborted(at: &Place<'_>, peer: Party, code: u8, reason: &str) -> Self {
        let reason = reason.chars().filter(|c| !c.is_control()).collect();
        LinkError::Aborted { peer, round: at.round, what: at.what.to_owned(), code, reason }
    }
}

/// How far a message had come, when one was due.
fn progress(got: u64, expected: u64) -> String {
    if expected == 0 { String::new() } else { format!(" after {got} of {expected} bytes") }
}
