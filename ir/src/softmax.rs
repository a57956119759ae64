//! The softmax of the reference kernels in integers, finished by a receiver from opened logits.
use crate::imm::SoftmaxRule;

fn sat(x: i64) -> i32 {
    x.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

/// Rounding doubling high product, saturating at the one overflow.
fn hp(a: i32, b: i32) -> i32 {
    sat((i64::from(a) * i64::from(b) + (1 << 30)) >> 31)
}

/// `x / 2^n`, halves away from zero.
fn rs(x: i32, n: u32) -> i32 {
    let (x, half) = (i64::from(x), if n == 0 { 0 } else { 1i64 << (n - 1) });
    let away = if x >= 0 { (x + half) >> n } else { -((-x + half) >> n) };
    sat(away)
}

/// exp of a number ≤ 0 with 5 integer bits; the result has none.
fn exp(a: i32) -> i32 {
    if a == 0 {
        return i32::MAX;
    }
    const U: i32 = 1 << 24;
    const C: i32 = 1_895_147_668;
    let r = (a & (U - 1)) - U;
    let t = (r << 5) + (1 << 28);
    let t2 = hp(t, t);
    let (t3, t4) = (hp(t2, t), hp(t2, t2));
    let p = rs(hp(rs(t4, 2) + t3, 715_827_883) + t2, 1);
    let mut y = sat(i64::from(C) + i64::from(hp(C, t + p)));
    let rest = r.wrapping_sub(a);
    let steps = [1_672_461_947, 1_302_514_674, 790_015_084, 290_630_308, 39_332_535, 720_401, 242];
    for (bit, c) in (24u32..).zip(steps) {
        if rest >> bit & 1 == 1 {
            y = hp(y, c);
        }
    }
    y
}

/// 1 / (1 + a), a in [0, 1).
fn recip(a: i32) -> i32 {
    let h = {
        let s = i64::from(a) + i64::from(i32::MAX);
        ((s + s.signum()) / 2) as i32
    };
    let mut x = sat(1_515_870_810 + i64::from(hp(h, -1_010_580_540)));
    for _ in 0..3 {
        let e = (1i32 << 29).wrapping_sub(hp(h, x));
        x = x.wrapping_add(sat(i64::from(hp(x, e)) << 2));
    }
    sat(i64::from(x) << 1)
}

/// Softmax of one row of stored integers.
pub fn row(rule: &SoftmaxRule, row: &[i32]) -> Vec<i32> {
    let most = row.iter().copied().max().unwrap_or(0);
    let term = |q: i32| {
        let d = q.saturating_sub(most);
        (d >= rule.dmin).then(|| {
            let shifted = sat(i64::from(d) << rule.e.max(0));
            exp(rs(hp(shifted, rule.m), rule.e.min(0).unsigned_abs()))
        })
    };
    let sum = row.iter().filter_map(|q| term(*q)).fold(0i32, |s, e| s.wrapping_add(rs(e, 12)));
    let h = sum.leading_zeros();
    let c = recip((sum as u32).checked_shl(h).unwrap_or(0).wrapping_sub(1 << 31) as i32);
    let hi = i64::from(rule.lo) + (1i64 << rule.bits) - 1;
    let one = |q: &i32| match term(*q) {
        None => rule.lo,
        Some(e) => {
            let y = i64::from(rs(hp(c, e), (12 + 31 - rule.bits).saturating_sub(h))) + i64::from(rule.lo);
            y.clamp(i64::from(rule.lo), hi) as i32
        }
    };
    row.iter().map(one).collect()
}
