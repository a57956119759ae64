//! The commands of `qnnvm net`: who the parties are, and whether they can be reached.
use super::net::{self, Entry, File};
use super::wire::Wire;
use super::{Failure, NetAdd, NetCheck, NetCommand, NetInit, keys, output};
use ir::text::escape;
use runtime_protocols::link::{Fingerprint, Hello, Link, LinkError, Party, Place, tls};
use std::path::Path;
use std::time::{Instant, SystemTime};

const NET: &str = "net.toml";
const HEADER: &str = "# Who the parties are; nothing here is secret. `qnnvm net` writes it, comments are not kept.\n";

/// Does what is asked for.
pub fn run(command: &NetCommand) -> Result<(), Failure> {
    match command {
        NetCommand::Init(args) => init(args),
        NetCommand::AddPeer(args) => add(args),
        NetCommand::Show { dir } => show(dir),
        NetCommand::Check(args) => check(args),
    }
}

fn save(dir: &Path, file: &File) -> Result<(), Failure> {
    let text = toml::to_string(file).map_err(|e| Failure::new(Failure::BUG, e))?;
    output::write_atomic(&dir.join(NET), format!("{HEADER}{text}").as_bytes())
}

fn usage(e: impl std::fmt::Display) -> Failure {
    Failure::new(Failure::USAGE, e)
}

fn init(args: &NetInit) -> Result<(), Failure> {
    let path = args.dir.join(NET);
    if path.exists() {
        return Err(Failure::new(Failure::CONFIG, format!("{}: is there already", path.display())));
    }
    let certificate = keys::read_certificate(&args.dir.join(keys::CERTIFICATE))?;
    let entry = Entry {
        index: args.party,
        name: Some(certificate.name),
        address: args.address.clone(),
        listen: args.listen,
        dial: args.listen_only.then_some(false),
        cert_sha256: Some(certificate.fingerprint.to_string()),
    };
    entry.check().map_err(usage)?;
    let mut file = File::new();
    file.party.push(entry);
    save(&args.dir, &file)?;
    say!("party {}  {}  {}", args.party, certificate.fingerprint, args.address.as_deref().unwrap_or("only dials"));
    Ok(())
}

fn add(args: &NetAdd) -> Result<(), Failure> {
    let mut file = net::read(&args.dir.join(NET))?;
    let certificate = keys::read_certificate(&args.cert)?;
    let pin = certificate.fingerprint.to_string();
    let new = Entry {
        index: args.party,
        name: Some(certificate.name.clone()),
        address: (args.address != "-").then(|| args.address.clone()),
        listen: None,
        dial: args.listen_only.then_some(false),
        cert_sha256: Some(pin.clone()),
    };
    new.check().map_err(usage)?;
    if let Some(other) = file.party.iter().find(|e| e.cert_sha256.as_ref() == Some(&pin) && e.index != args.party) {
        return Err(usage(format!("this is the certificate of party {}", other.index)));
    }
    if let Some(old) = file.party.iter().find(|e| e.index == args.party)
        && !args.replace
    {
        let old = old.cert_sha256.as_deref().unwrap_or("none");
        let what = format!(
            "party {} is there already, with certificate {}\n  = help: confirm the new fingerprint {pin} by phone, \
                 then give `--replace`",
            args.party,
            escape(old)
        );
        return Err(Failure::new(Failure::CONFIG, what));
    }
    file.party.retain(|e| e.index != args.party);
    file.party.push(new);
    file.party.sort_by_key(|e| e.index);
    save(&args.dir, &file)?;
    say!("party {}  {pin}  {}", args.party, escape(&args.address));
    if let Err(e) = certificate.check_dates(tls::now()) {
        eprintln!("warning: {e}");
    }
    eprintln!("compare this fingerprint with what its owner reads to you");
    Ok(())
}

fn show(dir: &Path) -> Result<(), Failure> {
    let file = net::read(&dir.join(NET))?;
    let own = keys::read_certificate(&dir.join(keys::CERTIFICATE)).ok();
    for entry in &file.party {
        let pin = entry.cert_sha256.as_deref().unwrap_or("no certificate: links are not encrypted");
        let is_own = own.as_ref().is_some_and(|c| Some(c.fingerprint.to_string()) == entry.cert_sha256);
        say!(
            "party {}  {}  {}  {}{}{}",
            entry.index,
            escape(pin),
            escape(entry.address.as_deref().unwrap_or("only dials")),
            escape(entry.name.as_deref().unwrap_or("")),
            if entry.dial == Some(false) { "  only listens" } else { "" },
            if is_own { "  (this machine)" } else { "" }
        );
    }
    if let Some(own) = &own {
        say!("own certificate valid until {}", escape(&own.dates[1]));
    }
    Ok(())
}

