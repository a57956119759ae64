//! What operators cost: a small graph of one operator for each class, compiled as any other, its exchanges counted.
use crate::costs::analyse;
use crate::passes::Unit;
use crate::pipeline::{CompileError, Options, PASSES, Protocol, Route, finish};
use crate::profile;
use crate::qgraph::{
    AddOperand, DType, Graph, Kind, Linear, Multiplier, Op, Output, Quant, Relation, Rescale, Tensor, TensorId, Window,
};

/// Operators that cost the same, and a graph of one.
struct Example {
    operators: &'static str,
    what: &'static str,
    graph: fn() -> Graph,
}

/// What one output element costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// Rounds of the layer.
    pub rounds: usize,
    /// Bits that a party sends, on average.
    pub bits: f64,
    /// The same of what is made before the input is there.
    pub ahead: f64,
}

/// A line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Names of the operators.
    pub operators: &'static str,
    /// What was measured.
    pub what: &'static str,
    /// By each of [`routes`]; none where the protocol does not offer it.
    pub prices: Vec<Option<Price>>,
}

/// Ways to requantize that a protocol leaves open, by name.
pub fn routes(protocol: Protocol) -> &'static [(&'static str, Route)] {
    match protocol {
        Protocol::Rep3 => &[("dealer", Route::Dealer), ("boolean", Route::Boolean)],
        _ => &[("only", Route::Dealer)],
    }
}

const SAME: &str = "RELU, RELU6, QUANTIZE";
const TABLES: &str = "LOGISTIC, TANH, HARD_SWISH, …";
const MOVES: &str = "RESHAPE, TRANSPOSE, CONCATENATION, PAD, …";

const EXAMPLES: &[Example] = &[
    Example { operators: "CONV_2D", what: "3x3, 16 to 16 channels", graph: || conv(BYTE) },
    Example { operators: "CONV_2D with RELU", what: "3x3, 16 to 16 channels", graph: || conv(RELU) },
    Example { operators: "DEPTHWISE_CONV_2D with RELU", what: "3x3, 16 channels", graph: depthwise },
    Example { operators: "FULLY_CONNECTED", what: "256 to 256", graph: fully_connected },
    Example { operators: "ADD, SUB", what: "two operands of one shape", graph: add },
    Example { operators: "MUL", what: "two operands of one shape", graph: mul },
    Example { operators: "MAXIMUM, MINIMUM", what: "two operands of one shape", graph: extremum },
    Example { operators: SAME, what: "to another scale", graph: quantize },
    Example { operators: TABLES, what: "any function of 8 bits", graph: table },
    Example { operators: "AVERAGE_POOL_2D", what: "2x2", graph: average },
    Example { operators: "MAX_POOL_2D", what: "2x2", graph: maximum },
    Example { operators: "MEAN", what: "16 elements to one", graph: mean },
    Example { operators: "SOFTMAX", what: "rows of 16", graph: softmax },
    Example { operators: "LOG_SOFTMAX", what: "rows of 16", graph: log_softmax },
    Example { operators: "L2_NORMALIZATION", what: "rows of 16", graph: l2_normalization },
    Example { operators: "REDUCE_MAX, REDUCE_MIN", what: "16 elements to one", graph: reduce_max },
    Example { operators: "ARG_MAX, ARG_MIN", what: "16 elements to one", graph: arg_max },
    Example { operators: "LESS, GREATER, …", what: "two operands of one scale", graph: || relation(Relation::Less) },
    Example { operators: "EQUAL, NOT_EQUAL", what: "two operands of one scale", graph: || relation(Relation::Equal) },
    Example { operators: "SELECT", what: "by a given condition", graph: select },
    Example { operators: "BATCH_MATMUL", what: "16x64 by 64x16, both given", graph: matrices },
    Example { operators: "DIV", what: "by constants", graph: quotient },
    Example { operators: "CONV_2D on 16 bits", what: "3x3, 16 to 16 channels", graph: conv16 },
    Example { operators: "LOGISTIC, TANH, … on 16 bits", what: "any function of 16 bits", graph: table16 },
    Example { operators: MOVES, what: "", graph: reshape },
];

