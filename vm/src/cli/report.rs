//! What a run cost: the reports of the parties, their sum as a table and as JSON.
use serde::{Deserialize, Serialize};

use super::result::Summary;

/// Version of the JSON objects.
pub const SCHEMA: u32 = 1;

/// A number from the program and the one counted.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Versus<T> {
    /// From the program.
    pub predicted: T,
    /// Counted by the link.
    pub measured: T,
}

/// Correlated randomness made ahead of a batch, counted apart from it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Ahead<T> {
    /// Rounds.
    pub rounds: Versus<u32>,
    /// Payload bytes.
    pub payload_bytes: Versus<T>,
}

/// Seconds of the parts of a run.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Seconds {
    /// Agreeing on keys and sharing the weights, once per session.
    pub setup: f64,
    /// Preparation that does not depend on the input.
    pub offline: f64,
    /// One batch; the median of several.
    pub inference: f64,
    /// The same, divided by the samples of the batch.
    pub sample: f64,
}

/// One operator of the model.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct LayerReport {
    /// Index in the model file.
    pub op: u32,
    /// Name, escaped.
    pub name: String,
    /// Rounds in which it talks; a round can serve several layers.
    pub rounds: u32,
    /// Payload bytes; summed over the parties in the report of all.
    pub payload_bytes: u64,
    /// Local work; of the slowest party in the report of all.
    pub compute_s: f64,
    /// Waiting; of the party that waited longest in the report of all.
    pub wait_s: f64,
}

/// Report of one party.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct PartyReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name of the protocol.
    pub protocol: String,
    /// Different inputs.
    pub samples: u32,
    /// Samples computed together, at most.
    pub batch: u32,
    /// Which party this is.
    pub party: u8,
    /// Hash of the program.
    pub program: String,
    /// The security line.
    pub security: String,
    /// What the program does otherwise than usual: `weights=public` and the like.
    #[serde(default)]
    pub modes: Vec<String>,
    /// What is weaker than it should be.
    pub insecure: Vec<String>,
    /// Rounds of one batch, as far as this party has seen them.
    pub rounds: Versus<u32>,
    /// Payload bytes that this party sent for one sample.
    pub payload_bytes: Versus<u64>,
    /// Bits opened for one sample, declared and counted.
    pub opened_bits: Versus<u64>,
    /// Bytes with frame headers that this party sent for one sample.
    pub wire_bytes: u64,
    /// What is made ahead of each batch, where the protocol does so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<Ahead<u64>>,
    /// Times of this party.
    pub seconds: Seconds,
    /// Each batch.
    pub inferences: Vec<f64>,
    /// Rounds of set-up.
    pub setup_rounds: u32,
    /// Payload bytes that this party sent in set-up.
    pub setup_payload_bytes: u64,
    /// High-water mark of the process.
    pub peak_memory_bytes: u64,
    /// Per layer.
    pub layers: Vec<LayerReport>,
    /// Results, at a receiver.
    pub outputs: Vec<Summary>,
    /// `ok`, or what is wrong.
    pub result: String,
}

/// Report of all parties; other programs read it.
#[derive(Serialize, Clone, Debug)]
pub struct Report {
    schema: u32,
    /// Its name.
    pub protocol: String,
    samples: u32,
    batch: u32,
    program: String,
    security: String,
    modes: Vec<String>,
    insecure: Vec<String>,
    /// Rounds of one batch.
    pub rounds: Versus<u32>,
    /// Per party, for one sample.
    pub payload_bytes: Versus<Vec<u64>>,
    wire_bytes: Vec<u64>,
    /// Messages that were dealt into files, set-up and all inferences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offline_bytes: Option<u64>,
    /// What is made ahead of each batch, per party.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ahead: Option<Ahead<Vec<u64>>>,
    /// Times of the slowest party.
    pub seconds: Seconds,
    /// Each batch, of the slowest party.
    pub inferences: Vec<f64>,
    /// Per party.
    pub peak_memory_bytes: Vec<u64>,
    layers: Vec<LayerReport>,
    /// `ok`, or what is wrong.
    pub result: String,
}

