//! The bound at a weakened parameter: challenges of 8 bits, and the best attack that the argument knows.
//!
//! A cheater wants the error of a claim to vanish at the challenges. The error is a polynomial that it may shape: linear in
//! each challenge that gives coefficients, quadratic in each that folds. So it takes a product of polynomials in one variable,
//! each with as many roots among the 256 challenges as its degree, and starts anew with what is left after each exchange. What
//! an early check leaves wrong, the next one multiplies by the challenge that joins it.
use super::element::tests::Words;
use super::tests::{Claim, chunks, planned, run};
use super::*;
use ir::Domain;

fn power(x: Gf, mut e: u64) -> Gf {
    let (mut out, mut square) = (Gf(1), x);
    while e > 0 {
        if e & 1 == 1 {
            out = out.times(&square);
        }
        square = square.times(&square);
        e >>= 1;
    }
    out
}

fn over(a: Gf, b: Gf) -> Gf {
    a.times(&power(b, u64::MAX - 1))
}

/// A polynomial of degree 2, as its values at 0, 1 and ∞.
type Square = [Gf; 3];

/// c·(X + a)·(X + b)
fn with_roots(c: Gf, a: Gf, b: Gf) -> Square {
    [c.times(&a).times(&b), c.times(&Gf(1).plus(&a)).times(&Gf(1).plus(&b)), c]
}

fn at(q: &Square, x: Gf) -> Gf {
    q[0].times(&Gf(1).plus(&x)).plus(&q[1].times(&x)).plus(&q[2].times(&x.times(&x).plus(&x)))
}

/// One attack on element-wise products of `domain`, corner 0 of the first level of the first check. True if all checks pass.
fn escapes(domain: Domain, all: &[Vec<Claim>], session: u64) -> bool {
    let strength = 255;
    let r1 = Gf(2);
    let mut all = all.to_vec();
    let kind = if domain == Domain::Bits(1) { 0 } else { 1 };
    let all_levels: Vec<Vec<_>> = plans(&all).into_iter().map(|plan| plan.levels[kind].clone()).collect();
    let levels = &all_levels[0];
    // Errors of the products: Π_v (ρ_v + r1) over the bits of the block's index, the lanes being the field's coefficients.
    let bits = element::index_bits(levels[0].block);
    for b in 0..1usize << bits {
        let error = (0..bits).filter(|v| b >> v & 1 == 0).fold(Gf(1), |e, _| e.times(&r1));
        // The first place in group b.
        let element = b << levels[0].t;
        (0..64).filter(|j| error.0 >> j & 1 == 1).for_each(|j| all[0][0].spoil(1, 64 * element + j, top(domain)));
    }
    let mut error = Gf(1);
    // Checks begun, but for the one under way.
    let mut before = 0;
    // Party 2 cheats: part 1 is the one that it sends.
    let mut attack = |step: Step, checks: &mut [Check; 3]| {
        let cheater = &mut checks[2];
        // The coins of the last tosses but `skip`.
        let coins = |skip: usize, count: usize| {
            let end = cheater.coins.len() - skip;
            cheater.coins[end - count..end].to_vec()
        };
        let folded = |level: &ir::check::Level, error: Gf, skip: usize, count: usize| {
            let shape = shape(level, error);
            shape.iter().zip(&coins(skip, count)).fold(Gf(1), |e, (q, z)| e.times(&at(q, Gf(*z))))
        };
        let Step::Products { level } = step else { return };
        let count = match cheater.plan.steps[cheater.at - 1] {
            Step::Coins { count, .. } => count,
            _ => unreachable!("coins come before products"),
        };
        if level == 0 && !cheater.coins.is_empty() && cheater.coins.len() > count {
            // What the check before has left; nothing is wrong with the claims of this one.
            let last = all_levels[before].last().expect("an early check has levels");
            error = folded(last, error, count, last.t as usize);
            before += 1;
        } else if level == 0 {
            error = coins(0, count)[..bits as usize].iter().fold(Gf(1), |e, rho| e.times(&Gf(*rho).plus(&r1)));
        } else if let Some(behind) = all_levels[before].get(level - 1) {
            error = match before > 0 && level == 1 {
                true => error.times(&Gf(coins(0, 1)[0])),
                false => folded(behind, error, 0, count),
            };
        }
        let errors = match kind {
            0 => &mut cheater.bits.errors,
            _ => {
                cheater.narrow.errors = vec![];
                &mut cheater.bits.errors
            }
        };
        errors.clear();
        if before > 0 && level == 0 {
            return;
        }
        let Some(now) = all_levels[before].get(level) else { return };
        let shape = shape(now, error);
        let digit = |point: usize, v: usize| point / 3usize.pow(v as u32) % 3;
        let errors =
            now.sent.iter().map(|p| shape.iter().enumerate().fold(Gf(1), |e, (v, q)| e.times(&q[digit(*p, v)])));
        let errors: Vec<Gf> = errors.collect();
        match kind {
            0 => checks[2].bits.errors = errors,
            _ => checks[2].narrow.errors = errors.iter().map(|e| Gr::challenge(e.0).raised(31)).collect(),
        }
    };
    // One square per variable: their product at the corners is what the level before left, and each has two roots.
    fn shape(level: &ir::check::Level, error: Gf) -> Vec<Square> {
        let [r1, r2] = [Gf(2), Gf(4)];
        let one = |rest: Gf| match (level.first, level.last) {
            // Only corner 0 is wrong: a root at 1.
            (true, _) => with_roots(over(rest, r2), Gf(1), r2),
            // The random product's corner is right: a root at 1, which stands for 0 as well.
            (_, true) => with_roots(over(rest, r2), Gf(1), r2),
            // Values at 0 and 1 add up to the error.
            _ => with_roots(over(rest, Gf(1).plus(&r1).plus(&r2)), r1, r2),
        };
        (0..level.t).map(|v| one(if v == 0 { error } else { Gf(1) })).collect()
    }
    let result = run(chunks(&all), session, strength, &mut attack, &|_, _, _, _| ()).result;
    assert!(matches!(result, Ok(()) | Err(Cheating::Product)), "{result:?}");
    result.is_ok()
}

