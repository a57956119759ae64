//! Whole checks among three parties in memory.
use super::element::tests::Words;
use super::*;
use crate::data::{Data, Value, plane_words};
use crate::kernels::linear::{Conv, conv2d_u32, conv2d_u64, depthwise2d_u32};
use crate::prg::{Address, KeyStream};
use ir::{Domain, Party};

/// A value in three parts, part j lacked by party j.
pub(super) type Parts = [Data; 3];

fn whole(p: &Parts) -> Data {
    use crate::data::Zip;
    p[0].zip(&p[1], Zip::Add).zip(&p[2], Zip::Add)
}

/// Random parts of a value.
fn share(rng: &mut Words, x: &Data) -> Parts {
    use crate::data::Zip;
    let random = |rng: &mut Words| match x {
        Data::W32(v) => Data::W32(v.iter().map(|_| rng.next() as u32).collect()),
        Data::W64(v) => Data::W64(v.iter().map(|_| rng.next()).collect()),
        Data::Planes { words, len } => Data::Planes { words: words.iter().map(|_| rng.next()).collect(), len: *len },
    };
    let (a, b) = (random(rng), random(rng));
    let c = x.zip(&a, Zip::Sub).zip(&b, Zip::Sub);
    [a, b, c]
}

fn held(p: &Parts, me: usize) -> Value {
    Value::of([p[(me + 1) % 3].clone(), p[(me + 2) % 3].clone()])
}

/// The same with other bits above a ring of `bits` bits at each party: they are arbitrary.
fn held_mod(p: &Parts, bits: u8, me: usize) -> Value {
    let above = |w: u64| if bits < 64 { w.wrapping_add((me as u64 + 1) << bits) } else { w };
    held(p, me).map(|d| match d {
        Data::W32(v) => Data::W32(v.iter().map(|w| above((*w).into()) as u32).collect()),
        Data::W64(v) => Data::W64(v.iter().map(|w| above(*w)).collect()),
        planes => planes.clone(),
    })
}

fn random(rng: &mut Words, domain: Domain, len: usize) -> Data {
    match domain {
        Domain::Bits(n) => {
            Data::Planes { words: (0..usize::from(n) * plane_words(len)).map(|_| rng.next()).collect(), len }
        }
        Domain::Ring(k) if k <= 32 => Data::W32((0..len).map(|_| rng.next() as u32).collect()),
        Domain::Ring(_) => Data::W64((0..len).map(|_| rng.next()).collect()),
    }
}

/// Claims before they are recorded, so that a test can spoil one.
#[derive(Clone)]
pub(super) enum Claim {
    /// Terms, the result being the last of the list.
    Each(Domain, Vec<Parts>),
    Linear(Layout, Conv, u8, Vec<Parts>),
}

impl Claim {
    pub(super) fn each(rng: &mut Words, domain: Domain, len: usize) -> Claim {
        Claim::sum(rng, domain, len, 1)
    }

    pub(super) fn sum(rng: &mut Words, domain: Domain, len: usize, terms: usize) -> Claim {
        use crate::data::Zip;
        let mut parts: Vec<Parts> = vec![];
        let mut c = Data::zeros(domain, ir::Form::Shared, len);
        for _ in 0..terms {
            let [a, b] = [0, 1].map(|_| {
                let x = random(rng, domain, len);
                share(rng, &x)
            });
            c.zip_assign(&whole(&a).zip(&whole(&b), Zip::Mul), Zip::Add);
            parts.extend([a, b]);
        }
        parts.push(share(rng, &c));
        Claim::Each(domain, parts)
    }

