//! One party: checks everything it can alone, connects, runs, reports.
use super::report::{self, Ahead, LayerReport, PartyReport, SCHEMA, Seconds, Versus, median};
use super::result::{self, Show, Summary};
use super::signals::Signals;
use super::wire::Wire;
use super::{Failure, PartyArgs, RunArgs, deal, io, load, manifest, net, output};
use ir::weights::Weights;
use ir::{Party, Port, bytecode, text};
use runtime_protocols::link::{Hello, Link};
use rustix::event::{PollFd, PollFlags, poll};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Instant;
use vm::ahead::Stock;
use vm::exec::{Inputs, Machine, Outcome};
use zeroize::Zeroizing;

/// Inferences whose times are kept for each layer.
const LAYERS_KEPT: usize = 1000;
/// Links, as the security line says it.
pub const SECURE: &str = "links TLS 1.3, both sides pinned";
pub const PLAIN: &str = "links plaintext on loopback";

/// What a party has of its own, read and checked.
pub struct Own {
    /// At the model owner, and the identity of the file.
    weights: Option<(Weights, String)>,
    /// Per sample and input of the program, where this party owns it.
    samples: Vec<Vec<Option<Vec<i64>>>>,
    /// Input files.
    pub input_files: Vec<(usize, PathBuf)>,
    /// Conversions of input files.
    notes: Vec<String>,
    /// Output files.
    pub outputs: Vec<(usize, PathBuf)>,
    /// How results are shown.
    pub show: Option<Show>,
}

impl Own {
    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.samples.len()
    }
}

fn ports_of(ports: &[Port], party: Party) -> Vec<(usize, &Port)> {
    ports.iter().enumerate().filter(|(_, p)| p.party == party).collect()
}

/// Reads the files of `args` that belong to `party`.
pub fn own(args: &RunArgs, party: Party, loaded: &load::Loaded) -> Result<Own, Failure> {
    let face = &loaded.program.interface;
    let usage = |what: String| Failure::new(Failure::USAGE, what);
    let weights = match (&args.weights, party == face.weight_owner) {
        (Some(path), true) => Some(load::weights(path, loaded)?),
        (None, true) if !loaded.program.modes.public_weights => {
            return Err(usage(format!("{party} owns the model: give its weights file with `-w`")));
        }
        (Some(_), false) => return Err(usage(format!("{party} must not have weights, only {}", face.weight_owner))),
        (None, _) => None,
    };
    let mine = ports_of(&face.inputs, party);
    let mut notes = Vec::new();
    let input_files = io::assign("--input", &args.input, &mine, io::Files::Many)?;
    let mut data: Vec<Vec<i64>> = vec![Vec::new(); face.inputs.len()];
    for (index, path) in &input_files {
        let read = io::read_input(path, &face.inputs[*index])?;
        notes.extend(read.note);
        data[*index].extend(read.data);
    }
    let name = |port: &Port| text::escape(&port.name);
    let size = |port: &Port| load::elements(&port.shape) as usize;
    let mut count = args.samples.map(|n| n as usize);
    for (index, port) in &mine {
        let given = data[*index].len() / size(port).max(1);
        if given == 0 {
            return Err(usage(format!("{party} owns the input `{}`: give it with `--input`", name(port))));
        }
        let wanted = *count.get_or_insert(given);
        if given != wanted {
            return Err(usage(format!("input `{}` has {given} samples, expected are {wanted}", name(port))));
        }
    }
    let part = |k: usize, (index, port): &(usize, &Port)| {
        (*index, data[*index][k * size(port)..(k + 1) * size(port)].to_vec())
    };
    let sample = |k: usize| {
        let mut inputs = vec![None; face.inputs.len()];
        mine.iter().map(|m| part(k, m)).for_each(|(index, data)| inputs[index] = Some(data));
        inputs
    };
    let samples = (0..count.unwrap_or(1)).map(sample).collect();
    let received = ports_of(&face.outputs, party);
    let outputs = io::assign("--output", &args.output, &received, io::Files::One)?;
    outputs.iter().try_for_each(|(_, path)| io::check_target(path))?;
    let show = Show::new(args.labels.as_deref(), args.top, !args.output.is_empty())?;
    let show = show.filter(|_| !received.is_empty());
    Ok(Own { weights, samples, input_files, notes, outputs, show })
}

