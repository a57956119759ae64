//! The checks of all products of an inference, for one sample: what is recorded, and where the checks stand.
use crate::local::conv;
use ir::check::Claims;
use ir::verify::Typed;
use ir::{Op, Party, Program};
use runtime_protocols::check::{Carried, Cheating, Check, Layout, Linear, Record};
use runtime_protocols::data::Value;
use runtime_protocols::runtime::{Checked, Pad};
use std::collections::BTreeMap;

/// The claims of a program, by the instruction that shares a sum.
pub(crate) struct Planned {
    pub(crate) claims: Claims,
    at: BTreeMap<usize, usize>,
}

/// What one sample has come to; nothing where nobody may cheat.
#[derive(Default)]
pub(crate) struct Checking {
    /// Products that no check has had yet.
    record: Option<Record>,
    /// The check under way.
    under: Option<Check>,
    /// What the one before has left.
    carried: Option<Carried>,
    /// Checks begun.
    begun: usize,
}

impl Planned {
    pub(crate) fn of(p: &Program, typed: &Typed) -> Option<Planned> {
        let claims = ir::check::claims(p, typed)?;
        let at = claims.list.iter().enumerate().map(|(k, c)| (c.at, k)).collect();
        Some(Planned { claims, at })
    }

    /// Before an inference.
    pub(crate) fn begin(&self) -> Checking {
        Checking { record: self.room(0), ..Checking::default() }
    }

    /// A record for check number `begun`.
    fn room(&self, begun: usize) -> Option<Record> {
        self.claims.chunks.get(begun).map(|chunk| Record::new(&chunk.sizes))
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
        let (Some(k), Some(record)) = (self.at.get(&i), &mut to.record) else { return };
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
    /// This party's messages of step `step`.
    pub(crate) fn send(
        &mut self,
        (planned, step): (&Planned, u32),
        me: Party,
        (keys, pad): (&dyn Checked, Pad),
        out: &mut [Vec<u8>],
    ) {
        if let Some((chunk, _)) = planned.claims.step(step)
            && chunk.first == step
            && let Some(record) = self.record.take()
        {
            self.under = Some(Check::new(me, record, chunk.end, self.carried.take()));
            self.begun += 1;
            self.record = planned.room(self.begun);
        }
        if let Some(check) = &mut self.under {
            check.send(&|which, purpose| keys.segment(which, pad, purpose), out);
        }
    }

    /// Reads this party's messages of that step.
    pub(crate) fn receive(&mut self, incoming: &[&[u8]]) -> Result<(), Cheating> {
        let Some(check) = &mut self.under else { return Ok(()) };
        check.receive(incoming)?;
        if check.done() {
            self.carried = self.under.take().map(Check::carry);
        }
        Ok(())
    }
}