    pub(super) fn linear(rng: &mut Words, layout: Layout, g: Conv, bits: u8) -> Claim {
        let weights = match layout {
            Layout::Convolution => g.out_c * g.kernel[0] * g.kernel[1] * g.in_c / g.groups,
            Layout::Depthwise => g.out_c * g.kernel[0] * g.kernel[1],
        };
        let [x, w] = [g.inputs(), weights].map(|len| {
            let x = random(rng, Domain::Ring(bits), len);
            share(rng, &x)
        });
        let c = match (whole(&x), whole(&w)) {
            (Data::W32(x), Data::W32(w)) => {
                let mut c = vec![0; g.outputs()];
                match layout {
                    Layout::Convolution => conv2d_u32(&g, &[(&x, &w)], &mut c),
                    Layout::Depthwise => depthwise2d_u32(&g, &[(&x, &w)], &mut c),
                }
                Data::W32(c)
            }
            (Data::W64(x), Data::W64(w)) => {
                let mut c = vec![0; g.outputs()];
                conv2d_u64(&g, &[(&x, &w)], &mut c);
                Data::W64(c)
            }
            _ => unreachable!("both are of the ring"),
        };
        let c = share(rng, &c);
        Claim::Linear(layout, g, bits, vec![x, w, c])
    }

    fn result(&mut self) -> (u8, &mut Parts) {
        match self {
            Claim::Each(Domain::Ring(k), p) => (*k, p.last_mut().expect("a result")),
            Claim::Each(Domain::Bits(_), p) => (1, p.last_mut().expect("a result")),
            Claim::Linear(_, _, k, p) => (*k, &mut p[2]),
        }
    }

    /// Adds 2^bit to element `at` of part j of the result, as the holders of that part would both have it.
    pub(super) fn spoil(&mut self, j: usize, at: usize, bit: u8) {
        match &mut self.result().1[j] {
            Data::W32(v) => v[at] = v[at].wrapping_add(1 << bit),
            Data::W64(v) => v[at] = v[at].wrapping_add(1 << bit),
            Data::Planes { words, .. } => words[at / 64] ^= 1 << (at % 64),
        }
    }
}

/// What is planned for each of some checks: all but the last are early ones.
pub(super) fn planned(chunks: &[Vec<Claim>]) -> Vec<(Sizes, End)> {
    let (mut left, mut out) = ([0; 3], vec![]);
    for (i, claims) in chunks.iter().enumerate() {
        let end = if i + 1 < chunks.len() { End::Carried } else { End::Opened };
        let mut sizes = sizes(claims);
        sizes.carry(left);
        left = Plan::of(&sizes, end).left;
        out.push((sizes, end));
    }
    out
}

/// What is planned for them.
pub(super) fn sizes(claims: &[Claim]) -> Sizes {
    let mut sizes = Sizes::default();
    for claim in claims {
        match claim {
            Claim::Each(domain, p) => sizes.sum(*domain, p[0][0].len(), p.len() / 2),
            Claim::Linear(_, g, bits, _) => sizes.linear([g.depth_of_input(), g.pixels(), g.out_c], *bits),
        }
    }
    sizes
}

/// The records of each party for some checks.
pub(super) fn chunks(chunks: &[Vec<Claim>]) -> Vec<Recorded> {
    let all = chunks.iter().zip(planned(chunks));
    all.map(|(claims, (sizes, end))| (records_for(claims, &sizes), end)).collect()
}

fn records(claims: &[Claim]) -> Vec<Recorded> {
    chunks(&[claims.to_vec()])
}

/// The record of each party, and how its check ends.
pub(super) type Recorded = ([Record; 3], End);

fn records_for(claims: &[Claim], sizes: &Sizes) -> [Record; 3] {
    [0, 1, 2].map(|me| {
        let mut r = Record::new(sizes);
        for claim in claims {
            match claim {
                Claim::Each(domain, p) => {
                    let all: Vec<Value> = p.iter().map(|p| held_mod(p, domain.width(), me)).collect();
                    let terms: Vec<_> = all.as_chunks::<2>().0.iter().map(|[a, b]| (a, b)).collect();
                    r.sum(*domain, &terms, &all[all.len() - 1]);
                }
                Claim::Linear(layout, g, bits, p) => r.linear(Linear {
                    layout: *layout,
                    geometry: g.clone(),
                    bits: *bits,
                    x: held_mod(&p[0], *bits, me),
                    w: held_mod(&p[1], *bits, me),
                    c: held_mod(&p[2], *bits, me),
                }),
            }
        }
        r
    })
}