/// The command `--party I`.
pub fn run(args: &PartyArgs) -> Result<(), Failure> {
    let cell = manifest::cell(&args.cell)?;
    let (Some(path), Some(cells)) = (&args.batch.manifest, args.batch.cells) else {
        return run_files(args, cell, None);
    };
    let Some(number) = cell else {
        let what = "`--manifest` is shared out among cells: say which this is, with `--cell N` or `--cell-from-env`";
        return Err(Failure::new(Failure::USAGE, what));
    };
    let part = manifest::read(path, number, cells)?;
    if part.samples.is_empty() {
        eprintln!("cell {number}: the manifest has no sample for it");
        return Ok(());
    }
    // As if the files of the samples had been given one by one.
    let input = match &args.batch.input_dir {
        Some(dir) => part.inputs(dir)?.iter().map(|file| file.display().to_string()).collect(),
        None => vec![],
    };
    let samples = Some(part.samples.len() as u32);
    let args = PartyArgs { run: RunArgs { input, samples, ..args.run.clone() }, ..args.clone() };
    run_files(&args, cell, Some(&part))
}

fn run_files(args: &PartyArgs, cell: Option<u32>, part: Option<&manifest::Part>) -> Result<(), Failure> {
    if args.launched {
        end_with_launcher();
    }
    let loaded = load::program(&args.run.model)?;
    let me = Party(args.party);
    let parties = loaded.program.parties;
    if me.0 >= parties {
        let last = parties - 1;
        return Err(Failure::new(Failure::USAGE, format!("{me} does not exist, the program has parties 0 to {last}")));
    }
    if loaded.program.has_client() {
        let what = "the program is for clients that do not compute: run it with `qnnvm serve`";
        return Err(Failure::new(Failure::USAGE, what));
    }
    loaded.check_run(&args.run, args.offline.is_some())?;
    let computing = if args.offline.is_some() { 2 } else { parties };
    let mut net = net::Net::load(args.net.as_deref(), computing, cell)?;
    net.look_in(&args.folders);
    let own = own(&args.run, me, &loaded)?;
    own.notes.iter().for_each(|n| eprintln!("{n}"));
    let stock = args.offline.as_deref().map(|path| preprocessed(path, me, &loaded, &own, args)).transpose()?;

    let wire = Wire::new(me, net, &args.run.waits, args.session.as_deref())?;
    let signals = Signals::listen()?;
    let weights = own.weights.as_ref().map(|(_, identity)| identity.as_str());
    let weights = load::weights_field(&loaded, weights, args.weights_id.as_deref())?;
    let mut hello = hello(&loaded, &args.run, own.samples.len()).with("?weights", weights);
    if let Some(cell) = cell {
        hello = hello.with("cell", cell.to_string());
    }
    if let Some(part) = part {
        hello = hello.with("manifest", part.hash);
    }
    if let Some(stock) = &stock {
        hello = hello.with("preprocessing", stock.header.id);
    }
    let mut link = wire.join(listener(args, computing.into())?, &hello)?;
    signals.watch(link.control());
    let tls = wire.tls();
    let start = Instant::now();
    let keys = (loaded.protocol.agree)(&mut link)?;
    let Run { report, outputs } = match stock {
        None => compute(args, &loaded, &own, &mut link, &keys, (start, tls))?,
        Some(stock) => {
            let (mut link, seeds) = stock.join(link)?;
            let mut seeds = Zeroizing::new(seeds);
            let peer = 1 - me.index();
            seeds[peer] = keys[peer];
            compute(args, &loaded, &own, &mut link, &seeds, (start, tls))?
        }
    };
    drop(keys);
    if report.result != "ok" && !args.launched {
        return Err(Failure::new(Failure::BUG, report.result));
    }
    for (index, path) in &own.outputs {
        let port = &loaded.program.interface.outputs[*index];
        let data = outputs[*index].as_ref().expect("only outputs of this party have files");
        output::write_atomic(path, &io::format_npy(port, data))?;
    }
    if let (Some(dir), Some(part)) = (&args.batch.output_dir, part) {
        write_samples(dir, part, &loaded.program.interface.outputs, &outputs)?;
    }
    if args.run.json || args.launched {
        say!("{}", serde_json::to_string(&report).map_err(|e| Failure::new(Failure::BUG, e))?);
    } else {
        result::print(&report.outputs);
        eprintln!("{}", report.security);
    }
    Ok(())
}

