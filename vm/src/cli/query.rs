//! The command `query`.
use super::{Failure, QueryArgs, io, keys, load, net, output};
use crate::cli::result::{self, Show, Summary};
use ir::{Port, text};
use std::thread::sleep;
use std::time::{Duration, Instant};
use vm::client::ClientSide;
use vm::query::{Connection, Door, QueryError};

/// How this client reaches the parties; how they reach each other they say themselves.
const PLAIN: &str = "link of the client plaintext on loopback";
const SECURE: &str = "link of the client TLS 1.3, parties pinned";

/// Between two tries; doubled each time.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

impl From<QueryError> for Failure {
    fn from(e: QueryError) -> Self {
        Failure::new(e.exit_code(), e)
    }
}

/// Asks once for each sample.
pub fn run(args: &QueryArgs) -> Result<(), Failure> {
    let loaded = load::program(&args.model)?;
    let side = load::client(&loaded)?;
    side.owns_inputs_and_outputs()?;
    let net = net::Net::load(Some(&args.net), loaded.program.parties, args.cell)?;
    let links = if net.tls { SECURE } else { PLAIN };
    let identity = args.identity.as_deref().map(keys::from_folder).transpose()?;
    if identity.is_some() && !net.tls {
        return Err(Failure::new(Failure::USAGE, "`--identity`: the `net.toml` has no certificates, links are plain"));
    }
    let doors = net.doors(identity.as_ref())?;
    let face = &loaded.program.interface;
    let inputs = inputs(args, &face.inputs)?;
    let received: Vec<(usize, &Port)> = face.outputs.iter().enumerate().collect();
    let targets = io::assign("--output", &args.output, &received, io::Files::One)?;
    targets.iter().try_for_each(|(_, path)| io::check_target(path))?;
    let show = Show::new(args.labels.as_deref(), args.top, !args.output.is_empty())?;

    let start = Instant::now();
    let mut outputs: Vec<Vec<i64>> = vec![Vec::new(); face.outputs.len()];
    for sample in &inputs {
        let more = ask(&side, loaded.hash, &doors, sample, args)?;
        outputs.iter_mut().zip(more).for_each(|(all, more)| all.extend(more));
    }
    let seconds = start.elapsed().as_secs_f64();
    for (index, path) in &targets {
        output::write_atomic(path, &io::format_npy(&face.outputs[*index], &outputs[*index]))?;
    }
    let summaries: Vec<Summary> = match &show {
        Some(show) => face.outputs.iter().zip(&outputs).map(|(port, data)| show.summary(port, data)).collect(),
        None => vec![],
    };
    if args.json {
        let insecure: &[&str] = if net.tls { &[] } else { &["plaintext"] };
        let object = serde_json::json!({
            "schema": 1, "program": loaded.hash_text(), "security": loaded.security_line(links), "insecure": insecure,
            "samples": inputs.len(), "seconds": seconds, "outputs": summaries, "result": "ok",
        });
        say!("{object}");
    } else {
        result::print(&summaries);
        eprintln!("{}", loaded.security_line(links));
    }
    Ok(())
}

/// Per sample, the stored integers of each input.
fn inputs(args: &QueryArgs, ports: &[Port]) -> Result<Vec<Vec<Vec<i64>>>, Failure> {
    let usage = |what: String| Failure::new(Failure::USAGE, what);
    let mine: Vec<(usize, &Port)> = ports.iter().enumerate().collect();
    let mut data: Vec<Vec<Vec<i64>>> = vec![Vec::new(); ports.len()];
    for (index, path) in io::assign("--input", &args.input, &mine, io::Files::Many)? {
        let read = io::read_input(&path, &ports[index])?;
        read.note.iter().for_each(|note| eprintln!("{note}"));
        let size = (load::elements(&ports[index].shape) as usize).max(1);
        data[index].extend(read.data.chunks(size).map(<[i64]>::to_vec));
    }
    let count = data.first().map_or(0, Vec::len);
    for (samples, port) in data.iter().zip(ports) {
        let name = text::escape(&port.name);
        if samples.is_empty() {
            return Err(usage(format!("input `{name}` is missing: give it with `--input`")));
        }
        if samples.len() != count {
            return Err(usage(format!("input `{name}` has {} samples, the first input has {count}", samples.len())));
        }
    }
    Ok((0..count).map(|k| data.iter().map(|samples| samples[k].clone()).collect()).collect())
}

fn ask(
    side: &ClientSide,
    hash: [u8; 32],
    doors: &[Door],
    sample: &[Vec<i64>],
    args: &QueryArgs,
) -> Result<Vec<Vec<i64>>, Failure> {
    let patience = Duration::from_secs(args.timeout);
    let mut pause = PAUSES[0];
    let mut left = args.retries;
    loop {
        let asked = Connection::open(side, hash, doors, patience).and_then(|mut c| c.infer(sample));
        match asked {
            Ok(outputs) => return Ok(outputs),
            Err(e) if left > 0 && e.may_retry() => {
                eprintln!("{e}; asking again");
                (left, pause) = (left - 1, (2 * pause).min(PAUSES[1]));
                sleep(pause);
            }
            Err(e) => return Err(e.into()),
        }
    }
}
