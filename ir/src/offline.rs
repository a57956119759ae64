//! What a program with products made ahead needs before each inference, and the bytes that it takes. Rounds and bytes of
//! preprocessing are counted apart from those of the inference.
//!
//! The steps are those of `runtime-protocols/src/semi/prep.rs`, whose lengths are compared with these when a program is loaded.
use crate::Op;
use crate::imm::Window;
use crate::program::Program;
use crate::shape::taps;
use crate::types::{Domain, Form, Type};
use crate::verify::Typed;

/// Bits of a row of transfers.
const ROW: usize = 128;
/// Bits per tree of the extension.
pub const TREE: usize = 4;
/// Transfers of one extension of bits.
pub const BATCH: usize = 1 << 20;
/// Transfers of a part of a message.
const CHUNK: usize = 8192;

/// Weights that meet the same positions: those of neighbouring input channels, one tap and one output channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Index of the first weight.
    pub weight: u32,
    /// From one weight to the next.
    pub stride: u32,
    /// How many.
    pub count: u32,
    /// Input channel of the first weight; the next meets the next channel.
    pub input: u32,
    /// Which list of positions.
    pub tap: u32,
}

/// A linear map with weights, on inputs and outputs of channels by positions, channels innermost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// Positions and channels of the input.
    pub input: [usize; 2],
    /// Positions and channels of the output.
    pub output: [usize; 2],
    /// For each tap, the pairs of input and output position that it joins.
    pub taps: Vec<Vec<[u32; 2]>>,
    /// For each output channel, the weights that lead to it.
    pub groups: Vec<Vec<Group>>,
}

impl Map {
    /// `rows` vectors of `inputs` elements times a matrix of `[outputs inputs]`.
    pub fn dense(rows: usize, inputs: usize, outputs: usize) -> Map {
        let group = |o: usize| Group { weight: (o * inputs) as u32, stride: 1, count: inputs as u32, input: 0, tap: 0 };
        Map {
            input: [rows, inputs],
            output: [rows, outputs],
            taps: vec![(0..rows as u32).map(|p| [p, p]).collect()],
            groups: (0..outputs).map(|o| vec![group(o)]).collect(),
        }
    }

    /// Pairs of positions of each tap of a window on `x` NHWC.
    fn positions(x: &[u32], window: &Window) -> Vec<Vec<[u32; 2]>> {
        let [h, w] = [x[1] as usize, x[2] as usize];
        let mut all = vec![Vec::new(); (window.kernel[0] * window.kernel[1]) as usize];
        for b in 0..x[0] as usize {
            for oy in 0..window.out[0] {
                for ox in 0..window.out[1] {
                    let to = (b as u32 * window.out[0] + oy) * window.out[1] + ox;
                    for (i, y) in taps(window, 0, oy, x[1]) {
                        for (j, x) in taps(window, 1, ox, x[2]) {
                            let tap = i * window.kernel[1] as usize + j;
                            all[tap].push([((b * h + y) * w + x) as u32, to]);
                        }
                    }
                }
            }
        }
        all
    }

    /// A convolution of `x` NHWC by `[out kh kw in/groups]`.
    pub fn convolution(x: &[u32], outputs: u32, window: &Window, groups: u32) -> Map {
        let each = x[3] / groups;
        let all = window.kernel[0] * window.kernel[1];
        let group = |o: u32, tap: u32| Group {
            weight: (o * all + tap) * each,
            stride: 1,
            count: each,
            input: o / (outputs / groups) * each,
            tap,
        };
        Map {
            input: [(x[0] * x[1] * x[2]) as usize, x[3] as usize],
            output: [(x[0] * window.out[0] * window.out[1]) as usize, outputs as usize],
            taps: Self::positions(x, window),
            groups: (0..outputs).map(|o| (0..all).map(|t| group(o, t)).collect()).collect(),
        }
    }

    /// A depthwise convolution of `x` NHWC by `[kh kw outputs]`.
    pub fn depthwise(x: &[u32], outputs: u32, window: &Window) -> Map {
        let all = window.kernel[0] * window.kernel[1];
        let each = outputs / x[3];
        let group = |o: u32, tap: u32| Group { weight: tap * outputs + o, stride: 1, count: 1, input: o / each, tap };
        Map {
            input: [(x[0] * x[1] * x[2]) as usize, x[3] as usize],
            output: [(x[0] * window.out[0] * window.out[1]) as usize, outputs as usize],
            taps: Self::positions(x, window),
            groups: (0..outputs).map(|o| (0..all).map(|t| group(o, t)).collect()).collect(),
        }
    }

    /// Number of weights.
    pub fn weights(&self) -> usize {
        self.groups.iter().flatten().map(|g| g.count as usize).sum()
    }

    /// Number of products.
    pub fn products(&self) -> usize {
        self.groups.iter().flatten().map(|g| g.count as usize * self.taps[g.tap as usize].len()).sum()
    }
}

/// A map with the widths of its weights and its ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// What meets what.
    pub map: Map,
    /// Bits of a weight, two's complement.
    pub bits: u32,
    /// Bits of the ring, as many as the weights' at least.
    pub ring: u32,
}

impl Shape {
    /// Transfers of a session.
    pub fn transfers(&self) -> usize {
        self.map.weights() * self.bits as usize
    }

