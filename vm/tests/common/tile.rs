//! One requantization as a program: an owner shares accumulators, the receiver learns the results.
use super::wrapped::{Change, Own, Wrapped};
use compiler::lower::Lowered;
use compiler::lower::builder::Builder;
use compiler::lower::circuit;
use compiler::lower::dealer::{self, Tree};
use compiler::lower::requant::{Formula, Source, requantize};
use compiler::pipeline::Route;
use compiler::pipeline::program_for;
use compiler::profile::{Profile, REP3, REP4};
use ir::program::DType;
use ir::{Holders, Interface, Op, Party, Port, Program};
use runtime_protocols::data::Value;
use runtime_protocols::link::Link;
use runtime_protocols::link::memory::{Network, Record};
use runtime_protocols::rep3::Rep3;
use vm::exec::Machine;

/// Owner of the accumulators and receiver of the results.
pub const OWNER: Party = Party(1);

/// The protocol that a route is tried on.
fn profile_of(route: Route) -> &'static Profile {
    if route == Route::Circuit { &REP4 } else { &REP3 }
}

/// Numbers without pattern, the same in every run.
pub struct Numbers(pub u64);

impl Numbers {
    /// The next one (splitmix64).
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Between both, inclusive.
    pub fn between(&mut self, lo: i64, hi: i64) -> i64 {
        lo + (self.draw() % (hi - lo + 1) as u64) as i64
    }
}

/// What to compute, per element.
#[derive(Clone, Debug)]
pub struct Tile {
    pub n: u8,
    pub k: u8,
    pub width: u8,
    pub h: u8,
    pub rot: u8,
    pub acc: Vec<i64>,
    pub m: Vec<i64>,
    pub s: Vec<i64>,
    pub b_p: Vec<i64>,
    pub b_n: Option<Vec<i64>>,
    pub split: Vec<i64>,
    pub lo: Vec<i64>,
    pub hi: Vec<i64>,
}

impl Tile {
    /// A tile of `count` elements, shifts up to `width`, with accumulators that reach both clamps.
    pub fn draw(rng: &mut Numbers, n: u8, width: u8, two: bool, count: usize) -> Tile {
        let most = 1i64 << (n - 3);
        let s: Vec<i64> = (0..count)
            .map(|e| i64::from(width) - if e == 0 { 0 } else { rng.between(0, 5).min(width.into()) })
            .collect();
        let largest = ((1i64 << 31) - 1).min((1 << (62 - n)) - 1);
        let m: Vec<i64> = s.iter().map(|q| (rng.between(1, 300 << q) / most).clamp(1, largest)).collect();
        let split: Vec<i64> = (0..count).map(|_| if two { rng.between(-100, 100) } else { -128 }).collect();
        let b_p: Vec<i64> = s.iter().map(|q| rng.between(0, (1 << q) - 1)).collect();
        let b_n: Option<Vec<i64>> = two.then(|| b_p.iter().zip(&s).map(|(b, q)| b + (1 << q) / 2).collect());
        let acc =
            (0..count).map(|_| if rng.between(0, 3) == 0 { rng.between(-8, 8) } else { rng.between(-most, most) });
        let acc = acc.collect();
        let (lo, hi) = (vec![-128; count], vec![127; count]);
        let mut tile = Tile { n, k: 12, width, h: 0, rot: 0, acc, m, s, b_p, b_n, split, lo, hi };
        tile.h = tile.reach(most);
        tile
    }

    /// Bits that hold the distance of every floor to every bound, with its sign.
    pub fn reach(&self, most: i64) -> u8 {
        let furthest =
            (0..self.m.len()).map(|e| ((i128::from(self.m[e]) * i128::from(most)) >> self.s[e]) as u64 + 400);
        (64 - furthest.max().unwrap_or(1).leading_zeros()) as u8 + 1
    }

    /// The formula that the result is held against.
    pub fn wanted(&self) -> Vec<i64> {
        let floor = |e: usize, b: &[i64]| -> i64 {
            ((i128::from(self.m[e]) * i128::from(self.acc[e]) + i128::from(b[e])) >> self.s[e]) as i64
        };
        (0..self.acc.len())
            .map(|e| match &self.b_n {
                None => floor(e, &self.b_p).clamp(self.lo[e], self.hi[e]),
                Some(_) if floor(e, &self.b_p) > self.split[e] => floor(e, &self.b_p).min(self.hi[e]),
                Some(b) => floor(e, b).clamp(self.lo[e], self.split[e]),
            })
            .collect()
    }

