//! The launcher: every party as its own process on this machine, each in a directory that holds only its own files.
//!
//! A child gets its listening socket as standard input, so no port is free in between, and ends when the launcher no
//! longer reads its standard output.
use super::report::{self, PartyReport, Report};
use super::{Failure, LocalArgs, RunArgs, deal, io, keys, load, net, output, party, result, shaper};
use ir::{Interface, Party, Port};
use runtime_protocols::link::{Certificate, Fingerprint};
use std::fs::{self, OpenOptions, Permissions};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// How long the others may take to end by themselves after one has failed.
const GRACE: Duration = Duration::from_secs(2);
/// How often the children are looked at.
const TICK: Duration = Duration::from_millis(2);

const PROGRAM: &str = "program.mpcb";
const WEIGHTS: &str = "weights.mpcw";
const NET: &str = "net.toml";
const DEALT: &str = "dealt";

/// The command `local`.
pub fn run(args: &LocalArgs) -> Result<(), Failure> {
    let (report, parties) = execute(args)?;
    if args.run.json {
        say!("{}", serde_json::to_string(&report).map_err(|e| Failure::new(Failure::BUG, e))?);
    } else {
        parties.iter().for_each(|r| result::print(&r.outputs));
        report::print(&report, &parties);
    }
    match report.result.as_str() {
        "ok" => Ok(()),
        wrong => Err(Failure::new(Failure::BUG, wrong)),
    }
}

/// Runs all parties to their end and writes the outputs.
pub fn execute(args: &LocalArgs) -> Result<(Report, Vec<PartyReport>), Failure> {
    let run = &args.run;
    let loaded = load::program(&run.model)?;
    loaded.check_run(run, args.offline)?;
    // With preprocessing in files the dealer does not run.
    let parties = if args.offline { 2 } else { loaded.program.parties };
    let face = &loaded.program.interface;
    if run.weights.is_none() && !loaded.program.modes.public_weights {
        return Err(Failure::new(Failure::USAGE, "give the weights file with `-w`"));
    }
    // Everything is checked before anything is started; the parties check again what is theirs.
    let shares: Vec<RunArgs> = (0..parties).map(|p| share_of(run, Party(p), face)).collect::<Result<_, _>>()?;
    let mut sources = Vec::new();
    let mut targets = Vec::new();
    let mut samples = None;
    for (p, share) in (0..parties).map(Party).zip(&shares) {
        let own = party::own(share, p, &loaded)?;
        if !own.input_files.is_empty() && *samples.get_or_insert(own.samples()) != own.samples() {
            let what = format!("{p} has {} samples, another party has {}", own.samples(), samples.unwrap_or(0));
            return Err(Failure::new(Failure::USAGE, what));
        }
        sources.push(own.input_files);
        targets.extend(own.outputs);
    }
    let samples = samples.unwrap_or(1);

    let (listeners, addresses) = listen(args.port_base, parties)?;
    let seen = match args.net {
        None => vec![addresses; usize::from(parties)],
        Some(network) => shaper::relays(network, &addresses)?,
    };
    let keys = args.tls.then(|| (0..parties).map(throw_away).collect::<Result<Vec<_>, _>>()).transpose()?;
    let pins: Option<Vec<Fingerprint>> = keys.as_ref().map(|keys| keys.iter().map(|key| key.pin).collect());
    let household = Household::new()?;
    let _cleanup = Cleanup(household.clone());
    household.clean_up_on_signals()?;
    let dealt = match args.offline {
        false => None,
        true => {
            let inferences = deal::inferences(samples, run.batch, run.repeat)?;
            Some(deal::make(&loaded, inferences, run.batch, &household.dir.join(DEALT))?)
        }
    };

    let mut readers = Vec::new();
    for (p, listener) in (0..parties).map(Party).zip(listeners) {
        let dir = household.dir.join(format!("party{}", p.0));
        let text = match &pins {
            None => net::format(&seen[p.index()]),
            Some(pins) => net::format_tls(&seen[p.index()], pins),
        };
        let mut command = prepare(&dir, p, &shares[p.index()], &text)?;
        if let Some(key) = keys.as_ref().map(|keys| &keys[p.index()]) {
            keys::write(&dir, &key.certificate, &key.key)?;
        }
        command.args(["--samples", &samples.to_string()]);
        if dealt.is_some() {
            let [files, place] = [&household.dir, &dir].map(|d| deal::files(&d.join(DEALT))[p.index()].clone());
            fs::rename(&files, &place)
                .map_err(|e| Failure::new(Failure::CONFIG, format!("{}: {e}", place.display())))?;
            command.arg("--offline").arg(place);
        }
        for (k, (index, path)) in sources[p.index()].iter().enumerate() {
            let file = format!("input{k}");
            copy(path, &dir, &file)?;
            command.arg("--input").arg(format!("{}={file}", face.inputs[*index].name));
        }
        for (index, _) in targets.iter().filter(|(index, _)| face.outputs[*index].party == p) {
            command.arg("--output").arg(format!("{}={}", face.outputs[*index].name, output_name(*index)));
        }
        readers.push(household.start(command, (p.0 + 1 < parties).then_some(listener))?);
    }
    let ends = household.wait();
    let texts: Vec<(String, String)> = readers
        .into_iter()
        .map(|(out, err)| (out.join().unwrap_or_default(), err.join().unwrap_or_default()))
        .collect();
    if let Some(failure) = first_failure(&ends, &texts) {
        return Err(failure);
    }
    texts.iter().for_each(|(_, err)| eprint!("{err}"));

    let reports: Vec<PartyReport> = texts
        .iter()
        .enumerate()
        .map(|(p, (out, _))| {
            serde_json::from_str(out)
                .map_err(|e| Failure::new(Failure::BUG, format!("the report of party {p} cannot be read: {e}")))
        })
        .collect::<Result<_, _>>()?;
    let mut report = report::join(&reports);
    if let Some((bytes, seconds)) = dealt {
        report.seconds.offline = seconds;
        report.offline_bytes = Some(bytes);
    }
    if report.result == "ok" {
        for (index, path) in &targets {
            let from = household.dir.join(format!("party{}", face.outputs[*index].party.0)).join(output_name(*index));
            let bytes =
                fs::read(&from).map_err(|e| Failure::new(Failure::BUG, format!("an output is missing: {e}")))?;
            output::write_atomic(path, &bytes)?;
        }
    }
    Ok((report, reports))
}

