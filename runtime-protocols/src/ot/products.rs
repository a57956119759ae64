//! Products of integers that one party holds with a secret vector of another: summands of `W·a` for the linear layers of a model
//! whose owner knows the weights in the clear.
//!
//! Once per session the *owner* of the weights receives one transfer for each bit of each weight, choosing the bit. Before
//! each inference the *other* party draws a mask a for its summand of the layer's input and sends, for each weight and
//! each bit j, all elements of a that meet this weight, masked, in a ring of k − j bits ([`super::correlated`]). Both then have
//! summands of `2^j·bit·a`, add them up over bits (the top bit with a minus: two's complement) and over what meets in an
//! output, and hold summands of every output of `W·a`. In the inference the other party sends `x − a`; the owner computes
//! `W·(x − a)` in the clear.
//!
//! Strings of transfers go on from inference to inference, so the transfers are paid for once: a product of an 8-bit weight costs
//! 8k − 28 bits, one way, and no extension.
//!
//! *What messages reveal.* Vectors: see [`super::correlated`]. Nothing goes from the owner to the other party.
use super::correlated::Run;
use super::extend::{Received, Sent};
use super::hash::Hash;
use super::setup::Pair;
use super::{OtError, due};
use crate::kernels::words::Word;
use ir::offline::{Group, Shape};
use rayon::prelude::*;

/// What is done with a shape here.
trait Steps {
    fn run(&self, g: &Group, bit: u32) -> Run;
    fn blocks<T: Word>(&self) -> u64;
    fn outputs<T: Word>(
        &self,
        channel: impl Fn(usize, usize) -> Result<(Vec<Vec<T>>, Vec<u8>), OtError> + Sync,
    ) -> Result<(Vec<T>, Vec<Vec<u8>>), OtError>;
    fn add_up<T: Word>(&self, o: usize, positions: usize, runs: &[Vec<T>]) -> Vec<T>;
}

/// The owner's choices: for each group of each output channel, for each bit, the weights' bits.
fn choices(shape: &Shape, weights: &[i32]) -> Vec<u64> {
    let mut words = vec![0; shape.transfers().div_ceil(64)];
    let mut at = 0;
    for g in shape.map.groups.iter().flatten() {
        for j in 0..shape.bits {
            for i in 0..g.count {
                let bit = weights[(g.weight + i * g.stride) as usize] >> j & 1;
                words[at / 64] |= (bit as u64) << (at % 64);
                at += 1;
            }
        }
    }
    words
}

impl Steps for Shape {
    fn run(&self, g: &Group, bit: u32) -> Run {
        Run { count: g.count as usize, len: self.map.taps[g.tap as usize].len(), width: self.ring - bit }
    }

    /// Blocks of each string that an inference uses.
    fn blocks<T: Word>(&self) -> u64 {
        let longest = self.map.taps.iter().map(Vec::len).max().unwrap_or(0);
        Run { count: 1, len: longest, width: 1 }.blocks::<T>() as u64
    }

    /// Calls `channel` for each output channel with the number of its first transfer. It returns a vector of summands for each
    /// group and bit, and a message. Result: the summands of all outputs, positions by channels, and the messages in order.
    fn outputs<T: Word>(
        &self,
        channel: impl Fn(usize, usize) -> Result<(Vec<Vec<T>>, Vec<u8>), OtError> + Sync,
    ) -> Result<(Vec<T>, Vec<Vec<u8>>), OtError> {
        let [positions, channels] = self.map.output;
        let mut next = 0;
        let firsts = self.map.groups.iter().map(|groups| {
            let first = next;
            next += groups.iter().map(|g| (g.count * self.bits) as usize).sum::<usize>();
            first
        });
        let firsts: Vec<usize> = firsts.collect();
        let sums = firsts.into_par_iter().enumerate().map(|(o, first)| {
            let (runs, message) = channel(o, first)?;
            Ok((self.add_up(o, positions, &runs), message))
        });
        let (sums, messages): (Vec<Vec<T>>, Vec<Vec<u8>>) =
            sums.collect::<Result<Vec<_>, OtError>>()?.into_iter().unzip();
        let mut out = vec![T::default(); positions * channels];
        for (o, sum) in sums.iter().enumerate() {
            sum.iter().enumerate().for_each(|(p, v)| out[p * channels + o] = *v);
        }
        Ok((out, messages))
    }

