//! Appends instructions to an unscheduled program; each result gets its type at once.
use super::requant::Source;
use ir::infer::{Context, infer};
use ir::{Const, Dims, Domain, Form, Holders, Inst, Interface, Layer, Op, Party, Scheme, Type, Value};
use std::collections::HashMap;

/// A program before scheduling.
pub struct Builder {
    /// Instructions in an order that respects dependencies.
    pub insts: Vec<Inst>,
    /// Type of each value.
    pub types: Vec<Type>,
    /// Public constants.
    pub consts: Vec<Const>,
    /// Inputs, outputs, weights.
    pub interface: Interface,
    /// Operators of the model.
    pub layers: Vec<Layer>,
    /// Layer that new instructions belong to.
    pub layer: u32,
    /// Who holds what.
    pub scheme: Scheme,
    origin: Vec<usize>,
    tags: u32,
    known: HashMap<Const, u32>,
    /// Shared weights, what their owner holds of them, and its bits.
    held: HashMap<Value, (Value, u8)>,
    loaded: HashMap<(u32, u32), Value>,
}

impl Builder {
    /// Nothing yet.
    pub fn new(interface: Interface, scheme: Scheme) -> Self {
        Builder {
            insts: vec![],
            types: vec![],
            consts: vec![],
            interface,
            layers: vec![],
            layer: 0,
            scheme,
            origin: vec![],
            tags: 0,
            known: HashMap::new(),
            held: HashMap::new(),
            loaded: HashMap::new(),
        }
    }

    /// Goes on with the constants of a program that is being rewritten.
    pub fn resume(interface: Interface, scheme: Scheme, consts: Vec<Const>) -> Self {
        let known = consts.iter().enumerate().map(|(i, c)| (c.clone(), i as u32)).collect();
        Builder { consts, known, ..Builder::new(interface, scheme) }
    }

    /// Everyone.
    pub fn all(&self) -> Holders {
        self.scheme.all()
    }

    /// Who learns the outputs.
    pub fn receiver(&self) -> Party {
        self.interface.outputs.first().map_or(super::DATA_OWNER, |port| port.party)
    }

    /// Type of a value.
    pub fn ty(&self, v: Value) -> &Type {
        &self.types[v.index()]
    }

    /// The op that makes a value.
    pub fn op_of(&self, v: Value) -> &Op<Value> {
        &self.insts[self.origin[v.index()]].op
    }

    /// Appends an op and returns its results. Where sharings are additive, products are exchanges and resharing is none.
    pub fn emit(&mut self, op: Op<Value>) -> Vec<Value> {
        if !self.scheme.additive {
            return self.append(op);
        }
        let (at, width) = (self.all(), |b: &Self, v: Value| b.ty(v).domain.width());
        let product = match op {
            Op::MulSs { a, b } => Op::Mul { a, b },
            Op::Conv2dSs { x, w, window, groups } => {
                let (w, width, at) = self.held_weights(w);
                Op::Conv2dSh { x, w, window, groups, width, at }
            }
            Op::DepthwiseSs { x, w, window } => {
                let (w, width, at) = self.held_weights(w);
                Op::DepthwiseSh { x, w, window, width, at }
            }
            Op::Reshare { x, bits } => {
                let bits = if matches!(self.ty(x).domain, Domain::Bits(_)) { 1 } else { bits };
                let x = match self.ty(x).form {
                    Form::Held(_) => self.append(Op::AsSum { x, at, bits })[0],
                    _ => x,
                };
                return self.append(Op::Embed { x, bits });
            }
            op => return self.append(op),
        };
        let x = self.append(product)[0];
        let bits = width(self, x);
        self.append(Op::AsSum { x, at, bits })
    }

    /// What the owner of shared weights holds, how many bits they have, and who it is.
    fn held_weights(&self, shared: Value) -> (Value, u8, Holders) {
        let (w, width) = self.held.get(&shared).copied().expect("planned: only weights of the owner are multiplied");
        match self.ty(w).form {
            Form::Held(at) => (w, width, at),
            _ => unreachable!("remembered where it was shared"),
        }
    }

    /// Shares weights of `width` bits, two's complement, that their owner holds.
    pub fn share_weights(&mut self, x: Value, bits: u8, width: u8) -> Value {
        let shared = self.share(x, bits);
        self.held.insert(shared, (x, width));
        shared
    }

