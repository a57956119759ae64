//! Why a link failed.

use super::{Party, Place};
use std::time::Duration;

/// Why a link failed. All errors are final for the link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The address of this party cannot be listened on.
    #[error("cannot listen on {address}: {reason}; is another process using it?")]
    Listen {
        /// Own address.
        address: String,
        /// What the operating system said.
        reason: String,
    },
    /// A peer was not there in time.
    #[error("{peer} at {address} did not answer within {after:?}: {reason}")]
    Unreachable {
        /// Who was missing.
        peer: Party,
        /// Where it should be.
        address: String,
        /// How long this party tried.
        after: Duration,
        /// The last failure.
        reason: String,
    },
    /// A peer is not who it should be, or takes this party for another.
    #[error("{} at {address}: {reason}", who(*.peer))]
    Authentication {
        /// Who was expected; none when anybody may have called.
        peer: Option<Party>,
        /// Where it is.
        address: String,
        /// What is wrong, with fingerprints.
        reason: String,
    },
    /// Nothing at all came from a peer, no sign of life either.
    #[error("round {round} ({what}): {peer} has been silent for {after:.1?}{}; its process or machine is stopped, or the network between is", progress(*.got, *.expected))]
    Silent {
        /// Who was silent.
        peer: Party,
        /// Round of the schedule.
        round: u32,
        /// Layer or step.
        what: String,
        /// Payload bytes received from this peer in this exchange.
        got: u64,
        /// Payload bytes expected.
        expected: u64,
        /// For how long.
        after: Duration,
    },
    /// The time for the whole session is over.
    #[error("round {round} ({what}): the session has taken more than {limit:?}")]
    Session {
        /// Round of the schedule.
        round: u32,
        /// Layer or step.
        what: String,
        /// What was allowed.
        limit: Duration,
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
    #[error("round {round} ({what}): no progress for {after:?}, {peer} is alive but not done{}", progress(*.got, *.expected))]
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
    /// The check of all products failed.
    #[error(
        "round {round} ({what}): {fault}: a party cheats, or its program or machine is broken; nothing was opened, find out who it \
         is before the next run"
    )]
    Cheating {
        /// Round of the schedule.
        round: u32,
        /// Layer or step.
        what: String,
        /// What was found.
        fault: crate::check::Cheating,
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
    /// A message behind the last one that is due.
    #[error("message number {got} where none is due any more")]
    Extra {
        /// Number in the message.
        got: u32,
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
            LinkError::Deadline { .. } | LinkError::Silent { .. } | LinkError::Session { .. } => 12,
            LinkError::Disagree { .. } => 13,
            LinkError::Authentication { .. } => 21,
            LinkError::Inconsistent { .. } | LinkError::Cheating { .. } => 20,
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
            | LinkError::Silent { peer, .. }
            | LinkError::Malformed { peer, .. }
            | LinkError::Disagree { peer, .. }
            | LinkError::Inconsistent { peer, .. }
            | LinkError::Aborted { peer, .. } => Some(*peer),
            LinkError::Authentication { peer, .. } => *peer,
            LinkError::Listen { .. }
            | LinkError::Session { .. }
            | LinkError::Cheating { .. }
            | LinkError::GaveUp { .. }
            | LinkError::Random { .. } => None,
        }
    }

    /// What to do next, for errors that a user can do something about.
    pub fn advice(&self) -> Option<&'static str> {
        Some(match self {
            LinkError::Listen { .. } => "stop the other process, or give this party another port",
            LinkError::Unreachable { .. } => {
                "start qnnvm on that party, or run `qnnvm net check` on all sides; safe to retry"
            }
            LinkError::Authentication { .. } => {
                "compare fingerprints by phone (`qnnvm net show`), then `qnnvm net add-peer --replace`; nothing secret was sent"
            }
            LinkError::Lost { .. } => {
                "see that party's own message; nothing is opened after this, and a retry uses a new session and new randomness"
            }
            LinkError::Malformed { .. } => "all parties need the same release; a retry uses a new session",
            LinkError::Silent { .. } => "see whether that party runs (`qnnvm status`); a retry uses a new session",
            LinkError::Deadline { .. } => "see its status, or raise `--round-timeout`; a retry uses a new session",
            LinkError::Session { .. } => "raise `--session-timeout`; a retry uses a new session",
            LinkError::Disagree { .. } => {
                "give all parties the same files, options and release; nothing secret was sent; do not retry before"
            }
            LinkError::Inconsistent { .. } | LinkError::Cheating { .. } => {
                "do not retry automatically: keep the reports and contact the other operators"
            }
            LinkError::Aborted { .. } | LinkError::GaveUp { .. } | LinkError::Random { .. } => return None,
        })
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

fn who(peer: Option<Party>) -> String {
    peer.map_or("a caller".to_owned(), |peer| peer.to_string())
}

/// How far a message had come, when one was due.
fn progress(got: u64, expected: u64) -> String {
    if expected == 0 { String::new() } else { format!(" after {got} of {expected} bytes") }
}