/// Writes what this party has received, one file for each sample.
fn write_samples(
    dir: &Path,
    part: &manifest::Part,
    ports: &[Port],
    outputs: &[Option<Vec<i64>>],
) -> Result<(), Failure> {
    let mut received = ports.iter().zip(outputs).filter_map(|(port, data)| Some((port, data.as_ref()?)));
    let (Some((port, data)), None) = (received.next(), received.next()) else {
        let what = "`--output-dir` is for the receiver of one output; name files with `--output`";
        return Err(Failure::new(Failure::USAGE, what));
    };
    let each = (load::elements(&port.shape) as usize).max(1);
    for (file, sample) in part.files(dir).iter().zip(data.chunks(each)) {
        output::write_atomic(file, &io::format_npy(port, sample))?;
    }
    Ok(())
}

/// What all parties must agree on.
fn hello(loaded: &load::Loaded, run: &RunArgs, samples: usize) -> Hello {
    Hello::default()
        .with("version", env!("CARGO_PKG_VERSION"))
        .with("program format", bytecode::FORMAT.to_string())
        .with("program", loaded.hash)
        .with("protocol", &loaded.program.protocol)
        .with("parties", loaded.program.parties.to_string())
        .with("reveal", &loaded.program.reveal)
        .with("inferences", run.repeat.to_string())
        .with("samples", samples.to_string())
        .with("batch", run.batch.to_string())
}

/// The preprocessing of this party, for everything that is asked for.
fn preprocessed(path: &Path, me: Party, loaded: &load::Loaded, own: &Own, args: &PartyArgs) -> Result<Stock, Failure> {
    let inferences = deal::inferences(own.samples.len(), args.run.batch, args.run.repeat)?;
    deal::open(path, me, loaded, inferences, args.run.batch)
}

/// The socket that the launcher opened, unless nobody dials this party.
fn listener(args: &PartyArgs, parties: usize) -> Result<Option<TcpListener>, Failure> {
    if !args.launched || usize::from(args.party) + 1 == parties {
        return Ok(None);
    }
    let fd = std::io::stdin().as_fd().try_clone_to_owned();
    fd.map(|fd| Some(TcpListener::from(fd))).map_err(|e| Failure::new(Failure::CONFIG, format!("standard input: {e}")))
}

/// Ends this process when nobody reads its standard output any more.
fn end_with_launcher() {
    std::thread::spawn(|| {
        let stdout = std::io::stdout();
        loop {
            let mut set = [PollFd::new(&stdout, PollFlags::empty())];
            let gone = match poll(&mut set, None) {
                Ok(_) => set[0].revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL),
                Err(e) => e != rustix::io::Errno::INTR,
            };
            if gone {
                std::process::exit(Failure::LOST.into());
            }
        }
    });
}

/// What a session leaves behind.
struct Run {
    report: PartyReport,
    outputs: Vec<Option<Vec<i64>>>,
}