    /// The scheduled program.
    pub fn program(&self, route: Route) -> Program {
        self.program_by(route, Tree::Grouped)
    }

    /// The scheduled program; `tree` is how the dealer route joins chunks.
    pub fn program_by(&self, route: Route, tree: Tree) -> Program {
        let count = self.acc.len() as u32;
        let port = |name: &str| Port {
            name: name.into(),
            dtype: DType::I32,
            shape: vec![count],
            scale: 1.0,
            zero_point: 0,
            party: OWNER,
            float: false,
        };
        let interface =
            Interface { inputs: vec![port("acc")], outputs: vec![port("y")], weights: vec![], weight_owner: Party(0) };
        let mut b = Builder::new(interface, profile_of(route).scheme);
        b.layers.push(ir::Layer { operator: 0, name: "tile".into() });
        let x = b.one(Op::Input { index: 0 });
        let x = b.share(x, self.n);
        let at = b.all();
        let x = b.one(Op::AsSum { x, at, bits: self.n });
        let all = |b: &mut Builder, data: &[i64]| b.constant(&[count], data.to_vec());
        let above = all(&mut b, &self.b_p);
        let first_below: Vec<i64> = self.lo.iter().map(|x| x + 1).collect();
        let formula = Formula {
            m: all(&mut b, &self.m),
            s: all(&mut b, &self.s),
            b: [Some(above), self.b_n.as_ref().map(|x| all(&mut b, x))],
            split: all(&mut b, &self.split),
            below: self.b_n.as_ref().map(|_| all(&mut b, &first_below)),
            lo: all(&mut b, &self.lo),
            hi: all(&mut b, &self.hi),
            width: self.width,
            n: self.n,
            a: self.n - 1,
            h: self.h,
            exact: true,
        };
        let y = match route {
            Route::Dealer => dealer::requantize_by(&mut b, Source::Sum(x), &formula, self.k, self.rot, tree)
                .expect("few enough products"),
            Route::Boolean => requantize(&mut b, Source::Sum(x), &formula, self.k, self.rot),
            Route::Circuit | Route::Adder => circuit::requant::requantize(&mut b, Source::Sum(x), &formula, self.k),
        };
        let y = b.one(Op::Open { x: y, to: Holders::one(OWNER) });
        b.emit(Op::Output { x: y, index: 0 });
        let lowered = Lowered {
            builder: b,
            weights: vec![],
            thresholds: 0,
            reveal: "output".into(),
            parts: vec![],
            notes: vec![],
            results: vec![],
        };
        program_for(lowered, profile_of(route))
    }
}

/// All messages of a run of `program` and the opened result. `seeds[j]` is the key that party j lacks; `change` is made at every
/// party. Also what each party was about to send.
pub fn run_tile(program: &Program, acc: &[i64], seeds: &[[u8; 32]; 3], change: &Change) -> Run {
    let (links, transcript) = Network::new(3).recorded();
    let done = super::in_threads(links, |mut link| {
        let me = link.me();
        let pairwise: Vec<[u8; 32]> =
            (0..3u8).map(|p| if p == me.0 { [0; 32] } else { seeds[usize::from(3 - me.0 - p)] }).collect();
        let own: Own = Own::default();
        let runtime = Wrapped { inner: Rep3::new(me, &pairwise, &SESSION), change: change.clone(), own: own.clone() };
        let mut m = Machine::new(program.clone(), Box::new(runtime)).expect("verified");
        m.setup(None, &mut link).expect("set-up");
        let o = m.infer(&[(me == OWNER).then(|| acc.to_vec())], &mut link).expect("inference");
        link.close().expect("close");
        let own = std::mem::take(&mut *own.lock().expect("no panic"));
        (o.outputs[0].clone(), own)
    });
    let result = done[OWNER.index()].0.clone().expect("the receiver has it");
    Run { records: transcript.records(), result, own: done.into_iter().map(|d| d.1).collect() }
}

/// Name of the session.
pub const SESSION: [u8; 16] = [7; 16];

/// What a run leaves.
pub struct Run {
    pub records: Vec<Record>,
    pub result: Vec<i64>,
    pub own: Vec<Vec<(u32, Value)>>,
}