fn output_name(index: usize) -> String {
    format!("output{index}.npy")
}

/// The part of the arguments that party `p` may see.
fn share_of(all: &RunArgs, p: Party, face: &Interface) -> Result<RunArgs, Failure> {
    let mut share = all.clone();
    if p != face.weight_owner {
        share.weights = None;
    }
    let of = |option: &str, files: &[String], ports: &[Port], many: io::Files| -> Result<Vec<String>, Failure> {
        let listed: Vec<(usize, &Port)> = ports.iter().enumerate().collect();
        let given = io::assign(option, files, &listed, many)?;
        let theirs = given.iter().filter(|(index, _)| ports[*index].party == p);
        Ok(theirs.map(|(index, path)| format!("{}={}", ports[*index].name, path.display())).collect())
    };
    share.input = of("--input", &all.input, &face.inputs, io::Files::Many)?;
    share.output = of("--output", &all.output, &face.outputs, io::Files::One)?;
    if face.outputs.iter().all(|port| port.party != p) {
        (share.labels, share.top) = (None, None);
    }
    Ok(share)
}

/// One listening socket and one address per party.
fn listen(base: Option<u16>, parties: u8) -> Result<(Vec<TcpListener>, Vec<SocketAddr>), Failure> {
    let port = |i: u8| base.map_or(0, |b| b + u16::from(i));
    let open = |i: u8| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port(i)));
        let opened = TcpListener::bind(address).and_then(|l| Ok((l.local_addr()?, l)));
        opened
            .map(|(a, l)| (l, a))
            .map_err(|e| Failure::new(Failure::CONFIG, format!("cannot listen on {address}: {e}")))
    };
    Ok((0..parties).map(open).collect::<Result<Vec<_>, _>>()?.into_iter().unzip())
}

/// A key for one run.
struct Key {
    certificate: String,
    key: Zeroizing<String>,
    pin: Fingerprint,
}

fn throw_away(party: u8) -> Result<Key, Failure> {
    let (certificate, key) = keys::generate(&format!("party {party} of a run"), 1, 60)?;
    let parsed = Certificate::from_pem(certificate.as_bytes()).map_err(|e| Failure::new(Failure::BUG, e))?;
    Ok(Key { certificate, key, pin: parsed.fingerprint })
}

/// Copies a file into the directory of a party.
fn copy(from: &Path, dir: &Path, name: &str) -> Result<(), Failure> {
    let to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join(name));
    let copied = to.and_then(|mut to| std::io::copy(&mut fs::File::open(from)?, &mut to));
    // It was read before: what fails now is writing.
    copied.map(drop).map_err(|e| Failure::new(ir::exit::of_write(&e), format!("{}: {e}", dir.join(name).display())))
}

/// Puts the files of a party, inputs apart, into its directory and returns how to start it.
fn prepare(dir: &Path, p: Party, args: &RunArgs, parties: &str) -> Result<Command, Failure> {
    let config = |e: &dyn std::fmt::Display| Failure::new(Failure::CONFIG, format!("{}: {e}", dir.display()));
    fs::DirBuilder::new().mode(0o700).create(dir).map_err(|e| config(&e))?;
    let executable = std::env::current_exe().map_err(|e| config(&e))?;
    let mut command = Command::new(executable);
    command.current_dir(dir).args(["--party", &p.0.to_string(), PROGRAM, "--launched", "--net", NET]);
    copy(&args.model, dir, PROGRAM)?;
    fs::write(dir.join(NET), parties)
        .map_err(|e| Failure::new(ir::exit::of_write(&e), format!("{}: {e}", dir.join(NET).display())))?;
    if let Some(path) = &args.weights {
        copy(path, dir, WEIGHTS)?;
        command.args(["--weights", WEIGHTS]);
    }
    if let Some(path) = &args.labels {
        copy(path, dir, "labels.txt")?;
        command.args(["--labels", "labels.txt"]);
    }
    if let Some(top) = args.top {
        command.args(["--top", &top.to_string()]);
    }
    if let Some(limit) = args.memory_limit {
        command.args(["--memory-limit", &limit.to_string()]);
    }
    command.args(args.waits.options());
    command.args(["--repeat", &args.repeat.to_string(), "--batch", &args.batch.to_string()]);
    Ok(command)
}