    /// Σ ±2^j·summand over what meets in each position of output channel `o`.
    fn add_up<T: Word>(&self, o: usize, positions: usize, runs: &[Vec<T>]) -> Vec<T> {
        let mut sum = vec![T::default(); positions];
        let mut runs = runs.iter();
        for g in &self.map.groups[o] {
            let tap = &self.map.taps[g.tap as usize];
            for j in 0..self.bits {
                let run = runs.next().expect("a run for each bit");
                // Two's complement: the top bit counts −2^j.
                let place = if j + 1 == self.bits { (1u64 << j).wrapping_neg() } else { 1 << j };
                for vector in run.chunks_exact(tap.len().max(1)) {
                    for (v, [_, to]) in vector.iter().zip(tap) {
                        let s = &mut sum[*to as usize];
                        *s = s.mul_add(*v, T::narrow(place));
                    }
                }
            }
        }
        sum
    }
}

/// The owner's side of a layer.
pub struct Owner {
    shape: Shape,
    transfers: Received,
    used: u64,
}

/// The other party's side.
pub struct Other {
    shape: Shape,
    transfers: Sent,
    used: u64,
}

impl Owner {
    /// Once per session: appends the choices.
    pub fn new(shape: Shape, weights: &[i32], pair: &mut Pair, out: &mut Vec<u8>) -> Owner {
        let choices = choices(&shape, weights);
        let transfers = pair.receiver.extend(Some(&choices), shape.transfers(), out);
        Owner { shape, transfers, used: 0 }
    }

    /// Bytes of the message of an inference.
    pub fn expects(&self) -> usize {
        self.shape.bytes()
    }

    /// Reads the message of an inference: summands of `W·a`, positions by channels. `T` has as many bits as the ring at least.
    pub fn receive<T: Word>(&mut self, hash: &Hash, message: &[u8]) -> Result<Vec<T>, OtError> {
        due("masked inputs of products", message, self.expects())?;
        let from = self.used;
        self.used += self.shape.blocks::<T>();
        let (shape, transfers) = (&self.shape, &self.transfers);
        let mut rest = message;
        let parts: Vec<&[u8]> = shape
            .map
            .groups
            .iter()
            .map(|groups| {
                let (part, after) = rest.split_at(shape.bytes_of(groups));
                rest = after;
                part
            })
            .collect();
        let (sums, _) = shape.outputs(|o, mut at| {
            let mut part = parts[o];
            let mut runs = Vec::new();
            for g in &shape.map.groups[o] {
                for j in 0..shape.bits {
                    let run = shape.run(g, j);
                    let (message, after) = part.split_at(run.bytes());
                    part = after;
                    let rows = &transfers.rows[at..at + run.count];
                    let choice = |i: usize| transfers.choices[(at + i) / 64] >> ((at + i) % 64);
                    runs.push(run.receive(hash, rows, transfers.first + at as u64, from, choice, message)?);
                    at += run.count;
                }
            }
            Ok((runs, Vec::new()))
        })?;
        Ok(sums)
    }
}

impl Other {
    /// Once per session: reads the owner's choices.
    pub fn new(shape: Shape, pair: &mut Pair, message: &[u8]) -> Result<Other, OtError> {
        let transfers = pair.sender.extend(false, shape.transfers(), message)?;
        Ok(Other { shape, transfers, used: 0 })
    }

    /// Appends the message of an inference for the mask `a`, positions by channels; summands of `W·a` likewise.
    pub fn send<T: Word>(&mut self, pair: &Pair, a: &[T], out: &mut Vec<u8>) -> Vec<T> {
        let shape = &self.shape;
        let [positions, channels] = shape.map.input;
        assert_eq!(a.len(), positions * channels, "inputs of a linear map");
        let from = self.used;
        self.used += shape.blocks::<T>();
        let transfers = &self.transfers;
        let result = shape.outputs(|o, mut at| {
            let mut message = Vec::with_capacity(shape.bytes_of(&shape.map.groups[o]));
            let mut runs = Vec::new();
            for g in &shape.map.groups[o] {
                let tap = &shape.map.taps[g.tap as usize];
                let meets =
                    |i: u32| tap.iter().map(move |[from, _]| a[*from as usize * channels + (g.input + i) as usize]);
                let x: Vec<T> = (0..g.count).flat_map(meets).collect();
                for j in 0..shape.bits {
                    let run = shape.run(g, j);
                    let rows = pair.sender.absorbed(transfers, at..at + run.count);
                    runs.push(run.send(&pair.sender.hash, &rows, transfers.first + at as u64, from, &x, &mut message));
                    at += run.count;
                }
            }
            Ok((runs, message))
        });
        let (sums, messages) = result.expect("nothing is read here");
        messages.iter().for_each(|m| out.extend_from_slice(m));
        sums
    }
}
