//! Operators as programs of `testdata/exec`, by both routes: ADD, MUL, AVERAGE_POOL, tables, maxima and signs, from one
//! bit to all but one of the widest ring, at extremes and at ties. `QNN_BLESS=1` rewrites the files.
#[path = "common/gadget.rs"]
mod gadget;
use compiler::lower::builder::Builder;
use compiler::lower::requant::{Source, requantize};
use compiler::lower::{Route, dealer, maximum, table};
use gadget::{Gadget, Stair, each, extremes, formula, settle};
use ir::{Dims, Op, Strided, Value, Window};

const ROUTES: [(Route, &str); 2] = [(Route::Dealer, "dealer"), (Route::Boolean, "boolean")];

/// Shifts: small ones, both sides of a machine word, the largest for which products with these slopes fit 63 bits.
const SHIFTS: [u8; 7] = [1, 2, 31, 32, 33, 40, 50];

/// Bytes at the ends of their range and around zero.
const BYTES: [i64; 7] = [-128, -127, -1, 0, 1, 126, 127];

/// Every pair of `BYTES`: all first operands, then all second ones.
fn pairs() -> (Vec<i64>, Vec<(i64, i64)>) {
    let all: Vec<(i64, i64)> = BYTES.iter().flat_map(|a| BYTES.map(|b| (*a, b))).collect();
    (all.iter().map(|p| p.0).chain(all.iter().map(|p| p.1)).collect(), all)
}

/// Part `i` of `of` equal parts of a list.
fn part(b: &mut Builder, x: Value, i: u32, of: u32) -> Value {
    let size = b.ty(x).shape[0] / of;
    let part = Strided { start: vec![i * size], size: vec![size], stride: vec![1] };
    b.one(Op::Slice { x, part })
}

/// One or two pieces with a slope of about `slope`, ties away from zero in two.
fn stair(s: u8, slope: f64, two: bool) -> Stair {
    let (m, half) = ((slope * (s as f64).exp2()).round().max(1.0) as i64, 1i64 << (s - 1));
    let below = if two { half - 1 } else { half };
    Stair { m, s, above: half, below, lo: -128, split: if two { 0 } else { -128 }, hi: 127 }
}

fn by(b: &mut Builder, route: Route, source: Source, c: &[Stair], bound: i64) -> Value {
    let f = formula(b, c, c.iter().any(|c| c.lo < c.split), bound);
    let source = match source {
        Source::Shared(x) => Source::Shared(b.cast(x, f.n)),
        Source::Sum(x) => Source::Sum(b.cast(x, f.n)),
    };
    match route {
        Route::Dealer => dealer::requantize(b, source, &f, 10, 1),
        Route::Boolean => requantize(b, source, &f, 10, 2),
        Route::Circuit | Route::Adder => unreachable!("files are of protocols with roles"),
    }
}

/// Elements of pairs, combined and requantized.
fn combined(
    name: &str,
    what: &str,
    c: Stair,
    bound: i64,
    join: impl Fn(&mut Builder, Value, Value) -> Source,
    acc: impl Fn(i64, i64) -> i64,
) {
    let (inputs, all) = pairs();
    for (route, word) in ROUTES {
        let build = |b: &mut Builder, x: Value| {
            let (u, v) = (part(b, x, 0, 2), part(b, x, 1, 2));
            let source = join(b, u, v);
            by(b, route, source, &[c], bound)
        };
        settle(&Gadget {
            name: format!("{name}-{:02}-{word}", c.s),
            comment: format!("{what}, shift {}, by the {word} route.", c.s),
            inputs: inputs.clone(),
            build: &build,
            ring: 32,
            results: all.iter().map(|(x, y)| c.at(acc(*x, *y))).collect(),
        });
    }
}

#[test]
fn sums() {
    for s in SHIFTS {
        let join = |b: &mut Builder, x, y| {
            let minus = b.scalar(-3);
            let y = b.one(Op::MulP { x: y, p: minus });
            Source::Shared(b.one(Op::Add { a: x, b: y }))
        };
        combined("add", "a - 3*b, halved, ties up", stair(s, 0.5, false), 512, join, |x, y| x - 3 * y);
    }
}

#[test]
fn products() {
    for s in SHIFTS {
        let join = |b: &mut Builder, x, y| Source::Sum(b.one(Op::MulSs { a: x, b: y }));
        combined("mul", "a*b, ties away from zero", stair(s, 1.0 / 128.0, true), 1 << 14, join, |x, y| x * y);
    }
}