    /// Bytes of the messages of some groups in an inference: whole bytes for each bit of a group.
    pub fn bytes_of(&self, groups: &[Group]) -> usize {
        let elements = |g: &Group| g.count as usize * self.map.taps[g.tap as usize].len();
        let one = |g: &Group| (0..self.bits).map(|j| packed(self.ring - j, elements(g))).sum::<usize>();
        groups.iter().map(one).sum()
    }

    /// Bytes of the message of an inference.
    pub fn bytes(&self) -> usize {
        self.map.groups.iter().map(|groups| self.bytes_of(groups)).sum()
    }
}

/// Bytes of `n` elements of `bits` bits.
fn packed(bits: u32, n: usize) -> usize {
    (n * bits as usize).div_ceil(8)
}

/// Correlated randomness that one instruction takes in one inference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// Products of bits, 64 to a word.
    And {
        /// Words.
        words: usize,
    },
    /// Random bits, XOR-shared and shared in a ring.
    Bits {
        /// Words of 64 bits.
        words: usize,
        /// Bits of the ring, at least 2.
        ring: u32,
    },
    /// Products of ring elements.
    Ring {
        /// How many.
        count: usize,
        /// Bits of the ring.
        ring: u32,
    },
    /// Products of weights that `owner` holds with an input.
    Linear {
        /// Which weight meets what.
        shape: Shape,
        /// Who knows the weights.
        owner: u8,
    },
}

/// What an instruction needs.
pub fn need(op: &Op<crate::Value>, typed: &Typed) -> Option<Need> {
    let ty = |v: &crate::Value| &typed.types[v.index()];
    let words = |t: &Type| usize::from(t.domain.width()) * t.len().div_ceil(64);
    let linear = |x: &Type, w: &Type, map: Map, bits: u8| {
        let Form::Held(h) = w.form else { return None };
        let shape = Shape { map, bits: bits.into(), ring: x.domain.width().into() };
        Some(Need::Linear { shape, owner: h.iter().next()?.0 })
    };
    match op {
        Op::Mul { a, .. } => Some(match ty(a).domain {
            Domain::Bits(_) => Need::And { words: words(ty(a)) },
            Domain::Ring(k) => Need::Ring { count: ty(a).len(), ring: k.into() },
        }),
        Op::ToRing { x, bits } => Some(Need::Bits { words: words(ty(x)), ring: (*bits).into() }),
        Op::Conv2dSh { x, w, window, groups, width, .. } => {
            let (x, w) = (ty(x), ty(w));
            linear(x, w, Map::convolution(&x.shape, w.shape[0], window, *groups), *width)
        }
        Op::DepthwiseSh { x, w, window, width, .. } => {
            let (x, w) = (ty(x), ty(w));
            linear(x, w, Map::depthwise(&x.shape, w.shape[2], window), *width)
        }
        _ => None,
    }
}

/// Instructions that need something, in order, and what.
pub fn needs(p: &Program, typed: &Typed) -> Vec<(usize, Need)> {
    p.insts.iter().enumerate().filter_map(|(i, inst)| Some((i, need(&inst.op, typed)?))).collect()
}

/// Bytes of the choices of `count` transfers, given or drawn.
pub fn choices(count: usize, drawn: bool) -> usize {
    let parts = ROW / TREE - usize::from(drawn);
    (count / CHUNK * (CHUNK / 8) + (count % CHUNK).div_ceil(8)) * parts
}

/// Bytes that each party sends each other in each exchange before an inference: `[exchange][from][to]`.
pub fn messages(needs: &[Need], parties: usize) -> Vec<Vec<Vec<u64>>> {
    let sum = |f: &dyn Fn(&Need) -> usize| needs.iter().map(f).sum::<usize>();
    let words = sum(&|n| if let Need::And { words } = n { *words } else { 0 });
    let shared = 64 * sum(&|n| if let Need::Bits { words, .. } = n { *words } else { 0 });
    let ring = sum(&|n| match n {
        Need::Ring { count, ring } => *ring as usize * count.div_ceil(64) * 64,
        _ => 0,
    });
    let steps = match () {
        _ if shared > 0 => parties,
        _ if ring > 0 || words > 0 && parties > 2 => 2,
        _ => usize::from(!needs.is_empty()),
    };
    let one = |step: usize, from: usize, to: usize| -> usize {
        let drawn = (from + 1) % parties == to;
        match step {
            _ if from == to => 0,
            0 => {
                let triples = 64 * words;
                let batches = (0..triples).step_by(BATCH).map(|at| choices(BATCH.min(triples - at), drawn));
                let linear = sum(&|n| match n {
                    Need::Linear { shape, owner } if usize::from(*owner) == to => shape.bytes(),
                    _ => 0,
                });
                let shared = if to < from { choices(shared, false) } else { 0 };
                batches.sum::<usize>() + shared + choices(ring, false) + linear
            }
            _ => {
                let differences = if step == 1 && !drawn { 8 * words } else { 0 };
                differences
                    + sum(&|n| match n {
                        Need::Ring { count, ring } if step == 1 => (0..*ring).map(|t| packed(ring - t, *count)).sum(),
                        Need::Bits { words, ring } if to == step && from < to => packed(ring - 1, 64 * words),
                        _ => 0,
                    })
            }
        }
    };
    let row = |step, from| (0..parties).map(|to| one(step, from, to) as u64).collect();
    (0..steps).map(|step| (0..parties).map(|from| row(step, from)).collect()).collect()
}