/// Sets up and computes; `start` is when the parties began to agree on `seeds`, `tls` whether links are encrypted.
fn compute(
    args: &PartyArgs,
    loaded: &load::Loaded,
    own: &Own,
    link: &mut dyn Link,
    seeds: &[[u8; 32]],
    (start, tls): (Instant, bool),
) -> Result<Run, Failure> {
    let me = link.me();
    let runtime = (loaded.protocol.make)(me, seeds, &link.session());
    let mut machine = Machine::new(loaded.program.clone(), runtime)
        .map_err(|e| Failure::new(Failure::BUG, format!("accepted at load, then refused: {e}")))?;
    machine.setup(own.weights.as_ref().map(|(weights, _)| weights), link)?;
    let (setup, setup_s) = (link.stats(), start.elapsed().as_secs_f64());

    let batches: Vec<Vec<&Inputs>> =
        own.samples.chunks(args.run.batch as usize).map(|c| c.iter().map(Vec::as_slice).collect()).collect();
    let mut outcomes: Vec<Outcome> = Vec::new();
    for _ in 0..args.run.repeat {
        // Each repetition is a sequence of its own.
        machine.reset();
        for (k, batch) in batches.iter().enumerate() {
            let mut outcome = machine.infer_batch(batch, link)?;
            if let Some(before) = outcomes.get(k) {
                if before.outputs != outcome.outputs {
                    let what = "the same input gave two results; this is a bug".to_owned();
                    link.abort(Failure::BUG, &what);
                    return Err(Failure::new(Failure::BUG, what));
                }
                outcome.outputs = Vec::new();
            }
            if outcomes.len() >= LAYERS_KEPT {
                outcome.layers = Vec::new();
            }
            outcomes.push(outcome);
        }
    }
    link.close()?;

    let program = &loaded.program;
    // One that differs from the prediction stands for all.
    let predicted = program.predicted_bytes()[me.index()];
    let per_sample = |o: &Outcome| [o.payload_sent, o.opened_bits].map(|n| n / o.samples);
    let is_odd =
        |o: &&Outcome| [o.payload_sent, o.opened_bits] != [predicted, program.opened_bits].map(|n| n * o.samples);
    let [sent, opened] = match outcomes.iter().find(is_odd) {
        // Whatever rounding hides, the sum does not.
        Some(o) => [o.payload_sent, o.opened_bits],
        None => per_sample(&outcomes[0]),
    };
    let layer = |(i, l): (usize, &ir::Layer)| LayerReport {
        op: l.operator,
        name: text::escape(&l.name),
        rounds: outcomes[0].layers[i].rounds,
        payload_bytes: outcomes[0].layers[i].payload_bytes / outcomes[0].samples,
        compute_s: median(outcomes.iter().filter_map(|o| Some(o.layers.get(i)?.compute_s))),
        wait_s: median(outcomes.iter().filter_map(|o| Some(o.layers.get(i)?.wait_s))),
    };
    let layers: Vec<LayerReport> = program.layers.iter().enumerate().map(layer).collect();
    let summary = |(port, data): (&Port, &Option<Vec<i64>>)| -> Option<Summary> {
        Some(own.show.as_ref()?.summary(port, data.as_ref()?))
    };
    let mut outputs = std::mem::take(&mut outcomes[0].outputs);
    for o in &mut outcomes[1..batches.len()] {
        for (all, more) in outputs.iter_mut().zip(&mut o.outputs) {
            if let (Some(all), Some(more)) = (all, more) {
                all.append(more);
            }
        }
    }
    let inferences: Vec<f64> = outcomes.iter().map(|o| o.seconds).collect();
    // One that differs from the prediction stands for all.
    let ahead = |o: &Outcome| {
        let (rounds, bytes) = machine.predicted_offline(me, o.samples as usize);
        Ahead {
            rounds: Versus { predicted: rounds, measured: o.offline.rounds },
            payload_bytes: Versus { predicted: bytes, measured: o.offline.payload_sent },
        }
    };
    let all: Vec<Ahead<u64>> = outcomes.iter().map(ahead).collect();
    let odd = |a: &&Ahead<u64>| a.payload_bytes.predicted != a.payload_bytes.measured;
    let ahead = all.iter().find(odd).or(all.first()).filter(|a| a.rounds.predicted > 0).cloned();
    let mut report = PartyReport {
        ahead,
        schema: SCHEMA,
        protocol: program.protocol.clone(),
        samples: own.samples.len() as u32,
        batch: args.run.batch,
        party: me.0,
        program: loaded.hash_text(),
        security: loaded.security_line(if tls { SECURE } else { PLAIN }),
        modes: loaded.program.modes.names(),
        insecure: if tls { Vec::new() } else { vec!["plaintext".to_owned()] },
        rounds: Versus {
            predicted: program.predicted_rounds(),
            measured: outcomes.iter().map(|o| o.rounds).max().unwrap_or(0),
        },
        payload_bytes: Versus { predicted, measured: sent },
        opened_bits: Versus { predicted: program.opened_bits, measured: opened },
        wire_bytes: outcomes[0].wire_sent / outcomes[0].samples,
        seconds: Seconds {
            setup: setup_s,
            offline: median(outcomes.iter().map(|o| o.offline.seconds)),
            inference: median(inferences.iter().copied()),
            sample: median(outcomes.iter().map(|o| o.seconds / o.samples as f64)),
        },
        inferences,
        setup_rounds: setup.level,
        setup_payload_bytes: setup.payload_sent.iter().sum(),
        peak_memory_bytes: report::peak_memory(),
        layers,
        outputs: program.interface.outputs.iter().zip(&outputs).filter_map(summary).collect(),
        result: String::new(),
    };
    report.result = report::judge(&report);
    Ok(Run { report, outputs })
}