/// The middle one; the mean of two when there are two. 0 for none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut v: Vec<f64> = values.into_iter().collect();
    v.sort_by(f64::total_cmp);
    match v.len() {
        0 => 0.0,
        n if n % 2 == 1 => v[n / 2],
        n => (v[n / 2 - 1] + v[n / 2]) / 2.0,
    }
}

/// Joins the reports of all parties, in their order.
pub fn join(parties: &[PartyReport]) -> Report {
    let first = &parties[0];
    let all = |f: fn(&PartyReport) -> u64| parties.iter().map(f).collect::<Vec<_>>();
    let most = |f: &dyn Fn(&PartyReport) -> f64| parties.iter().map(f).fold(0.0, f64::max);
    let layers = first.layers.iter().enumerate().map(|(i, l)| LayerReport {
        rounds: parties.iter().map(|p| p.layers[i].rounds).max().unwrap_or(0),
        payload_bytes: parties.iter().map(|p| p.layers[i].payload_bytes).sum(),
        compute_s: most(&|p| p.layers[i].compute_s),
        wait_s: most(&|p| p.layers[i].wait_s),
        ..l.clone()
    });
    let inferences: Vec<f64> =
        (0..first.inferences.len()).map(|i| most(&|p| p.inferences.get(i).copied().unwrap_or(0.0))).collect();
    let mut report = Report {
        schema: SCHEMA,
        protocol: first.protocol.clone(),
        samples: first.samples,
        batch: first.batch,
        program: first.program.clone(),
        security: first.security.clone(),
        modes: first.modes.clone(),
        insecure: first.insecure.clone(),
        rounds: Versus {
            predicted: first.rounds.predicted,
            measured: parties.iter().map(|p| p.rounds.measured).max().unwrap_or(0),
        },
        payload_bytes: Versus {
            predicted: all(|p| p.payload_bytes.predicted),
            measured: all(|p| p.payload_bytes.measured),
        },
        wire_bytes: all(|p| p.wire_bytes),
        offline_bytes: None,
        ahead: ahead(parties),
        seconds: Seconds {
            setup: most(&|p| p.seconds.setup),
            offline: most(&|p| p.seconds.offline),
            inference: median(inferences.iter().copied()),
            sample: most(&|p| p.seconds.sample),
        },
        inferences,
        peak_memory_bytes: all(|p| p.peak_memory_bytes),
        layers: layers.collect(),
        result: "ok".to_owned(),
    };
    let own = parties.iter().find(|p| p.result != "ok");
    if let Some(p) = own {
        report.result = format!("party {}: {}", p.party, p.result);
    } else if report.rounds.predicted != report.rounds.measured {
        report.result = format!(
            "{} rounds were predicted, {} measured; this is a bug",
            report.rounds.predicted, report.rounds.measured
        );
    }
    report
}

fn ahead(parties: &[PartyReport]) -> Option<Ahead<Vec<u64>>> {
    let all: Vec<&Ahead<u64>> = parties.iter().filter_map(|p| p.ahead.as_ref()).collect();
    let first = all.first()?;
    let bytes = |f: fn(&Versus<u64>) -> u64| all.iter().map(|a| f(&a.payload_bytes)).collect();
    Some(Ahead {
        rounds: Versus {
            predicted: first.rounds.predicted,
            measured: all.iter().map(|a| a.rounds.measured).max().unwrap_or(0),
        },
        payload_bytes: Versus { predicted: bytes(|v| v.predicted), measured: bytes(|v| v.measured) },
    })
}

