//! Look-ups of 16 bits: any function of a shared number mod 2^16, in four exchanges.
//!
//! **Who holds what.** x = v − u mod 2^16, u known to role A, v to B and C. With the bytes of each, l = v_l − u_l and
//! d = v_h − u_h mod 2^8, x has the low byte l and the high byte d − c, where c = [v_l < u_l] is borrowed: and that is
//! `[l > v_l]`, so that of the one-hot vector of l B and C know which entries borrow.
//!
//! | exchange | content |
//! |---|---|
//! | 1 | A deals the one-hot vectors of u_l and u_h; turned by v_l and v_h they are those of l and d ([`super::table`]) |
//! | 2 | for each bit of the result: entries d ≥ 1 of `w_d = f(256·(d − c) + l) xor w_0`, masked, and once those of the one-hot vector of d, masked |
//! | 3 | the bits of the result, `w_0 xor Σ_d [d]·w_d`, masked; A deals their masks in the ring |
//! | 4 | the result, reshared |
//!
//! w_d is an XOR of entries of l's vector, which entries depends on f only: local. Of the sum of products A deals what is
//! not local, the sum of the products of both masks, as in [`super::softmax`].
//!
//! *What each message reveals.* Nothing: dealt values and masked bits as in [`super::table`] and [`super::masked`]; the sum
//! of the masks' products has a fresh pad that A shares with C.
use super::builder::Builder;
use super::compare::stack;
use super::masked::Opened;
use ir::infer::roles;
use ir::{Dims, Holders, Op, Value};

/// Entries of a one-hot vector of a byte, without entry 0.
const ENTRIES: usize = 255;
/// Results of one [`Op::MixP`].
const MIX: usize = 64;

/// One-hot vectors of l, those entries that do not borrow and those that do.
struct Low {
    kept: Value,
    borrowed: Value,
}

/// The one-hot vectors of the low bytes.
fn low(b: &mut Builder, hot: Value, v: Value) -> Low {
    let all = b.one(Op::OnehotSh { hot, v });
    // [i > v], from the one-hot vector of v: one where no entry from i on is set.
    let of_v = b.one(Op::OnehotH { x: v, chunk: 8 });
    let above = (1..=ENTRIES).step_by(MIX).map(|first| {
        let width = MIX.min(ENTRIES + 1 - first);
        let entry = |j: usize| -> i64 { (0..width).filter(|bit| j >= first + bit).fold(0, |a, bit| a | 1 << bit) };
        let table = std::iter::once(entry(usize::MAX)).chain((1..=ENTRIES).map(entry)).collect();
        let table = b.constant(&[ENTRIES as u32 + 1], table);
        b.one(Op::MixP { x: of_v, table, width: width as u8 })
    });
    let above: Vec<Value> = above.collect();
    let above = stack(b, above);
    let borrowed = b.one(Op::MulSh { a: all, h: above });
    Low { kept: b.one(Op::Add { a: all, b: borrowed }), borrowed }
}

/// The XOR of all planes, and the last axis as planes.
fn bits_of(b: &mut Builder, x: Value, width: u8) -> Value {
    let planes = u32::from(b.ty(x).domain.width());
    let table = b.constant(&[planes + 1], std::iter::once(0).chain((0..planes).map(|_| 1)).collect());
    let x = b.one(Op::MixP { x, table, width: 1 });
    let to = b.constant(&[width.into()], (0..i64::from(width)).collect());
    b.one(Op::FoldP { x, to, width })
}

