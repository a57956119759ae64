//! Measures: every party as its own process on this machine, the links as fast as asked for.
use super::report::{Report, median};
use super::{BenchArgs, Failure, LocalArgs, RunArgs, WaitArgs, io, load, local, output};
use ir::network::Network;
use ir::{Port, text};
use serde::Serialize;
use std::path::PathBuf;

/// What one network gave.
#[derive(Serialize)]
struct Row {
    program: String,
    protocol: String,
    network: String,
    /// `plain` or `tls`.
    links: &'static str,
    /// Median by that over plain links of the same network, where both were timed.
    times_plain: Option<f64>,
    batch: u32,
    runs: usize,
    /// Sharing the weights, once a session.
    setup_seconds: f64,
    /// Median, fastest and slowest batch.
    seconds: [f64; 3],
    seconds_per_sample: f64,
    rounds: u32,
    /// Per party and sample.
    payload_bytes: Vec<u64>,
    /// What is made before the input is there, for a sample.
    ahead: Option<Before>,
    peak_memory_bytes: Vec<u64>,
}

/// Preprocessing for one sample.
#[derive(Serialize)]
struct Before {
    seconds: f64,
    rounds: u32,
    /// Of the party that sends most.
    payload_bytes: u64,
}

/// The command `bench`.
pub fn run(args: &BenchArgs) -> Result<(), Failure> {
    let loaded = load::program(&args.model)?;
    let scratch = Scratch::new()?;
    let input = match args.input.is_empty() {
        true => random_inputs(&loaded.program.interface.inputs, args.batch, &scratch)?,
        false => args.input.clone(),
    };
    let networks: Vec<String> = if args.net.is_empty() { vec!["loopback".to_owned()] } else { args.net.clone() };
    let networks: Vec<(String, Option<Network>)> = networks
        .into_iter()
        .map(|name| {
            let network = name.parse().map_err(|e| Failure::new(Failure::USAGE, format!("--net: {e}")))?;
            // No relay between processes that talk directly.
            Ok((name.clone(), (name != "loopback").then_some(network)))
        })
        .collect::<Result<_, Failure>>()?;
    if !args.json {
        say!(
            "{:8} {:>7} {:18} {:>5} {:>10} {:>10} {:>10} {:>10} {:>7} {:>10} {:>9} {:>9} {:>9} {:>9}",
            "protocol",
            "parties",
            "network",
            "batch",
            "set-up s",
            "seconds",
            "fastest",
            "s/sample",
            "rounds",
            "MB/party",
            "ahead s",
            "rounds",
            "MB/party",
            "peak MB"
        );
    }
    for (name, net) in networks {
        let mut plain = None;
        for tls in [false, true].into_iter().filter(|tls| args.tls || !tls) {
            let run = RunArgs {
                model: args.model.clone(),
                weights: args.weights.clone(),
                input: input.clone(),
                output: Vec::new(),
                labels: None,
                top: None,
                json: true,
                repeat: args.runs + args.warmup,
                batch: args.batch,
                samples: None,
                memory_limit: None,
                waits: WaitArgs::default(),
                insecure_plaintext: false,
            };
            let local = LocalArgs { run, port_base: None, net, tls, offline: args.offline };
            let (report, _) = local::execute(&local)?;
            if report.result != "ok" {
                return Err(Failure::new(Failure::BUG, report.result));
            }
            let mut row = row(args, name.clone(), &loaded, &report);
            match tls {
                false => plain = Some(row.seconds[0]),
                true => row.links = "tls",
            }
            row.times_plain = plain.filter(|_| tls).map(|plain| row.seconds[0] / plain);
            if args.json {
                say!("{}", serde_json::to_string(&row).map_err(|e| Failure::new(Failure::BUG, e))?);
            } else {
                print(&row);
            }
        }
    }
    Ok(())
}

