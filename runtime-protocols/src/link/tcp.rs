//! Links over TCP, one connection for each pair of parties, inside TLS or plain.
//!
//! One thread does all exchanges; see `exchange.rs` for its loop and `watch.rs` for what runs beside it. Without an
//! [`Identity`] nothing is encrypted: whoever calls it then sees to it that the addresses are loopback.

use super::connect::meet;
use super::exchange::{Core, Waiting};
use super::handshake::NONCE;
use super::meter::Meter;
use super::watch::{Control, Shared, beats};
use super::{
    Fingerprint, Hello, Identity, Link, LinkError, LinkStats, Party, Place, Timeouts, Work, check_lists, keys, party,
};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
    sync::{Arc, MutexGuard, mpsc},
    time::Instant,
};

/// Settings of a TCP link.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How long to wait.
    pub timeouts: Timeouts,
    /// Size of the socket buffers, for tests; the system's own choice is better.
    pub socket_buffers: Option<usize>,
}

/// Where a party is and how it is known.
#[derive(Clone, Debug, Default)]
pub struct Station {
    /// Host or address, and port, at which others reach it; none when it only dials.
    pub address: Option<String>,
    /// It never dials.
    pub listens_only: bool,
    /// Its certificate, where links are encrypted.
    pub fingerprint: Option<Fingerprint>,
}

/// Which of two parties dials the other: the one with the higher index, unless it cannot. `None` when neither can.
pub fn dialler(stations: &[Station], i: usize, j: usize) -> Option<usize> {
    let can = |from: usize, to: usize| !stations[from].listens_only && stations[to].address.is_some();
    let (low, high) = (i.min(j), i.max(j));
    if can(high, low) {
        Some(high)
    } else if can(low, high) {
        Some(low)
    } else {
        None
    }
}

/// Everything a party needs to connect.
pub struct Setup<'a> {
    /// This party.
    pub me: Party,
    /// All parties, by index.
    pub stations: &'a [Station],
    /// Where others reach this party; none when nobody dials it.
    pub listener: Option<TcpListener>,
    /// Settings.
    pub options: &'a Options,
    /// What all must agree on.
    pub hello: &'a Hello,
    /// Certificate and key of this party: then all links are encrypted, and all other stations need fingerprints.
    pub identity: Option<&'a Identity>,
}

/// Connects party `me` to all others: it listens on its own entry of `addresses` for parties after it and dials those
/// before it. Returns when all parties are connected, agree on `hello` and have derived one session.
///
/// # Panics
/// When `me` has no address, there are more than 255, or `hello` is larger than [`HELLO_LIMIT`](super::HELLO_LIMIT).
pub fn connect(me: Party, addresses: &[SocketAddr], timeouts: Timeouts, hello: &Hello) -> Result<TcpLink, LinkError> {
    let options = Options { timeouts, socket_buffers: None };
    let listener = match addresses.get(me.index()) {
        Some(&address) if me.index() + 1 < addresses.len() => Some(listen(address, &options)?),
        _ => None,
    };
    plain(listener, me, addresses, &options, hello)
}

/// Listens on `address`, for [`connect_on`] and [`join`].
pub fn listen(address: SocketAddr, options: &Options) -> Result<TcpListener, LinkError> {
    let bind = || -> io::Result<TcpListener> {
        let listener = TcpListener::bind(address)?;
        // What is accepted inherits the sizes.
        socket_buffers(&listener, options)?;
        Ok(listener)
    };
    bind().map_err(|e| LinkError::Listen { address: address.to_string(), reason: e.to_string() })
}

/// Sets the buffer sizes that `options` asks for.
pub(super) fn socket_buffers(socket: impl AsFd, options: &Options) -> io::Result<()> {
    if let Some(bytes) = options.socket_buffers {
        set_socket_send_buffer_size(&socket, bytes)?;
        set_socket_recv_buffer_size(&socket, bytes)?;
    }
    Ok(())
}

/// Like [`connect`], on a socket that listens already.
pub fn connect_on(
    listener: TcpListener,
    me: Party,
    addresses: &[SocketAddr],
    options: &Options,
    hello: &Hello,
) -> Result<TcpLink, LinkError> {
    plain(Some(listener), me, addresses, options, hello)
}

fn plain(
    listener: Option<TcpListener>,
    me: Party,
    addresses: &[SocketAddr],
    options: &Options,
    hello: &Hello,
) -> Result<TcpLink, LinkError> {
    let station = |address: &SocketAddr| Station { address: Some(address.to_string()), ..Station::default() };
    let stations: Vec<Station> = addresses.iter().map(station).collect();
    join(Setup { me, stations: &stations, listener, options, hello, identity: None })
}

