//! Messages that are made and used in parts: the same bytes as whole ones, moved while a party computes, and no party is taken for
//! dead meanwhile.

use runtime_protocols::link::{
    Fingerprint, Hello, Identity, Link, LinkError, LinkStats, Party, Place, Timeouts, Work, exchange_keys, memory,
    tcp::{self, Options, Setup, Station, TcpLink},
};
use std::{
    sync::{Barrier, mpsc},
    thread,
    time::{Duration, Instant},
};

const PARTIES: usize = 3;

fn identity() -> Identity {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["party".to_owned()]).unwrap().self_signed(&pair).unwrap();
    Identity::from_pem(certificate.pem().as_bytes(), pair.serialize_pem().as_bytes()).unwrap()
}

/// Three parties over TCP, each in a thread; all take leave in the end.
fn over_tcp<R: Send>(options: Options, tls: bool, act: impl Fn(usize, &mut TcpLink) -> R + Sync) -> Vec<R> {
    let any = "127.0.0.1:0".parse().unwrap();
    let listeners: Vec<_> = (0..PARTIES).map(|_| tcp::listen(any, &options).unwrap()).collect();
    let own: Vec<Identity> = (0..PARTIES).map(|_| identity()).collect();
    let pin = |identity: &Identity| -> Fingerprint { identity.certificate.fingerprint };
    let station = |(listener, identity): (&std::net::TcpListener, &Identity)| Station {
        address: Some(listener.local_addr().unwrap().to_string()),
        fingerprint: tls.then(|| pin(identity)),
        ..Station::default()
    };
    let stations: Vec<Station> = listeners.iter().zip(&own).map(station).collect();
    thread::scope(|scope| {
        let (stations, act, options) = (&stations, &act, &options);
        let parties = listeners.into_iter().zip(&own).enumerate();
        let join: Vec<_> = parties
            .map(|(me, (listener, identity))| {
                scope.spawn(move || {
                    let (hello, identity) = (&Hello::default(), tls.then_some(identity));
                    let setup =
                        Setup { me: Party(me as u8), stations, listener: Some(listener), options, hello, identity };
                    let mut link = tcp::join(setup).unwrap();
                    let result = act(me, &mut link);
                    // A link that has failed says so again.
                    let _ = link.close();
                    result
                })
            })
            .collect();
        join.into_iter().map(|handle| handle.join().unwrap()).collect()
    })
}

/// Byte `i` of the message in a round from one party to another.
fn byte(round: usize, from: usize, to: usize, i: usize) -> u8 {
    (i * 31 + i / 251 + round * 7 + from * 3 + to) as u8
}

/// Length of that message: nothing, a few bytes, or more than all buffers.
fn length(round: usize, from: usize, to: usize) -> usize {
    if from == to { 0 } else { [0, 1, 63, 64, 65, 5000, 300_000][(round * 5 + from * 3 + to) % 7] }
}

/// Makes messages in parts of varying size, and looks at what comes.
struct Varied {
    me: usize,
    round: usize,
    step: usize,
    seen: Vec<usize>,
}

impl Work for Varied {
    fn produce(&mut self, out: &mut [Vec<u8>]) -> bool {
        let mut more = false;
        for (to, out) in out.iter_mut().enumerate() {
            let all = length(self.round, self.me, to);
            let part = (self.step * self.step * 977 + to * 13 + 1) % 70_000;
            for i in out.len()..all.min(out.len() + part) {
                out.push(byte(self.round, self.me, to, i));
            }
            more |= out.len() < all;
        }
        self.step += 1;
        more
    }

    fn consume(&mut self, incoming: &[Vec<u8>], got: &[usize]) {
        for (from, (bytes, got)) in incoming.iter().zip(got).enumerate() {
            assert!(self.seen[from] <= *got, "what has come does not go away");
            let right = (self.seen[from]..*got).all(|i| bytes[i] == byte(self.round, from, self.me, i));
            assert!(right, "round {}, from {from} to {}", self.round, self.me);
            self.seen[from] = *got;
        }
    }
}

/// Fourteen rounds; what the link counted.
fn varied(me: usize, link: &mut dyn Link) -> LinkStats {
    link.begin();
    let (mut out, mut incoming) = (vec![Vec::new(); PARTIES], vec![Vec::new(); PARTIES]);
    for round in 0..14 {
        let lengths: Vec<usize> = (0..PARTIES).map(|p| length(round, me, p)).collect();
        let expect: Vec<usize> = (0..PARTIES).map(|p| length(round, p, me)).collect();
        out.iter_mut().for_each(Vec::clear);
        let mut work = Varied { me, round, step: round, seen: vec![0; PARTIES] };
        let place = Place { round: round as u32, what: "test" };
        link.exchange_parts(&place, &mut out, [&lengths, &expect], &mut incoming, &mut work).unwrap();
        assert_eq!(work.seen, expect, "all was shown");
    }
    LinkStats { wait: Duration::ZERO, ..link.stats() }
}