/// `table[x mod 2^16]`, shared in a ring of `k` bits.
pub fn table(b: &mut Builder, x: Value, table: &[i64], k: u8, rot: u8) -> Value {
    let [_, rb, rc] = roles(rot);
    let pair = Holders::pair(rb, rc);
    let least = table.iter().copied().min().unwrap_or(0);
    let f = |high: usize, low: usize| table[(high & 255) << 8 | low].wrapping_sub(least) as u64;
    let most = table.iter().map(|y| y.wrapping_sub(least) as u64).max().unwrap_or(0);
    let width = (64 - most.leading_zeros()).max(1) as u8;

    let (u, v) = b.two(Op::SplitShared { x, rot });
    let byte = |b: &mut Builder, x, lo| b.one(Op::PlanesH { x, lo, width: 8 });
    let deal = |b: &mut Builder, x| {
        let x = b.one(Op::OnehotH { x, chunk: 8 });
        b.one(Op::Deal { x, bits: 1 })
    };
    let (u_low, u_high, v_low, v_high) = (byte(b, u, 0), byte(b, u, 8), byte(b, v, 0), byte(b, v, 8));
    let (hot_low, hot_high) = (deal(b, u_low), deal(b, u_high));
    let lows = low(b, hot_low, v_low);
    let e = b.one(Op::OnehotSh { hot: hot_high, v: v_high });
    let entries = Opened::new(b, e, rot);

    // Entry 0 of l never borrows: what it takes is the constant, flipped by every other entry.
    let first = {
        let entries = |of: &dyn Fn(usize) -> u64| (1..=ENTRIES).map(|l| (of(l) ^ f(0, 0)) as i64).collect::<Vec<_>>();
        let mut mix = |x: Value, constant: u64, rest: Vec<i64>| {
            let table = b.constant(&[ENTRIES as u32 + 1], [vec![constant as i64], rest].concat());
            b.one(Op::MixP { x, table, width })
        };
        let kept = mix(lows.kept, f(0, 0), entries(&|l| f(0, l)));
        let borrowed = mix(lows.borrowed, 0, entries(&|l| f(255, l)));
        b.one(Op::Add { a: kept, b: borrowed })
    };
    let all = b.constant(&[1 << 16], table.iter().map(|y| y.wrapping_sub(least)).collect());
    let w = b.one(Op::RowsP { same: lows.kept, before: lows.borrowed, table: all, width });
    let opened = Opened::new(b, w, rot);
    let shape = b.ty(w).shape.clone();
    let mut expand = |x: Value| {
        let mut one = b.ty(x).shape.clone();
        one.push(1);
        let x = b.reshape(x, &one);
        b.one(Op::Expand { x, shape: Dims(shape.clone()) })
    };
    let [e, seen, beta] = [e, entries.t, entries.beta].map(&mut expand);
    let by_entry = b.one(Op::MulSh { a: w, h: seen });
    let by_result = b.one(Op::MulSh { a: e, h: opened.t });
    let known = b.one(Op::MulHh { a: seen, b: opened.t });
    let known = b.one(Op::AsSum { x: known, at: pair, bits: 1 });
    let sum = b.one(Op::Add { a: by_entry, b: by_result });
    let sum = b.one(Op::Add { a: sum, b: known });
    let sum = bits_of(b, sum, width);
    let masks = b.one(Op::MulHh { a: beta, b: opened.beta });
    let masks = bits_of(b, masks, width);
    let dealt = b.one(Op::Deal { x: masks, bits: 1 });
    let bits = b.one(Op::Add { a: sum, b: dealt });
    let bits = b.one(Op::Add { a: bits, b: first });
    let number = Opened::new(b, bits, rot).numbers(b, k);
    let y = b.one(Op::Reshare { x: number, bits: k });
    b.add_scalar(y, least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::{DATA_OWNER, Lowered};
    use crate::pipeline::program_of;
    use crate::qgraph::draw::Draw;
    use ir::{Interface, Party, Port};

    /// Looks `inputs` up in a program, with several draws of masks.
    fn look_up(entries: &[i64], inputs: &[i64]) {
        let shape = vec![inputs.len() as u32];
        let port = |name: &str| Port {
            name: name.to_owned(),
            dtype: ir::program::DType::I32,
            shape: shape.clone(),
            scale: 1.0,
            zero_point: 0,
            party: DATA_OWNER,
            float: false,
        };
        let interface =
            Interface { inputs: vec![port("x")], outputs: vec![port("y")], weights: vec![], weight_owner: Party(0) };
        let mut b = Builder::new(interface, crate::profile::REP3.scheme);
        let x = b.one(Op::Input { index: 0 });
        let x = b.one(Op::Reshare { x, bits: 18 });
        let y = table(&mut b, x, entries, 20, 1);
        let y = b.one(Op::Open { x: y, to: Holders::one(DATA_OWNER) });
        b.emit(Op::Output { x: y, index: 0 });
        let (reveal, parts, results) = ("output".into(), vec![], vec![]);
        let p =
            program_of(Lowered { builder: b, weights: vec![], thresholds: 0, reveal, parts, results, notes: vec![] });
        let typed = ir::verify::verify(&p).unwrap_or_else(|bad| panic!("{}", bad[0]));
        let want: Vec<i64> = inputs.iter().map(|x| entries[x.rem_euclid(1 << 16) as usize]).collect();
        for seed in 0..3 {
            let inputs = [inputs.to_vec()];
            let got = ir::eval::eval_with_masks(&p, &typed, &inputs, &[], seed);
            assert_eq!(got[0], want, "masks {seed}");
        }
    }

    #[test]
    fn any_function_of_16_bits() {
        let mut draw = Draw(21);
        let entries: Vec<i64> = (0..1 << 16).map(|_| draw.below(1 << 17) as i64 - (1 << 16)).collect();
        let mut inputs: Vec<i64> = vec![-32768, -32767, -257, -256, -255, -1, 0, 1, 255, 256, 257, 32766, 32767];
        inputs.extend((0..500).map(|_| draw.below(1 << 16) as i64 - (1 << 15)));
        look_up(&entries, &inputs);
        // Every pair of a high and a low byte, of a function that tells them apart.
        let own: Vec<i64> = (0..1 << 16).map(|x| x ^ 0x5a5a).collect();
        look_up(&own, &(0..1 << 16).step_by(7).collect::<Vec<i64>>());
    }
}