/// Windows of three with one padded at each end of a row: counts 2, 3, 2.
#[test]
fn averages() {
    let rows: Vec<[i64; 3]> = BYTES.iter().flat_map(|a| BYTES.map(|b| [*a, b, a ^ b])).collect();
    let window = Window { out: [1, 3], kernel: [1, 3], stride: [1, 1], dilation: [1, 1], pad: [0, 1] };
    for s in SHIFTS {
        // Away from zero: sums that lie between two averages are never ties for three, always possible for two.
        let of = |count: i64| match s {
            1 | 2 => stair(s, if count == 2 { 0.5 } else { 0.25 }, true),
            _ => stair(s, 1.0 / count as f64, true),
        };
        let by_count = [of(2), of(3)];
        let sums = rows.iter().flat_map(|[a, b, c]| [(0, a + b), (1, a + b + c), (0, b + c)]);
        let results: Vec<i64> = sums.map(|(i, x): (usize, i64)| by_count[i].at(x)).collect();
        for (route, word) in ROUTES {
            let build = |b: &mut Builder, x: Value| {
                let x = b.reshape(x, &[rows.len() as u32, 1, 3, 1]);
                let x = b.one(Op::WindowSum { x, window: window.clone() });
                let mut f = formula(b, &[by_count[0], by_count[1]], true, 384);
                // The formula's tables have an entry per count; each position takes that of its own.
                let count = b.one(Op::WindowCount { size: Dims(vec![1, 3]), window: window.clone() });
                let two = b.scalar(2);
                let index = b.one(Op::SubPp { a: count, b: two });
                let mut take = |t: Value| match b.ty(t).shape.is_empty() {
                    true => t,
                    false => b.one(Op::TakePp { table: t, index }),
                };
                (f.m, f.s, f.split, f.lo, f.hi) = (take(f.m), take(f.s), take(f.split), take(f.lo), take(f.hi));
                (f.b, f.below) = (f.b.map(|x| x.map(&mut take)), f.below.map(&mut take));
                let x = b.cast(x, f.n);
                let y = match route {
                    Route::Dealer => dealer::requantize(b, Source::Shared(x), &f, 10, 1),
                    Route::Boolean => requantize(b, Source::Shared(x), &f, 10, 2),
                    Route::Circuit | Route::Adder => unreachable!("files are of protocols with roles"),
                };
                b.reshape(y, &[3 * rows.len() as u32])
            };
            settle(&Gadget {
                name: format!("average-{s:02}-{word}"),
                comment: format!("Averages of windows of two and three, shift {s}, by the {word} route."),
                inputs: rows.concat(),
                build: &build,
                ring: 16,
                results: results.clone(),
            });
        }
    }
}

#[test]
fn tables() {
    for w in [1u8, 2, 8, 31, 32, 33, 62, 63] {
        // Entries of w bits with both ends of their range, and all others different where they can be.
        let top = (u64::MAX >> (64 - w)) as i64;
        let entries: Vec<i64> = (0..256u64)
            .map(|i| match i {
                0 | 0xff => 0,
                1 | 0x80 => top,
                i => (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - u32::from(w))) as i64,
            })
            .collect();
        let inputs: Vec<i64> = BYTES.iter().copied().chain([5, -77]).collect();
        settle(&Gadget {
            name: format!("table-{w:02}"),
            comment: format!("A table of 256 entries of {w} bits in a ring of {} bits.", w + 1),
            inputs: inputs.clone(),
            build: &|b, x| table::table(b, x, &entries, w + 1, 1),
            ring: 12,
            results: each(&inputs, |x| entries[(x & 0xff) as usize]),
        });
    }
}

#[test]
fn signs() {
    for m in [1u8, 2, 8, 20, 21, 31, 32, 33, 62, 63] {
        settle(&Gadget {
            name: format!("negative-{m:02}"),
            comment: format!("[x < 0] for numbers of {m} bits and a sign, dealt."),
            inputs: extremes(m + 1),
            build: &|b, x| {
                let sign = maximum::negative(b, x, m, 1);
                b.one(Op::Reshare { x: sign, bits: 1 })
            },
            ring: m + 1,
            results: each(&extremes(m + 1), |x| i64::from(x < 0)),
        });
    }
}

/// Ties give either; the ring is as small as a difference of bytes allows, and as wide as there is.
#[test]
fn maxima() {
    let (inputs, all) = pairs();
    for (route, word) in ROUTES {
        for k in [10u8, 31, 32, 33, 64] {
            settle(&Gadget {
                name: format!("maximum-{k:02}-{word}"),
                comment: format!("max(a, b) of bytes in a ring of {k} bits, by the {word} route."),
                inputs: inputs.clone(),
                build: &|b, x| {
                    let (u, v) = (part(b, x, 0, 2), part(b, x, 1, 2));
                    maximum::maximum(b, u, v, maximum::BYTES, route, 2)
                },
                ring: k,
                results: all.iter().map(|(x, y)| *x.max(y)).collect(),
            });
        }
        let five: Vec<i64> = BYTES.iter().flat_map(|x| [*x, -x - 1, 3, x / 2, -128]).collect();
        let columns: Vec<i64> = (0..5).flat_map(|i| five.iter().skip(i).step_by(5).copied()).collect();
        settle(&Gadget {
            name: format!("largest-{word}"),
            comment: format!("The largest of five, by the {word} route."),
            inputs: columns,
            build: &|b, x| {
                let parts = (0..5).map(|i| part(b, x, i, 5)).collect();
                maximum::largest(b, parts, maximum::BYTES, route, 0)
            },
            ring: 10,
            results: five.chunks(5).map(|c| *c.iter().max().expect("five")).collect(),
        });
    }
}