    /// A convolution by weights that are shared, as summands, or public, as a sharing.
    pub fn conv2d(&mut self, x: Value, w: Value, window: ir::Window, groups: u32) -> Value {
        self.one(match self.ty(w).form {
            Form::Public => Op::Conv2dP { x, w, window, groups },
            _ => Op::Conv2dSs { x, w, window, groups },
        })
    }

    /// The same of each channel apart.
    pub fn depthwise(&mut self, x: Value, w: Value, window: ir::Window) -> Value {
        self.one(match self.ty(w).form {
            Form::Public => Op::DepthwiseP { x, w, window },
            _ => Op::DepthwiseSs { x, w, window },
        })
    }

    fn append(&mut self, op: Op<Value>) -> Vec<Value> {
        let cx = Context { scheme: self.scheme, interface: &self.interface, consts: &self.consts };
        let typed = op.map(|v| &self.types[v.index()]);
        let results = match infer(&typed, &cx) {
            Ok(t) => t,
            Err(what) => panic!("lowering built a wrong `{}`: {what}", op.mnemonic()),
        };
        let first = self.types.len() as u32;
        let values = (first..first + results.len() as u32).map(Value).collect();
        self.origin.extend(results.iter().map(|_| self.insts.len()));
        self.types.extend(results);
        self.insts.push(Inst { op, layer: self.layer });
        values
    }

    /// Appends an op with one result.
    pub fn one(&mut self, op: Op<Value>) -> Value {
        self.emit(op)[0]
    }

    /// Appends an op with two results.
    pub fn two(&mut self, op: Op<Value>) -> (Value, Value) {
        let r = self.emit(op);
        (r[0], r[1])
    }

    /// What its owner holds becomes a sharing, compared where an owner may cheat.
    pub fn share(&mut self, x: Value, bits: u8) -> Value {
        let shared = self.one(Op::Reshare { x, bits });
        match self.ty(x).form {
            Form::Held(from) if self.scheme.echo => self.one(Op::Echo { x: shared, from }),
            _ => shared,
        }
    }

    /// Where an accumulator is: a sharing where the weights are public; else summands that are shared where they are needed, or
    /// at once where nothing else may be done with them, because products are checked.
    pub(super) fn settle(&mut self, sum: Value) -> Source {
        if self.ty(sum).form == Form::Shared {
            return Source::Shared(sum);
        }
        if !self.scheme.checked {
            return Source::Sum(sum);
        }
        let bits = self.ty(sum).domain.width();
        Source::Shared(self.one(Op::Reshare { x: sum, bits }))
    }

    /// A tag that no other mask has.
    pub fn tag(&mut self) -> u32 {
        self.tags += 1;
        self.tags - 1
    }

    /// A public constant; equal ones are stored once and loaded once per layer.
    pub fn constant(&mut self, shape: &[u32], data: Vec<i64>) -> Value {
        let c = Const { shape: shape.to_vec(), data };
        let index = match self.known.get(&c) {
            Some(i) => *i,
            None => {
                let i = self.consts.len() as u32;
                self.known.insert(c.clone(), i);
                self.consts.push(c);
                i
            }
        };
        if let Some(v) = self.loaded.get(&(self.layer, index)) {
            return *v;
        }
        let v = self.one(Op::Constant { index });
        self.loaded.insert((self.layer, index), v);
        v
    }

    /// One number.
    pub fn scalar(&mut self, x: i64) -> Value {
        self.constant(&[], vec![x])
    }

    /// One entry per channel, or a scalar where all are equal.
    pub fn channels(&mut self, data: Vec<i64>) -> Value {
        match data.first() {
            Some(x) if data.iter().all(|y| y == x) => self.scalar(*x),
            _ => self.constant(&[data.len() as u32], data),
        }
    }

    /// Adds a number.
    pub fn add_scalar(&mut self, x: Value, by: i64) -> Value {
        if by == 0 {
            return x;
        }
        let p = self.scalar(by);
        self.one(Op::AddP { x, p })
    }

    /// The same elements in another shape.
    pub fn reshape(&mut self, x: Value, shape: &[u32]) -> Value {
        if self.ty(x).shape == shape {
            return x;
        }
        self.one(Op::Reshape { x, shape: Dims(shape.to_vec()) })
    }

    /// In a ring of `bits` bits, which must not be wider.
    pub fn cast(&mut self, x: Value, bits: u8) -> Value {
        if self.ty(x).domain.width() == bits { x } else { self.one(Op::Cast { x, bits }) }
    }
}