/// The table.
pub fn rows(protocol: Protocol) -> Result<Vec<Row>, CompileError> {
    let row = |e: &Example| {
        let price = |(_, route): &(_, Route)| match price((e.graph)(), protocol, *route) {
            Err(CompileError::Lower(_)) => Ok(None),
            other => other.map(Some),
        };
        let prices = routes(protocol).iter().map(price).collect::<Result<_, _>>()?;
        Ok(Row { operators: e.operators, what: e.what, prices })
    };
    EXAMPLES.iter().map(row).collect()
}

fn price(g: Graph, protocol: Protocol, route: Route) -> Result<Price, CompileError> {
    let elements = g.tensor(g.outputs[0]).len();
    let mut unit = Unit { graph: Some(g), ..Unit::new(&[], Options { protocol, route, ..Options::default() }) };
    PASSES[1..].iter().try_for_each(|pass| (pass.run)(&mut unit))?;
    let p = finish(unit)?.program;
    let typed = ir::verify::verify(&p).map_err(|bad| CompileError::Broken {
        pass: "encode",
        violations: bad.iter().map(ToString::to_string).collect(),
    })?;
    // Layer 0 shares the input, the last opens the output.
    let total = analyse(&p, &typed, profile::of(protocol)).total(|e| e.layer == 1);
    let needs: Vec<_> = ir::offline::needs(&p, &typed).into_iter().map(|(_, need)| need).collect();
    let ahead: u64 = ir::offline::messages(&needs, p.parties.into()).iter().flatten().flatten().sum();
    let per_element = |bytes: u64| bytes as f64 * 8.0 / f64::from(p.parties) / elements as f64;
    Ok(Price { rounds: total.rounds.len(), bits: per_element(total.payload()), ahead: per_element(ahead) })
}

/// Without activation: thresholds below the zero point lie later.
const BYTE: Output = Output { zero_point: 0, lo: -128, hi: 127 };
const RELU: Output = Output { zero_point: -128, lo: -128, hi: 127 };
/// Scale of every tensor that has a say; multipliers are no round numbers, which would be cheaper than usual.
const SCALE: f64 = 0.0625;

/// `real` as mantissa and exponent.
fn multiplier(real: f64) -> Multiplier {
    let e = real.log2().floor() as i32 + 1;
    Multiplier { m: (real * 2f64.powi(31 - e)).round() as i32, e }
}

fn tensor(shape: &[usize], zero_point: i32) -> Tensor {
    let quant = Some(Quant { scale: SCALE as f32, zero_point });
    Tensor { name: "x".into(), dtype: DType::I8, shape: shape.to_vec(), quant, constant: None, float: false }
}

/// One operator; every operand is an input.
fn graph(kind: Kind, operands: &[&[usize]], out: &[usize], zero_point: i32) -> Graph {
    let mut tensors: Vec<Tensor> = operands.iter().map(|shape| tensor(shape, 0)).collect();
    tensors.push(tensor(out, zero_point));
    let inputs: Vec<TensorId> = (0..operands.len() as u32).map(TensorId).collect();
    let output = TensorId(operands.len() as u32);
    let op = Op { index: 0, name: "EXAMPLE", kind, inputs: inputs.clone(), output };
    Graph { tensors, ops: vec![op], inputs, outputs: vec![output], states: vec![] }
}

fn linear(weights: usize, channels: usize, rescale: Rescale, out: Output) -> Linear {
    Linear {
        weights: vec![0; weights].into(),
        weight_range: (-127, 127),
        bias: vec![0; channels],
        input_zero_point: 0,
        rescale,
        out,
    }
}

fn window(size: usize, stride: usize, pad: usize) -> Window {
    Window { kernel: [size; 2], stride: [stride; 2], dilation: [1; 2], pad: [pad; 2] }
}

fn conv(out: Output) -> Graph {
    let linear = linear(16 * 9 * 16, 16, Rescale::Twice(vec![multiplier(0.0013579); 16]), out);
    let kind = Kind::Conv2d { window: window(3, 1, 1), groups: 1, linear };
    graph(kind, &[&[1, 4, 4, 16]], &[1, 4, 4, 16], out.zero_point)
}