/// What a corrupted party does besides wrong products: may change a message of a step, and the check state before it.
pub(super) type Attack<'a> = &'a mut dyn FnMut(Step, &mut [Check; 3]);
pub(super) type Tamper<'a> = &'a dyn Fn(usize, usize, usize, &mut Vec<u8>);

pub(super) struct Run {
    pub(super) result: Result<(), Cheating>,
    /// Step, sender, receiver, payload; steps are numbered through all checks.
    pub(super) wire: Vec<(usize, usize, usize, Vec<u8>)>,
}

/// Runs checks; `tamper` sees (step, from, to, message) on the way.
pub(super) fn run(records: Vec<Recorded>, session: u64, strength: u64, attack: Attack<'_>, tamper: Tamper<'_>) -> Run {
    run_with(records, &|_, _| session, strength, attack, tamper)
}

/// The same, each segment taken from the session that `session(key, purpose)` says.
fn run_with(
    records: Vec<Recorded>,
    session: &dyn Fn(usize, u32) -> u64,
    strength: u64,
    attack: Attack<'_>,
    tamper: Tamper<'_>,
) -> Run {
    let mut wire = vec![];
    let mut carried = [const { None }; 3];
    let (mut begun, mut instruction) = (0, 2);
    for (records, end) in records {
        let mut me = 0;
        let mut checks = records.map(|r| {
            me += 1;
            Check { strength, ..Check::new(Party(me - 1), r, end, carried[usize::from(me) - 1].take()) }
        });
        while !checks[0].done() {
            let step = begun + checks[0].at;
            attack(checks[0].plan.steps[checks[0].at], &mut checks);
            let mut sent = vec![];
            for (me, check) in checks.iter_mut().enumerate() {
                let mut out = vec![vec![]; 3];
                let streams = |which: usize, purpose: u32| {
                    let key = (me + 1 + which) % 3;
                    let stream = KeyStream::new(&[key as u8 + 1; 32], &session(key, purpose).to_le_bytes());
                    stream.segment(&Address { inference: 1, instruction, purpose })
                };
                check.send(&streams, &mut out);
                sent.push(out);
            }
            for (from, out) in sent.iter_mut().enumerate() {
                for (to, message) in out.iter_mut().enumerate().filter(|(_, m)| !m.is_empty()) {
                    wire.push((step, from, to, message.clone()));
                    tamper(step, from, to, message);
                }
            }
            let mut result = Ok(());
            for (me, check) in checks.iter_mut().enumerate() {
                let incoming: Vec<&[u8]> = sent.iter().map(|out| out[me].as_slice()).collect();
                result = result.and(check.receive(&incoming));
            }
            if result.is_err() {
                return Run { result, wire };
            }
        }
        begun += checks[0].at;
        instruction += 1;
        carried = checks.map(|check| Some(check.carry()));
    }
    Run { result: Ok(()), wire }
}

/// The steps of some checks, one after the other.
fn steps(all: &[Vec<Claim>]) -> Vec<Step> {
    planned(all).iter().flat_map(|(sizes, end)| Plan::of(sizes, *end).steps).collect()
}

/// Some checks, all but the last early.
pub(super) fn honest_of(all: &[Vec<Claim>], session: u64) -> Run {
    run(chunks(all), session, u64::MAX, &mut |_, _| (), &|_, _, _, _| ())
}

pub(super) fn honest(claims: &[Claim], session: u64) -> Run {
    run(records(claims), session, u64::MAX, &mut |_, _| (), &|_, _, _, _| ())
}

