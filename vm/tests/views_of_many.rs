//! Without a dealer: what parties send does not depend on secrets. Over inferences of the same input every bit that travels is uniform,
//! alone and in pairs; each kind of message fails this as soon as its mask is taken away.
mod common;
#[path = "common/play.rs"]
mod play;
use common::four::write;
use common::in_threads;
use ir::{Domain, Party, Program};
use play::{Protocol, declare};
use runtime_protocols::data::Value;
use runtime_protocols::link::Link;
use runtime_protocols::link::memory::Network;
use runtime_protocols::runtime::{Exchange, Flat, Message, Offline, Pad, Runtime};
use runtime_protocols::semi::Semi;
use vm::exec::{Machine, exchange_of};

const RUNS: usize = 256;
type Bits = [u64; RUNS / 64];

/// The runtime, but for one instruction, whose messages travel without masks.
struct Bare {
    inner: Semi,
    instruction: Option<u32>,
}

fn runtime(me: Party, parties: u8, instruction: Option<u32>) -> Bare {
    let seeds: Vec<[u8; 32]> = (0..parties).map(|p| [16 * p.min(me.0) + p.max(me.0); 32]).collect();
    Bare { inner: Semi::new(me, &seeds, &[7; 16]), instruction }
}

impl Runtime for Bare {
    runtime_protocols::local_half_of!(inner);

    fn offline(&mut self) -> Option<&mut dyn Offline> {
        self.inner.offline()
    }

    fn messages(&self, what: Exchange, ty: Flat) -> Vec<Message> {
        self.inner.messages(what, ty)
    }

    fn send(&mut self, pad: Pad, what: Exchange, x: &Value, ty: Flat, out: &mut [Vec<u8>]) -> Value {
        let before: Vec<usize> = out.iter().map(Vec::len).collect();
        let kept = self.inner.send(pad, what, x, ty, out);
        if self.instruction == Some(pad.instruction) {
            // As many parts as the message has.
            let bare: Vec<u8> = x.parts.iter().flat_map(|part| write(ty.domain, part)).collect();
            for (out, before) in out.iter_mut().zip(before).filter(|(out, before)| out.len() > *before) {
                let sent = out.len() - before;
                out.truncate(before);
                out.extend(&bare[..sent]);
            }
        }
        kept
    }

    fn receive(&mut self, what: Exchange, kept: Value, ty: Flat, incoming: &mut [&[u8]]) -> Value {
        Runtime::receive(&mut self.inner, what, kept, ty, incoming)
    }
}

/// Standard errors of the count of ones.
fn bias(b: &Bits) -> f64 {
    let ones: u32 = b.iter().map(|w| w.count_ones()).sum();
    (f64::from(ones) - RUNS as f64 / 2.0).abs() / (RUNS as f64 / 4.0).sqrt()
}

/// Which bits of what one party sends another in an inference carry something; the others fill bytes, and are clear.
fn carried(p: &Program, from: Party, to: Party) -> Vec<bool> {
    let typed = ir::verify::verify(p).expect("verified");
    let inner = runtime(from, p.parties, None);
    let filled = |bits: usize| (0..8 * bits.div_ceil(8)).map(move |i| i < bits);
    let mut carry = Vec::new();
    for (x, what) in p.insts.iter().filter_map(|inst| exchange_of(&inst.op)) {
        let t = &typed.types[x.index()];
        let ty = Flat { domain: t.domain, form: t.form, len: t.len() };
        let piece: Vec<bool> = match ty.domain {
            Domain::Ring(k) => filled(ty.len * usize::from(k)).collect(),
            Domain::Bits(planes) => (0..planes).flat_map(|_| filled(ty.len)).collect(),
        };
        let sent = inner.messages(what, ty).into_iter().filter(|m| (m.from, m.to) == (from, to));
        for bits in sent.map(|m| 8 * m.bytes as usize) {
            assert_eq!(bits % piece.len(), 0, "a message of whole pieces");
            carry.extend(piece.iter().cycle().take(bits));
        }
    }
    carry
}

