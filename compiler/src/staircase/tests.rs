//! Searches against exhaustive evaluation of the reference, and wrong constants against the proof.
use super::affine::{Constants, Fit, fit, fit_thresholds, sign};
use super::*;
use crate::qgraph::{AddOperand, Multiplier, Output, Rescale};

const MAX_ACC: i64 = (1 << 30) - 1;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn within(&mut self, from: i64, to: i64) -> i64 {
        from + (self.next() % (to - from + 1) as u64) as i64
    }

    fn real(&mut self, from: f64, to: f64) -> f64 {
        from * (to / from).powf((self.next() >> 11) as f64 / (1u64 << 53) as f64)
    }

    /// Signed or unsigned bytes, with or without an activation.
    fn output(&mut self) -> Output {
        let base = if self.next().is_multiple_of(2) { -128 } else { 0 };
        let zero_point = self.within(base, base + 255);
        let (lo, hi) = match self.next() % 4 {
            0 => (zero_point, base + 255),
            1 => (zero_point, self.within(zero_point, base + 255)),
            _ => (base, base + 255),
        };
        Output { zero_point: zero_point as i32, lo: lo as i32, hi: hi as i32 }
    }
}

fn qm(real: f64) -> Multiplier {
    let mut e = 0;
    let mut f = real;
    while f >= 1.0 {
        (f, e) = (f / 2.0, e + 1);
    }
    while f < 0.5 {
        (f, e) = (f * 2.0, e - 1);
    }
    let m = (f * (1u64 << 31) as f64).round() as i64;
    if m == 1 << 31 { Multiplier { m: 1 << 30, e: e + 1 } } else { Multiplier { m: m as i32, e } }
}

/// The kernel's own 32-bit form of `R`, for inputs that its left shift does not overflow.
fn kernel(a: i32, Multiplier { m, e }: Multiplier) -> i32 {
    let a = a << e.max(0);
    let product = i64::from(a) * i64::from(m);
    let high = ((product + (1 << 30)) >> 31) as i32;
    let r = (-e).max(0);
    let mask = ((1i64 << r) - 1) as i32;
    let rest = high & mask;
    let threshold = (mask >> 1) + i32::from(high < 0);
    (high >> r) + i32::from(rest > threshold)
}

fn equal_everywhere(constants: &Constants, reference: impl Fn(i64) -> i32) -> bool {
    let (from, to) = constants.range();
    (from..=to).all(|a| constants.eval(a) == reference(a))
}

/// A live channel is equal to the reference on its whole range and survives any bias.
fn check_live(products: i64, rule: Rule, out: Output) -> Option<Constants> {
    let channel = linear_channel(products, rule, out, MAX_ACC).unwrap_or_else(|e| panic!("{rule:?} {out:?}: {e}"));
    let ChannelKind::Live(constants) = channel.kind else {
        assert!(matches!(channel.kind, ChannelKind::Constant(_)), "{rule:?} {out:?}");
        return None;
    };
    let staircase = Staircase::new(rule, out);
    assert!(equal_everywhere(&constants, |a| staircase.eval(a)), "{rule:?} {out:?} {constants:?}");
    assert_eq!(constants.range(), (-channel.acc_bound, channel.acc_bound));
    for bias in [i64::from(i32::MIN), i32::MAX.into(), -(1 << 60), 1 << 60, channel.bias_lo, channel.bias_hi, 0, -77] {
        let placed = channel.place_bias(bias).expect("a bias in range");
        assert!((channel.bias_lo..=channel.bias_hi).contains(&placed.bias));
        for p in [-products, 1 - products, 0, products - 1, products] {
            assert!((p + placed.bias).abs() <= channel.acc_bound);
            assert_eq!(channel.eval(p, placed), channel.reference(p, bias), "{rule:?} {out:?} {p} {bias}");
        }
    }
    let h = constants.high_bits();
    for a in [-channel.acc_bound, channel.acc_bound] {
        for b in [constants.b_above(), constants.b_below()] {
            let floor = (constants.m() as i64 * a + b) >> constants.s();
            for t in [constants.lo(), constants.hi() + 1] {
                assert!((floor - i64::from(t)).abs() < 1 << (h - 1));
            }
        }
    }
    Some(constants)
}

