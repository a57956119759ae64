//! Operators put together by hand, where no recorded case reaches: lowered programs equal the oracle by both routes.
use super::{Options, Owners, Route, lower, plan};
use crate::pipeline::program_of;
use crate::qgraph::draw::Draw;
use crate::qgraph::eval::{TensorData, eval, outputs};
use crate::qgraph::{AddOperand, DType, Graph, Kind, Multiplier, Op, Output, Quant, Relation, Tensor, TensorId};

fn tensor(dtype: DType, zero_point: i32, shape: &[usize]) -> Tensor {
    let quant = Some(Quant { scale: 1.0, zero_point });
    Tensor { name: "t".into(), dtype, shape: shape.to_vec(), quant, constant: None, float: false }
}

/// One operator; those of its operands that are not constant are inputs.
fn single(kind: Kind, operands: Vec<Tensor>, result: Tensor) -> Graph {
    let ids: Vec<TensorId> = (0..operands.len() as u32).map(TensorId).collect();
    let inputs = ids.iter().copied().filter(|id| operands[id.index()].constant.is_none()).collect();
    let output = TensorId(operands.len() as u32);
    let op = Op { index: 0, name: "BY_HAND", kind, inputs: ids, output };
    let tensors = [operands, vec![result]].concat();
    Graph { tensors, ops: vec![op], inputs, outputs: vec![output], states: vec![] }
}

/// Both routes, two draws of masks each.
fn check(g: &Graph, inputs: &[Vec<i32>], what: &str) {
    let given =
        |(id, data): (&TensorId, &Vec<i32>)| TensorData { shape: g.tensor(*id).shape.clone(), data: data.clone() };
    let given: Vec<TensorData> = g.inputs.iter().zip(inputs).map(given).collect();
    let values = eval(g, &given).expect("the oracle has a result");
    let wide = |all: &[i32]| all.iter().map(|x| i64::from(*x)).collect::<Vec<i64>>();
    let want: Vec<Vec<i64>> = outputs(g, &values).expect("outputs").iter().map(|t| wide(&t.data)).collect();
    let inputs: Vec<Vec<i64>> = inputs.iter().map(|x| wide(x)).collect();
    for route in [Route::Dealer, Route::Boolean] {
        let options = Options { route, ..Options::default() };
        let plans = plan(g, options).unwrap_or_else(|e| panic!("{what}: {e}"));
        let mut lowered = lower(g, &plans, options, &Owners::default()).unwrap_or_else(|e| panic!("{what}: {e}"));
        let weights = std::mem::take(&mut lowered.weights);
        let p = program_of(lowered);
        let typed = ir::verify::verify(&p).unwrap_or_else(|bad| panic!("{what}: {}", bad[0]));
        for seed in 0..2 {
            assert_eq!(ir::eval::eval_with_masks(&p, &typed, &inputs, &weights, seed), want, "{what} by {route:?}");
        }
    }
}

fn bytes(rng: &mut Draw, count: usize) -> Vec<i32> {
    (0..count).map(|_| rng.below(256) as i32 - 128).collect()
}

#[test]
fn slices_at_secret_positions() {
    let mut rng = Draw(8);
    for (rows, size, inner, count) in [(1, 1, 2, 3), (1, 256, 3, 7), (2, 257, 1, 5), (1, 1000, 4, 9), (2, 3, 2, 1)] {
        let positions: Vec<i32> = [0, size - 1, size / 2].iter().cycle().take(count).map(|p| *p as i32).collect();
        let mut table = tensor(DType::I8, -7, &[rows, size, inner]);
        let data = bytes(&mut rng, table.len());
        let at = tensor(DType::I32, 0, &[count]);
        let result = tensor(DType::I8, -7, &[rows, count, inner]);
        let kind = Kind::Lookup { rows, size };
        let g = single(kind.clone(), vec![table.clone(), at.clone()], result.clone());
        check(&g, &[data.clone(), positions.clone()], &format!("{size} computed slices"));
        table.constant = Some(data);
        check(&single(kind, vec![table, at], result), &[positions], &format!("{size} stored slices"));
    }
}

#[test]
fn the_first_of_equals_along_any_axis() {
    let mut rng = Draw(9);
    for (axis, k) in [(0, 1), (1, 1), (1, 3), (1, 5), (2, 2)] {
        for (largest, indices) in [(true, true), (true, false), (false, true), (false, false)] {
            let shape = [2, 5, 3];
            let x = tensor(DType::U8, 100, &shape);
            // Few values, so that many are equal.
            let data: Vec<i32> = (0..30).map(|_| [0, 3, 100, 255][rng.below(4) as usize]).collect();
            let mut to = shape;
            to[axis] = k;
            let result = if indices { tensor(DType::I32, 0, &to) } else { tensor(DType::U8, 100, &to) };
            let g = single(Kind::Top { axis, k, largest, indices }, vec![x], result);
            check(&g, &[data], &format!("{k} along {axis}, {largest} {indices}"));
        }
    }
}