/// Results, and the largest deviation of a bit and of a pair of bits in all messages of an inference, in standard errors.
fn look(p: &Program, x: &[i64], w: &[i32], bare: Option<u32>) -> (Vec<Vec<i64>>, f64, f64) {
    let (links, transcript) = Network::new(p.parties.into()).recorded();
    let done = in_threads(links, |mut link| {
        let me = link.me();
        let mut m = Machine::new(p.clone(), Box::new(runtime(me, p.parties, bare))).expect("verified");
        let weights = ir::weights::Weights { program: [0; 32], tensors: vec![w.to_vec()] };
        m.setup((me == p.interface.weight_owner).then_some(&weights), &mut link).expect("set-up");
        let one = |_| {
            let own: Vec<_> = p.interface.inputs.iter().map(|port| (port.party == me).then(|| x.to_vec())).collect();
            m.infer(&own, &mut link).expect("inference").outputs[0].clone()
        };
        let outputs: Vec<_> = (0..RUNS).map(one).collect();
        link.close().expect("close");
        outputs
    });
    let receiver = p.interface.outputs[0].party.index();
    let results: Vec<Vec<i64>> = done[receiver].iter().flatten().cloned().collect();
    let records = transcript.records();
    let mut columns: Vec<Bits> = Vec::new();
    for from in (0..p.parties).map(Party) {
        for to in (0..p.parties).map(Party) {
            // Round by round of the inference; before each stands what is made ahead of it.
            let mut sent: Vec<_> =
                records.iter().filter(|r| (r.from, r.to) == (from, to) && !r.payload.is_empty()).collect();
            sent.sort_by_key(|r| r.sequence);
            let due = |k: usize| p.rounds[k].messages.get(p.parties, from, to) as usize;
            let sizes: Vec<usize> = (0..p.rounds.len()).map(due).filter(|bytes| *bytes > 0).collect();
            if sizes.is_empty() {
                continue;
            }
            let carry = carried(p, from, to);
            let mut all: Vec<Bits> = vec![[0; RUNS / 64]; carry.len()];
            let each = sent.len() / RUNS;
            for r in 0..RUNS {
                let end = sent.len() - (RUNS - 1 - r) * each;
                let mine = &sent[end - sizes.len()..end];
                assert!(
                    mine.iter().zip(&sizes).all(|(m, bytes)| m.payload.len() == *bytes),
                    "messages of an inference"
                );
                let bits = mine.iter().flat_map(|m| &m.payload).flat_map(|b| (0..8).map(move |i| b >> i & 1 == 1));
                assert_eq!(bits.clone().count(), carry.len(), "bits of an inference");
                bits.enumerate().for_each(|(i, bit)| all[i][r / 64] |= u64::from(bit) << (r % 64));
            }
            // A bit that carries something stays, even where it is always the same: that is as far from uniform as can be.
            let (secret, fill): (Vec<_>, Vec<_>) = all.into_iter().zip(carry).partition(|(_, carries)| *carries);
            assert!(fill.iter().flat_map(|(bits, _)| bits).all(|w| *w == 0), "bits that fill a byte are clear");
            columns.extend(secret.into_iter().map(|(bits, _)| bits));
        }
    }
    let single = columns.iter().map(bias).fold(0.0, f64::max);
    let xor = |a: &Bits, b: &Bits| -> Bits { std::array::from_fn(|i| a[i] ^ b[i]) };
    let of = |(i, a): (usize, &Bits)| columns[..i].iter().map(|b| bias(&xor(a, b))).fold(0.0, f64::max);
    (results, single, columns.iter().enumerate().map(of).fold(0.0, f64::max))
}

/// Some hundred bits deviate by up to 4, their pairs by up to 6.
fn suspicious(single: f64, pair: f64) -> bool {
    single > 5.5 || pair > 7.5
}

fn program(text: &str, parties: u8) -> Program {
    let mut p = ir::text::parse(text).expect("a program");
    let runtime: fn(Party) -> Box<dyn Runtime> = match parties {
        2 => |me| Box::new(runtime(me, 2, None)),
        _ => |me| Box::new(runtime(me, 3, None)),
    };
    declare(&mut p, &Protocol { name: "semi", parties, runtime });
    p
}

fn check(p: &Program, x: &[i64], w: &[i32], want: &[i64], kinds: &[(&str, u32)]) {
    let (results, single, pair) = look(p, x, w, None);
    assert!(results.iter().all(|y| y == want), "{:?} is not {want:?}", results[0]);
    println!("as it is: {single:.1} {pair:.1}");
    assert!(!suspicious(single, pair), "messages depend on secrets: {single} {pair}");
    for (name, instruction) in kinds {
        let (_, single, pair) = look(p, x, w, Some(*instruction));
        println!("{name} bare: {single:.1} {pair:.1}");
        assert!(suspicious(single, pair), "nobody notices {name} without its mask: {single} {pair}");
    }
}