#[test]
fn rule_is_the_kernels_integer_arithmetic() {
    let mut random = Random(1);
    for _ in 0..200_000 {
        let e = random.within(-31, 3) as i32;
        let m = Multiplier { m: random.within(1 << 30, (1 << 31) - 1) as i32, e };
        let bits = random.within(1, 30 - i64::from(e.max(0)));
        let a = random.within(-(1 << bits), 1 << bits);
        assert_eq!(rule::twice(a, m), i64::from(kernel(a as i32, m)), "{a} {m:?}");
    }
}

#[test]
fn two_roundings_on_the_whole_range() {
    let mut random = Random(2);
    let (mut one, mut two) = (0, 0);
    for _ in 0..150 {
        let (products, k) = (random.within(0, 3000), random.real(1e-3, 0.9));
        let out = random.output();
        if let Some(constants) = check_live(products, Rule::Twice(qm(k)), out) {
            if constants.two_pieces() {
                two += 1
            } else {
                one += 1
            }
            assert!(out.lo < out.zero_point || !constants.two_pieces(), "one sign, one piece");
        }
    }
    assert!(one > 20 && two > 20, "{one} {two}");
}

#[test]
fn one_rounding_on_the_whole_range_has_one_piece() {
    let mut random = Random(3);
    for i in 0..100 {
        let k = if i < 10 { (0.5f64).powi(i) } else { random.real(1e-3, 3.0) };
        if let Some(constants) = check_live(random.within(0, 3000), Rule::Once(k), random.output()) {
            assert!(!constants.two_pieces(), "{k}");
        }
    }
}

#[test]
fn ties_and_multipliers_of_one_and_above() {
    let mut random = Random(4);
    let whole = Output { zero_point: 3, lo: -128, hi: 127 };
    for e in -9..=5 {
        for m in [1 << 30, (1 << 30) + 1, i32::MAX, i32::MAX - 1, 3 << 29] {
            let out = if e % 2 == 0 { whole } else { random.output() };
            check_live(2000, Rule::Twice(Multiplier { m, e }), out);
        }
    }
    // A mean divides the mantissa, which may leave it below 2^30.
    for _ in 0..20 {
        let m = random.within(1 << 29, 1 << 30) as i32;
        check_live(2000, Rule::Twice(Multiplier { m, e: random.within(-8, 1) as i32 }), random.output());
    }
}

