//! Gadgets by themselves: every pair of operands of the two sides, all parties in memory, cost as predicted and as in the
//! baseline. `QNN_BLESS=1` rewrites the baseline.
mod common;
use common::in_threads;
use compiler::lower::builder::Builder;
use compiler::lower::{Lowered, Route, maximum, quotient, table};
use compiler::pipeline::program_of;
use ir::program::DType;
use ir::{Holders, Interface, Op, Party, Port, Program, Value};
use runtime_protocols::link::memory::network;
use runtime_protocols::link::{Link, exchange_keys};
use runtime_protocols::rep3::Rep3;
use std::fmt::Write;
use vm::exec::Machine;

fn port(len: usize, party: u8) -> Port {
    let shape = vec![len as u32];
    Port { name: "x".into(), dtype: DType::I32, shape, scale: 1.0, zero_point: 0, party: Party(party), float: false }
}

/// A program with one input of party 0, who plays A, and one output of party 1.
fn program(len: usize, body: impl FnOnce(&mut Builder, Value) -> Value) -> Program {
    program_from(len, vec![port(len, 0)], body)
}

/// The same with other inputs as well.
fn program_from(len: usize, inputs: Vec<Port>, body: impl FnOnce(&mut Builder, Value) -> Value) -> Program {
    let interface = Interface { inputs, outputs: vec![port(len, 1)], weights: vec![], weight_owner: Party(0) };
    let mut b = Builder::new(interface, ir::Protocol::Rep3.facts().scheme);
    b.layers.push(ir::Layer { operator: 0, name: "gadget".into() });
    let x = b.one(Op::Input { index: 0 });
    let y = body(&mut b, x);
    let y = b.one(Op::Open { x: y, to: Holders::one(Party(1)) });
    b.emit(Op::Output { x: y, index: 0 });
    let (reveal, parts, results) = ("output".into(), vec![], vec![]);
    let p = program_of(Lowered { builder: b, weights: vec![], thresholds: 0, reveal, parts, notes: vec![], results });
    assert!(ir::verify::verify(&p).is_ok(), "verifies");
    p
}

/// What party 1 learns; rounds and bytes as predicted.
fn run(p: &Program, input: &[i64]) -> Vec<i64> {
    run_all(p, &[input])
}

/// The same with several inputs.
fn run_all(p: &Program, inputs: &[&[i64]]) -> Vec<i64> {
    let outcomes = in_threads(network(3), |mut link| {
        let keys = exchange_keys(&mut link).expect("keys");
        let runtime = Rep3::new(link.me(), keys.as_slice(), &link.session());
        let mut m = Machine::new(p.clone(), Box::new(runtime)).expect("verified");
        let own: Vec<_> = inputs.iter().map(|x| (link.me() == Party(0)).then(|| x.to_vec())).collect();
        let outcome = m.infer(&own, &mut link).expect("inference");
        link.close().expect("close");
        outcome
    });
    assert_eq!(outcomes.iter().map(|o| o.rounds).max(), Some(p.predicted_rounds()));
    assert_eq!(outcomes.iter().map(|o| o.payload_sent).collect::<Vec<_>>(), p.predicted_bytes());
    outcomes[1].outputs[0].clone().expect("the receiver has it")
}

/// A sharing in `k` bits of v − u with u at party 0 and v at the others: what party 0 shares has no part of the others,
/// and a constant is added to theirs.
fn operands(b: &mut Builder, minus_u: Value, v: &[i64], k: u8) -> Value {
    let x = b.one(Op::Reshare { x: minus_u, bits: k });
    let v = b.constant(&[v.len() as u32], v.to_vec());
    b.one(Op::AddP { x, p: v })
}

/// All pairs of `n` numbers.
fn pairs(n: i64) -> (Vec<i64>, Vec<i64>) {
    (0..n * n).map(|i| (i / n, i % n)).unzip()
}

#[test]
fn tables_of_every_pair_of_operands() {
    let (u, v) = pairs(256);
    let entries: Vec<i64> = (0..256).map(|x| (x * x * 37 + x * 5) % 256 - 128).collect();
    let p = program(u.len(), |b, x| {
        let x = operands(b, x, &v, 10);
        table::table(b, x, &entries, 32, 0)
    });
    let minus: Vec<i64> = u.iter().map(|u| -u).collect();
    let want: Vec<i64> = u.iter().zip(&v).map(|(u, v)| entries[(v - u).rem_euclid(256) as usize]).collect();
    assert_eq!(run(&p, &minus), want);
    assert_eq!(eval(&p, &minus), want);
}

#[test]
fn signs_of_every_pair_of_operands() {
    let (u, v) = pairs(512);
    let p = program(u.len(), |b, x| {
        // max(d, 0), with d = v − u in 9 bits.
        let d = operands(b, x, &v, 9);
        let nothing = b.scalar(0);
        let zero = b.one(Op::MulP { x: d, p: nothing });
        maximum::maximum(b, d, zero, maximum::BYTES, Route::Dealer, 0)
    });
    let minus: Vec<i64> = u.iter().map(|u| -u).collect();
    let difference = |(u, v): (&i64, &i64)| (v - u + 256).rem_euclid(512) - 256;
    // −256 is not a difference of bytes.
    let want = |d: i64| if d == -256 { None } else { Some(d.max(0)) };
    for (name, got) in [("rep3", run(&p, &minus)), ("plain", eval(&p, &minus))] {
        for (d, y) in u.iter().zip(&v).map(difference).zip(&got) {
            assert!(want(d).is_none_or(|w| w == *y), "{name}: {d} gives {y}");
        }
    }
}

