//! The start of a pair: base transfers and trees of both directions, three messages each way, once per session.
//!
//! | exchange | message | bytes |
//! |---|---|---|
//! | 1 | A of the direction in which this party will receive | 32 |
//! | 2 | elements B of the direction in which it will send | 4096 |
//! | 3 | sums of trees of the direction in which it will receive | 4096 |
//!
//! Who receives in the extension sends in the base transfers, so that the extension's sender ends with an offset that only it knows.
use super::base::{self, Key};
use super::extend::{Field, Receiver, Sender};
use super::{Direction, OtError, Own, ROW, drawn, tree};
use crate::prg::KeyStream;
use ir::Party;
use zeroize::Zeroizing;

/// Bytes of the messages of the start, in each direction.
pub const MESSAGES: [usize; 3] = [base::POINT, ROW * base::POINT, tree::SUMS];

/// Both directions of a pair, ready for any number of transfers.
pub struct Pair {
    /// In which this party has two strings.
    pub sender: Sender,
    /// In which it has a bit.
    pub receiver: Receiver,
}

/// What this party knows in the direction in which it will send.
struct Walker {
    offset: Zeroizing<u128>,
    choices: Zeroizing<u128>,
    keys: Zeroizing<Vec<Key>>,
}

/// The start of a pair, message by message: [`Setup::send`] and [`Setup::receive`] in turn, three times.
pub struct Setup {
    field: Field,
    /// Directions in which this party receives, and sends.
    ways: [Direction; 2],
    base: Option<base::Sender>,
    walker: Walker,
    /// What the message of the next exchange is.
    next: Vec<u8>,
    receiver: Option<Receiver>,
    sender: Option<Sender>,
    step: usize,
}

impl Setup {
    /// Of `me` with `peer`. `own` is this party's own stream of this session.
    pub fn new(me: Party, peer: Party, session: [u8; 16], field: Field, own: &KeyStream) -> Self {
        let ways = [(peer, me), (me, peer)].map(|(s, r)| Direction { session, sender: s.0, receiver: r.0 });
        let mut next = Vec::new();
        let base = base::Sender::new(
            // The receiver of the extension is the sender of base transfers.
            Direction { sender: me.0, receiver: peer.0, ..ways[0] },
            own,
            &mut next,
        );
        let mut bytes = Zeroizing::new([0; 16]);
        drawn(own, Own::Offset, peer.0, 0).fill_bytes(&mut bytes[..]);
        let offset = Zeroizing::new(u128::from_le_bytes(*bytes));
        let choices = Zeroizing::new(tree::choices(field.bits(), *offset));
        let walker = Walker { offset, choices, keys: Zeroizing::default() };
        Setup { field, ways, base: Some(base), walker, next, receiver: None, sender: None, step: 0 }
    }

    /// Appends the message of this exchange.
    pub fn send(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.next);
    }

    /// Bytes of the message that this exchange brings; none when the pair is ready.
    pub fn expects(&self) -> Option<usize> {
        MESSAGES.get(self.step).copied()
    }

    /// Reads the message of this exchange.
    pub fn receive(&mut self, own: &KeyStream, message: &[u8]) -> Result<(), OtError> {
        let [receiving, sending] = self.ways;
        let k = self.field.bits();
        match self.step {
            0 => {
                let way = Direction { sender: sending.receiver, receiver: sending.sender, ..sending };
                self.walker.keys = base::choose(way, own, *self.walker.choices, message, &mut self.next)?;
            }
            1 => {
                let base = self.base.take().expect("made at the start, used once");
                let pairs = base.keys(message)?;
                let mut roots = Zeroizing::new(vec![[0u8; 16]; ROW / k]);
                drawn(own, Own::Roots, receiving.sender, 0).fill_bytes(roots.as_flattened_mut());
                let roots = Zeroizing::new(roots.iter().map(|b| u128::from_le_bytes(*b)).collect::<Vec<_>>());
                let leaves = tree::plant(&receiving, k, &roots, &pairs, &mut self.next);
                self.receiver = Some(Receiver::new(receiving, self.field, &leaves));
            }
            _ => {
                let Walker { offset, choices, keys } = &self.walker;
                let leaves = tree::walk(&sending, k, **choices, keys, message)?;
                self.sender = Some(Sender::new(sending, self.field, **offset, &leaves));
            }
        }
        self.step += 1;
        Ok(())
    }

    /// The pair, after three exchanges; the caller has counted them.
    pub fn finish(self) -> Pair {
        let all = "send and receive were called three times";
        Pair { sender: self.sender.expect(all), receiver: self.receiver.expect(all) }
    }
}