#[test]
fn shift_is_the_smallest() {
    let mut random = Random(5);
    let mut none = 0;
    for _ in 0..400 {
        // Arbitrary non-decreasing thresholds, equal ones included.
        let steps = random.within(1, 5) as usize;
        let mut at: Vec<i64> = (0..steps).map(|_| random.within(-20, 20)).collect();
        at.sort_unstable();
        let lo = random.within(-5, 5) as i32;
        let split = lo + random.within(0, steps as i64) as i32;
        let reference = |a: i64| lo + at.iter().filter(|&&t| t <= a).count() as i32;
        let thresholds = Thresholds { lo, at: at.clone() };
        let offset = |range: std::ops::Range<usize>, m: i64, s: u32| {
            let least = range.clone().map(|i| ((i as i64 + 1) << s) - m * at[i]).max();
            let most = range.map(|i| ((i as i64 + 1) << s) - 1 - m * (at[i] - 1)).min();
            least.zip(most).is_none_or(|(least, most)| least <= most)
        };
        let middle = (split - lo) as usize;
        let whole = |m, s| offset(0..steps, m, s);
        let halves = |m, s| offset(0..middle, m, s) && offset(middle..steps, m, s);
        let first = |works: &dyn Fn(i64, u32) -> bool| (0..=8).find(|&s| (1..=64 << s).any(|m| works(m, s)));
        let (one, two) = (first(&whole), first(&halves));
        match fit_thresholds(&thresholds, split, reference, -30, 30) {
            Ok(Fit::Affine(constants)) => {
                assert!(equal_everywhere(&constants, reference));
                let brute = if constants.two_pieces() { two } else { one };
                assert_eq!(brute, (constants.s() <= 8).then(|| constants.s()), "{thresholds:?} {split}");
                assert!(!constants.two_pieces() || one.is_none());
            }
            Ok(Fit::Constant(_)) => panic!("there are steps"),
            Err(StaircaseError::NoConstants { .. }) => {
                none += 1;
                assert!(one.is_none() && two.is_none(), "{thresholds:?} {split}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(none > 20);
}

#[test]
fn dead_channels_for_every_product() {
    let mut random = Random(6);
    for i in 0..200 {
        let products = random.within(1, 400);
        let k = random.real(1e-9, 0.4 / products as f64);
        let rule = if i % 2 == 0 { Rule::Twice(qm(k)) } else { Rule::Once(k) };
        let out = random.output();
        let max_acc = 2 * products + 1;
        let channel = match linear_channel(products, rule, out, max_acc) {
            Ok(channel) => channel,
            Err(StaircaseError::Accumulator { gap, .. }) => {
                assert!(gap < 2 * products);
                continue;
            }
            Err(other) => panic!("{other}"),
        };
        let thresholds = Staircase::new(rule, out).thresholds().expect("a good rule");
        let mut biases = vec![0, 1, -1, i64::from(i32::MIN), i32::MAX.into(), 1 << 60, -(1 << 60)];
        for t in thresholds.at {
            biases.extend([t - products - 1, t - products, t - 1, t, t + products - 1, t + products]);
        }
        for bias in biases {
            let placed = channel.place_bias(bias).expect("a bias in range");
            assert!((channel.bias_lo..=channel.bias_hi).contains(&placed.bias));
            for p in -products..=products {
                assert!((p + placed.bias).abs() <= channel.acc_bound);
                assert_eq!(channel.eval(p, placed), channel.reference(p, bias), "{rule:?} {out:?} {p} {bias}");
            }
        }
    }
}

#[test]
fn dead_needs_gaps_of_twice_the_products() {
    // Thresholds 64 apart: 32 is dead, 33 neither.
    let out = Output { zero_point: 0, lo: 0, hi: 127 };
    let rule = Rule::Once(1.0 / 64.0);
    assert_eq!(linear_channel(32, rule, out, 200).expect("dead").kind, ChannelKind::Dead);
    assert!(matches!(linear_channel(33, rule, out, 200), Err(StaircaseError::Accumulator { gap: 64, .. })));
    assert!(matches!(linear_channel(32, rule, out, 64), Err(StaircaseError::Products { .. })));
    assert!(matches!(linear_channel(-1, rule, out, 64), Err(StaircaseError::Products { .. })));
    assert!(matches!(linear_channel(65, rule, out, 64), Err(StaircaseError::Products { .. })));
    // By choice, where a live channel fits as well.
    assert!(matches!(linear_channel(32, rule, out, MAX_ACC).expect("live").kind, ChannelKind::Live(_)));
    assert_eq!(dead_channel(32, rule, out, MAX_ACC), linear_channel(32, rule, out, 200).map(Some));
    assert_eq!(dead_channel(33, rule, out, MAX_ACC), Ok(None));
    assert_eq!(dead_channel(1, Rule::Once(0.0), out, MAX_ACC), Ok(None));
    // No products: the output is the bias's, whatever the thresholds.
    let still = linear_channel(0, rule, out, 1).expect("dead");
    assert_eq!(still.kind, ChannelKind::Dead);
    for bias in -9000..9000 {
        assert_eq!(still.eval(0, still.place_bias(bias).expect("in range")), still.reference(0, bias));
    }
    assert!(matches!(still.place_bias(i64::MIN), Err(StaircaseError::Bias { .. })));
}

#[test]
fn largest_and_smallest_channels_have_answers() {
    let mut random = Random(7);
    let (mut live, mut dead, mut long) = (0, 0, 0);
    for _ in 0..3000 {
        // Products of 3x3x1024 bytes at most; multipliers down to where qm gives up.
        let products = 1i64 << random.within(0, 28);
        let k = random.real(2f64.powi(-32), 2.0);
        let rule = if random.next().is_multiple_of(2) { Rule::Twice(qm(k)) } else { Rule::Once(k) };
        match linear_channel(products, rule, random.output(), MAX_ACC) {
            Ok(channel) => match channel.kind {
                // Two roundings have constants with m = q at least; one by a real number of a few 2^-21 may need more bits.
                ChannelKind::Live(constants) if constants.m() >= 1 << 31 => {
                    assert!(matches!(rule, Rule::Once(k) if k < 2e-6), "{products} {rule:?}: {constants:?}");
                    long += 1;
                }
                ChannelKind::Live(constants) => {
                    assert!(channel.acc_bound <= MAX_ACC && constants.s() <= 60);
                    assert!(constants.s() + constants.high_bits() <= 64, "{constants:?}");
                    live += 1;
                }
                ChannelKind::Dead => dead += 1,
                ChannelKind::Constant(_) => {}
            },
            Err(StaircaseError::Accumulator { products, gap, .. }) => assert!(gap < 2 * products),
            Err(StaircaseError::Word { .. }) if matches!(rule, Rule::Once(k) if k < 2e-6) => long += 1,
            Err(other) => panic!("{products} {rule:?}: {other}"),
        }
    }
    assert!(live > 1000 && dead > 300 && long < 20, "{live} {dead} {long}");
}

#[test]
fn constants_where_nothing_can_change() {
    let kind = |rule, out| linear_channel(1000, rule, out, MAX_ACC).map(|channel| channel.kind);
    let out = |zero_point, lo, hi| Output { zero_point, lo, hi };
    let zero = Rule::Twice(Multiplier { m: 0, e: 0 });
    assert_eq!(kind(zero, out(5, -128, 127)), Ok(ChannelKind::Constant(5)));
    assert_eq!(kind(zero, out(5, 7, 127)), Ok(ChannelKind::Constant(7)));
    assert_eq!(kind(Rule::Once(0.0), out(5, -128, 3)), Ok(ChannelKind::Constant(3)));
    let half = Rule::Twice(qm(0.5));
    assert_eq!(kind(half, out(0, 127, 127)), Ok(ChannelKind::Constant(127)));
    assert_eq!(kind(half, out(0, 90, 10)), Ok(ChannelKind::Constant(10)), "max first, then min");
    // No accumulator gets anywhere.
    assert_eq!(kind(Rule::Once(1e-300), out(9, -128, 127)), Ok(ChannelKind::Constant(9)));
    let channel = linear_channel(10, zero, out(5, -128, 127), MAX_ACC).expect("constant");
    let placed = channel.place_bias(1 << 40).expect("in range");
    assert_eq!((placed.bias, channel.eval(10, placed)), (0, 5));
    // Inputs that reach no threshold.
    let staircase = Staircase::new(Rule::Once(0.01), out(0, -128, 127));
    assert_eq!(fit(&staircase, -40, 40), Ok(Fit::Constant(0)));
}

#[test]
fn bad_parameters_are_refused() {
    let out = Output { zero_point: 0, lo: -128, hi: 127 };
    let error = |rule, out| linear_channel(10, rule, out, MAX_ACC).expect_err("refused");
    for (m, e) in [(-1, 0), (0, 1), (1 << 30, 31), (1 << 30, -32)] {
        assert_eq!(error(Rule::Twice(Multiplier { m, e }), out), StaircaseError::Multiplier { m, e });
    }
    for k in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(error(Rule::Once(k), out), StaircaseError::Real { .. }));
    }
    let wide = Output { zero_point: 0, lo: i32::MIN, hi: i32::MAX };
    assert!(matches!(error(Rule::Once(0.5), wide), StaircaseError::Steps { .. }));
    assert!(matches!(Staircase::average(0, true, 0, 0, 9).thresholds(), Err(StaircaseError::Count { .. })));
    let staircase = Staircase::new(Rule::Once(0.5), out);
    assert!(matches!(fit(&staircase, 1, 0), Err(StaircaseError::Range { .. })));
    assert!(matches!(fit(&staircase, i64::MIN, 0), Err(StaircaseError::Range { .. })));
    // One piece of slope 1/2 needs a long numerator, two do not.
    assert!(matches!(fit(&staircase, -(1 << 60), 1 << 60), Ok(Fit::Affine(two)) if two.two_pieces() && two.m() == 1));
    let third = Staircase::new(Rule::Once(1.0 / 3.0), out);
    assert!(matches!(fit(&third, -(1 << 60), 1 << 60), Err(StaircaseError::Word { .. })));
    let falling = Thresholds { lo: 0, at: vec![5, 3] };
    assert!(matches!(fit_thresholds(&falling, 0, |_| 0, -9, 9), Err(StaircaseError::NotMonotone { value: 2 })));
    let rescale = Rescale::Once(vec![0.5, 0.25]);
    assert_eq!(Rule::of_channel(&rescale, 1), Some(Rule::Once(0.25)));
    assert_eq!(Rule::of_channel(&rescale, 2), None);
    assert_eq!(Rule::of_channel(&Rescale::Once(vec![0.5]), 2), Some(Rule::Once(0.5)));
}

#[test]
fn averages_of_1_to_300_have_one_piece() {
    for count in 1..=300u64 {
        for (signed, zero_point, lo, hi) in [(true, -128, -128, 127), (true, 7, -5, 90), (false, 131, 0, 255)] {
            let staircase = Staircase::average(count, signed, zero_point, lo, hi);
            let (low, high) = if signed { (-128, 127) } else { (0, 255) };
            let n = count as i64;
            let (from, to) = (n * (low - i64::from(zero_point)), n * (high - i64::from(zero_point)));
            let Ok(Fit::Affine(constants)) = fit(&staircase, from, to) else { panic!("{count} {signed}") };
            assert!(!constants.two_pieces() && constants.s() <= 24, "{count} {constants:?}");
            for a in from..=to {
                let sum = a + n * i64::from(zero_point);
                let mean = if !signed || sum > 0 { (sum + n / 2) / n } else { (sum - n / 2) / n };
                assert_eq!(i64::from(constants.eval(a)), mean.clamp(lo.into(), hi.into()), "{count} {sum}");
            }
            // The same by moving the thresholds of stored sums.
            let stored = Staircase { input_offset: 0, ..staircase }.thresholds().expect("a count");
            assert_eq!(Ok(stored.shifted(-n * i64::from(zero_point))), staircase.thresholds());
        }
    }
}

#[test]
fn bytes_to_bytes() {
    let mut random = Random(8);
    for _ in 0..300 {
        let staircase = Staircase::new(Rule::Twice(qm(random.real(0.01, 40.0))), random.output());
        let zero_point = random.within(-128, 127);
        let (from, to) = (-128 - zero_point, 127 - zero_point);
        if let Fit::Affine(constants) = fit(&staircase, from, to).expect("constants") {
            assert!(equal_everywhere(&constants, |a| staircase.eval(a)));
        }
    }
}

#[test]
fn a_larger_shift_is_the_same_function() {
    let out = Output { zero_point: -4, lo: -128, hi: 127 };
    let constants = check_live(500, Rule::Twice(qm(0.0123)), out).expect("live");
    let larger = constants.with_shift(constants.s() + 3).expect("small enough");
    assert_eq!((larger.s(), larger.checked()), (constants.s() + 3, constants.checked()));
    let (from, to) = constants.range();
    assert!((from..=to).all(|a| larger.eval(a) == constants.eval(a)));
    assert!(matches!(constants.with_shift(60), Err(StaircaseError::Word { .. })));
    assert!(matches!(constants.with_shift(99), Err(StaircaseError::Word { .. })));
    assert_eq!(constants.with_shift(0), Ok(constants), "a smaller one keeps it");
}

#[test]
fn the_sign_of_a_dead_channel() {
    for s in [0, 1, 7, 32, 60] {
        let constants = sign(s, 300).expect("fits");
        assert!(equal_everywhere(&constants, |a| (a >= 0).into()));
        assert_eq!((constants.m(), constants.s(), constants.checked()), (1, s, 1));
    }
    assert!(sign(61, 300).is_err());
}

/// The proof accepts exactly what is equal on the whole range.
#[test]
fn wrong_constants_are_refused() {
    let mut random = Random(9);
    let (mut refused, mut accepted) = (0, 0);
    for _ in 0..60 {
        let rule = Rule::Twice(qm(random.real(0.01, 0.9)));
        let staircase = Staircase::new(rule, random.output());
        let range = random.within(50, 1500);
        let Ok(Fit::Affine(right)) = fit(&staircase, -range, range) else { continue };
        let thresholds = staircase.thresholds().expect("good").within(-range, range);
        let mut check = |wrong: Constants, must_fail: bool| {
            let proved = prove(&wrong, &thresholds, |a| staircase.eval(a));
            let equal = wrong.m > 0 && equal_everywhere(&wrong, |a| staircase.eval(a));
            assert_eq!(proved.is_ok(), equal, "{right:?} {wrong:?}");
            assert!(!must_fail || !equal, "{right:?} {wrong:?}");
            if equal { accepted += 1 } else { refused += 1 }
        };
        check(right, false);
        // With the smallest shift the numerator is the only one (of two neighbours one would be even).
        let sharp = right.s > 0;
        check(Constants { m: right.m + 1, ..right }, sharp);
        check(Constants { m: right.m - 1, ..right }, sharp);
        check(Constants { s: right.s + 1, ..right }, sharp && thresholds.at.len() > 3);
        check(Constants { b_above: right.b_above + (1 << right.s), ..right }, true);
        check(Constants { b_above: right.b_above - (1 << right.s), ..right }, true);
        check(Constants { b_below: right.b_below - (1 << right.s), ..right }, right.two_pieces());
        for _ in 0..40 {
            let by = 1 << random.within(0, i64::from(right.s));
            let by = if random.next().is_multiple_of(2) { by } else { -by };
            check(Constants { b_above: right.b_above + by, ..right }, false);
            check(Constants { b_below: right.b_below + by, ..right }, false);
        }
        // Other thresholds than the function's.
        let reference = |a: i64| staircase.eval(a);
        let mut moved = thresholds.clone();
        moved.at[0] += 1;
        assert!(prove(&right, &moved, reference).is_err());
        moved.at.pop();
        assert!(prove(&right, &moved, reference).is_err());
        assert!(prove(&Constants { split: right.hi + 1, ..right }, &thresholds, reference).is_err());
        assert!(prove(&Constants { m: 1 << 45, ..right }, &thresholds, reference).is_err());
        assert!(prove(&Constants { s: 61, ..right }, &thresholds, reference).is_err());
    }
    assert!(refused > 1000 && accepted > 1000, "{refused} {accepted}");
}

/// The ADD of a model with these scales.
fn add(scales: [f64; 2], out_scale: f64, zero_points: [i32; 2], out: Output, base: i32) -> (AddFit, AddReference) {
    let twice_max = 2.0 * scales[0].max(scales[1]);
    let operand = |i: usize| AddOperand { zero_point: zero_points[i], multiplier: qm(scales[i] / twice_max) };
    let operands = [operand(0), operand(1)];
    let multiplier = qm(twice_max / (f64::from(1 << 20) * out_scale));
    let ranges = [(base, base + 255); 2];
    let found =
        search_add(20, operands, multiplier, out, ranges).unwrap_or_else(|e| panic!("{scales:?} {out_scale}: {e}"));
    (found, AddReference::new(20, operands, multiplier, out))
}

#[test]
fn sums_of_bytes_for_all_pairs() {
    let mut random = Random(10);
    let mut two = 0;
    for _ in 0..25 {
        let out = random.output();
        let base = if out.hi > 127 { 0 } else { -128 };
        let scales = [random.real(0.01, 0.3), random.real(0.01, 0.3)];
        let out_scale = (scales[0] + scales[1]) * random.real(0.3, 1.5);
        let zero_points = [random.within(base.into(), i64::from(base) + 255) as i32, base + 127];
        let (found, reference) = add(scales, out_scale, zero_points, out, base);
        let AddFit::Affine(constants) = found else { continue };
        two += i32::from(constants.two_pieces());
        assert_eq!(constants.checked(), 1 << 16);
        assert!(constants.s() <= 24);
        let mut wrong = vec![
            Constants2 { m1: constants.m1 + (1 << (constants.s - 3)), ..constants },
            Constants2 { m2: constants.m2 - (1 << (constants.s - 3)), ..constants },
            Constants2 { b_above: constants.b_above + (1 << constants.s), ..constants },
            Constants2 { s: constants.s + 1, ..constants },
            Constants2 { hi: constants.hi - 1, ..constants },
        ];
        if constants.two_pieces() {
            wrong.push(Constants2 { b_below: constants.b_below - (1 << constants.s), ..constants });
        }
        for wrong in wrong {
            assert!(prove_add(&wrong, &reference).is_err(), "{wrong:?}");
        }
    }
    println!("{two} of 25 in two pieces");
}

#[test]
fn shift_of_a_sum_is_the_smallest() {
    let mut random = Random(11);
    for _ in 0..30 {
        let operand = |m: f64| AddOperand { zero_point: 0, multiplier: qm(m) };
        let operands = [operand(random.real(0.2, 0.9)), operand(random.real(0.2, 0.9))];
        let multiplier = qm(random.real(0.01, 0.05));
        let out = Output { zero_point: 0, lo: 0, hi: 15 };
        let ranges = [(-4, 5), (-6, 3)];
        let AddFit::Affine(constants) = search_add(4, operands, multiplier, out, ranges).expect("constants") else {
            continue;
        };
        assert!(!constants.two_pieces());
        let reference = AddReference::new(4, operands, multiplier, out);
        let (lo, hi) = (constants.lo(), constants.hi());
        for s in 0..constants.s().min(6) {
            for (m1, m2) in (0..4 << s).flat_map(|m1| (0..4 << s).map(move |m2| (m1, m2))) {
                let (mut least, mut most) = (i64::MIN, i64::MAX);
                for (x1, x2) in (-4..=5).flat_map(|x1| (-6..=3).map(move |x2| (x1, x2))) {
                    let y = reference.eval(x1, x2);
                    let sum = m1 * i64::from(x1) + m2 * i64::from(x2);
                    if y > lo {
                        least = least.max((i64::from(y) << s) - sum);
                    }
                    if y < hi {
                        most = most.min((i64::from(y + 1) << s) - 1 - sum);
                    }
                }
                assert!(least > most, "{m1} {m2} {s} is smaller than {constants:?}");
            }
        }
    }
}

#[test]
fn sums_that_are_constant_or_ignore_an_operand() {
    let zero = AddOperand { zero_point: 0, multiplier: Multiplier { m: 0, e: 0 } };
    let half = AddOperand { zero_point: 0, multiplier: qm(0.5) };
    let out = Output { zero_point: 3, lo: -128, hi: 127 };
    let last = qm(1.0 / f64::from(1 << 20));
    let bytes = [(-128, 127); 2];
    assert_eq!(search_add(20, [zero, zero], last, out, bytes), Ok(AddFit::Constant(3)));
    let flat = Output { lo: 9, hi: 9, ..out };
    assert_eq!(search_add(20, [half, half], last, flat, bytes), Ok(AddFit::Constant(9)));
    let Ok(AddFit::Affine(constants)) = search_add(20, [zero, half], last, out, bytes) else { panic!("affine") };
    assert_eq!(constants.m1(), 0);
    let Ok(AddFit::Affine(constants)) = search_add(20, [half, half], last, out, [(5, 5), (-128, 127)]) else {
        panic!("affine")
    };
    assert_eq!(constants.ranges(), [(5, 5), (-128, 127)]);
    assert!(matches!(search_add(20, [half, half], last, out, [(5, 4), (0, 1)]), Err(StaircaseError::Range { .. })));
    assert!(search_add(20, [half, half], Multiplier { m: -5, e: 0 }, out, bytes).is_err());
}
