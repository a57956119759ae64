//! What is made ahead: exchanges before an inference that depend on the program alone, counted apart from it.
use super::{Machine, OfflineStats};
use ir::weights::Weights;
use ir::{Op, Party, Value};
use runtime_protocols::link::{Link, LinkError, Place};
use runtime_protocols::runtime::OfflineError;
use std::time::Instant;

/// Ends a run in which nothing could be made ahead.
fn refuse(link: &mut dyn Link, e: &OfflineError) -> LinkError {
    let (code, reason) = (13, format!("preparing the inference: {e}"));
    link.abort(code, &reason);
    LinkError::GaveUp { code, reason }
}

fn slices(incoming: &[Vec<u8>]) -> Vec<&[u8]> {
    incoming.iter().map(Vec::as_slice).collect()
}

impl Machine {
    /// The weight tensor that a value is, whatever its shape.
    fn tensor(&self, v: Value) -> Option<u32> {
        match &self.code.program.insts[self.code.typed.origin[v.index()] as usize].op {
            Op::Weight { index } => Some(*index),
            Op::Reshape { x, .. } => self.tensor(*x),
            _ => None,
        }
    }

    /// Weights of each need, at their owner.
    fn held_weights(&self, weights: Option<&Weights>) -> Vec<Option<Vec<i32>>> {
        let of = |i: usize| match &self.code.program.insts[i].op {
            Op::Conv2dSh { w, at, .. } | Op::DepthwiseSh { w, at, .. } if at.contains(self.runtime.me()) => {
                let tensors = weights.map(|w| &w.tensors);
                let data = tensors.zip(self.tensor(*w)).and_then(|(t, index)| t.get(index as usize)).cloned();
                Some(data.unwrap_or_else(|| vec![0; self.code.typed.types[w.index()].len()]))
            }
            _ => None,
        };
        ir::offline::needs(&self.code.program, &self.code.typed).into_iter().map(|(i, _)| of(i)).collect()
    }

    /// Once per session.
    pub(super) fn start_offline(&mut self, weights: Option<&Weights>, link: &mut dyn Link) -> Result<(), LinkError> {
        let weights = self.held_weights(weights);
        let parties = usize::from(self.code.program.parties);
        let Some(offline) = self.runtime.offline() else { return Ok(()) };
        for step in 0..offline.session_steps() {
            let mut out = vec![Vec::new(); parties];
            let mut incoming = vec![Vec::new(); parties];
            offline.session_send(step, &weights, &mut out);
            let expect: Vec<usize> = (0..parties).map(|p| offline.session_expects(step, p)).collect();
            link.exchange(&Place { round: step as u32 + 1, what: "oblivious transfer" }, &out, &expect, &mut incoming)?;
            offline.session_receive(step, &slices(&incoming)).map_err(|e| refuse(link, &e))?;
        }
        Ok(())
    }

    /// Before a batch of `lanes` inferences, of which `inference` is the number of the first.
    pub(super) fn make_offline(
        &mut self,
        inference: u64,
        lanes: usize,
        link: &mut dyn Link,
    ) -> Result<OfflineStats, LinkError> {
        let parties = usize::from(self.code.program.parties);
        let Some(offline) = self.runtime.offline().filter(|o| o.steps() > 0) else {
            return Ok(OfflineStats::default());
        };
        link.begin();
        let start = Instant::now();
        let mut out = vec![Vec::new(); parties];
        let mut incoming = vec![Vec::new(); parties];
        offline.begin(inference, lanes, &mut out);
        for step in 0..offline.steps() {
            let expect: Vec<usize> = (0..parties).map(|p| offline.expects(step, p)).collect();
            let place = Place { round: step as u32 + 1, what: "preparing the inference" };
            link.exchange(&place, &out, &expect, &mut incoming)?;
            out.iter_mut().for_each(Vec::clear);
            offline.receive(&slices(&incoming), &mut out).map_err(|e| refuse(link, &e))?;
        }
        offline.finish().map_err(|e| refuse(link, &e))?;
        let stats = link.stats();
        let payload_sent = stats.payload_sent.iter().sum();
        Ok(OfflineStats { rounds: stats.level, payload_sent, seconds: start.elapsed().as_secs_f64() })
    }

    /// Bytes that what is made ahead of one inference takes, about: the messages of the largest exchange, and what they are made of.
    pub fn memory_ahead(&self) -> u64 {
        let needs: Vec<_> =
            ir::offline::needs(&self.code.program, &self.code.typed).into_iter().map(|(_, n)| n).collect();
        let parties = usize::from(self.code.program.parties);
        let steps = ir::offline::messages(&needs, parties);
        let both = |s: &Vec<Vec<u64>>, p: usize| s[p].iter().sum::<u64>() + s.iter().map(|from| from[p]).sum::<u64>();
        let most = steps.iter().flat_map(|s| (0..parties).map(move |p| both(s, p))).max().unwrap_or(0);
        most.saturating_mul(2)
    }

    /// Rounds of what is made ahead for a batch of `lanes` inferences, and the bytes that party `from` sends, as the program says.
    pub fn predicted_offline(&self, from: Party, lanes: usize) -> (u32, u64) {
        let needs: Vec<_> =
            ir::offline::needs(&self.code.program, &self.code.typed).into_iter().map(|(_, n)| n).collect();
        let all: Vec<_> = (0..lanes).flat_map(|_| needs.iter().cloned()).collect();
        let steps = ir::offline::messages(&all, usize::from(self.code.program.parties));
        (steps.len() as u32, steps.iter().map(|s| s[from.index()].iter().sum::<u64>()).sum())
    }
}
