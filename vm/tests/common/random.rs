//! Random well-typed programs over every op, and random changes of programs.
#![allow(dead_code, missing_docs, reason = "each test file uses a part")]
use compiler::lower::builder::Builder;
use ir::infer::{Context, infer, roles};
use ir::program::DType;
use ir::width;
use ir::{Amounts, Axes, Dims, Domain, Form, Holders, Interface, Op, Party, PlaneList, Port, Program, SoftmaxRule};
use ir::{Strided, Strides, Terms, Type, Value, Window};

/// SplitMix64.
pub struct Draw(pub u64);

impl Draw {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// In `lo..=hi`.
    pub fn within(&mut self, lo: usize, hi: usize) -> usize {
        lo + self.below(hi + 1 - lo)
    }

    /// A width with a liking for the edges of machine words.
    fn width(&mut self, most: u8) -> u8 {
        let edge = self.of(&[1, 2, 7, 8, 9, 31, 32, 33, 63, 64]);
        if self.below(3) > 0 && edge <= most { edge } else { self.within(1, most.into()) as u8 }
    }
}

const SHAPES: [&[u32]; 8] = [&[5], &[1], &[2, 3], &[65], &[1, 4, 4, 2], &[2, 3, 2, 1], &[], &[4, 1]];

/// Ops that programs of three with roles do not have: other protocols' programs show them.
pub const ELSEWHERE: [&str; 7] = ["operand", "echo", "mul", "to_ring", "conv2d_sh", "depthwise_sh", "check"];

