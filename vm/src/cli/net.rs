//! Addresses of the parties, from a `net.toml` or the default ports.
use super::Failure;
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

/// Port of party 0 when no file says otherwise.
const FIRST_PORT: u16 = 7700;
/// Bytes of a configuration that are read, at most.
const MAX_FILE: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Net {
    party: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    index: u8,
    /// Where it meets the other parties. `{cell}` stands for the number of the cell.
    address: String,
    /// Where it serves clients.
    client: Option<String>,
}

/// Where the parties are.
#[derive(PartialEq, Eq, Debug)]
pub struct Addresses {
    /// One per party, all of them loopback.
    pub peers: Vec<SocketAddr>,
    /// For clients, where the file says so.
    clients: Vec<Option<SocketAddr>>,
}

impl Addresses {
    /// One per party.
    pub fn clients(&self) -> Result<Vec<SocketAddr>, Failure> {
        let missing = |i| Failure::new(Failure::CONFIG, format!("party {i} has no `client` address in the `net.toml`"));
        self.clients.iter().enumerate().map(|(i, a)| a.ok_or_else(|| missing(i))).collect()
    }
}

/// Addresses of the parties of a program, or of those of one of its cells.
pub fn addresses(file: Option<&Path>, parties: u8, cell: Option<u32>) -> Result<Addresses, Failure> {
    let Some(path) = file else {
        let peers: Vec<SocketAddr> =
            (0..u16::from(parties)).map(|i| (Ipv4Addr::LOCALHOST, FIRST_PORT + i).into()).collect();
        return match cell {
            Some(_) => Err(Failure::new(Failure::USAGE, "cells need `--net` with addresses that hold `{cell}`")),
            None => Ok(Addresses { clients: vec![None; peers.len()], peers }),
        };
    };
    let fail = |e: &dyn std::fmt::Display| Failure::new(Failure::CONFIG, format!("{}: {e}", path.display()));
    let bytes = super::load::read(path, MAX_FILE, Failure::CONFIG)?;
    let text = String::from_utf8(bytes).map_err(|e| fail(&e))?;
    parse(&text, parties, cell).map_err(|e| fail(&e))
}

/// An address of a file; where it is that of a cell, it says so.
fn address_of(text: &str, cell: Option<u32>) -> Result<SocketAddr, String> {
    let given = match (text.contains("{cell}"), cell) {
        (true, Some(cell)) => text.replace("{cell}", &cell.to_string()),
        (true, None) => return Err(format!("address {text} is that of a cell: say which with `--cell N`")),
        (false, Some(_)) => return Err(format!("address {text} is the same for all cells: put `{{cell}}` into it")),
        (false, None) => text.to_owned(),
    };
    given.parse().map_err(|_| format!("expected an address and a port, as in 127.0.0.1:7700, got `{given}`"))
}

fn parse(text: &str, parties: u8, cell: Option<u32>) -> Result<Addresses, String> {
    let net: Net = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
    let mut found = vec![None; usize::from(parties)];
    let mut clients = vec![None; usize::from(parties)];
    for Entry { index, address, client } in net.party {
        let address = address_of(&address, cell)?;
        if let (Some(client), Some(place)) = (client, clients.get_mut(usize::from(index))) {
            *place = Some(address_of(&client, cell)?);
        }
        let place = found
            .get_mut(usize::from(index))
            .ok_or_else(|| format!("party {index} does not exist, the program has {parties} parties"))?;
        if place.replace(address).is_some() {
            return Err(format!("party {index} appears twice"));
        }
        if !address.ip().is_loopback() {
            return Err(format!(
                "party {index} is at {address}, which is not loopback: links are not encrypted yet, \
                 so only 127.0.0.1 and ::1 are allowed"
            ));
        }
        if address.port() == 0 {
            return Err(format!("party {index} has no port"));
        }
    }
    let addresses: Vec<SocketAddr> = found
        .into_iter()
        .enumerate()
        .map(|(i, a)| a.ok_or_else(|| format!("party {i} has no address")))
        .collect::<Result<_, _>>()?;
    match (1..addresses.len()).find(|i| addresses[..*i].contains(&addresses[*i])) {
        Some(i) => Err(format!("party {i} has the address of another, {}", addresses[i])),
        None => Ok(Addresses { peers: addresses, clients }),
    }
}

/// The text of a `net.toml`.
pub fn format(addresses: &[SocketAddr]) -> String {
    let entry = |(i, a): (usize, &SocketAddr)| format!("[[party]]\nindex = {i}\naddress = \"{a}\"\n");
    addresses.iter().enumerate().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Vec<SocketAddr> {
        ["127.0.0.1:7800", "127.0.0.1:7801", "[::1]:7802"].map(|a| a.parse().expect("address")).to_vec()
    }

    #[test]
    fn written_files_are_read() {
        assert_eq!(parse(&format(&three()), 3, None).map(|a| a.peers), Ok(three()));
        assert_eq!(addresses(None, 3, None).map(|a| a.peers[2].port()).ok(), Some(7702));
    }

    #[test]
    fn cells_have_addresses_of_their_own() {
        let entry = |i: u8| {
            format!(
                "[[party]]\nindex = {i}\naddress = \"127.0.0.1:7{{cell}}0{i}\"\nclient = \"127.0.0.1:8{{cell}}0{i}\"\n"
            )
        };
        let text: String = (0..3).map(entry).collect();
        let cell = parse(&text, 3, Some(4)).expect("addresses");
        assert_eq!(cell.peers[2].port(), 7402);
        assert_eq!(cell.clients().ok().map(|c| c[1].port()), Some(8401));
        assert!(parse(&text, 3, None).is_err_and(|e| e.contains("--cell")));
        assert!(parse(&format(&three()), 3, Some(1)).is_err_and(|e| e.contains("same for all cells")));
        assert!(parse(&format(&three()), 3, None).expect("addresses").clients().is_err());
    }

    #[test]
    fn wrong_files_are_refused() {
        let good = format(&three());
        let cases = [
            (good.replace("[::1]", "10.0.0.1"), "not loopback"),
            (good.replace("[::1]", "0.0.0.0"), "not loopback"),
            (good.replace("index = 2", "index = 1"), "twice"),
            (good.replace("index = 2", "index = 3"), "does not exist"),
            (good.replace("[::1]:7802", "127.0.0.1:7801"), "address of another"),
            (good.replace("7801", "0"), "no port"),
            (format!("{good}colour = 1\n"), "unknown field"),
            (format!("speed = 1\n{good}"), "unknown field"),
            (format(&three()[..2]), "party 2 has no address"),
            ("party".to_owned(), "expected"),
        ];
        for (text, message) in cases {
            let e = parse(&text, 3, None).expect_err(&text);
            assert!(e.contains(message), "{text}\n{e}");
        }
    }
}
