//! The check of all products of an inference, for one sample: what is recorded, and where the check stands.
use crate::local::conv;
use ir::check::Claims;
use ir::verify::Typed;
use ir::{Op, Party, Program};
use runtime_protocols::check::{Cheating, Check, Layout, Linear, Record};
use runtime_protocols::data::Value;
use runtime_protocols::runtime::{Checked, Message, Pad};
use std::collections::BTreeMap;

/// The claims of a program, by the instruction that shares a sum.
pub(crate) struct Planned {
    pub(crate) claims: Claims,
    at: BTreeMap<usize, usize>,
}

/// What one sample has come to.
#[derive(Default)]
pub(crate) enum Checking {
    /// Products are recorded.
    Recording(Box<Record>),
    /// The check is under way, or over.
    Under(Box<Check>),
    /// Nobody may cheat here.
    #[default]
    Nothing,
}

impl Planned {
    pub(crate) fn of(p: &Program, typed: &Typed) -> Option<Planned> {
        let claims = ir::check::claims(p, typed)?;
        let at = claims.list.iter().enumerate().map(|(k, c)| (c.at, k)).collect();
        Some(Planned { claims, at })
    }

    /// Before an inference.
    pub(crate) fn begin(&self) -> Checking {
        Checking::Recording(Box::new(Record::new(&self.claims.sizes)))
    }

    /// The messages of a step of the check.
    pub(crate) fn messages(&self, step: u32) -> Vec<Message> {
        self.claims.plan.steps.get(step as usize).map_or(vec![], |step| self.claims.plan.messages(*step))
    }

    /// Records what instruction `i` has shared, if it is a sum of products.
    pub(crate) fn record<'a>(
        &self,
        i: usize,
        (p, typed): (&Program, &Typed),
        value: impl Fn(ir::Value) -> &'a Value,
        result: &Value,
        to: &mut Checking,
    ) {
        let (Some(k), Checking::Recording(record)) = (self.at.get(&i), to) else { return };
        let out = &typed.types[typed.results(i).start];
        let products = &self.claims.list[*k].products;
        let mut terms = Vec::new();
        for op in products.iter().map(|j| &p.insts[*j].op) {
            let (layout, x, w, window, groups) = match op {
                Op::MulSs { a, b } => {
                    terms.push((value(*a), value(*b)));
                    continue;
                }
                Op::Conv2dSs { x, w, window, groups } => (Layout::Convolution, *x, *w, window, *groups as usize),
                Op::DepthwiseSs { x, w, window } => {
                    let channels = typed.types[x.index()].shape[3] as usize;
                    (Layout::Depthwise, *x, *w, window, channels)
                }
                _ => unreachable!("claims are sums of products"),
            };
            // Shapes are those of the product; what is shared may have another of the same length.
            let of = &typed.types[typed.results(products[0]).start];
            let geometry = conv(&typed.types[x.index()], of, window, groups);
            let (x, w) = (value(x).clone(), value(w).clone());
            record.linear(Linear { layout, geometry, bits: out.domain.width(), x, w, c: result.clone() });
            return;
        }
        record.sum(out.domain, &terms, result);
    }
}

impl Checking {
    /// This party's messages of the next step.
    pub(crate) fn send(&mut self, me: Party, keys: &dyn Checked, pad: Pad, out: &mut [Vec<u8>]) {
        if let Checking::Recording(_) = self
            && let Checking::Recording(record) = std::mem::replace(self, Checking::Nothing)
        {
            *self = Checking::Under(Box::new(Check::new(me, *record)));
        }
        if let Checking::Under(check) = self {
            check.send(&|which, purpose| keys.segment(which, pad, purpose), out);
        }
    }

    /// Reads this party's messages of that step.
    pub(crate) fn receive(&mut self, incoming: &[&[u8]]) -> Result<(), Cheating> {
        match self {
            Checking::Under(check) => check.receive(incoming),
            _ => Ok(()),
        }
    }
}