/// What a party finds wrong with its own counts.
pub fn judge(report: &PartyReport) -> String {
    let differs = |what: &str, v: &Versus<u64>| {
        format!("{} {what} were predicted, {} measured; this is a bug", v.predicted, v.measured)
    };
    let ahead = report.ahead.as_ref();
    if let Some(a) = ahead.filter(|a| a.payload_bytes.predicted != a.payload_bytes.measured) {
        differs("payload bytes ahead", &a.payload_bytes)
    } else if let Some(a) = ahead.filter(|a| a.rounds.measured > a.rounds.predicted) {
        let Versus { predicted, measured } = &a.rounds;
        format!("{predicted} rounds ahead were predicted, {measured} measured; this is a bug")
    } else if report.payload_bytes.predicted != report.payload_bytes.measured {
        differs("payload bytes", &report.payload_bytes)
    } else if report.opened_bits.predicted != report.opened_bits.measured {
        differs("opened bits", &report.opened_bits)
    } else if report.rounds.measured > report.rounds.predicted {
        format!("{} rounds were predicted, {} measured; this is a bug", report.rounds.predicted, report.rounds.measured)
    } else {
        "ok".to_owned()
    }
}

/// Prints the table of all parties.
pub fn print(report: &Report, parties: &[PartyReport]) {
    const NAME: usize = 36;
    say!("");
    say!("{:>4}  {:NAME$} {:>6} {:>14} {:>10} {:>10}", "op", "layer", "rounds", "bytes sent", "compute s", "wait s");
    for l in &report.layers {
        let name = match l.name.char_indices().nth(NAME) {
            None => l.name.clone(),
            Some(_) => l.name.chars().take(NAME - 1).chain(['…']).collect(),
        };
        say!(
            "{:>4}  {name:NAME$} {:>6} {:>14} {:>10.6} {:>10.6}",
            l.op,
            l.rounds,
            l.payload_bytes,
            l.compute_s,
            l.wait_s
        );
    }
    let setup_rounds = parties.iter().map(|p| p.setup_rounds).max().unwrap_or(0);
    let setup_bytes: u64 = parties.iter().map(|p| p.setup_payload_bytes).sum();
    let measured: u64 = report.payload_bytes.measured.iter().sum();
    say!("{:>4}  {:NAME$} {setup_rounds:>6} {setup_bytes:>14} {:>10.6}", "", "set-up, once", report.seconds.setup);
    say!(
        "{:>4}  {:NAME$} {:>6} {measured:>14} {:>10.6}",
        "",
        "inference",
        report.rounds.measured,
        report.seconds.inference
    );
    if report.batch > 1 {
        say!("{:>4}  {:NAME$} {:>6} {:>14} {:>10.6}", "", "a sample of the batch", "", "", report.seconds.sample);
    }
    say!("");
    say!("rounds: {} predicted, {} measured", report.rounds.predicted, report.rounds.measured);
    say!("party  predicted bytes  measured bytes      wire bytes     peak memory");
    for (i, p) in parties.iter().enumerate() {
        say!(
            "{i:>5}  {:>15} {:>15} {:>15} {:>15}",
            p.payload_bytes.predicted,
            p.payload_bytes.measured,
            p.wire_bytes,
            p.peak_memory_bytes
        );
    }
    if let Some(bytes) = report.offline_bytes {
        say!("dealt ahead into files: {bytes} bytes in {:.6} s", report.seconds.offline);
    }
    if let Some(ahead) = &report.ahead {
        let sum = |bytes: &[u64]| bytes.iter().sum::<u64>();
        say!(
            "made ahead of each batch: {} rounds predicted, {} measured; {} bytes predicted, {} measured; {:.6} s",
            ahead.rounds.predicted,
            ahead.rounds.measured,
            sum(&ahead.payload_bytes.predicted),
            sum(&ahead.payload_bytes.measured),
            report.seconds.offline,
        );
    }
    say!("{}", report.security);
}

/// High-water mark of this process's memory; 0 where the system does not tell.
pub fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians() {
        assert_eq!(median([]), 0.0);
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