/// The highest bit of the ring: the one that a check in a plain ring would miss half of the time.
fn top(domain: Domain) -> u8 {
    match domain {
        Domain::Ring(k) => k - 1,
        Domain::Bits(_) => 0,
    }
}

/// The plans of all checks.
fn plans(all: &[Vec<Claim>]) -> Vec<Plan> {
    planned(all).iter().map(|(sizes, end)| Plan::of(sizes, *end)).collect()
}

/// One check for each of `lens`, the first of which is attacked.
fn measure(domain: Domain, lens: &[usize], trials: u64) {
    let len = lens[0];
    let mut rng = Words(len as u64);
    let claims: Vec<Vec<Claim>> = lens.iter().map(|len| vec![Claim::each(&mut rng, domain, *len)]).collect();
    let plans = plans(&claims);
    let kind = if domain == Domain::Bits(1) { 0 } else { 1 };
    let mut caught = (1.0 - 1.0 / 256.0f64).powi(element::index_bits(plans[0].levels[kind][0].block) as i32);
    for (i, plan) in plans.iter().enumerate() {
        for level in &plan.levels[kind] {
            caught *= match (i > 0 && level.first, level.last) {
                // The challenge that joins what was left.
                (true, _) => 1.0 - 1.0 / 256.0,
                (_, last) => (1.0 - if last { 3.0 } else { 2.0 } / 256.0f64).powi(level.t as i32),
            };
        }
    }
    let bound = plans.iter().map(Plan::escapes).sum::<u64>() as f64 / 256.0;
    let escaped = (0..trials).filter(|t| escapes(domain, &claims, (len as u64) << 32 | *t)).count();
    let rate = escaped as f64 / trials as f64;
    let sigma = |p: f64| (p * (1.0 - p) / trials as f64).sqrt();
    println!(
        "{domain:?} x {lens:?}: {escaped} of {trials} escaped, {rate:.4}; attack {:.4}, bound {bound:.4}",
        1.0 - caught
    );
    assert!(rate <= bound + 3.0 * sigma(bound), "{rate} is above the bound {bound}");
    // The attack is the one it is meant to be.
    assert!((rate - (1.0 - caught)).abs() <= 4.0 * sigma(1.0 - caught), "{rate} is not {}", 1.0 - caught);
}

#[test]
fn wrong_ands_escape_as_rarely_as_proven() {
    measure(Domain::Bits(1), &[256], 10_000);
    measure(Domain::Bits(1), &[2048], 1_000);
}

#[test]
fn wrong_ring_products_escape_as_rarely_as_proven() {
    measure(Domain::Ring(32), &[64], 1_000);
    measure(Domain::Ring(24), &[1024], 200);
}

/// The bounds of all checks that a wrong product goes through add up.
#[test]
fn wrong_products_escape_early_checks_as_rarely_as_proven() {
    measure(Domain::Bits(1), &[256, 256], 10_000);
    measure(Domain::Bits(1), &[2048, 256, 512], 1_000);
    measure(Domain::Ring(32), &[256, 256], 300);
}
