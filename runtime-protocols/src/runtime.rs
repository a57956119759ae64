//! What a protocol offers to the VM. A protocol sees flat pieces, never a value id, a shape or a model.
//!
//! Local methods have no link, so they cannot talk. An exchange is split in two: [`Runtime::send`] appends this party's
//! messages, the VM makes one [`crate::link::Link::exchange`] for the whole round, [`Runtime::receive`] reads the replies.
//! So no op can make two exchanges.
//!
//! What every protocol offers is in [`Runtime`]; the steps of three roles, of which one knows the masks of the two others, in
//! [`Roles`]. A program that the verifier accepts uses roles only where its protocol has them.
use crate::data::{Data, Value};
use crate::prg::Segment;
pub use ir::check::Message;
use ir::{Domain, Form, Holders, Party};

/// Domain, form and length of an operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flat {
    /// Ring or bits.
    pub domain: Domain,
    /// Who holds what.
    pub form: Form,
    /// Elements.
    pub len: usize,
}

/// The exchanges.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exchange {
    /// Summands become a sharing in a ring of `bits` bits (ignored for bits).
    Reshare {
        /// Ring width of the result.
        bits: u8,
    },
    /// Those who received what an owner shared compare it.
    Echo {
        /// The owner.
        from: Party,
    },
    /// Product of two sharings of one type, both given as pieces, with what was made ahead.
    Mul,
    /// Shared planes become numbers in a ring of `bits` bits.
    ToRing {
        /// Ring width of the result.
        bits: u8,
    },
    /// What meets weights that `owner` holds: the result is what the owner multiplies, and summands of the rest.
    Linear {
        /// The owner.
        owner: Party,
    },
    /// Two parties add their masked summands.
    Join,
    /// What one party holds becomes summands at the two others, in a ring of `bits` bits (ignored for bits).
    Deal {
        /// Ring width of the result.
        bits: u8,
    },
    /// The named parties learn the value.
    Open {
        /// Who learns it.
        to: Holders,
    },
}

/// Which pad: the inference (0 is set-up) and the instruction, or the tag of a mask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pad {
    /// Number of the inference.
    pub inference: u64,
    /// Index of the instruction in the program, or tag.
    pub instruction: u32,
}

/// Products of pieces: given pairs of pieces, the sum of their products.
pub type Bilinear<'a> = &'a dyn Fn(&[(&Data, &Data)]) -> Data;

/// One party's side of a protocol.
pub trait Runtime: Send {
    /// This party.
    fn me(&self) -> Party;

    /// Number of parties of the protocol.
    fn parties(&self) -> u8;

    /// The same party for other samples of a batch, to be used beside this one in another thread: pads are named by sample and
    /// instruction, so nothing else is shared. `None` where instructions must follow each other.
    fn fork(&self) -> Option<Box<dyn Runtime>> {
        None
    }

    /// Number of pieces this party has of a value.
    fn pieces(&self, form: Form) -> usize;

    /// The piece to which this party adds a public constant, if it adds it.
    fn constant_piece(&self, form: Form) -> Option<usize>;

    /// As summands at `at`.
    fn as_sum(&self, x: &Value, ty: Flat, at: Holders, bits: u8) -> Value;

    /// A value held by all but one party, as a sharing.
    fn embed(&self, x: &Value, ty: Flat, bits: u8) -> Value;

    /// A product of two sharings, as summands at all parties.
    fn bilinear(&self, a: &Value, b: &Value, product: Bilinear<'_>) -> Value;

    /// Operand `index` of a sharing, in the clear at the group that holds it.
    fn operand(&self, x: &Value, ty: Flat, index: u8) -> Value;

    /// The steps of roles, where the protocol has them.
    fn roles(&self) -> Option<&dyn Roles> {
        None
    }

    /// What is made before each inference, where the protocol needs that.
    fn offline(&mut self) -> Option<&mut dyn Offline> {
        None
    }

    /// What the check of all products needs, where the protocol has one.
    fn checked(&self) -> Option<&dyn Checked> {
        None
    }

    /// Messages of an exchange, the same at every party.
    fn messages(&self, what: Exchange, ty: Flat) -> Vec<Message>;

    /// Who vouches for messages of an exchange, and to whom, where that takes more than the messages: a hash of
    /// [`DIGEST`] bytes follows the messages of a round from each such party to each such receiver.
    fn vouches(&self, _what: Exchange, _ty: Flat) -> Vec<(Party, Party)> {
        vec![]
    }

    /// Appends this party's messages and returns what it keeps for `receive`.
    fn send(&mut self, pad: Pad, what: Exchange, x: &Value, ty: Flat, out: &mut [Vec<u8>]) -> Value;

    /// Whether clients, which do not compute, may share values and receive results.
    fn has_clients(&self) -> bool {
        false
    }

    /// Appends this party's summand of a sharing for a client, masked such that the summands of all parties tell their sum
    /// and nothing else.
    fn for_client(&mut self, _pad: Pad, _x: &Value, _ty: Flat, _out: &mut Vec<u8>) {}

    /// Appends what this party vouches with, after all messages of a sample in a round.
    fn seal(&mut self, _out: &mut [Vec<u8>]) {}

    /// Reads this party's messages from the front of `incoming` and returns the result.
    fn receive(&mut self, what: Exchange, kept: Value, ty: Flat, incoming: &mut [&[u8]]) -> Value;

    /// Compares what was received with what others vouch for, after all messages of a sample in a round. Nothing that was
    /// received may be used before.
    fn check(&mut self, _incoming: &mut [&[u8]]) -> Result<(), Mismatch> {
        Ok(())
    }
}

/// Why what is made ahead could not be made.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{peer}: {what}")]
pub struct OfflineError {
    /// Whose message it was, as far as that is known.
    pub peer: Party,
    /// What is wrong with it.
    pub what: String,
}

/// What is made before each inference: exchanges that depend on the program alone. Each call belongs to one exchange; lengths
/// are known before it.
pub trait Offline {
    /// What each instruction needs in one inference, in the order of the program.
    fn plan(&mut self, needs: Vec<(u32, ir::offline::Need)>);

