//! Why an exchange is there: told from what it sends, so that every program has an answer.
use ir::verify::Typed;
use ir::{Domain, Op, Program, Value};
use std::collections::BTreeSet;

/// What an exchange is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cause {
    /// Weights become shares.
    Weights,
    /// An input becomes shares.
    Input,
    /// Two parties join their masked summands of a product.
    Join,
    /// One-hot vectors of one operand.
    Chunks,
    /// Bits of one operand.
    Bits,
    /// Masked bits shown to two parties.
    Masked,
    /// Products of masks, so that opened bits can be multiplied.
    Products,
    /// Masks and high parts as ring values.
    Numbers,
    /// Products of shared bits.
    And,
    /// Bits on their way into the ring.
    BitToRing,
    /// Summands of a result become shares.
    Reshare,
    /// A step of the check of all products.
    Check,
    /// The receiver learns the result.
    Open,
}

impl Cause {
    /// Every cause, in order.
    pub const ALL: [Cause; 13] = [
        Cause::Weights,
        Cause::Input,
        Cause::Join,
        Cause::Chunks,
        Cause::Bits,
        Cause::Masked,
        Cause::Products,
        Cause::Numbers,
        Cause::And,
        Cause::BitToRing,
        Cause::Reshare,
        Cause::Check,
        Cause::Open,
    ];

    /// Name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Weights => "weights",
            Cause::Input => "input",
            Cause::Join => "join",
            Cause::Chunks => "chunks",
            Cause::Bits => "bits",
            Cause::Masked => "masked",
            Cause::Products => "products",
            Cause::Numbers => "numbers",
            Cause::And => "and",
            Cause::BitToRing => "bit-to-ring",
            Cause::Reshare => "reshare",
            Cause::Check => "check",
            Cause::Open => "open",
        }
    }

    /// The reason in a few words.
    pub fn reason(self) -> &'static str {
        match self {
            Cause::Weights => "the model owner shares the weights, once per session",
            Cause::Input => "the owner of an input shares it",
            Cause::Join => "two parties join their masked summands and hold one operand of the comparison",
            Cause::Chunks => "the third party deals its operand as one-hot chunks, so that comparing them is local",
            Cause::Bits => "one party shares bits of its operand",
            Cause::Masked => "two parties show each other masked bits, so that products of bits become local",
            Cause::Products => "the third party deals products of the masks of those bits",
            Cause::Numbers => "the third party deals masks and high parts as ring values",
            Cause::And => "products of shared bits: one level of a comparison tree",
            Cause::BitToRing => "a bit becomes a ring value",
            Cause::Reshare => "summands of a result become shares",
            Cause::Check => "all products are checked before anything is opened",
            Cause::Open => "the receiver learns the result",
        }
    }

    /// The cause of exchange `i`.
    pub(super) fn of(p: &Program, typed: &Typed, i: usize) -> Cause {
        let op = &p.insts[i].op;
        if let Op::Check { .. } = op {
            return Cause::Check;
        }
        let Some(x) = op.operands().first().copied() else { return Cause::Reshare };
        let made = makers(p, typed, x);
        let has = |names: &[&str]| names.iter().any(|n| made.contains(n));
        let bits = matches!(typed.types[x.index()].domain, Domain::Bits(_));
        match op {
            Op::Open { .. } => Cause::Open,
            Op::Mul { .. } if bits => Cause::And,
            Op::ToRing { .. } => Cause::BitToRing,
            Op::Join { .. } if has(&["mask"]) => Cause::Masked,
            Op::Join { .. } => Cause::Join,
            Op::Deal { .. } if has(&["onehot_h"]) => Cause::Chunks,
            Op::Deal { .. } if has(&["products_h"]) => Cause::Products,
            Op::Deal { .. } if bits => Cause::Bits,
            Op::Deal { .. } => Cause::Numbers,
            _ if has(&["weight"]) => Cause::Weights,
            _ if has(&["input"]) => Cause::Input,
            _ if bits && has(&["mul_ss", "mul_sh"]) => Cause::And,
            _ if bits => Cause::Bits,
            _ if has(&["number_h"]) && !has(&["mul_ss"]) => Cause::BitToRing,
            _ => Cause::Reshare,
        }
    }
}

/// The ops that made a value since the last exchange, through those that only move or combine.
fn makers(p: &Program, typed: &Typed, x: Value) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut todo = vec![x];
    while let Some(v) = todo.pop() {
        let i = typed.origin[v.index()] as usize;
        if !seen.insert(i) {
            continue;
        }
        let op = &p.insts[i].op;
        found.insert(op.mnemonic());
        let through = matches!(
            op,
            Op::Add { .. }
                | Op::Sub { .. }
                | Op::AddP { .. }
                | Op::SubP { .. }
                | Op::MulP { .. }
                | Op::Not { .. }
                | Op::Cast { .. }
                | Op::Pick { .. }
                | Op::Stack { .. }
                | Op::AsSum { .. }
                | Op::Embed { .. }
                | Op::Reshape { .. }
                | Op::Expand { .. }
                | Op::Pad { .. }
                | Op::Slice { .. }
                | Op::MulSh { .. }
                | Op::KeepH { .. }
        );
        if through {
            todo.extend(op.operands());
        }
    }
    found
}