fn row(args: &BenchArgs, network: String, loaded: &load::Loaded, report: &Report) -> Row {
    let timed = &report.inferences[(args.warmup as usize).min(report.inferences.len() - 1)..];
    let (fastest, slowest) = timed.iter().fold((f64::INFINITY, 0f64), |(a, b), t| (a.min(*t), b.max(*t)));
    let middle = median(timed.iter().copied());
    let most = |list: &[u64]| list.iter().max().copied().unwrap_or(0);
    let samples = f64::from(args.batch);
    let ahead = match (&report.ahead, report.offline_bytes) {
        (Some(ahead), _) => Some(Before {
            seconds: report.seconds.offline / samples,
            rounds: ahead.rounds.measured,
            payload_bytes: most(&ahead.payload_bytes.measured) / u64::from(args.batch),
        }),
        // Dealt into files at once, for all batches.
        (None, Some(bytes)) => {
            let batches = f64::from(args.runs + args.warmup);
            let payload_bytes = (bytes as f64 / (batches * samples)).round() as u64;
            Some(Before { seconds: report.seconds.offline / (batches * samples), rounds: 0, payload_bytes })
        }
        (None, None) => None,
    };
    Row {
        program: loaded.hash_text(),
        protocol: report.protocol.clone(),
        network,
        links: "plain",
        times_plain: None,
        batch: args.batch,
        runs: timed.len(),
        setup_seconds: report.seconds.setup,
        seconds: [middle, fastest, slowest],
        seconds_per_sample: middle / samples,
        rounds: report.rounds.measured,
        payload_bytes: report.payload_bytes.measured.clone(),
        ahead,
        peak_memory_bytes: report.peak_memory_bytes.clone(),
    }
}

fn print(row: &Row) {
    let most = |list: &[u64]| list.iter().max().copied().unwrap_or(0) as f64;
    let times = row.times_plain.map_or(String::new(), |times| format!("  {times:.2} times plain"));
    let ahead = match &row.ahead {
        None => ["-", "-", "-"].map(str::to_owned),
        Some(b) => [format!("{:.4}", b.seconds), b.rounds.to_string(), format!("{:.3}", b.payload_bytes as f64 / 1e6)],
    };
    let [ahead_seconds, ahead_rounds, ahead_bytes] = ahead;
    say!(
        "{:8} {:>7} {:18} {:>5} {:>10.4} {:>10.4} {:>10.4} {:>10.4} {:>7} {:>10.3} {ahead_seconds:>9} {ahead_rounds:>9} \
         {ahead_bytes:>9} {:>9.1}{times}",
        text::escape(&row.protocol),
        row.payload_bytes.len(),
        text::escape(&row.network) + if row.links == "tls" { ", TLS" } else { "" },
        row.batch,
        row.setup_seconds,
        row.seconds[0],
        row.seconds[1],
        row.seconds_per_sample,
        row.rounds,
        most(&row.payload_bytes) / 1e6,
        most(&row.peak_memory_bytes) / 1e6
    );
}

/// One file per input with `batch` samples of uniform stored integers.
fn random_inputs(ports: &[Port], batch: u32, scratch: &Scratch) -> Result<Vec<String>, Failure> {
    let mut files = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let count = load::elements(&port.shape) as usize * batch as usize;
        let mut bytes = vec![0u8; 4 * count];
        getrandom::fill(&mut bytes).map_err(|e| Failure::new(Failure::BUG, format!("no random bytes: {e}")))?;
        let (low, high) = port.dtype.range();
        let number = |b: &[u8]| low + i64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]])) % (high - low + 1);
        let data: Vec<i64> = bytes.chunks_exact(4).map(number).collect();
        let path = scratch.0.join(format!("input{i}.npy"));
        output::write_atomic(&path, &io::format_npy(port, &data))?;
        files.push(path.to_string_lossy().into_owned());
    }
    Ok(files)
}

/// A folder that goes with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Scratch, Failure> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|e| Failure::new(Failure::BUG, format!("no random bytes: {e}")))?;
        let dir = std::env::temp_dir().join(format!("qnnvm-bench-{:016x}", u64::from_le_bytes(random)));
        std::fs::create_dir(&dir).map_err(|e| Failure::new(Failure::CONFIG, format!("{}: {e}", dir.display())))?;
        Ok(Scratch(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