/// A random program before it is scheduled.
pub struct Random {
    pub builder: Builder,
    pub draw: Draw,
    pub weights: Vec<Vec<i32>>,
    /// Values that may be used.
    pool: Vec<Value>,
    /// Bits that can be set in each, as far as held.
    bits: Vec<u8>,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        let interface = Interface { inputs: vec![], outputs: vec![], weights: vec![], weight_owner: Party(0) };
        let mut draw = Draw(seed);
        let mut r = Random {
            builder: Builder::new(interface, ir::Protocol::Rep3.facts().scheme),
            draw: Draw(draw.next()),
            weights: vec![],
            pool: vec![],
            bits: vec![],
        };
        r.builder.interface.weight_owner = Party(draw.below(3) as u8);
        for index in 0..draw.within(1, 3) as u32 {
            let shape = draw.of(&SHAPES);
            r.builder.interface.inputs.push(r.port(shape, Party(draw.below(3) as u8)));
            r.push(Op::Input { index });
        }
        r
    }

    fn port(&self, shape: &[u32], party: Party) -> Port {
        Port {
            name: "p".into(),
            dtype: DType::I32,
            shape: shape.to_vec(),
            scale: 1.0,
            zero_point: 0,
            party,
            float: false,
        }
    }

    fn ty(&self, v: Value) -> &Type {
        self.builder.ty(v)
    }

    /// Appends an op if its types fit.
    fn push(&mut self, op: Op<Value>) -> Option<Value> {
        let cx =
            Context { scheme: self.builder.scheme, interface: &self.builder.interface, consts: &self.builder.consts };
        let types = infer(&op.map(|v| self.builder.ty(v)), &cx).ok()?;
        if types.iter().any(|t| t.len() > 600 || t.domain.width() > 120) {
            return None;
        }
        self.bits.resize(self.builder.types.len(), width::ALL);
        if width::read(&op).is_some_and(|(x, end)| end > u32::from(self.bits[x.index()])) {
            return None;
        }
        let made = width::made(&op, |v| self.bits[v.index()], |v| self.builder.types[v.index()].domain);
        let results = self.builder.emit(op);
        self.bits.resize(self.builder.types.len(), made);
        self.pool.extend(&results);
        results.first().copied()
    }

    /// A value that satisfies `ok`, late ones more often.
    fn pick(&mut self, ok: impl Fn(&Type) -> bool) -> Option<Value> {
        let fitting: Vec<Value> = self.pool.iter().copied().filter(|v| ok(self.ty(*v))).collect();
        let half = if self.draw.below(2) == 0 { fitting.len() / 2 } else { 0 };
        (!fitting.is_empty()).then(|| fitting[half + self.draw.below(fitting.len() - half)])
    }

    fn public(&mut self, shape: &[u32], any: bool) -> Value {
        let len: u32 = shape.iter().product();
        let one = |d: &mut Draw| if any { d.next() as i64 >> d.below(64) } else { d.below(70) as i64 };
        let data = (0..len).map(|_| one(&mut self.draw)).collect();
        self.builder.constant(shape, data)
    }

    /// A shape that broadcasts to the value's.
    fn smaller(&mut self, v: Value) -> Vec<u32> {
        let shape = self.ty(v).shape.clone();
        let skip = self.draw.below(shape.len() + 1);
        shape[skip..].iter().map(|d| if self.draw.below(3) == 0 { 1 } else { *d }).collect()
    }

    fn window(&mut self) -> Window {
        let mut two = |lo, hi| [self.draw.within(lo, hi) as u32, self.draw.within(lo, hi) as u32];
        Window { out: two(1, 4), kernel: two(1, 3), stride: two(1, 2), dilation: two(1, 2), pad: two(0, 2) }
    }

    fn terms(&mut self, planes: u8) -> Terms {
        let term = |d: &mut Draw| {
            let set = (0..4).fold(0u64, |s, _| s | 1 << d.below(usize::from(planes).min(64)));
            if d.below(3) == 0 { 1 << d.below(usize::from(planes).min(64)) } else { set }
        };
        let result = |d: &mut Draw| (0..d.within(0, 3)).map(|_| term(d)).collect::<Vec<u64>>();
        Terms((0..self.draw.within(1, 3)).map(|_| result(&mut self.draw)).collect())
    }

    /// Tries to append an op of the table. Panics for one it does not know.
    pub fn attempt(&mut self, mnemonic: &str) -> Option<Value> {
        let ring = |t: &Type| matches!(t.domain, Domain::Ring(_)) && t.form != Form::Public;
        let bits = |t: &Type| matches!(t.domain, Domain::Bits(_));
        let held = |t: &Type| matches!(t.form, Form::Held(_));
        let held_ring = move |t: &Type| ring(t) && held(t);
        let shared = |t: &Type| t.form == Form::Shared;
        let public = |t: &Type| t.form == Form::Public;
        let like = |t: Type| move |o: &Type| o.domain == t.domain && o.form == t.form && o.len() == t.len();
        let rot = self.draw.below(3) as u8;
        let at = Holders(self.draw.within(1, 7) as u16);
        let k = self.draw.width(64);
        let op = match mnemonic {
            // A store comes with its state.
            "input" | "output" | "store" => return None,
            "state" => {
                let x = self.pick(shared)?;
                let (ty, index) = (self.ty(x).clone(), self.builder.tag());
                let y = self.pick(|t| *t == ty)?;
                let before = self.push(Op::State { x, index })?;
                self.builder.emit(Op::Store { x: y, index });
                return Some(before);
            }
            "weight" => {
                let (index, shape) = (self.weights.len() as u32, self.draw.of(&SHAPES));
                let len: u32 = shape.iter().product();
                self.weights.push((0..len).map(|_| self.draw.next() as i32).collect());
                self.builder.interface.weights.push(shape.to_vec());
                let x = self.builder.one(Op::Weight { index });
                Op::Reshare { x, bits: k }
            }
            "constant" => {
                let shape = self.draw.of(&SHAPES);
                let v = self.public(shape, true);
                self.pool.push(v);
                return Some(v);
            }
            "window_count" => {
                let size = Dims(vec![self.draw.within(1, 5) as u32, self.draw.within(1, 5) as u32]);
                Op::WindowCount { size, window: self.window() }
            }
            "take_pp" => {
                let table = self.public(&[7], true);
                Op::TakePp { table, index: self.pick(public)? }
            }
            "sub_pp" => Op::SubPp { a: self.pick(public)?, b: self.pick(public)? },
            "threshold_pp" => {
                let m = self.pick(public)?;
                let shape = self.ty(m).shape.clone();
                let [s, b, j] = [false, true, true].map(|any| self.public(&shape, any));
                Op::ThresholdPp { m, s, b, j }
            }
            "add" | "sub" => {
                let a = self.pick(|t| !public(t))?;
                let (domain, form) = (self.ty(a).domain, self.ty(a).form);
                let b = self.pick(|t| t.domain == domain && t.form == form)?;
                if mnemonic == "add" { Op::Add { a, b } } else { Op::Sub { a, b } }
            }
            "add_p" | "sub_p" | "mul_p" => {
                let x = self.pick(ring)?;
                let shape = self.smaller(x);
                let p = self.public(&shape, true);
                match mnemonic {
                    "add_p" => Op::AddP { x, p },
                    "sub_p" => Op::SubP { x, p },
                    _ => Op::MulP { x, p },
                }
            }
            "not" => Op::Not { x: self.pick(bits)? },
            "cast" => Op::Cast { x: self.pick(|t| ring(t) && !held(t))?, bits: k },
            "sext_h" => Op::SextH { x: self.pick(held_ring)?, bits: k },
            "align_hp" | "sar_hp" => {
                let x = self.pick(held_ring)?;
                let shape = self.smaller(x);
                let p = self.public(&shape, false);
                if mnemonic == "sar_hp" { Op::SarHp { x, p } } else { Op::AlignHp { x, p, to: k } }
            }
            "planes_h" => {
                let width = self.draw.width(64);
                Op::PlanesH { x: self.pick(held_ring)?, lo: self.draw.below(65 - usize::from(width)) as u8, width }
            }
            "number_h" => Op::NumberH { x: self.pick(|t| bits(t) && held(t))? },
            "onehot_h" => Op::OnehotH { x: self.pick(|t| bits(t) && held(t))?, chunk: self.draw.within(1, 4) as u8 },
            "products_h" => {
                let x = self.pick(|t| bits(t) && held(t))?;
                let of = self.terms(self.ty(x).domain.width());
                Op::ProductsH { x, of }
            }
            "keep_h" => {
                let bit = self.pick(|t| t.domain == Domain::Bits(1) && held(t))?;
                let (h, len) = (holders(self.ty(bit)), self.ty(bit).len());
                Op::KeepH { x: self.pick(|t| ring(t) && holders(t) == h && !shared(t) && t.len() == len)?, bit }
            }
            "softmax_h" => {
                let x = self.pick(held_ring)?;
                let rule = SoftmaxRule { m: 1 << 30, e: -(self.draw.below(20) as i32), dmin: -124, lo: -128, bits: 8 };
                let x = self.push(Op::SextH { x, bits: 8 })?;
                Op::SoftmaxH { x, rule }
            }
            "pick" => {
                let x = self.pick(bits)?;
                let n = usize::from(self.ty(x).domain.width());
                let list = (0..self.draw.within(1, n)).map(|_| self.draw.below(n) as u32).collect();
                Op::Pick { x, planes: PlaneList(list) }
            }
            "stack" => {
                let first = self.pick(bits)?;
                let (form, len) = (self.ty(first).form, self.ty(first).len());
                let more =
                    (0..self.draw.below(3)).filter_map(|_| self.pick(|t| bits(t) && t.form == form && t.len() == len));
                Op::Stack { parts: std::iter::once(first).chain(more.collect::<Vec<_>>()).collect() }
            }
            "as_sum" => {
                let x = self.pick(|t| !public(t))?;
                let k = k.min(self.ty(x).domain.width());
                Op::AsSum { x, at, bits: k }
            }
            "embed" => Op::Embed { x: self.pick(|t| held(t) && holders(t).count() == 2)?, bits: k },
            "mul_ss" => {
                let a = self.pick(shared)?;
                Op::MulSs { a, b: self.pick(like(self.ty(a).clone()))? }
            }
            "mul_sh" => {
                let h = self.pick(|t| held(t) && holders(t).count() == 2)?;
                let (t, at) = (self.ty(h).clone(), holders(self.ty(h)));
                let fits = move |o: &Type| {
                    let same = if bits(&t) { o.domain == t.domain } else { ring(o) };
                    same && o.len() == t.len() && (shared(o) || o.form == Form::Sum(at))
                };
                Op::MulSh { a: self.pick(fits)?, h }
            }
            "mul_hh" => {
                let a = self.pick(held)?;
                Op::MulHh { a, b: self.pick(like(self.ty(a).clone()))? }
            }
            "conv2d_ss" | "depthwise_ss" => {
                let x = self.pick(|t| ring(t) && shared(t) && t.shape.len() == 4)?;
                let (c, bits, window) = (self.ty(x).shape[3], self.ty(x).domain.width(), self.window());
                let [kh, kw] = window.kernel;
                let multiple = self.draw.within(1, 2) as u32;
                let shape = match mnemonic {
                    "conv2d_ss" => vec![multiple * 2, kh, kw, c],
                    _ => vec![kh, kw, c * multiple],
                };
                let len: u32 = shape.iter().product();
                let index = self.weights.len() as u32;
                self.weights.push((0..len).map(|_| self.draw.next() as i32).collect());
                self.builder.interface.weights.push(shape);
                let w = self.builder.one(Op::Weight { index });
                let w = self.builder.one(Op::Reshare { x: w, bits });
                self.pool.push(w);
                match mnemonic {
                    "conv2d_ss" => Op::Conv2dSs { x, w, window, groups: 1 },
                    _ => Op::DepthwiseSs { x, w, window },
                }
            }
            "share_p" => {
                let p = self.public(&[2, 3], false);
                Op::ShareP { p, bits: k }
            }
            "conv2d_p" | "depthwise_p" => {
                let x = self.pick(|t| ring(t) && shared(t) && t.shape.len() == 4)?;
                let (c, window) = (self.ty(x).shape[3], self.window());
                let [kh, kw] = window.kernel;
                match mnemonic {
                    "conv2d_p" => Op::Conv2dP { x, w: self.public(&[3, kh, kw, c], false), window, groups: 1 },
                    _ => Op::DepthwiseP { x, w: self.public(&[kh, kw, 2 * c], false), window },
                }
            }
            "split" => return self.rejoined(rot),
            "split_shared" => return self.recombined(rot),
            "mask" | "beta" | "unmask" => return self.unmasked(),
            "leaves_sh" => return self.compared(rot),
            "join" => return self.rejoined(rot),
            "reshape" => {
                let x = self.pick(|t| !public(t))?;
                Op::Reshape { x, shape: Dims(vec![1, self.ty(x).len() as u32, 1]) }
            }
            "expand" => {
                let x = self.pick(ring)?;
                let mut shape: Vec<u32> = self
                    .ty(x)
                    .shape
                    .clone()
                    .into_iter()
                    .map(|d| if d == 1 { 1 + self.draw.below(3) as u32 } else { d })
                    .collect();
                if self.draw.below(2) == 0 && shape.len() < 6 {
                    shape.insert(0, 2);
                }
                Op::Expand { x, shape: Dims(shape) }
            }
            "pad" => {
                let x = self.pick(ring)?;
                let amounts = (0..2 * self.ty(x).shape.len()).map(|_| self.draw.below(3) as u32).collect();
                Op::Pad { x, amounts: Amounts(amounts) }
            }
            "slice" => {
                let x = self.pick(ring)?;
                let (mut start, mut size, mut stride) = (vec![], vec![], vec![]);
                for d in self.ty(x).shape.clone() {
                    let (from, step) = (self.draw.below(d as usize) as u32, 1 + self.draw.below(3) as u32);
                    start.push(from);
                    stride.push(step);
                    size.push(1 + self.draw.below((d - from).div_ceil(step) as usize) as u32);
                }
                Op::Slice { x, part: Strided { start, size, stride } }
            }
            "window_sum" => Op::WindowSum { x: self.pick(|t| ring(t) && t.shape.len() == 4)?, window: self.window() },
            "reduce_sum" => {
                let x = self.pick(ring)?;
                let axes = (0..self.ty(x).shape.len() as u8).filter(|_| self.draw.below(2) == 0).collect();
                Op::ReduceSum { x, axes: Axes(axes) }
            }
            "reshare" => {
                let x = self.pick(|t| matches!(t.form, Form::Sum(_)) || (held(t) && holders(t).count() == 1))?;
                let k = k.min(self.ty(x).domain.width());
                Op::Reshare { x, bits: k }
            }
            "deal" => {
                let x = self.pick(|t| held(t) && holders(t).count() == 1)?;
                let k = k.min(self.ty(x).domain.width());
                Op::Deal { x, bits: k }
            }
            "open" => return self.opened(),
            "concat" => {
                let x = self.pick(|t| ring(t) && !t.shape.is_empty())?;
                let like = like(self.ty(x).clone());
                let other = self.pick(like)?;
                Op::Concat { parts: vec![x, other, x], axis: self.draw.below(self.ty(x).shape.len()) as u32 }
            }
            "view" => {
                let x = self.pick(ring)?;
                let len = self.ty(x).len() as u32;
                let (rows, columns) = (1 + self.draw.below(3) as u32, 1 + self.draw.below(3) as u32);
                let strides = Strides((0..2).map(|_| self.draw.below(4) as i32).collect());
                let start = self.draw.below(len as usize) as u32;
                Op::View { x, start, shape: Dims(vec![rows, columns]), strides }
            }
            "gather" => {
                let x = self.pick(|t| ring(t) && !t.shape.is_empty())?;
                let axis = self.draw.below(self.ty(x).shape.len()) as u32;
                let index = self.public(&[3], false);
                Op::Gather { x, index, axis }
            }
            "raise" => Op::Raise { x: self.pick(|t| ring(t) && !held(t))?, by: self.draw.below(9) as u8 },
            "mix_p" => {
                let x = self.pick(|t| bits(t) && t.form != Form::Public)?;
                let entries = u32::from(self.ty(x).domain.width()) + 1;
                let (table, width) = (self.public(&[entries], true), self.draw.within(1, 20) as u8);
                Op::MixP { x, table, width }
            }
            "fold_p" => {
                let x = self.pick(|t| bits(t) && t.domain.width() == 1 && !t.shape.is_empty())?;
                let entries = *self.ty(x).shape.last()?;
                let width = self.draw.within(1, 6) as u8;
                let data = (0..entries).map(|_| self.draw.below(usize::from(width) + 1) as i64 - 1).collect();
                Op::FoldP { x, to: self.builder.constant(&[entries], data), width }
            }
            "rows_p" => {
                let of = |t: &Type| bits(t) && t.form != Form::Public && (t.domain.width() + 1).is_power_of_two();
                let same = self.pick(|t| of(t) && t.domain.width() <= 15)?;
                let ty = self.ty(same).clone();
                let before = self.pick(|t| *t == ty)?;
                let size = u32::from(ty.domain.width()) + 1;
                Op::RowsP {
                    same,
                    before,
                    table: self.public(&[size * size], true),
                    width: self.draw.within(1, 9) as u8,
                }
            }
            "onehot_sh" => return self.turned(rot),
            other if ELSEWHERE.contains(&other) => return None,
            other => panic!("random programs do not know `{other}`: say here how its operands are drawn"),
        };
        self.push(op)
    }

    /// The one-hot vector of a shared number, from that of its summand at one party.
    fn turned(&mut self, rot: u8) -> Option<Value> {
        let x = self.pick(|t| t.form == Form::Shared && matches!(t.domain, Domain::Ring(_)))?;
        let first = self.push(Op::SplitShared { x, rot })?;
        let v = Value(first.0 + 1);
        let width = self.draw.within(1, 4) as u8;
        let u = self.push(Op::PlanesH { x: first, lo: 0, width })?;
        let v = self.push(Op::PlanesH { x: v, lo: 0, width })?;
        let hot = self.push(Op::OnehotH { x: u, chunk: width })?;
        let hot = self.push(Op::Deal { x: hot, bits: 1 })?;
        self.push(Op::OnehotSh { hot, v })
    }

    /// A split, a join, and their difference: the value again, whatever the mask.
    fn rejoined(&mut self, rot: u8) -> Option<Value> {
        let x = self.pick(|t| matches!(t.domain, Domain::Ring(_)) && t.form == Form::Sum(Holders::all(3)))?;
        let k = self.ty(x).domain.width();
        let u = self.push(Op::Split { x, rot })?;
        let v = self.push(Op::Join { x: Value(u.0 + 1) })?;
        let u = self.push(Op::Reshare { x: u, bits: k })?;
        let v = self.push(Op::Embed { x: v, bits: k })?;
        self.push(Op::Sub { a: v, b: u })
    }

    fn recombined(&mut self, rot: u8) -> Option<Value> {
        let x = self.pick(|t| t.form == Form::Shared)?;
        let k = self.ty(x).domain.width();
        let u = self.push(Op::SplitShared { x, rot })?;
        let v = self.push(Op::Embed { x: Value(u.0 + 1), bits: k })?;
        let u = self.push(Op::Reshare { x: u, bits: k })?;
        self.push(Op::Sub { a: v, b: u })
    }

    /// Products of bits that are opened under a mask.
    fn unmasked(&mut self) -> Option<Value> {
        let pair = |t: &Type| matches!(t.form, Form::Sum(h) if h.count() == 2);
        let x = self.pick(|t| matches!(t.domain, Domain::Bits(1..=64)) && pair(t))?;
        let (width, shape, h) = (self.ty(x).domain.width(), self.ty(x).shape.clone(), holders(self.ty(x)));
        let rot = (0..3).find(|p| !h.contains(Party(*p)))?;
        let tag = self.builder.tag() + 17;
        let of = self.terms(width);
        let masked = self.push(Op::Mask { x, tag })?;
        let t = self.push(Op::Join { x: masked })?;
        let beta = self.push(Op::Beta { tag, width, shape: Dims(shape), rot })?;
        let products = self.push(Op::ProductsH { x: beta, of: of.clone() })?;
        let products = self.push(Op::Deal { x: products, bits: 1 })?;
        self.push(Op::Unmask { t, x, products, of })
    }

    /// The top bit of a sharing, by one-hot vectors where it is narrow enough for one chunk.
    fn compared(&mut self, rot: u8) -> Option<Value> {
        let x = self.pick(|t| matches!(t.domain, Domain::Ring(_)) && t.form == Form::Shared)?;
        let [_, b, c] = roles(rot);
        let chunk = self.draw.within(1, 4) as u8;
        let x = self.push(Op::Cast { x, bits: chunk + 1 })?;
        let u = self.push(Op::SplitShared { x, rot })?;
        let v = Value(u.0 + 1);
        let low_u = self.push(Op::PlanesH { x: u, lo: 0, width: chunk })?;
        let low_v = self.push(Op::PlanesH { x: v, lo: 0, width: chunk })?;
        let top_u = self.push(Op::PlanesH { x: u, lo: chunk, width: 1 })?;
        let top_v = self.push(Op::PlanesH { x: v, lo: chunk, width: 1 })?;
        let hot = self.push(Op::OnehotH { x: low_u, chunk })?;
        let hot = self.push(Op::Deal { x: hot, bits: 1 })?;
        let leaves = self.push(Op::LeavesSh { hot, v: low_v, chunk })?;
        let less = self.push(Op::Pick { x: leaves, planes: PlaneList(vec![0]) })?;
        let top_u = self.push(Op::Deal { x: top_u, bits: 1 })?;
        let top_v = self.push(Op::AsSum { x: top_v, at: Holders::pair(b, c), bits: 1 })?;
        let sign = self.push(Op::Add { a: less, b: top_u })?;
        self.push(Op::Add { a: sign, b: top_v })
    }

    /// Shares, opens and delivers a value.
    fn opened(&mut self) -> Option<Value> {
        if self.builder.interface.outputs.len() >= 6 {
            return None;
        }
        let x = self.pick(|t| t.form != Form::Public)?;
        let width = self.ty(x).domain.width();
        let x = match self.ty(x).form {
            Form::Held(h) if h.count() == 2 => self.builder.one(Op::AsSum { x, at: h, bits: width }),
            _ => x,
        };
        let x = match self.ty(x).form {
            Form::Shared => x,
            _ => self.push(Op::Reshare { x, bits: width })?,
        };
        let to = Party(self.draw.below(3) as u8);
        let y = self.builder.one(Op::Open { x, to: Holders::one(to) });
        let y = match self.ty(y).domain {
            Domain::Ring(_) => y,
            Domain::Bits(1..=63) => self.builder.one(Op::NumberH { x: y }),
            Domain::Bits(_) => {
                let y = self.builder.one(Op::Pick { x: y, planes: PlaneList((0..63).collect()) });
                self.builder.one(Op::NumberH { x: y })
            }
        };
        let index = self.builder.interface.outputs.len() as u32;
        let port = self.port(&self.ty(y).shape.clone(), to);
        self.builder.interface.outputs.push(port);
        self.builder.emit(Op::Output { x: y, index });
        Some(x)
    }
}