#[test]
fn relations_of_other_scales() {
    use Relation::{Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual};
    let mut rng = Draw(10);
    // Scales that collapse neighbours, and that do not.
    let sides = [(-9, 1_100_000_000), (0, 1 << 30), (-3, 1_500_000_000)].map(|(e, m)| Multiplier { m, e });
    for relation in [Equal, NotEqual, Less, LessEqual, Greater, GreaterEqual] {
        for (first, second) in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 1)] {
            let operands =
                [(3, first), (-50, second)].map(|(zero_point, i)| AddOperand { zero_point, multiplier: sides[i] });
            let tensors = operands.map(|o| tensor(DType::I8, o.zero_point, &[200])).to_vec();
            let kind = Kind::Compare { relation, left_shift: 8, operands };
            let g = single(kind, tensors, tensor(DType::Bool, 0, &[200]));
            let mut data = [bytes(&mut rng, 200), bytes(&mut rng, 200)];
            // Neighbours as well.
            (0..100).for_each(|i| data[1][i] = (data[0][i] - 53 + i as i32 % 3 - 1).clamp(-128, 127));
            check(&g, &data, &format!("{relation:?} of scales {first} and {second}"));
        }
    }
}

#[test]
fn secret_conditions_choose() {
    let mut rng = Draw(11);
    let operands = vec![tensor(DType::Bool, 0, &[4, 1]), tensor(DType::I16, 0, &[4, 3]), tensor(DType::I16, 0, &[3])];
    let g = single(Kind::Select, operands, tensor(DType::I16, 0, &[4, 3]));
    let mut numbers = |count: usize| (0..count).map(|_| rng.below(1 << 16) as i32 - (1 << 15)).collect::<Vec<i32>>();
    check(&g, &[vec![1, 0, 0, 1], numbers(12), numbers(3)], "a condition for each row");
}

#[test]
fn long_rows_are_normalized() {
    let mut rng = Draw(12);
    let n = 300;
    let rows = |rng: &mut Draw| -> Vec<i32> {
        let near = (0..n).map(|i| if i == 7 { 100 } else { 40 + rng.below(60) as i32 });
        let near: Vec<i32> = near.collect();
        [near, bytes(rng, n), vec![-128; n]].concat()
    };
    let data = rows(&mut rng);
    let out = Output { zero_point: 127, lo: -128, hi: 127 };
    let (multiplier, reverse) = (Multiplier { m: 1 << 30, e: 23 }, Multiplier { m: 1 << 30, e: -21 });
    let kind = Kind::LogSoftmax { multiplier, dmin: -248, reverse, out };
    let g = single(kind, vec![tensor(DType::I8, 3, &[3, n])], tensor(DType::I8, 127, &[3, n]));
    check(&g, std::slice::from_ref(&data), "logarithms of 300");
    let out = Output { zero_point: 0, lo: -128, hi: 127 };
    let kind = Kind::L2Normalize { input_zero_point: 3, left_shift: 0, gain: 7, out };
    let g = single(kind, vec![tensor(DType::I8, 3, &[3, n])], tensor(DType::I8, 0, &[3, n]));
    check(&g, &[data], "squares of 300");
}

#[test]
fn softmax_step_by_step() {
    let mut rng = Draw(13);
    // beta · scale · 2^26 from 0.008 to 0.5; rows of 1025 have results of 8 bits.
    for (multiplier, n) in [((1 << 30, 20), 1), ((1 << 30, 23), 5), ((1_500_000_000, 20), 33), ((1 << 30, 24), 1025)] {
        let (m, e) = multiplier;
        let dmin = -((31.0 * f64::from(1u32 << 26) / 2f64.powi(e)).floor() as i32);
        let near: Vec<i32> = (0..n).map(|_| 90 + rng.below(9) as i32).collect();
        let two = (0..n).map(|i| if i < 2 { 127 } else { -128 }).collect();
        let one = (0..n).map(|i| if i == 0 { 127 } else { -128 }).collect();
        let data = [near, two, one, vec![-128; n], vec![127; n], bytes(&mut rng, n), bytes(&mut rng, n)].concat();
        let (lo, bits, dtype) = if n > 1000 { (-128, 8, DType::I8) } else { (-32768, 16, DType::I16) };
        let kind = Kind::Softmax { multiplier: Multiplier { m, e }, dmin, lo, bits };
        let g = single(kind, vec![tensor(DType::I8, 3, &[7, n])], tensor(dtype, 0, &[7, n]));
        check(&g, &[data], &format!("{bits} bits of rows of {n}"));
    }
}