fn depthwise() -> Graph {
    let linear = linear(9 * 16, 16, Rescale::Twice(vec![multiplier(0.0041357); 16]), RELU);
    let kind = Kind::DepthwiseConv2d { window: window(3, 1, 1), multiplier: 1, linear };
    graph(kind, &[&[1, 4, 4, 16]], &[1, 4, 4, 16], RELU.zero_point)
}

fn fully_connected() -> Graph {
    let kind = Kind::FullyConnected { linear: linear(256 * 256, 256, Rescale::Once(vec![0.001_357_9]), BYTE) };
    graph(kind, &[&[1, 256]], &[1, 256], 0)
}

const PLAIN: [usize; 4] = [1, 8, 8, 4];

fn add() -> Graph {
    let operand = |real| AddOperand { zero_point: 0, multiplier: multiplier(real) };
    // Scales s and 0.8 s, result 1.3 s.
    let rescaled = multiplier(2.0 / (f64::from(1 << 20) * 1.3));
    let kind = Kind::Add { left_shift: 20, operands: [operand(0.5), operand(0.4)], multiplier: rescaled, out: BYTE };
    graph(kind, &[&PLAIN, &PLAIN], &PLAIN, 0)
}

fn mul() -> Graph {
    let kind = Kind::Mul { zero_points: [0; 2], rescale: Rescale::Twice(vec![multiplier(0.013579)]), out: BYTE };
    graph(kind, &[&PLAIN, &PLAIN], &PLAIN, 0)
}

fn extremum() -> Graph {
    graph(Kind::Extremum { largest: true }, &[&PLAIN, &PLAIN], &PLAIN, 0)
}

fn quantize() -> Graph {
    graph(Kind::Quantize { input_zero_point: 0, multiplier: multiplier(0.8137), out: BYTE }, &[&PLAIN], &PLAIN, 0)
}

fn table() -> Graph {
    let logistic = |q: i32| (256.0 / (1.0 + (-f64::from(q) * SCALE).exp())).round() as i32 - 128;
    let table: Vec<i32> = (-128..128).map(|q| logistic(q).min(127)).collect();
    graph(Kind::Table { table: table.into() }, &[&PLAIN], &PLAIN, 0)
}

fn average() -> Graph {
    graph(Kind::AveragePool2d { window: window(2, 2, 0), lo: -128, hi: 127 }, &[&[1, 16, 16, 4]], &PLAIN, 0)
}

fn maximum() -> Graph {
    graph(Kind::MaxPool2d { window: window(2, 2, 0), lo: -128, hi: 127 }, &[&[1, 16, 16, 4]], &PLAIN, 0)
}

fn mean() -> Graph {
    let rescale = Rescale::Twice(vec![multiplier(0.0713)]);
    let kind = Kind::Mean { axes: vec![1, 2], input_zero_point: 0, rescale, out: BYTE };
    graph(kind, &[&[1, 4, 4, 256]], &[1, 1, 1, 256], 0)
}

fn softmax() -> Graph {
    // What TFLite derives from the scale 2^-4: exponents in units of 2^-26, none beyond 31 of them.
    let kind = Kind::Softmax { multiplier: Multiplier { m: 1 << 30, e: 23 }, dmin: -248, lo: -128, bits: 8 };
    graph(kind, &[&[16, 16]], &[16, 16], -128)
}

fn log_softmax() -> Graph {
    let out = Output { zero_point: 127, lo: -128, hi: 127 };
    let exponents = Multiplier { m: 1 << 30, e: 23 };
    let reverse = multiplier(2f64.powi(-22));
    graph(Kind::LogSoftmax { multiplier: exponents, dmin: -248, reverse, out }, &[&[16, 16]], &[16, 16], 127)
}

fn l2_normalization() -> Graph {
    let kind = Kind::L2Normalize { input_zero_point: 0, left_shift: 0, gain: 7, out: BYTE };
    graph(kind, &[&[16, 16]], &[16, 16], 0)
}