/// y = low four bits of (W·x)² of party 0 and of party 1, and-ed.
const GADGETS: &str = r#"program protocol="semi" parties=2 reveal="output" kernels="tflite-ref"
claims opened_bits=0 thresholds=0 peak_memory=0
weights party=0
input 0 "x" int32[4] scale=1.0 zero=0 party=1
output 0 "y" int32[1x1x1x3] scale=1.0 zero=0 party=1
weight 0 [3x1x1x4]
    v0: held<64>[3x1x1x4]@{0} = weight index=0
  setup round 1 {
  }
    v1: held<64>[4]@{1} = input index=0
    v2: sum<20>[4]@{0,1} = as_sum v1, at={0,1}, bits=20
    v3: arith<20>[4] = embed v2, bits=20
    v4: arith<20>[1x1x1x4] = reshape v3, shape=[1 1 1 4]
  round 1 {
    v5: arith<20>[1x1x1x3] = conv2d_sh v4, v0, window=1x1:k1x1:s1x1:d1x1:p0x0, groups=1, width=8, at={0}
  }
  round 2 {
    v6: arith<20>[1x1x1x3] = mul v5, v5
  }
    v7: held<64>[1x1x1x3]@{0} = operand v6, index=0
    v8: held<64>[1x1x1x3]@{1} = operand v6, index=1
    v9: heldbits<4>[1x1x1x3]@{0} = planes_h v7, lo=0, width=4
    v10: heldbits<4>[1x1x1x3]@{1} = planes_h v8, lo=0, width=4
    v11: bitsum<4>[1x1x1x3]@{0,1} = as_sum v9, at={0,1}, bits=1
    v12: bitsum<4>[1x1x1x3]@{0,1} = as_sum v10, at={0,1}, bits=1
    v13: bits<4>[1x1x1x3] = embed v11, bits=1
    v14: bits<4>[1x1x1x3] = embed v12, bits=1
    v15: bits<4>[1x1x1x3] = add v13, v14
    v16: bits<1>[1x1x1x3] = pick v15, planes=[0]
  round 3 {
    v17: bits<1>[1x1x1x3] = mul v16, v16
  }
  round 4 {
    v18: arith<20>[1x1x1x3] = to_ring v17, bits=20
  }
  round 5 {
    v19: held<64>[1x1x1x3]@{1} = open v18, to={1}
  }
    output v19, index=0
"#;

#[test]
fn masked_messages_are_uniform_and_bare_ones_show() {
    let p = program(GADGETS, 2);
    let w = [5, 6, 7, 8, -1, -2, -3, -4, 9, 0, 9, 0];
    let kinds =
        [("input of a linear layer", 5), ("product of numbers", 6), ("product of bits", 17), ("bit to number", 18)];
    // W·x = 814, -406, 36, of which the parity of the square; of zeros a bare message has none but clear bits.
    for x in [[1, -2, 3, 100], [0; 4]] {
        let want: Vec<i64> =
            w.chunks(4).map(|row| row.iter().zip(&x).map(|(w, x)| i64::from(*w) * x).sum::<i64>() & 1).collect();
        check(&p, &x, &w, &want, &kinds);
    }
}

/// y = weight of party 0 plus input of party 2, opened to party 1: without shares of zero it would see both.
const OPENING: &str = r#"program protocol="semi" parties=3 reveal="output" kernels="tflite-ref"
claims opened_bits=0 thresholds=0 peak_memory=0
weights party=0
input 0 "x" int32[4] scale=1.0 zero=0 party=2
output 0 "y" int32[4] scale=1.0 zero=0 party=1
weight 0 [4]
    v0: held<64>[4]@{0} = weight index=0
    v1: sum<20>[4]@{0,1,2} = as_sum v0, at={0,1,2}, bits=20
    v2: arith<20>[4] = embed v1, bits=20
  setup round 1 {
  }
    v3: held<64>[4]@{2} = input index=0
    v4: sum<20>[4]@{0,1,2} = as_sum v3, at={0,1,2}, bits=20
    v5: arith<20>[4] = embed v4, bits=20
    v6: arith<20>[4] = add v2, v5
  round 1 {
    v7: held<64>[4]@{1} = open v6, to={1}
  }
    output v7, index=0
"#;

#[test]
fn openings_are_uniform_up_to_their_sum() {
    let p = program(OPENING, 3);
    check(&p, &[1, 2, 3, 4], &[10, 20, 30, -40], &[11, 22, 33, -36], &[("opening", 7)]);
}
