//! How much local work a party does: simple operations by kind, to compare programs and to estimate seconds with.
//!
//! An operation is one arithmetic step on a ring element, or on a machine word of 64 bit-plane elements. A product of two
//! sharings takes two products per party. Drawing and packing a message counts as two operations per element.
//!
//! The speeds here are measured, three parties on a machine with two cores (Intel Xeon, AVX-512): medians over four models by
//! `cargo run --release -p vm --example rates MODEL.tflite …`. To measure again, run that and write its last table here.
use ir::ops::Class;
use ir::verify::Typed;
use ir::{Domain, Form, Inst, Op, Party, Program, Type};

/// Work of one speed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Products of matrices and convolutions.
    Products,
    /// Depthwise convolutions and windows.
    Windows,
    /// Arithmetic and moves of ring elements.
    Elements,
    /// Arithmetic on bit planes, 64 elements to a word.
    Planes,
    /// Bits out of integers and into them, one-hot vectors.
    Bits,
    /// Pads of splits and masks.
    Pads,
    /// Messages: pads, packing, reading.
    Messages,
}

impl Kind {
    /// Every kind, in order.
    pub const ALL: [Kind; 7] =
        [Kind::Products, Kind::Windows, Kind::Elements, Kind::Planes, Kind::Bits, Kind::Pads, Kind::Messages];

    /// Name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Products => "products",
            Kind::Windows => "windows",
            Kind::Elements => "elements",
            Kind::Planes => "planes",
            Kind::Bits => "bits",
            Kind::Pads => "pads",
            Kind::Messages => "messages",
        }
    }

    /// Operations that a party does in a second, as measured.
    pub fn per_second(self) -> f64 {
        match self {
            Kind::Products => 1.4e9,
            Kind::Windows => 2.5e8,
            Kind::Elements => 1.9e9,
            Kind::Planes => 1.7e8,
            Kind::Bits => 6.3e8,
            Kind::Pads => 4.2e8,
            Kind::Messages => 7.5e8,
        }
    }

    /// The kind of an op.
    pub fn of(op: &Op<Domain>) -> Kind {
        match op {
            Op::Conv2dSs { .. } | Op::Conv2dP { .. } => Kind::Products,
            Op::DepthwiseSs { .. }
            | Op::DepthwiseP { .. }
            | Op::WindowSum { .. }
            | Op::ReduceSum { .. }
            | Op::SoftmaxH { .. } => Kind::Windows,
            Op::PlanesH { .. }
            | Op::NumberH { .. }
            | Op::OnehotH { .. }
            | Op::OnehotSh { .. }
            | Op::LeavesSh { .. }
            | Op::ProductsH { .. }
            | Op::KeepH { .. } => Kind::Bits,
            Op::Split { .. } | Op::Mask { .. } | Op::Beta { .. } => Kind::Pads,
            op if op.class() == Class::Round => Kind::Messages,
            op => match op.operands().first() {
                Some(Domain::Bits(_)) => Kind::Planes,
                _ => Kind::Elements,
            },
        }
    }
}

/// Seconds that an instruction takes beside its operations, as measured on a model that is all small instructions.
const INSTRUCTION: f64 = 0.3e-6;

/// Operations of one inference in one party, by [`Kind`].
pub type Operations = [f64; Kind::ALL.len()];

/// Seconds of local work at the measured speeds.
pub fn seconds(p: &Program, operations: &Operations) -> f64 {
    let all: f64 = Kind::ALL.iter().zip(operations).map(|(kind, n)| n / kind.per_second()).sum();
    all + INSTRUCTION * (p.insts.len() - p.setup_end() as usize) as f64
}

/// Operations of one inference, by party.
pub fn work(p: &Program, typed: &Typed) -> Vec<Operations> {
    let from = p.setup_end() as usize;
    let mut sums = vec![[0.0; Kind::ALL.len()]; usize::from(p.parties)];
    for (i, inst) in p.insts.iter().enumerate().skip(from) {
        let operands: Vec<&Type> = inst.op.operands().iter().map(|v| &typed.types[v.index()]).collect();
        let results: Vec<&Type> = typed.results(i).map(|v| &typed.types[v]).collect();
        let n = operations(inst, &operands, &results);
        let kind = Kind::of(&inst.op.map(|v| typed.types[v.index()].domain)) as usize;
        for (party, sum) in (0..p.parties).map(Party).zip(&mut sums) {
            let pieces = results.iter().chain(&operands).map(|t| pieces(t.form, party)).max().unwrap_or(0);
            sum[kind] += n * f64::from(pieces);
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
        Op::Conv2dSs { .. } | Op::Conv2dP { .. } => {
            let taps: f64 = operands[1].shape.iter().skip(1).map(|d| f64::from(*d)).product();
            out * taps
        }
        Op::DepthwiseSs { window, .. } | Op::DepthwiseP { window, .. } => {
            out * f64::from(window.kernel[0] * window.kernel[1])
        }
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
