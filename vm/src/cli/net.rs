//! Who the parties are: `net.toml`, or loopback without a file.
//!
//! ```toml
//! format = 1
//! [timeouts]                          # of this party; all of them may be left out
//! connect = "60s"
//! [[party]]
//! index = 0
//! name = "bank"
//! address = "a.example.org:7700"      # left out: this party only dials. `{cell}` stands for the number of a cell
//! listen = "0.0.0.0:7700"             # where it binds, if not at its address
//! dial = false                        # this party never dials
//! cert_sha256 = "5f1c…"
//! client = "a.example.org:7800"       # where it serves clients, if it does
//! ```
//!
//! With fingerprints links are TLS and may go anywhere; without, they are plain and must stay on loopback.
use super::Failure;
use runtime_protocols::link::tcp::{Station, dialler};
use runtime_protocols::link::tls::Dial;
use runtime_protocols::link::{Fingerprint, Identity, Timeouts};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use vm::query::Door;

/// Port of party 0 when no file says otherwise.
const FIRST_PORT: u16 = 7700;
/// Bytes of a configuration that are read, at most.
const MAX_FILE: u64 = 1 << 20;
/// Version of the file.
const FORMAT: u32 = 1;

/// The file.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Version.
    #[serde(default = "format_now")]
    pub format: u32,
    /// Waiting times of this party.
    #[serde(default, skip_serializing_if = "Waits::is_empty")]
    pub timeouts: Waits,
    /// Parties.
    #[serde(default)]
    pub party: Vec<Entry>,
}

/// Waiting times, as in "90s" or "5m".
#[derive(Deserialize, Serialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Waits {
    connect: Option<String>,
    handshake: Option<String>,
    round: Option<String>,
    silence: Option<String>,
    session: Option<String>,
}

/// One party.
#[derive(Deserialize, Serialize, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its index.
    pub index: u8,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where the others reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Where it binds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Whether it may dial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dial: Option<bool>,
    /// Its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_sha256: Option<String>,
    /// Where it serves clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

fn format_now() -> u32 {
    FORMAT
}

impl Waits {
    fn is_empty(&self) -> bool {
        *self == Waits::default()
    }

    fn put(&self, timeouts: &mut Timeouts) -> Result<(), String> {
        for (name, text, place) in [
            ("connect", &self.connect, &mut timeouts.connect),
            ("handshake", &self.handshake, &mut timeouts.handshake),
            ("round", &self.round, &mut timeouts.round),
            ("silence", &self.silence, &mut timeouts.silence),
            ("session", &self.session, &mut timeouts.session),
        ] {
            if let Some(text) = text {
                *place = duration(text).map_err(|e| format!("`{name}`: {e}"))?;
            }
        }
        Ok(())
    }
}