#[test]
fn relations_of_every_pair_of_operands() {
    let (u, v) = pairs(512);
    let minus: Vec<i64> = u.iter().map(|u| -u).collect();
    let difference = |(u, v): (&i64, &i64)| (v - u + 256).rem_euclid(512) - 256;
    type Test = fn(&mut Builder, Value, u8, u8, Route, u8) -> Value;
    type Meaning = fn(i64) -> bool;
    let tests: [(Test, Meaning); 2] = [(maximum::sign, |d| d < 0), (maximum::zero, |d| d == 0)];
    for (test, holds) in tests {
        let want: Vec<i64> = u.iter().zip(&v).map(difference).map(|d| i64::from(holds(d))).collect();
        for route in [Route::Dealer, Route::Boolean] {
            let p = program(u.len(), |b, x| {
                let d = operands(b, x, &v, 10);
                test(b, d, maximum::BYTES, 6, route, 0)
            });
            assert_eq!(run(&p, &minus), want, "{route:?}");
            assert_eq!(eval(&p, &minus), want, "{route:?}");
        }
    }
}

/// Every u and every v, each with a table of its own.
#[test]
fn private_tables_at_every_place() {
    let n = 512;
    let u: Vec<i64> = (0..n).map(|i| i % 256).collect();
    let v: Vec<i64> = (0..n).map(|i| (i * 37 + i / 256 * 91) % 256).collect();
    let entry = |element: i64, x: i64| (element * 31 + x * x * 7 + x) % 251 - 128;
    let tables: Vec<i64> = (0..n).flat_map(|e| (0..256).map(move |x| entry(e, x))).collect();
    let ports = vec![port(n as usize, 0), Port { shape: vec![n as u32, 256], ..port(1, 0) }];
    let p = program_from(n as usize, ports, |b, x| {
        let tables = b.one(Op::Input { index: 1 });
        let x = operands(b, x, &v, 10);
        let y = quotient::look_up(b, x, tables, 10);
        b.reshape(y, &[n as u32])
    });
    let minus: Vec<i64> = u.iter().map(|u| -u).collect();
    let want: Vec<i64> = (0..n).map(|e| entry(e, (v[e as usize] - u[e as usize]).rem_euclid(256))).collect();
    assert_eq!(run_all(&p, &[&minus, &tables]), want);
}

fn eval(p: &Program, input: &[i64]) -> Vec<i64> {
    let typed = ir::verify::verify(p).expect("verified");
    ir::eval::eval(p, &typed, &[input.to_vec()], &[]).remove(0)
}

/// Exchanges in a row and bits sent by all three per element, without input and output.
#[test]
fn gadgets_cost_what_the_baseline_says() {
    type Gadget = Box<dyn Fn(&mut Builder, Value) -> Value>;
    let of = |ring: u8, k: u8, gadget: Gadget| {
        let share = |b: &mut Builder, x| b.one(Op::Reshare { x, bits: ring });
        let p = program(640, |b, x| {
            let x = share(b, x);
            gadget(b, x)
        });
        let bytes: u64 = p.predicted_bytes().iter().sum();
        let border = 640 * (u64::from(ring) + u64::from(k)) / 8;
        (p.rounds.len() - 2, (bytes - border) as f64 * 8.0 / 640.0)
    };
    let mut now = String::new();
    let mut line = |name: &str, (exchanges, bits): (usize, f64)| {
        let _ = writeln!(now, "{name}: exchanges {exchanges} bits {bits:.1} per party {:.1}", bits / 3.0);
    };
    for k in [10, 32] {
        let entries: Vec<i64> = (0..256).collect();
        line(&format!("table 8 to {k}"), of(10, k, Box::new(move |b, x| table::table(b, x, &entries, k, 0))));
        for (route, by) in [(Route::Dealer, "dealer"), (Route::Boolean, "boolean")] {
            line(
                &format!("maximum in {k} by {by}"),
                of(k, k, Box::new(move |b, x| maximum::maximum(b, x, x, maximum::BYTES, route, 0))),
            );
        }
    }
    for (route, by) in [(Route::Dealer, "dealer"), (Route::Boolean, "boolean")] {
        line(&format!("sign to 10 by {by}"), of(10, 10, Box::new(move |b, x| maximum::sign(b, x, 8, 10, route, 0))));
        line(&format!("zero to 10 by {by}"), of(10, 10, Box::new(move |b, x| maximum::zero(b, x, 8, 10, route, 0))));
    }
    let file = common::testdata("../baseline/gadgets.txt");
    if std::env::var_os("QNN_BLESS").is_some() {
        std::fs::write(&file, &now).expect("baseline");
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == now, "costs changed; if meant, QNN_BLESS=1 and review the diff:\n{now}");
}