/// Connects a party to all others. Returns when all parties are connected, agree on the hello and have derived one
/// session, which belongs to the very channels between them.
///
/// # Panics
/// When this party has no station, there are more than 255, with TLS one has no fingerprint, or the hello is larger than
/// [`HELLO_LIMIT`](super::HELLO_LIMIT).
pub fn join(setup: Setup<'_>) -> Result<TcpLink, LinkError> {
    let (me, n, timeouts) = (setup.me.index(), setup.stations.len(), setup.options.timeouts);
    let pinned = |(p, station): (usize, &Station)| p == me || station.fingerprint.is_some();
    assert!(setup.identity.is_none() || setup.stations.iter().enumerate().all(pinned), "a peer without a fingerprint");
    let start = Instant::now();
    let mut nonce = [0; NONCE];
    keys::random(&mut nonce)?;
    let met = meet(setup, &nonce)?;
    let nonces: Vec<[u8; NONCE]> = met.iter().map(|met| met.as_ref().map_or(nonce, |met| met.nonce)).collect();
    let core = Core {
        me,
        timeouts,
        peers: met.into_iter().map(|met| met.map(|met| met.peer)).collect(),
        meter: Meter::new(n),
        level: 0,
        read: 0,
        failed: None,
        closed: false,
        ends: start + timeouts.session,
    };
    let shared = Arc::new(Shared::new(core));
    // From here on peers may wait for this party, so it beats.
    let alive = beats(&shared, timeouts.every())?;
    let session = shared.core().agree(&nonces, &shared.watch)?;
    let mut link = TcpLink { me, parties: n, session, shared, _alive: alive };
    link.begin();
    Ok(link)
}

/// The link of one party over TCP.
pub struct TcpLink {
    me: usize,
    parties: usize,
    session: [u8; 16],
    shared: Arc<Shared>,
    /// The thread that sends beats ends with it.
    _alive: mpsc::Sender<()>,
}

impl TcpLink {
    /// A handle with which other threads can interrupt this link, or ask what it waits for.
    pub fn control(&self) -> Control {
        Control::new(&self.shared)
    }

    /// The connections, unless they have failed.
    fn alive(&self) -> Result<MutexGuard<'_, Core>, LinkError> {
        let core = self.shared.core();
        assert!(!core.closed, "an exchange on a closed link");
        match &core.failed {
            Some(e) => Err(e.clone()),
            None => Ok(core),
        }
    }

    /// The lock is free while this party computes, so that beats are sent and others can interrupt.
    fn in_parts(
        &self,
        at: &Place<'_>,
        out: &mut [Vec<u8>],
        [lengths, expect]: [&[usize]; 2],
        incoming: &mut [Vec<u8>],
        work: &mut dyn Work,
    ) -> Result<(), LinkError> {
        let watch = &self.shared.watch;
        let mut core = self.alive()?;
        let limit = core.timeouts.exchange(lengths.iter().chain(expect).sum());
        let mut clock = core.open(at, [lengths, expect], incoming, limit, watch)?;
        core.offer(at, out, incoming)?;
        drop(core);
        while clock.aside(|| work.produce(out)) {
            self.alive()?.offer(at, out, incoming)?;
        }
        debug_assert!(out.iter().map(Vec::len).eq(lengths.iter().copied()), "messages have the length of the program");
        self.alive()?.offer(at, out, incoming)?;
        let (mut got, mut over) = (Waiting::new(), false);
        loop {
            self.alive()?.got(incoming, &mut got);
            clock.aside(|| work.consume(incoming, &got));
            if over {
                watch.leave();
                return Ok(());
            }
            over = self.alive()?.advance(at, out, incoming, &mut clock, watch)?;
        }
    }
}

impl Link for TcpLink {
    fn me(&self) -> Party {
        party(self.me)
    }

    fn parties(&self) -> usize {
        self.parties
    }

    fn session(&self) -> [u8; 16] {
        self.session
    }

    fn binding(&self, peer: Party) -> Option<[u8; 32]> {
        self.shared.core().peers.get(peer.index())?.as_ref()?.stream.binding()
    }

    fn exchange(
        &mut self,
        at: &Place<'_>,
        out: &[Vec<u8>],
        expect: &[usize],
        incoming: &mut [Vec<u8>],
    ) -> Result<(), LinkError> {
        check_lists(self.me(), self.parties, out, expect, incoming);
        let mut core = self.alive()?;
        let bytes = out.iter().map(Vec::len).chain(expect.iter().copied()).sum();
        let limit = core.timeouts.exchange(bytes);
        let result = core.run(at, (out, expect), incoming, limit, &self.shared.watch);
        core.settle(result)
    }

    fn exchange_parts(
        &mut self,
        at: &Place<'_>,
        out: &mut [Vec<u8>],
        lists: [&[usize]; 2],
        incoming: &mut [Vec<u8>],
        work: &mut dyn Work,
    ) -> Result<(), LinkError> {
        check_lists(self.me(), self.parties, out, lists[1], incoming);
        let result = self.in_parts(at, out, lists, incoming, work);
        self.shared.core().settle(result)
    }

    fn begin(&mut self) {
        self.shared.core().meter.begin();
    }

    fn stats(&self) -> LinkStats {
        self.shared.core().meter.stats()
    }

    fn abort(&mut self, code: u8, reason: &str) {
        self.shared.core().abort(code, reason);
    }

    fn close(&mut self) -> Result<(), LinkError> {
        self.shared.core().close(&self.shared.watch)
    }
}
