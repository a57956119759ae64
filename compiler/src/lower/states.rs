//! What a model keeps between calls.
//!
//! A state is a sharing that stays with the parties: it is never opened, and keeping it sends nothing. Its first value
//! belongs to the model, so it is a private weight, shared once in set-up.
//!
//! ```text
//! v1 = reshare (weight 0), bits=12        set-up: the first value, centred
//! v2 = state v1, index=0                  what the call before stored, v1 in the first call
//! …                                       the operators of the model
//! store v9, index=0                       what the next call begins with
//! ```
//!
//! What a party sees: the pieces of its own sharing, as of every intermediate value. A simulator of several calls runs that of
//! one call several times: the pieces that a party carries over are in its view already, and the messages of each call are
//! masked with pads that no other call uses.
use super::emit::Emitter;
use super::plan::zero_point;
use super::{LowerError, shape32};
use crate::qgraph::TensorId;
use ir::{Op, Value};

impl Emitter<'_> {
    /// Reads every state.
    pub(super) fn states(&mut self) {
        for (index, state) in (0..).zip(&self.g.states) {
            let t = self.g.tensor(state.tensor);
            let (z, ring) = (zero_point(t), self.plans.rings[state.tensor.index()]);
            let first = state.initial.iter().map(|q| (i64::from(*q) - z) as i32).collect();
            let x = self.shared_weight(&shape32(&t.shape), first, ring);
            self.values[state.tensor.index()] = Some(self.b.one(Op::State { x, index }));
        }
    }

    /// Stores what the next call begins with.
    pub(super) fn store_states(&mut self) -> Result<(), LowerError> {
        for (index, state) in (0..).zip(&self.g.states) {
            let next = self.tensor(state.next);
            let x =
                next.ok_or_else(|| LowerError::Model(format!("nothing computes the next value of state {index}")))?;
            let x = self.recentred(x, state.next, state.tensor);
            let x = self.b.cast(x, self.plans.rings[state.tensor.index()]);
            self.b.emit(Op::Store { x, index });
        }
        Ok(())
    }

    /// The same stored integers, centred for another tensor.
    pub(super) fn recentred(&mut self, x: Value, from: TensorId, to: TensorId) -> Value {
        self.b.add_scalar(x, zero_point(self.g.tensor(from)) - zero_point(self.g.tensor(to)))
    }
}