#[test]
fn parts_are_the_same_messages() {
    let links = memory::network(PARTIES);
    let whole: Vec<LinkStats> = thread::scope(|scope| {
        let run = |(me, mut link): (usize, memory::MemoryLink)| {
            scope.spawn(move || {
                let stats = varied(me, &mut link);
                link.close().unwrap();
                stats
            })
        };
        let join: Vec<_> = links.into_iter().enumerate().map(run).collect();
        join.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    for (tls, socket_buffers) in [(false, None), (false, Some(4 << 10)), (true, None), (true, Some(4 << 10))] {
        let options = Options { socket_buffers, ..Options::default() };
        assert_eq!(over_tcp(options, tls, |me, link| varied(me, link)), whole, "TLS {tls}, buffers {socket_buffers:?}");
    }
}

/// Two parts of a message; what lies between them is up to the test.
struct Two<F> {
    to: usize,
    parts: usize,
    between: F,
}

const HALF: usize = 1000;

impl<F: FnMut()> Work for Two<F> {
    fn produce(&mut self, out: &mut [Vec<u8>]) -> bool {
        if self.parts == 1 {
            (self.between)();
        }
        if self.parts < 2 {
            out[self.to].extend([7; HALF]);
        }
        self.parts += 1;
        self.parts < 2
    }

    fn consume(&mut self, _: &[Vec<u8>], _: &[usize]) {}
}

/// Sees how much of a message has come.
struct Sees<F>(F);

impl<F: FnMut(usize)> Work for Sees<F> {
    fn produce(&mut self, _: &mut [Vec<u8>]) -> bool {
        false
    }

    fn consume(&mut self, _: &[Vec<u8>], got: &[usize]) {
        (self.0)(got[0]);
    }
}

/// Party 0 sends both parts to party 1.
fn two_parts(me: usize, link: &mut TcpLink, between: impl FnMut(), sees: impl FnMut(usize)) -> Result<(), LinkError> {
    let (mut out, mut incoming) = (vec![Vec::new(); PARTIES], vec![Vec::new(); PARTIES]);
    let place = Place { round: 1, what: "test" };
    let (mut some, none) = ([0; PARTIES], [0; PARTIES]);
    match me {
        0 => {
            some[1] = 2 * HALF;
            let mut work = Two { to: 1, parts: 0, between };
            link.exchange_parts(&place, &mut out, [&some, &none], &mut incoming, &mut work)
        }
        1 => {
            some[0] = 2 * HALF;
            link.exchange_parts(&place, &mut out, [&none, &some], &mut incoming, &mut Sees(sees))
        }
        _ => Ok(()),
    }
}

#[test]
fn a_part_is_used_before_the_next_one_is_made() {
    for tls in [false, true] {
        let (saw, seen) = mpsc::channel();
        let (saw, seen) = (std::sync::Mutex::new(saw), std::sync::Mutex::new(seen));
        let results = over_tcp(Options::default(), tls, |me, link| {
            // The second part is not made before the other party has used something of the first.
            let between = || {
                let first: usize =
                    seen.lock().unwrap().recv_timeout(Duration::from_secs(20)).expect("a part comes alone");
                assert!(0 < first && first < 2 * HALF);
            };
            let sees = |got| {
                if got > 0 {
                    // Nobody listens to the rest.
                    let _ = saw.lock().unwrap().send(got);
                }
            };
            two_parts(me, link, between, sees)
        });
        assert_eq!(results, [Ok(()), Ok(()), Ok(())]);
    }
}

#[test]
fn a_party_that_computes_amid_a_message_is_alive() {
    const SILENCE: Duration = Duration::from_millis(300);
    let options = Options { timeouts: Timeouts { silence: SILENCE, ..Timeouts::default() }, socket_buffers: None };
    for tls in [false, true] {
        let results = over_tcp(options, tls, |me, link| two_parts(me, link, || thread::sleep(5 * SILENCE), |_| ()));
        assert_eq!(results, [Ok(()), Ok(()), Ok(())], "TLS {tls}");
    }
}

#[test]
fn who_waits_for_the_rest_of_a_message_gives_up_in_time() {
    let timeouts = Timeouts { round: Duration::from_millis(400), ..Timeouts::default() };
    let options = Options { timeouts, socket_buffers: None };
    let results =
        over_tcp(options, false, |me, link| two_parts(me, link, || thread::sleep(Duration::from_millis(900)), |_| ()));
    assert!(matches!(&results[1], Err(LinkError::Deadline { .. })), "{results:?}");
}

#[test]
fn time_that_a_party_computes_is_not_that_of_the_exchange() {
    // Each computes for longer than a round may last; then party 0 waits, for less than that.
    let timeouts = Timeouts { round: Duration::from_millis(600), ..Timeouts::default() };
    let options = Options { timeouts, socket_buffers: None };
    let results = over_tcp(options, false, |me, link| {
        let (mut out, mut incoming, mut lengths) = (vec![Vec::new(); PARTIES], vec![Vec::new(); PARTIES], [0; PARTIES]);
        let Some(to) = [1, 0].get(me).copied() else { return Ok(()) };
        lengths[to] = 2 * HALF;
        let between = || thread::sleep(Duration::from_millis([900, 1100][me]));
        let mut work = Two { to, parts: 0, between };
        let place = Place { round: 1, what: "test" };
        link.exchange_parts(&place, &mut out, [&lengths, &lengths], &mut incoming, &mut work)
    });
    assert_eq!(results, [Ok(()), Ok(()), Ok(())]);
}

#[test]
fn a_party_can_be_interrupted_while_it_computes_amid_a_message() {
    let (started, met) = (Instant::now(), Barrier::new(PARTIES));
    let results = over_tcp(Options::default(), true, |me, link| {
        // Who is interrupted leaves nobody behind who has not met all.
        exchange_keys(link).unwrap();
        met.wait();
        let control = link.control();
        two_parts(me, link, || control.interrupt(130, "the user has enough"), |_| ())
    });
    assert!(matches!(&results[0], Err(LinkError::GaveUp { code: 130, .. })), "{results:?}");
    assert!(matches!(&results[1], Err(LinkError::Lost { .. })), "{results:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
}
