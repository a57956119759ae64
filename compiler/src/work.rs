//! How much local work a party does: simple operations per instruction, a rough measure to compare programs and to
//! estimate seconds with.
//!
//! An operation is one arithmetic step on a ring element, or on a machine word of 64 bit-plane elements. A product of two
//! sharings takes two products per party. Drawing and packing a message counts as two operations per element.
use ir::ops::Class;
use ir::verify::Typed;
use ir::{Domain, Form, Inst, Op, Party, Program, Type};

/// Operations of one inference, by party.
pub fn work(p: &Program, typed: &Typed) -> Vec<f64> {
    let from = p.setup_end() as usize;
    let mut sums = vec![0.0; usize::from(p.parties)];
    for (i, inst) in p.insts.iter().enumerate().skip(from) {
        let operands: Vec<&Type> = inst.op.operands().iter().map(|v| &typed.types[v.index()]).collect();
        let results: Vec<&Type> = typed.results(i).map(|v| &typed.types[v]).collect();
        let n = operations(inst, &operands, &results);
        for (party, sum) in (0..p.parties).map(Party).zip(&mut sums) {
            let pieces = results.iter().chain(&operands).map(|t| pieces(t.form, party)).max().unwrap_or(0);
            *sum += n * f64::from(pieces);
        }
    }
    sums
}

/// Components of a value that a party works on.
fn pieces(form: Form, party: Party) -> u8 {
    match form {
        Form::Shared => 2,
        Form::Sum(h) | Form::Held(h) => u8::from(h.contains(party)),
        Form::Public => 0,
    }
}

/// Steps to go through a value once.
fn steps(t: &Type) -> f64 {
    match t.domain {
        Domain::Ring(_) => t.len() as f64,
        Domain::Bits(n) => f64::from(n) * t.len().div_ceil(64) as f64,
    }
}

fn operations(inst: &Inst, operands: &[&Type], results: &[&Type]) -> f64 {
    let out = results.first().map_or(0.0, |t| steps(t));
    match &inst.op {
        // Taps per output, as the shape of the weights says.
        Op::Conv2dSs { .. } => {
            let taps: f64 = operands[1].shape.iter().skip(1).map(|d| f64::from(*d)).product();
            out * taps
        }
        Op::DepthwiseSs { window, .. } => out * f64::from(window.kernel[0] * window.kernel[1]),
        Op::WindowSum { window, .. } => out * f64::from(window.kernel[0] * window.kernel[1]),
        Op::ReduceSum { .. } | Op::SoftmaxH { .. } => operands.first().map_or(0.0, |t| steps(t)),
        // Each row takes half of the entries of both vectors.
        Op::RowsP { width, .. } => {
            out + operands.first().map_or(0.0, |t| steps(t) * f64::from(t.domain.width())) * f64::from(*width)
        }
        // Bits out of integers or into them: one step per bit and element.
        Op::PlanesH { width, .. } => operands.first().map_or(0.0, |t| steps(t)) * f64::from(*width) / 8.0,
        op if op.class() == Class::Round => 2.0 * out.max(operands.first().map_or(0.0, |t| steps(t))),
        _ => out,
    }
}
