//! What a gadget costs, and what is wanted: it is emitted into a program of its own, its messages are counted with the
//! profile, and the network, if one is named, turns them into seconds.
use super::builder::Builder;
use crate::passes::results_of;
use crate::profile::Profile;
use ir::network::Network;
use ir::ops::Class;
use ir::{Interface, Op, Value};
use std::collections::BTreeMap;

/// Elements that are tried, so that bits fill bytes.
const ELEMENTS: u32 = 64;

/// What an element costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost {
    /// Bits sent by all parties.
    pub bits: u64,
    /// Bits that the busiest party of each exchange sends or receives.
    pub busiest: u64,
    /// Exchanges in a row.
    pub exchanges: u32,
}

impl Cost {
    /// So many of them side by side.
    pub fn times(self, n: u64) -> Cost {
        Cost { bits: self.bits * n, busiest: self.busiest * n, ..self }
    }

    /// And then the other.
    pub fn then(self, next: Cost) -> Cost {
        Cost {
            bits: self.bits + next.bits,
            busiest: self.busiest + next.busiest,
            exchanges: self.exchanges + next.exchanges,
        }
    }
}

/// What the cheaper one of two ways has less of.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Aim {
    /// Bits, then exchanges.
    #[default]
    Bits,
    /// Seconds on this network.
    Seconds(Network),
}

impl Aim {
    /// A number that is smaller for the better way to compute `elements` at once.
    pub fn price(self, cost: Cost, elements: usize) -> f64 {
        match self {
            Aim::Bits => cost.bits as f64 + f64::from(cost.exchanges) * 1e-3,
            Aim::Seconds(net) => seconds(cost, elements, net),
        }
    }
}

/// Half a round trip for each exchange, and the transfer of what the busiest party has.
pub fn seconds(cost: Cost, elements: usize, net: Network) -> f64 {
    let transfer = cost.busiest as f64 * elements as f64 / net.bits_per_second;
    f64::from(cost.exchanges) * net.rtt.as_secs_f64() / 2.0 + transfer
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
        float: false,
    };
    let interface =
        Interface { inputs: vec![port], outputs: vec![], weights: vec![], weight_owner: super::MODEL_OWNER };
    let mut b = Builder::new(interface, profile.scheme);
    let x = b.one(Op::Input { index: 0 });
    let x = b.share(x, ring);
    let start = b.insts.len();
    gadget(&mut b, x);
    let mut level = vec![0u32; b.types.len()];
    let (mut loads, mut next) = (BTreeMap::<u32, Vec<[u64; 2]>>::new(), 0);
    for (i, inst) in b.insts.iter().enumerate() {
        let operands = inst.op.operands();
        let mut at = operands.iter().map(|v| level[v.index()]).max().unwrap_or(0);
        if i >= start && inst.op.class() == Class::Round {
            at += 1;
            let load = loads.entry(at).or_insert_with(|| vec![[0; 2]; profile.parties.into()]);
            for (from, to, bytes) in profile.messages(&inst.op, b.ty(operands[0])) {
                load[from.index()][0] += bytes;
                load[to.index()][1] += bytes;
            }
        }
        let results = results_of(&inst.op);
        level[next..next + results].fill(at);
        next += results;
    }
    let sent: u64 = loads.values().flatten().map(|l| l[0]).sum();
    let busiest: u64 = loads.values().filter_map(|l| l.iter().flatten().max()).sum();
    let bits = |bytes: u64| bytes * 8 / u64::from(ELEMENTS);
    Cost { bits: bits(sent), busiest: bits(busiest), exchanges: level.into_iter().max().unwrap_or(0) }
}