/// Children and their directories.
struct Household {
    dir: PathBuf,
    children: Mutex<Vec<Child>>,
}

/// Ends the household when dropped.
struct Cleanup(Arc<Household>);

impl Drop for Cleanup {
    fn drop(&mut self) {
        self.0.end();
    }
}

type Reader = JoinHandle<String>;

impl Household {
    fn new() -> Result<Arc<Household>, Failure> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|e| Failure::new(Failure::BUG, format!("no random bytes: {e}")))?;
        let dir = std::env::temp_dir().join(format!("qnnvm-{:016x}", u64::from_le_bytes(random)));
        let made = fs::DirBuilder::new().mode(0o700).create(&dir);
        made.and_then(|()| fs::set_permissions(&dir, Permissions::from_mode(0o700)))
            .map_err(|e| Failure::new(Failure::CONFIG, format!("{}: {e}", dir.display())))?;
        Ok(Arc::new(Household { dir, children: Mutex::default() }))
    }

    fn children(&self) -> std::sync::MutexGuard<'_, Vec<Child>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves nothing behind when the user interrupts.
    fn clean_up_on_signals(self: &Arc<Self>) -> Result<(), Failure> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])
            .map_err(|e| Failure::new(Failure::CONFIG, format!("signals: {e}")))?;
        let household = self.clone();
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                household.end();
                std::process::exit(128 + signal);
            }
        });
        Ok(())
    }

    /// Starts a party. Its output is read in the background.
    fn start(&self, mut command: Command, listener: Option<TcpListener>) -> Result<(Reader, Reader), Failure> {
        command.stdin(listener.map_or(Stdio::null(), |l| Stdio::from(OwnedFd::from(l))));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // Under the lock, so that a signal finds every child.
        let mut children = self.children();
        let mut child =
            command.spawn().map_err(|e| Failure::new(Failure::CONFIG, format!("cannot start a party: {e}")))?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        children.push(child);
        Ok((read_all(out), read_all(err)))
    }

    /// Waits for all, but after a failure only for a while. How and in which order each has ended; no status where the
    /// launcher ended it.
    fn wait(&self) -> Vec<Option<(ExitStatus, usize)>> {
        let count = self.children().len();
        let mut ends: Vec<Option<(ExitStatus, usize)>> = vec![None; count];
        let mut order = 0;
        let mut deadline: Option<Instant> = None;
        while ends.iter().any(Option::is_none) {
            for (end, child) in ends.iter_mut().zip(self.children().iter_mut()) {
                if end.is_none()
                    && let Ok(Some(status)) = child.try_wait()
                {
                    *end = Some((status, order));
                    order += 1;
                    if !status.success() {
                        deadline.get_or_insert(Instant::now() + GRACE);
                    }
                }
            }
            if deadline.is_some_and(|d| Instant::now() >= d) {
                self.children().iter_mut().for_each(|c| drop(c.kill()));
                break;
            }
            thread::sleep(TICK);
        }
        ends
    }

    /// Ends all children and removes their files.
    fn end(&self) {
        for child in self.children().iter_mut() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn read_all(pipe: Option<impl Read + Send + 'static>) -> Reader {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What could be read before an error is shown.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The failure that explains the others: a party that was killed, then one that failed on its own account, then the
/// earliest.
fn first_failure(ends: &[Option<(ExitStatus, usize)>], texts: &[(String, String)]) -> Option<Failure> {
    let failed = ends.iter().enumerate().filter_map(|(p, end)| {
        let (status, order) = (*end)?;
        (!status.success()).then_some((p, status, order))
    });
    let rank = |status: &ExitStatus| match status.code() {
        None => 0,
        Some(10 | 11) => 2,
        Some(_) => 1,
    };
    let (p, status, _) = failed.min_by_key(|(_, status, order)| (rank(status), *order))?;
    let text = |p: usize| {
        // The launcher names the error code itself.
        let said = texts[p].1.trim_end().trim_start_matches("error: ");
        said.split_once(": ").filter(|(code, _)| code.starts_with("Q20")).map_or(said, |(_, rest)| rest).to_owned()
    };
    Some(match (status.code(), status.signal()) {
        (Some(code), _) => Failure::new(u8::try_from(code).unwrap_or(Failure::BUG), format!("party {p}: {}", text(p))),
        (None, signal) => {
            let others = (0..texts.len()).filter(|o| *o != p && !texts[*o].1.is_empty());
            let others: String = others.map(|o| format!("\nparty {o}: {}", text(o))).collect();
            let signal = signal.map_or(String::new(), |s| format!(" by signal {s}"));
            Failure::new(Failure::LOST, format!("party {p} was ended{signal}{others}"))
        }
    })
}