/// Milliseconds since 1970.
fn clock() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |t| i64::try_from(t.as_millis()).unwrap_or(i64::MAX))
}

/// Message lengths of the measurement of one pair, in bytes.
const PINGS: usize = 11;
const SMALLEST: usize = 64 << 10;
const LARGEST: usize = 64 << 20;
/// A transfer that takes so long is long enough.
const LONG_ENOUGH: f64 = 0.25;
/// A difference of clocks that certificates and logs do not forgive, in milliseconds.
const CLOCKS: i64 = 60_000;

fn check(args: &NetCheck) -> Result<(), Failure> {
    let path = args.dir.join(NET);
    let parties = net::read(&path)?.party.len();
    let parties = u8::try_from(parties).map_err(|_| Failure::new(Failure::CONFIG, "more than 255 parties"))?;
    let net = net::Net::load(Some(&path), parties)?;
    let me = match args.party {
        Some(me) if me < parties => me,
        Some(me) => return Err(usage(format!("party {me} does not exist"))),
        None => own_index(&net, &args.dir)?,
    };
    let stations = net.stations.clone();
    let wire = Wire::new(Party(me), net, &args.waits, None)?;
    let mut link = wire.join(None, &Hello::default().with("purpose", "net check"))?;
    let version = env!("CARGO_PKG_VERSION");
    let n = usize::from(parties);
    let mut measured: Vec<Option<(f64, f64)>> = vec![None; n];
    let mut skew = vec![0; n];
    let mut versions = vec![String::new(); n];
    for low in 0..n {
        for high in low + 1..n {
            let place = format!("measuring between party {low} and party {high}");
            let mut pair = Pair { link: &mut link, place: &place, peer: 0 };
            let me = usize::from(me);
            if me == low {
                pair.peer = high;
                let (rtt, bits) = pair.measure()?;
                let (theirs, offset) = pair.ask(version, rtt)?;
                (measured[high], skew[high], versions[high]) = (Some((rtt, bits)), offset, theirs);
            } else if me == high {
                pair.peer = low;
                let (rtt, bits) = pair.serve()?;
                let (theirs, offset) = pair.answer(version, rtt)?;
                (measured[low], skew[low], versions[low]) = (Some((rtt, bits)), offset, theirs);
            }
        }
    }
    link.close()?;
    let name = |p: usize| escape(&wire.names()[p]);
    for p in 0..n {
        let Some((rtt, bits)) = measured[p] else { continue };
        let pin = stations[p].fingerprint.map_or("not encrypted".to_owned(), |pin: Fingerprint| format!("cert {pin}"));
        say!("party {p}  {}  {pin}", name(p));
        say!(
            "  version {}  clock {:+.1} s  round trip {:.2} ms  {:.0} Mbit/s",
            escape(&versions[p]),
            skew[p] as f64 / 1e3,
            rtt * 1e3,
            bits / 1e6
        );
        if versions[p] != version {
            eprintln!(
                "warning: party {p} runs {}, this is {version}: they will not compute together",
                escape(&versions[p])
            );
        }
        if skew[p].abs() > CLOCKS {
            eprintln!("warning: the clock of party {p} differs by {} s: certificates may seem expired", skew[p] / 1000);
        }
    }
    let all = || measured.iter().flatten();
    if let Some(rtt) = all().map(|m| m.0).max_by(f64::total_cmp) {
        let bits = all().map(|m| m.1).fold(f64::INFINITY, f64::min);
        say!("compile with  --net rtt={}us,bw={}kbit", (rtt * 1e6).ceil().max(1.0), (bits / 1e3).floor().max(1.0));
    }
    Ok(())
}

/// The index of the party whose certificate is in `dir`.
fn own_index(net: &net::Net, dir: &Path) -> Result<u8, Failure> {
    let own = keys::read_certificate(&dir.join(keys::CERTIFICATE))?.fingerprint;
    let at = net.stations.iter().position(|s| s.fingerprint == Some(own));
    let at = at.and_then(|p| u8::try_from(p).ok());
    at.ok_or_else(|| Failure::new(Failure::CONFIG, format!("no party in `net.toml` has the certificate {own}")))
}

