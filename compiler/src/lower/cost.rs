//! What a gadget costs: it is emitted into a program of its own and its messages are counted with the profile.
use super::builder::Builder;
use crate::passes::results_of;
use crate::profile::Profile;
use ir::ops::Class;
use ir::{Interface, Op, Value};

/// Elements that are tried, so that bits fill bytes.
const ELEMENTS: u32 = 64;

/// Bits first, then exchanges.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cost {
    /// Bits sent by all parties, per element.
    pub bits: u64,
    /// Exchanges in a row.
    pub exchanges: u32,
}

/// Cost of `gadget` on a sharing in a ring of `ring` bits.
pub fn of_gadget(profile: &Profile, ring: u8, gadget: impl FnOnce(&mut Builder, Value)) -> Cost {
    let port = ir::Port {
        name: String::new(),
        dtype: ir::program::DType::I8,
        shape: vec![ELEMENTS],
        scale: 1.0,
        zero_point: 0,
        party: super::DATA_OWNER,
    };
    let interface =
        Interface { inputs: vec![port], outputs: vec![], weights: vec![], weight_owner: super::MODEL_OWNER };
    let mut b = Builder::new(interface, profile.parties);
    let x = b.one(Op::Input { index: 0 });
    let x = b.one(Op::Reshare { x, bits: ring });
    let start = b.insts.len();
    gadget(&mut b, x);
    let mut level = vec![0u32; b.types.len()];
    let (mut bytes, mut next) = (0, 0);
    for (i, inst) in b.insts.iter().enumerate() {
        let operands = inst.op.operands();
        let mut at = operands.iter().map(|v| level[v.index()]).max().unwrap_or(0);
        if i >= start && inst.op.class() == Class::Round {
            at += 1;
            bytes += profile.messages(&inst.op, b.ty(operands[0])).iter().map(|m| m.2).sum::<u64>();
        }
        let results = results_of(&inst.op);
        level[next..next + results].fill(at);
        next += results;
    }
    Cost { bits: bytes * 8 / u64::from(ELEMENTS), exchanges: level.into_iter().max().unwrap_or(0) }
}