pub(super) fn conv(in_hw: usize, in_c: usize, out_c: usize, kernel: usize, stride: usize, groups: usize) -> Conv {
    let out = in_hw.div_ceil(stride);
    Conv {
        batch: 2,
        in_h: in_hw,
        in_w: in_hw,
        in_c,
        out_h: out,
        out_w: out,
        out_c,
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        pad: [(kernel - 1) / 2; 2],
        groups,
    }
}

/// Some of everything.
fn mixture(rng: &mut Words) -> Vec<Claim> {
    vec![
        Claim::each(rng, Domain::Bits(3), 130),
        Claim::sum(rng, Domain::Bits(2), 70, 5),
        Claim::sum(rng, Domain::Ring(17), 10, 3),
        Claim::each(rng, Domain::Bits(1), 64),
        Claim::each(rng, Domain::Ring(32), 70),
        Claim::each(rng, Domain::Ring(9), 200),
        Claim::each(rng, Domain::Ring(47), 65),
        Claim::linear(rng, Layout::Convolution, conv(5, 6, 4, 3, 1, 2), 25),
        Claim::linear(rng, Layout::Depthwise, conv(4, 3, 6, 3, 2, 3), 32),
        Claim::linear(rng, Layout::Convolution, Conv::matmul(3, 20, 10), 40),
    ]
}

#[test]
fn true_claims_pass() {
    let mut rng = Words(1);
    assert_eq!(honest(&mixture(&mut rng), 1).result, Ok(()));
    for (i, len) in [1, 63, 64, 65, 1000, 9000].into_iter().enumerate() {
        for domain in [Domain::Bits(2), Domain::Ring(20), Domain::Ring(64)] {
            let claims = [Claim::each(&mut rng, domain, len)];
            assert_eq!(honest(&claims, 100 + i as u64).result, Ok(()), "{domain:?} {len}");
        }
    }
    let only = [Claim::linear(&mut rng, Layout::Convolution, Conv::matmul(1, 1, 1), 8)];
    assert_eq!(honest(&only, 2).result, Ok(()));
    // Early checks, with few kinds in the one and others in the next, and nothing left to record for the last.
    let few = |rng: &mut Words, domain: Domain| vec![Claim::each(rng, domain, 300)];
    let (bits, wide) = (few(&mut rng, Domain::Bits(2)), few(&mut rng, Domain::Ring(60)));
    for (i, all) in
        [vec![mixture(&mut rng), mixture(&mut rng)], vec![bits, wide, mixture(&mut rng), only.to_vec(), vec![]]]
            .iter()
            .enumerate()
    {
        assert_eq!(honest_of(all, 200 + i as u64).result, Ok(()));
    }
}

#[test]
fn messages_are_those_of_the_plan() {
    let mut rng = Words(2);
    for all in [vec![mixture(&mut rng)], vec![mixture(&mut rng), mixture(&mut rng)]] {
        let run = honest_of(&all, 3);
        let messages: Vec<_> = planned(&all)
            .iter()
            .map(|(sizes, end)| Plan::of(sizes, *end))
            .flat_map(|plan| plan.steps.iter().map(|step| plan.messages(*step)).collect::<Vec<_>>())
            .collect();
        let want = messages.into_iter().enumerate().flat_map(|(i, messages)| {
            messages.into_iter().map(move |m| (i, m.from.index(), m.to.index(), m.bytes as usize))
        });
        let mut want: Vec<_> = want.collect();
        want.sort();
        let mut got: Vec<_> = run.wire.iter().map(|(i, f, t, m)| (*i, *f, *t, m.len())).collect();
        got.sort();
        assert_eq!(got, want);
    }
}

