//! `qnnc estimate`: rounds, bytes, seconds and memory of a run, before running it.
//!
//! Seconds = rounds · one-way delay + Σ over rounds of the longest transfer + local work of the busiest party, at the
//! measured speed of each kind of operation ([`compiler::work`]) or at one that the user gives.
//! The longest transfer of a round is the most bytes that one party sends or receives in it, over the bandwidth.
use super::failure::Failure;
use super::program::security_line;
use super::stats::costs_of;
use super::{print, print_json};
use compiler::work::{Operations, seconds, work};
use ir::Program;
use ir::network::Network;
use ir::verify::type_program;
use serde_json::json;
use std::fmt::Write;
use std::path::Path;

/// A positive number of operations per second.
pub fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() && x > 0.0 => Ok(x),
        _ => Err("give a positive number, as in `2e9`".into()),
    }
}

/// The parts of a run in seconds.
struct Estimate {
    rounds: u32,
    latency: f64,
    transfer: f64,
    operations: Vec<f64>,
    compute: f64,
    setup: f64,
}

/// Seconds of a round trip.
fn rtt(net: Network) -> f64 {
    net.rtt.as_secs_f64()
}

/// Seconds that the rounds of a range take to transfer.
fn transfer(p: &Program, rounds: std::ops::Range<usize>, net: Network) -> f64 {
    let parties = || (0..p.parties).map(ir::Party);
    let most = |r: &ir::Round| {
        let sent = |q| parties().map(|to| r.messages.get(p.parties, q, to)).sum::<u64>();
        let got = |q| parties().map(|from| r.messages.get(p.parties, from, q)).sum::<u64>();
        parties().map(|q| sent(q).max(got(q))).max().unwrap_or(0)
    };
    p.rounds[rounds].iter().map(|r| most(r) as f64 * 8.0 / net.bits_per_second).sum()
}

fn estimated(p: &Program, net: Network, rate: Option<f64>) -> Option<Estimate> {
    let typed = type_program(p).ok()?;
    let work = work(p, &typed);
    let time = |o: &Operations| rate.map_or_else(|| seconds(p, o), |rate| o.iter().sum::<f64>() / rate);
    let setup = (p.setup_rounds as usize).min(p.rounds.len());
    Some(Estimate {
        rounds: p.predicted_rounds(),
        latency: f64::from(p.predicted_rounds()) * rtt(net) / 2.0,
        transfer: transfer(p, setup..p.rounds.len(), net),
        compute: work.iter().map(time).fold(0.0, f64::max),
        operations: work.iter().map(|o| o.iter().sum()).collect(),
        setup: setup as f64 * rtt(net) / 2.0 + transfer(p, 0..setup, net),
    })
}

/// Prints what a run will take.
pub fn estimate(path: &Path, net: Network, rate: Option<f64>, as_json: bool) -> Result<u8, Failure> {
    let (_, p, _) = costs_of(path)?;
    let e = estimated(&p, net, rate).ok_or_else(|| Failure::program(path, &"a value has no type"))?;
    let seconds = e.latency + e.transfer + e.compute;
    let bytes = p.predicted_bytes();
    if as_json {
        print_json(&json!({
            "schema": 1, "result": "ok", "rtt_seconds": rtt(net), "bandwidth_bits_per_second": net.bits_per_second,
            "ops_per_second": rate, "rounds": e.rounds, "payload_bytes": bytes, "operations": e.operations,
            "peak_memory_bytes": p.peak_memory,
            "seconds": {
                "setup": e.setup, "latency": e.latency, "transfer": e.transfer, "compute": e.compute,
                "inference": seconds,
            },
        }))?;
        return Ok(0);
    }
    let mut s = String::new();
    let list = |of: Vec<String>| of.join(" ");
    let sent = list(bytes.iter().map(u64::to_string).collect());
    let operations = list(e.operations.iter().map(|x| format!("{x:.0}")).collect());
    let speed = rate.map_or_else(|| "each kind at its measured speed".to_owned(), |r| format!("{r:e} per second"));
    let _ = writeln!(
        s,
        "net: round trip {} ms, {} Mbit/s per party and direction",
        net.rtt.as_micros() as f64 / 1e3,
        net.bits_per_second / 1e6
    );
    let _ = writeln!(s, "latency   {:>10.4} s  {} rounds, half a round trip each", e.latency, e.rounds);
    let _ =
        writeln!(s, "transfer  {:>10.4} s  the busiest party of each round; sent by party {sent} bytes", e.transfer);
    let _ = writeln!(s, "compute   {:>10.4} s  by party {operations} operations, {speed}", e.compute);
    let _ = writeln!(s, "inference {seconds:>10.4} s  the sum, as if nothing overlapped");
    let _ = writeln!(s, "set-up    {:>10.4} s  sharing the weights, once per session", e.setup);
    let _ = writeln!(s, "memory    {} bytes of values and messages at once in one party, at most", p.peak_memory);
    let _ = writeln!(s, "{}", security_line(&p));
    print(&s)?;
    Ok(0)
}