    /// Exchanges once per session.
    fn session_steps(&self) -> usize;

    /// Messages of one of them. `weights[i]` are those of need i, at their owner.
    fn session_send(&mut self, step: usize, weights: &[Option<Vec<i32>>], out: &mut [Vec<u8>]);

    /// Bytes that party `p` sends.
    fn session_expects(&self, step: usize, p: usize) -> usize;

    /// Reads them.
    fn session_receive(&mut self, step: usize, incoming: &[&[u8]]) -> Result<(), OfflineError>;

    /// Exchanges before a batch.
    fn steps(&self) -> usize;

    /// Begins a batch of `lanes` inferences, the first of this number: messages of the first exchange.
    fn begin(&mut self, inference: u64, lanes: usize, out: &mut [Vec<u8>]);

    /// Bytes that party `p` sends in exchange `step` of the batch.
    fn expects(&self, step: usize, p: usize) -> usize;

    /// Reads the messages of an exchange; messages of the next one.
    fn receive(&mut self, incoming: &[&[u8]], out: &mut [Vec<u8>]) -> Result<(), OfflineError>;

    /// Keeps what was made for the inferences of the batch.
    fn finish(&mut self) -> Result<(), OfflineError>;
}

/// The local half of a [`Runtime`] as the one in a field has it: who takes part, what values are made of, steps without a message.
#[macro_export]
macro_rules! local_half_of {
    ($field:ident) => {
        fn me(&self) -> ir::Party {
            self.$field.me()
        }

        fn parties(&self) -> u8 {
            self.$field.parties()
        }

        fn pieces(&self, form: ir::Form) -> usize {
            self.$field.pieces(form)
        }

        fn constant_piece(&self, form: ir::Form) -> Option<usize> {
            self.$field.constant_piece(form)
        }

        fn as_sum(
            &self,
            x: &$crate::data::Value,
            ty: $crate::runtime::Flat,
            at: ir::Holders,
            bits: u8,
        ) -> $crate::data::Value {
            self.$field.as_sum(x, ty, at, bits)
        }

        fn embed(&self, x: &$crate::data::Value, ty: $crate::runtime::Flat, bits: u8) -> $crate::data::Value {
            self.$field.embed(x, ty, bits)
        }

        fn bilinear(
            &self,
            a: &$crate::data::Value,
            b: &$crate::data::Value,
            product: $crate::runtime::Bilinear<'_>,
        ) -> $crate::data::Value {
            self.$field.bilinear(a, b, product)
        }

        fn operand(&self, x: &$crate::data::Value, ty: $crate::runtime::Flat, index: u8) -> $crate::data::Value {
            self.$field.operand(x, ty, index)
        }
    };
}

/// Bytes of a hash that vouches for messages.
pub const DIGEST: usize = 32;

/// What a party received is not what another vouches for: one of those who sent it cheats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mismatch {
    /// Whose word differs.
    pub vouching: Party,
}

/// What [`crate::check`] needs of a protocol in which a party may lie in products. The VM records them.
pub trait Checked {
    /// A fresh segment of key `which` (0: lacked by the next party, 1: by the one after), for a purpose from
    /// [`crate::check::PURPOSES`] on.
    fn segment(&self, which: usize, pad: Pad, purpose: u32) -> Segment;
}

/// The steps of roles A = rot, B = rot+1, C = rot+2 among three parties, none of which cheats.
pub trait Roles {
    /// Element-wise product of a sharing, or of summands at two parties, and a value held by those two.
    fn mul_held(&self, a: &Value, ty: Flat, h: &Value, at: Holders) -> Value;

    /// x = v − u with fresh pads: u in the clear at role A, summands of v at B and C.
    fn split(&self, pad: Pad, x: &Value, ty: Flat, rot: u8) -> [Value; 2];

    /// x = v − u from a sharing, u at A, v at B and C.
    fn split_shared(&self, x: &Value, ty: Flat, rot: u8) -> [Value; 2];

    /// The pads with which `mask` of the same tag masks, in the clear at role A.
    fn beta(&self, pad: Pad, domain: Domain, len: usize, rot: u8) -> Value;

    /// Summands of bits at two parties, each masked with a pad that the third knows.
    fn mask(&self, pad: Pad, x: &Value, ty: Flat) -> Value;
}