/// One wrong bit in one product of any kind, by any party, at the lowest and the highest bit of its ring.
#[test]
fn every_wrong_product_is_found() {
    let mut rng = Words(4);
    let claims = mixture(&mut rng);
    for i in 0..claims.len() {
        for j in 0..3 {
            let mut bad = claims.clone();
            let (bits, parts) = bad[i].result();
            let len = parts[0].len();
            let (bit, at) = (if j == 0 { bits - 1 } else { (rng.next() % u64::from(bits)) as u8 }, rng.next() as usize);
            bad[i].spoil(j, if j == 1 { len - 1 } else { at % len }, bit);
            assert_eq!(honest(&bad, 5).result, Err(Cheating::Product), "claim {i}, part {j}");
            // The same in an early check, and behind one.
            let other = [claims[i].clone(), claims[0].clone()].to_vec();
            assert_eq!(honest_of(&[bad.clone(), other.clone()], 5).result, Err(Cheating::Product), "early {i} {j}");
            assert_eq!(honest_of(&[other, bad], 5).result, Err(Cheating::Product), "last {i} {j}");
        }
    }
}

/// Errors that add up to zero are errors: in neighbouring claims, in far ones, in products and a convolution.
#[test]
fn errors_do_not_cancel() {
    let mut rng = Words(12);
    let claims = [
        Claim::each(&mut rng, Domain::Ring(32), 1024),
        Claim::linear(&mut rng, Layout::Convolution, conv(3, 2, 2, 1, 1, 1), 32),
    ];
    // Elements of 64 lie in groups of 2^t; the highest bit twice is zero.
    let t = Plan::of(&sizes(&claims), End::Opened).levels[1][0].t;
    assert_eq!(t, 2);
    let spoilt = |places: &[(usize, usize)]| {
        let mut claims = claims.clone();
        places.iter().for_each(|(claim, at)| claims[*claim].spoil(0, *at, 31));
        honest(&claims, 13).result
    };
    let corners = [(0, 0), (0, 64), (0, 128), (0, 192)];
    assert_eq!(spoilt(&[(0, 0), (0, 1)]), Err(Cheating::Product), "two lanes");
    assert_eq!(spoilt(&corners[..2]), Err(Cheating::Product), "two corners");
    assert_eq!(spoilt(&[(0, 0), (0, 256)]), Err(Cheating::Product), "two groups");
    assert_eq!(spoilt(&[(1, 0), (1, 1)]), Err(Cheating::Product), "two channels");
    assert_eq!(spoilt(&[(1, 0), (1, 2)]), Err(Cheating::Product), "two pixels");
    // The same error at all corners is a constant, which is what the convolution's error is.
    let both: Vec<(usize, usize)> = corners.into_iter().chain([(1, 0)]).collect();
    assert_eq!(spoilt(&both), Err(Cheating::Product), "a convolution and all corners");
    let both = [(0, 0), (0, 0), (1, 2), (1, 2)];
    assert_eq!(spoilt(&both), Ok(()), "twice the highest bit is nothing");
}

/// Bits above the ring, and bits of the last word beyond the length, are nobody's claim.
#[test]
fn what_is_no_value_is_not_checked() {
    let mut rng = Words(5);
    let mut claims = mixture(&mut rng);
    claims[5].spoil(1, 7, 9);
    claims[6].spoil(1, 7, 50);
    claims[7].spoil(2, 0, 25);
    claims[0].spoil(0, 191, 0);
    assert_eq!(honest(&claims, 6).result, Ok(()));
}