/// A time as users write it.
fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{}` is no time; write it as in \"90s\" or \"5m\"", ir::text::escape(text));
    let (number, factor) = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)]
        .into_iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.parse::<u64>().ok()?, factor)))
        .ok_or_else(bad)?;
    match number.checked_mul(factor) {
        Some(ms) if (1..=30 * 24 * 3_600_000).contains(&ms) => Ok(Duration::from_millis(ms)),
        _ => Err(bad()),
    }
}

/// The parties of a run.
#[derive(Clone, Debug)]
pub struct Net {
    /// By party.
    pub stations: Vec<Station>,
    /// Names for messages, by party.
    pub names: Vec<String>,
    /// Where this party binds, by party; only its own counts.
    listen: Vec<Option<SocketAddr>>,
    /// Where parties serve clients, by party.
    clients: Vec<Option<String>>,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// Where the file is, with its key and its used sessions beside it; none on loopback without a file.
    pub dir: Option<PathBuf>,
    /// Where the key is, if not beside the file.
    pub keys: Option<PathBuf>,
    /// Links are encrypted.
    pub tls: bool,
}

impl Net {
    /// Reads `file`, or takes loopback. Where there are cells, the addresses are those of one of them.
    pub fn load(file: Option<&Path>, parties: u8, cell: Option<u32>) -> Result<Net, Failure> {
        let Some(path) = file else {
            if cell.is_some() {
                return Err(Failure::new(Failure::USAGE, "cells need `--net` with addresses that hold `{cell}`"));
            }
            let addresses: Vec<SocketAddr> =
                (0..u16::from(parties)).map(|i| (Ipv4Addr::LOCALHOST, FIRST_PORT + i).into()).collect();
            let file: File = toml::from_str(&format(&addresses)).expect("written here");
            return file.check(parties).map_err(|e| Failure::new(Failure::BUG, e));
        };
        let net = read(path)?.in_cell(cell).and_then(|file| file.check(parties));
        let mut net = net.map_err(|e| Failure::new(Failure::CONFIG, at(path, &e)))?;
        net.dir = Some(dir_of(path));
        Ok(net)
    }

    /// Takes the key from another folder, and keeps elsewhere what is kept.
    pub fn look_in(&mut self, folders: &super::FolderArgs) {
        self.keys = folders.identity.clone().or_else(|| self.dir.clone());
        self.dir = folders.state.clone().or_else(|| self.dir.take());
    }

    /// Whether any other party dials this one.
    pub fn is_dialled(&self, me: usize) -> bool {
        (0..self.stations.len()).any(|p| p != me && dialler(&self.stations, p, me) == Some(p))
    }

    /// Where this party binds.
    pub fn bind(&self, me: usize) -> Result<SocketAddr, Failure> {
        let own = &self.stations[me];
        let address = own.address.as_deref().unwrap_or_default();
        if let Some(address) = self.listen[me].or_else(|| address.parse().ok()) {
            return Ok(address);
        }
        // A name may stand for a machine in front of this one.
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let port = port.ok_or_else(|| Failure::new(Failure::CONFIG, format!("party {me}: `{address}` has no port")))?;
        Ok((Ipv4Addr::UNSPECIFIED, port).into())
    }

    /// Where the parties serve clients, one address each.
    pub fn clients(&self) -> Result<Vec<String>, Failure> {
        let missing = |i| Failure::new(Failure::CONFIG, format!("party {i} has no `client` address in the `net.toml`"));
        self.clients.iter().enumerate().map(|(i, a)| a.clone().ok_or_else(|| missing(i))).collect()
    }

    /// Where a client finds the parties and what they must show. It shows `identity`, or nothing.
    pub fn doors(&self, identity: Option<&Identity>) -> Result<Vec<Door>, Failure> {
        let door = |(address, station): (String, &Station)| {
            let dial = |pin| Dial::new(identity, pin).map_err(|e| Failure::new(Failure::CONFIG, e));
            Ok(Door { address, tls: station.fingerprint.map(dial).transpose()? })
        };
        self.clients()?.into_iter().zip(&self.stations).map(door).collect()
    }

    /// What all must have written down alike: the certificates.
    pub fn pins(&self) -> Vec<u8> {
        self.stations.iter().flat_map(|s| s.fingerprint.map_or([0; 32], |f| f.0)).collect()
    }
}

/// The folder of a file.
pub fn dir_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn at(path: &Path, e: &dyn std::fmt::Display) -> String {
    format!("{}: {e}", path.display())
}

/// Reads a file.
pub fn read(path: &Path) -> Result<File, Failure> {
    let fail = |e: &dyn std::fmt::Display| Failure::new(Failure::CONFIG, at(path, e));
    let bytes = super::load::read(path, MAX_FILE, Failure::CONFIG)?;
    let text = String::from_utf8(bytes).map_err(|e| fail(&e))?;
    let file: File = toml::from_str(&text).map_err(|e| fail(&e.to_string().trim_end()))?;
    match file.format {
        FORMAT => Ok(file),
        other => Err(fail(&format!("format {other}; this release reads format {FORMAT}"))),
    }
}

impl Entry {
    /// Checks it alone.
    pub fn check(&self) -> Result<(), String> {
        let i = usize::from(self.index);
        self.address.as_deref().map_or(Ok(()), |a| address(i, a, self.cert_sha256.is_some()).map(drop))
    }
}

impl File {
    /// An empty one.
    pub fn new() -> File {
        File { format: FORMAT, timeouts: Waits::default(), party: Vec::new() }
    }

    /// The same for one of several cells: its number stands in every address, or there are none.
    fn in_cell(mut self, cell: Option<u32>) -> Result<File, String> {
        for text in self.party.iter_mut().flat_map(|e| [&mut e.address, &mut e.client]).flatten() {
            let shown = ir::text::escape(text);
            match (text.contains("{cell}"), cell) {
                (true, Some(cell)) => *text = text.replace("{cell}", &cell.to_string()),
                (true, None) => return Err(format!("address {shown} is that of a cell: say which with `--cell N`")),
                (false, Some(_)) => {
                    return Err(format!("address {shown} is the same for all cells: put `{{cell}}` into it"));
                }
                (false, None) => {}
            }
        }
        Ok(self)
    }

    /// Checks it for a program of so many parties.
    pub fn check(&self, parties: u8) -> Result<Net, String> {
        let n = usize::from(parties);
        let mut found: Vec<Option<&Entry>> = vec![None; n];
        for entry in &self.party {
            let index = entry.index;
            let place = found
                .get_mut(usize::from(index))
                .ok_or_else(|| format!("party {index} does not exist, the program has {parties} parties"))?;
            if place.replace(entry).is_some() {
                return Err(format!("party {index} appears twice"));
            }
        }
        let tls = self.party.iter().any(|e| e.cert_sha256.is_some());
        let entries: Vec<&Entry> = found
            .into_iter()
            .enumerate()
            .map(|(i, e)| e.ok_or_else(|| format!("party {i} has no address")))
            .collect::<Result<_, _>>()?;
        let mut stations = Vec::new();
        for (i, entry) in entries.iter().enumerate() {
            let fingerprint = entry.cert_sha256.as_deref().map(str::parse::<Fingerprint>).transpose();
            let fingerprint = fingerprint.map_err(|e| format!("party {i}, `cert_sha256`: {e}"))?;
            if tls && fingerprint.is_none() {
                return Err(format!("party {i} has no `cert_sha256`: give all parties one, or none"));
            }
            let address = entry.address.as_deref().map(|a| address(i, a, tls)).transpose()?;
            stations.push(Station { address, listens_only: entry.dial == Some(false), fingerprint });
        }
        for i in 0..n {
            for j in 0..i {
                let same = |of: fn(&Station) -> bool| of(&stations[i]) && of(&stations[j]);
                if same(|s| s.address.is_some()) && stations[i].address == stations[j].address {
                    let address = stations[i].address.as_deref().unwrap_or_default();
                    return Err(format!("party {i} has the address of another, {address}"));
                }
                if same(|s| s.fingerprint.is_some()) && stations[i].fingerprint == stations[j].fingerprint {
                    return Err(format!("parties {j} and {i} have the same certificate"));
                }
                if dialler(&stations, i, j).is_none() {
                    return Err(format!("party {i} has no address that party {j} may dial, nor the other way round"));
                }
            }
        }
        let mut timeouts = Timeouts::default();
        self.timeouts.put(&mut timeouts)?;
        let name = |(i, e): (usize, &&Entry)| e.name.clone().unwrap_or_else(|| format!("party {i}"));
        let names = entries.iter().enumerate().map(name).map(|n| ir::text::escape(&n)).collect();
        let listen = entries.iter().map(|e| e.listen).collect();
        let client = |(i, e): (usize, &&Entry)| e.client.as_deref().map(|a| address(i, a, tls)).transpose();
        let clients = entries.iter().enumerate().map(client).collect::<Result<_, _>>()?;
        Ok(Net { stations, names, listen, clients, timeouts, dir: None, keys: None, tls })
    }
}

/// Host and port; on loopback where nothing is encrypted.
fn address(i: usize, text: &str, tls: bool) -> Result<String, String> {
    let shown = ir::text::escape(text);
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("party {i} has no port in `{shown}`"))?;
    let port: u16 = port.parse().map_err(|_| format!("party {i} has no port in `{shown}`"))?;
    if port == 0 {
        return Err(format!("party {i} has no port in `{shown}`"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]%".contains(c);
    if host.is_empty() || !host.chars().all(plain) {
        return Err(format!("party {i}: `{shown}` is no address"));
    }
    let ip = text.parse::<SocketAddr>().map(|a| a.ip());
    match (tls, ip) {
        (true, _) => Ok(text.to_owned()),
        (false, Ok(ip)) if ip.is_loopback() => Ok(text.to_owned()),
        (false, _) => Err(format!(
            "party {i} is at {shown}, which is not loopback: without certificates links are not encrypted, so only \
             127.0.0.1 and ::1 are allowed; `qnnvm keygen` and `qnnvm net add-peer` make them so"
        )),
    }
}

/// The text of a `net.toml` of plain links.
pub fn format(addresses: &[SocketAddr]) -> String {
    let entry = |(i, a): (usize, &SocketAddr)| format!("[[party]]\nindex = {i}\naddress = \"{a}\"\n");
    addresses.iter().enumerate().map(entry).collect()
}

/// The same of encrypted ones.
pub fn format_tls(addresses: &[SocketAddr], pins: &[Fingerprint]) -> String {
    let entry = |(i, (a, pin)): (usize, (&SocketAddr, &Fingerprint))| {
        format!("[[party]]\nindex = {i}\naddress = \"{a}\"\ncert_sha256 = \"{pin}\"\n")
    };
    addresses.iter().zip(pins).enumerate().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Vec<SocketAddr> {
        ["127.0.0.1:7800", "127.0.0.1:7801", "[::1]:7802"].map(|a| a.parse().expect("address")).to_vec()
    }

    fn parse(text: &str) -> Result<Net, String> {
        toml::from_str::<File>(text).map_err(|e| e.to_string())?.check(3)
    }

    fn pins() -> [Fingerprint; 3] {
        [1, 2, 3].map(|byte| Fingerprint([byte; 32]))
    }

    #[test]
    fn written_files_are_read() {
        let net = parse(&format(&three())).expect("good");
        let addresses: Vec<String> = net.stations.iter().map(|s| s.address.clone().expect("given")).collect();
        assert_eq!(addresses, three().iter().map(ToString::to_string).collect::<Vec<_>>());
        assert!(!net.tls && !net.is_dialled(2) && net.is_dialled(0));
        let net = parse(&format_tls(&three(), &pins())).expect("good");
        assert!(net.tls && net.stations[1].fingerprint == Some(pins()[1]));
        assert_eq!(
            Net::load(None, 3, None).map(|n| n.stations[2].address.clone()).ok(),
            Some(Some("127.0.0.1:7702".into()))
        );
    }

    #[test]
    fn parties_may_only_dial_or_only_listen() {
        let far = format_tls(&three(), &pins()).replace("127.0.0.1:7801", "b.example.org:7801");
        let net = parse(&far).expect("names are allowed");
        assert_eq!(net.bind(1).ok(), Some("0.0.0.0:7801".parse().expect("address")));
        let dials = far.replace("address = \"127.0.0.1:7800\"\n", "");
        let net = parse(&dials).expect("party 0 only dials");
        assert_eq!((dialler(&net.stations, 0, 1), net.is_dialled(0)), (Some(0), false));
        let both = dials.replace("address = \"[::1]:7802\"\n", "");
        assert!(parse(&both).expect_err("nobody can").contains("nor the other way"));
        let listens = far.replace("index = 2\n", "index = 2\ndial = false\n");
        let net = parse(&listens).expect("party 2 never dials");
        assert_eq!(dialler(&net.stations, 2, 0), Some(0));
    }

    #[test]
    fn cells_have_addresses_of_their_own() {
        let entry = |i: u8| {
            let (peer, client) = (format!("127.0.0.1:7{{cell}}0{i}"), format!("127.0.0.1:8{{cell}}0{i}"));
            format!("[[party]]\nindex = {i}\naddress = \"{peer}\"\nclient = \"{client}\"\n")
        };
        let read =
            |text: &str, cell| toml::from_str::<File>(text).expect("TOML").in_cell(cell).and_then(|file| file.check(3));
        let text: String = (0..3).map(entry).collect();
        let net = read(&text, Some(4)).expect("addresses");
        assert_eq!(net.stations[2].address.as_deref(), Some("127.0.0.1:7402"));
        assert_eq!(net.clients().ok().map(|c| c[1].clone()), Some("127.0.0.1:8401".to_owned()));
        assert!(read(&text, None).is_err_and(|e| e.contains("--cell")));
        assert!(read(&format(&three()), Some(1)).is_err_and(|e| e.contains("same for all cells")));
        assert!(read(&format(&three()), None).expect("addresses").clients().is_err());
    }

    #[test]
    fn times_are_read() {
        let text = format!("{}[timeouts]\nround = \"2m\"\nsilence = \"1500ms\"\n", format(&three()));
        let net = parse(&text).expect("good");
        assert_eq!(net.timeouts.round, Duration::from_secs(120));
        assert_eq!(net.timeouts.silence, Duration::from_millis(1500));
        for bad in ["", "5", "s", "-1s", "0s", "99999999999999999999s", "18446744073709551615h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn wrong_files_are_refused() {
        let good = format(&three());
        let secure = format_tls(&three(), &pins());
        let cases = [
            (good.replace("[::1]", "10.0.0.1"), "not loopback"),
            (good.replace("[::1]", "0.0.0.0"), "not loopback"),
            (good.replace("[::1]", "localhost"), "not loopback"),
            (good.replace("index = 2", "index = 1"), "twice"),
            (good.replace("index = 2", "index = 3"), "does not exist"),
            (good.replace("[::1]:7802", "127.0.0.1:7801"), "address of another"),
            (good.replace("7801", "0"), "no port"),
            (format!("{good}colour = 1\n"), "unknown field"),
            (format!("speed = 1\n{good}"), "unknown field"),
            (format(&three()[..2]), "party 2 has no address"),
            ("party".to_owned(), "expected"),
            (secure.replacen("cert_sha256", "name", 1), "has no `cert_sha256`"),
            (secure.replacen("0101", "01zz", 1), "hexadecimal"),
            (secure.replace("0202", "0101"), "same certificate"),
            (secure.replace("[::1]:7802", "a b:7802"), "no address"),
        ];
        for (text, message) in cases {
            let e = parse(&text).expect_err(&text);
            assert!(e.contains(message), "{text}\n{e}");
        }
    }
}
