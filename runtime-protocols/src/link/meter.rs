//! Counts what a link sends and measures rounds.

use super::LinkStats;
use super::frame::HEADER;
use std::time::Duration;

pub(super) struct Meter {
    stats: LinkStats,
    /// Largest level received since `begin`.
    received: u32,
}

impl Meter {
    pub(super) fn new(parties: usize) -> Self {
        let stats = LinkStats { payload_sent: vec![0; parties], wire_sent: vec![0; parties], ..LinkStats::default() };
        Meter { stats, received: 0 }
    }

    pub(super) fn begin(&mut self) {
        *self = Meter::new(self.stats.payload_sent.len());
    }

    /// The level of messages that may depend on all that was received so far.
    pub(super) fn next_level(&self) -> u32 {
        self.received + 1
    }

    pub(super) fn sent(&mut self, to: usize, payload: usize, level: u32) {
        self.stats.payload_sent[to] += payload as u64;
        self.stats.wire_sent[to] += (HEADER + payload) as u64;
        self.stats.messages += 1;
        self.stats.level = self.stats.level.max(level);
    }

    /// Takes note of a message received. `frame` has bounded its level.
    pub(super) fn received(&mut self, level: u32) {
        self.received = self.received.max(level);
        self.stats.level = self.stats.level.max(level);
    }

    pub(super) fn waited(&mut self, time: Duration) {
        self.stats.wait += time;
    }

    pub(super) fn stats(&self) -> LinkStats {
        self.stats.clone()
    }
}