/// Any message changed on its way stops somebody.
#[test]
fn every_message_is_held_to() {
    let mut rng = Words(6);
    // An early check and the last one.
    let all = [mixture(&mut rng).split_off(8), mixture(&mut rng).split_off(5)];
    let wire = honest_of(&all, 7).wire;
    let steps = steps(&all);
    for (step, from, to, message) in &wire {
        // Somewhere in the first half of the messages, at the very end in the others.
        let at = if (from + to) % 2 == 0 { rng.next() as usize % message.len() } else { message.len() - 1 };
        let (byte, bit) = (at, step % 8);
        let tamper = |s: usize, f: usize, t: usize, m: &mut Vec<u8>| {
            if (s, f, t) == (*step, *from, *to) {
                m[byte] ^= 1 << bit;
            }
        };
        let got = run(chunks(&all), 7, u64::MAX, &mut |_, _| (), &tamper);
        let found = got.result.expect_err("somebody stops");
        // Coins that differ would show a relation of secrets: nothing is opened under them.
        let opened = got.wire.iter().any(|(s, ..)| steps[*s] == Step::Open);
        assert!(!opened || found != Cheating::Coins);
        let want: &[Cheating] = match steps[*step] {
            Step::Coins { .. } | Step::Compare => &[Cheating::Coins],
            // Who sees the opening before the two parts that differ sees a wrong product.
            Step::Products { .. } => &[Cheating::Parts, Cheating::Product],
            Step::Open => &[Cheating::Parts],
            Step::Agree => &[Cheating::Opened],
        };
        assert!(want.contains(&found), "{:?} from {from} to {to}: {found}", steps[*step]);
        let cut = |s: usize, f: usize, t: usize, m: &mut Vec<u8>| {
            if (s, f, t) == (*step, *from, *to) {
                m.pop();
            }
        };
        if step % 3 == 0 {
            assert_eq!(run(chunks(&all), 7, u64::MAX, &mut |_, _| (), &cut).result, Err(Cheating::Length));
        }
    }
}

/// No party gets two messages that differ by something of the run before: all of them are new in each session.
#[test]
fn transcripts_do_not_repeat() {
    let mut rng = Words(8);
    let claims = mixture(&mut rng);
    let all = [claims.clone(), claims];
    let (a, b) = (honest_of(&all, 8).wire, honest_of(&all, 9).wire);
    assert!(a.iter().zip(&b).all(|(a, b)| a.3 != b.3));
}

/// What one party is shown: with all else fixed, every bit opened of the factors is a fair coin of the key that it lacks, and
/// their product is what it must be.
#[test]
fn what_is_opened_is_random() {
    let mut rng = Words(9);
    let claims = [Claim::each(&mut rng, Domain::Bits(1), 64), Claim::each(&mut rng, Domain::Ring(8), 3)];
    let steps = Plan::of(&sizes(&claims), End::Opened).steps;
    let open = steps.iter().position(|s| *s == Step::Open).expect("something is opened");
    let runs = 256;
    // With challenges of no bits all are zero: those of the last level must not be.
    let opened = |masked: bool, strength: u64| -> u32 {
        let mut ones = vec![0u32; 8 * 3 * (8 + 256)];
        for draw in 0..runs {
            // Key 0 is the one that party 0 lacks.
            let fresh = |key: usize, purpose: u32| {
                if masked && key == 0 && purpose % 4 == Use::Masks as u32 { draw } else { 10_000 }
            };
            let wire = run_with(records(&claims), &fresh, strength, &mut |_, _| (), &|_, _, _, _| ()).wire;
            let seen = wire.iter().find(|(s, f, t, _)| (*s, *f, *t) == (open, 1, 0)).expect("party 1 opens to party 0");
            for (i, n) in ones.iter_mut().enumerate() {
                *n += u32::from(seen.3[i / 8] >> (i % 8) & 1);
            }
        }
        let factors = |i: &usize| !(128..192).contains(i) && !(192 + 2 * 2048..).contains(i);
        ones.iter().enumerate().filter(|(i, _)| factors(i)).map(|(_, n)| n.abs_diff(runs as u32 / 2)).max().unwrap_or(0)
    };
    // Six standard deviations of 256 fair coins.
    assert!(opened(true, u64::MAX) <= 48);
    assert!(opened(true, 0) <= 48);
    assert_eq!(opened(false, u64::MAX), 128, "without fresh masks nothing moves");
}