fn reduce_max() -> Graph {
    graph(Kind::ReduceExtremum { axes: vec![1], largest: true }, &[&[16, 16]], &[16], 0)
}

/// `g` with tensor `i` of another type.
fn typed(mut g: Graph, i: usize, dtype: DType) -> Graph {
    g.tensors[i].dtype = dtype;
    g
}

fn arg_max() -> Graph {
    let kind = Kind::Top { axis: 1, k: 1, largest: true, indices: true };
    typed(graph(kind, &[&[16, 16]], &[16, 1], 0), 1, DType::I32)
}

fn relation(relation: Relation) -> Graph {
    let side = AddOperand { zero_point: 0, multiplier: multiplier(SCALE) };
    let kind = Kind::Compare { relation, left_shift: 8, operands: [side; 2] };
    typed(graph(kind, &[&PLAIN, &PLAIN], &PLAIN, 0), 2, DType::Bool)
}

fn select() -> Graph {
    typed(graph(Kind::Select, &[&PLAIN, &PLAIN, &PLAIN], &PLAIN, 0), 0, DType::Bool)
}

fn matrices() -> Graph {
    let rescale = Rescale::Twice(vec![multiplier(0.0013579)]);
    let kind = Kind::MatMul { zero_points: [0; 2], rescale, out: BYTE };
    graph(kind, &[&[1, 16, 64], &[1, 64, 16]], &[1, 16, 16], 0)
}

fn quotient() -> Graph {
    let kind = Kind::Div { zero_points: [0; 2], multiplier: multiplier(12.8), out: BYTE };
    let mut g = graph(kind, &[&PLAIN, &PLAIN], &PLAIN, 0);
    g.tensors[1].constant = Some((1..=127).cycle().take(PLAIN.iter().product()).collect());
    g.inputs.truncate(1);
    g
}

/// What a 16-bit result can be.
const SHORT: Output = Output { zero_point: 0, lo: -32768, hi: 32767 };

fn conv16() -> Graph {
    let linear = linear(16 * 9 * 16, 16, Rescale::Wide(vec![multiplier(0.0013579); 16]), SHORT);
    let kind = Kind::Conv2d { window: window(3, 1, 1), groups: 1, linear };
    let g = graph(kind, &[&[1, 4, 4, 16]], &[1, 4, 4, 16], 0);
    typed(typed(g, 0, DType::I16), 1, DType::I16)
}

fn table16() -> Graph {
    let logistic = |q: i32| (32768.0 / (1.0 + (-f64::from(q) / 4096.0).exp())).round() as i32;
    let table: Vec<i32> = (-32768..32768).map(|q| logistic(q).min(32767)).collect();
    let g = graph(Kind::Table { table: table.into() }, &[&PLAIN], &PLAIN, 0);
    typed(typed(g, 0, DType::I16), 1, DType::I16)
}

fn reshape() -> Graph {
    graph(Kind::Reshape, &[&PLAIN], &[1, 256], 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_compiles_and_the_dealer_route_is_no_longer() {
        for row in rows(Protocol::Rep3).expect("compiles") {
            let [Some(dealer), Some(boolean)] = row.prices[..] else { panic!("{row:?}") };
            let free = row.operators == MOVES;
            assert_eq!(dealer.rounds == 0 && dealer.bits == 0.0, free, "{row:?}");
            assert!(dealer.rounds <= boolean.rounds && dealer.bits <= 1.05 * boolean.bits, "{row:?}");
        }
    }

    #[test]
    fn protocols_without_roles_say_what_they_offer() {
        for protocol in [Protocol::Dealer2, Protocol::Rep4, Protocol::Rep3Mal, Protocol::Semi { parties: 3 }] {
            let rows = rows(protocol).expect("compiles or is refused by name");
            let offered = rows.iter().filter(|r| r.prices[0].is_some()).count();
            assert!(offered >= 12, "{protocol:?}: {offered} of {}", rows.len());
            let ahead = rows.iter().flat_map(|r| r.prices[0]).any(|p| p.ahead > 0.0);
            assert_eq!(ahead, protocol.facts().scheme.additive, "{protocol:?}");
        }
    }
}