fn holders(t: &Type) -> Holders {
    match t.form {
        Form::Held(h) | Form::Sum(h) => h,
        Form::Shared | Form::Public => Holders(0),
    }
}

/// Integers for the inputs of a program.
pub fn inputs(p: &Program, draw: &mut Draw) -> Vec<Vec<i64>> {
    let one = |d: &mut Draw| d.next() as i64 >> d.of(&[0, 32, 48, 56, 63]);
    let tensor = |d: &mut Draw, len: usize| (0..len).map(|_| one(d)).collect();
    let len = |port: &Port| port.shape.iter().map(|d| *d as usize).product();
    p.interface.inputs.iter().map(|port| tensor(draw, len(port))).collect()
}

/// Changes a program: operands, instructions, bounds of rounds, or bytes.
pub fn mutate(p: &Program, draw: &mut Draw) -> Option<Program> {
    let mut m = p.clone();
    for _ in 0..draw.within(1, 3) {
        let i = draw.below(m.insts.len());
        match draw.below(8) {
            0 | 1 => {
                let near = draw.within(1, 12) as u32;
                let which = draw.below(3);
                let mut k = 0;
                m.insts[i].op = m.insts[i].op.map(|v| {
                    k += 1;
                    if k == which + 1 { Value(v.0.saturating_sub(near)) } else { v }
                });
            }
            2 => {
                let j = draw.below(m.insts.len());
                m.insts[i].op = m.insts[j].op.clone();
            }
            3 => {
                let r = draw.below(m.rounds.len());
                if let Some(round) = m.rounds.get_mut(r) {
                    round.local_end = round.local_end.wrapping_add_signed(draw.of(&[-1, 1]));
                }
            }
            4 => {
                let r = draw.below(m.rounds.len());
                if let Some(round) = m.rounds.get_mut(r) {
                    round.exchange_end = round.exchange_end.wrapping_add_signed(draw.of(&[-1, 1]));
                }
            }
            _ => {
                let mut bytes = ir::bytecode::encode(&m);
                let body = bytes.len() - 32;
                let at = 8 + draw.below(body - 8);
                bytes[at] = match draw.below(3) {
                    0 => bytes[at] ^ 1 << draw.below(8),
                    1 => bytes[at].wrapping_add(draw.of(&[1, 255])),
                    _ => draw.next() as u8,
                };
                let hash = blake3::hash(&bytes[..body]);
                bytes[body..].copy_from_slice(hash.as_bytes());
                m = ir::bytecode::decode(&bytes).ok()?;
            }
        }
        if m.insts.is_empty() {
            return None;
        }
    }
    Some(m)
}