/// This party and one other, who take turns.
struct Pair<'a> {
    link: &'a mut dyn Link,
    place: &'a str,
    peer: usize,
}

impl Pair<'_> {
    fn exchange(&mut self, send: Vec<u8>, expect: usize) -> Result<Vec<u8>, LinkError> {
        let n = self.link.parties();
        let (mut out, mut due, mut incoming) = (vec![Vec::new(); n], vec![0; n], vec![Vec::new(); n]);
        (out[self.peer], due[self.peer]) = (send, expect);
        let at = Place { round: 0, what: self.place };
        self.link.exchange(&at, &out, &due, &mut incoming)?;
        Ok(std::mem::take(&mut incoming[self.peer]))
    }

    /// Seconds of a round trip and bits a second, as the party sees it that asks.
    fn measure(&mut self) -> Result<(f64, f64), LinkError> {
        let mut trips = Vec::new();
        for _ in 0..PINGS {
            let start = Instant::now();
            self.exchange(vec![1], 0)?;
            self.exchange(Vec::new(), 1)?;
            trips.push(start.elapsed().as_secs_f64());
        }
        trips.sort_by(f64::total_cmp);
        let rtt = trips[PINGS / 2];
        let mut size = SMALLEST;
        let bits = loop {
            self.exchange((size as u64).to_le_bytes().to_vec(), 0)?;
            let start = Instant::now();
            self.exchange(vec![0; size], 0)?;
            self.exchange(Vec::new(), 1)?;
            let seconds = (start.elapsed().as_secs_f64() - rtt).max(1e-6);
            if seconds >= LONG_ENOUGH || size >= LARGEST {
                break size as f64 * 8.0 / seconds;
            }
            size *= 4;
        };
        self.exchange(0u64.to_le_bytes().to_vec(), 0)?;
        let result = [rtt, bits].map(f64::to_le_bytes).concat();
        self.exchange(result, 0)?;
        Ok((rtt, bits))
    }

    /// The other side of it.
    fn serve(&mut self) -> Result<(f64, f64), Failure> {
        for _ in 0..PINGS {
            self.exchange(Vec::new(), 1)?;
            self.exchange(vec![1], 0)?;
        }
        loop {
            let size = self.exchange(Vec::new(), 8)?;
            let size = u64::from_le_bytes(*size.first_chunk().expect("8 bytes were due"));
            match usize::try_from(size) {
                Ok(0) => break,
                Ok(size) if size <= LARGEST => {
                    self.exchange(Vec::new(), size)?;
                    self.exchange(vec![1], 0)?;
                }
                _ => {
                    let what = format!("party {} wants to send {size} bytes, {LARGEST} are allowed", self.peer);
                    self.link.abort(Failure::LOST, &what);
                    return Err(Failure::new(Failure::LOST, what));
                }
            }
        }
        let result = self.exchange(Vec::new(), 16)?;
        let number = |at: usize| result[at..].first_chunk().map_or(0.0, |b| f64::from_le_bytes(*b));
        Ok((number(0), number(8)))
    }

    /// Version and clock of the other, in milliseconds ahead of this one.
    fn ask(&mut self, version: &str, rtt: f64) -> Result<(String, i64), LinkError> {
        self.exchange(card(version), 0)?;
        let theirs = self.exchange(Vec::new(), CARD)?;
        Ok(read_card(&theirs, rtt))
    }

    fn answer(&mut self, version: &str, rtt: f64) -> Result<(String, i64), LinkError> {
        let theirs = self.exchange(Vec::new(), CARD)?;
        let read = read_card(&theirs, rtt);
        self.exchange(card(version), 0)?;
        Ok(read)
    }
}

/// Clock and version.
const CARD: usize = 8 + 32;

fn card(version: &str) -> Vec<u8> {
    let mut bytes = clock().to_le_bytes().to_vec();
    bytes.extend(version.bytes());
    bytes.resize(CARD, 0);
    bytes
}

fn read_card(bytes: &[u8], rtt: f64) -> (String, i64) {
    let theirs = bytes.first_chunk().map_or(0, |b| i64::from_le_bytes(*b));
    let version = String::from_utf8_lossy(bytes.get(8..).unwrap_or_default());
    let ahead = theirs.saturating_sub(clock()).saturating_add((rtt * 500.0) as i64);
    (version.trim_end_matches('\0').to_owned(), ahead)
}
