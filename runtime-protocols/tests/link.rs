//! Links: what is counted, what is refused, and that nothing blocks or hangs.

use runtime_protocols::link::{
    Fault, Hello, Link, LinkError, Party, Place, Timeouts, exchange_keys,
    memory::{self, Fate, Network},
    tcp::{self, Options, TcpLink},
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

#[path = "../../vm/tests/common/ports.rs"]
mod ports;

const FRAME_HEADER: u64 = 17;

fn at(round: u32) -> Place<'static> {
    Place { round, what: "test" }
}

fn hello() -> Hello {
    Hello::default().with("program", [7; 32]).with("protocol", "rep3").with("reveal", "output")
}

fn quick() -> Timeouts {
    Timeouts {
        connect: Duration::from_secs(10),
        handshake: Duration::from_secs(2),
        round: Duration::from_secs(20),
        ..Timeouts::default()
    }
}

fn options() -> Options {
    Options { timeouts: quick(), socket_buffers: None }
}

fn tiny_buffers() -> Options {
    Options { socket_buffers: Some(4 << 10), ..options() }
}

fn listeners(n: usize) -> (Vec<TcpListener>, Vec<SocketAddr>) {
    listeners_with(n, &options())
}

fn listeners_with(n: usize, options: &Options) -> (Vec<TcpListener>, Vec<SocketAddr>) {
    let any = "127.0.0.1:0".parse().unwrap();
    let listeners: Vec<_> = (0..n).map(|_| tcp::listen(any, options).unwrap()).collect();
    let addresses = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
    (listeners, addresses)
}

/// Connects one party per hello.
fn try_connect(options: Options, hellos: Vec<Hello>) -> Vec<Result<TcpLink, LinkError>> {
    let (listeners, addresses) = listeners_with(hellos.len(), &options);
    let addresses = &addresses;
    thread::scope(|scope| {
        let parties = listeners.into_iter().zip(&hellos).zip(0..);
        let join: Vec<_> = parties
            .map(|((listener, hello), me)| {
                scope.spawn(move || tcp::connect_on(listener, Party(me), addresses, &options, hello))
            })
            .collect();
        join.into_iter().map(|handle| handle.join().unwrap()).collect()
    })
}

fn tcp_links(n: usize, options: Options) -> Vec<TcpLink> {
    try_connect(options, vec![hello(); n]).into_iter().map(Result::unwrap).collect()
}

/// Runs each party in its own thread.
fn parties<L: Link, R: Send>(links: Vec<L>, run: impl Fn(usize, L) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let run = &run;
        let join: Vec<_> = links.into_iter().enumerate().map(|(me, link)| scope.spawn(move || run(me, link))).collect();
        join.into_iter().map(|handle| handle.join().unwrap()).collect()
    })
}

/// Runs the same parties in memory and over TCP; all take leave in the end.
fn both<R: Send>(n: usize, run: impl Fn(usize, &mut dyn Link) -> R + Sync) -> [Vec<R>; 2] {
    fn all<L: Link, R: Send>(links: Vec<L>, run: impl Fn(usize, &mut dyn Link) -> R + Sync) -> Vec<R> {
        parties(links, |me, mut link| {
            let result = run(me, &mut link);
            link.close().unwrap();
            result
        })
    }
    [all(memory::network(n), &run), all(tcp_links(n, options()), &run)]
}

/// One exchange, given by pairs (peer, bytes to send) and (peer, length to expect).
fn exchange(
    link: &mut dyn Link,
    round: u32,
    send: &[(usize, Vec<u8>)],
    take: &[(usize, usize)],
) -> Result<Vec<Vec<u8>>, LinkError> {
    let n = link.parties();
    let (mut out, mut expect, mut incoming) = (vec![Vec::new(); n], vec![0; n], vec![Vec::new(); n]);
    send.iter().for_each(|(p, bytes)| out[*p] = bytes.clone());
    take.iter().for_each(|(p, length)| expect[*p] = *length);
    link.exchange(&at(round), &out, &expect, &mut incoming)?;
    Ok(incoming)
}

fn all_to_all(link: &mut dyn Link, round: u32, length: usize) -> Result<Vec<Vec<u8>>, LinkError> {
    let me = link.me().index();
    let peers: Vec<usize> = (0..link.parties()).filter(|&p| p != me).collect();
    let send: Vec<_> = peers.iter().map(|&p| (p, vec![me as u8; length])).collect();
    let take: Vec<_> = peers.iter().map(|&p| (p, length)).collect();
    exchange(link, round, &send, &take)
}

#[test]
fn a_chain_of_messages_is_counted_in_levels() {
    for stats in both(3, |me, link| {
        link.begin();
        match me {
            0 => {
                exchange(link, 0, &[(1, vec![1; 5])], &[]).unwrap();
                assert_eq!(link.stats().level, 1);
                assert_eq!(exchange(link, 2, &[], &[(2, 9)]).unwrap()[2], [3; 9]);
            }
            1 => {
                assert_eq!(exchange(link, 0, &[], &[(0, 5)]).unwrap()[0], [1; 5]);
                exchange(link, 1, &[(2, vec![2; 7])], &[]).unwrap();
            }
            _ => {
                assert_eq!(exchange(link, 1, &[], &[(1, 7)]).unwrap()[1], [2; 7]);
                exchange(link, 2, &[(0, vec![3; 9])], &[]).unwrap();
            }
        }
        let stats = link.stats();
        link.begin();
        assert_eq!((link.stats().level, link.stats().messages), (0, 0));
        stats
    }) {
        assert_eq!(stats.iter().map(|s| s.level).collect::<Vec<_>>(), [3, 2, 3]);
        assert_eq!(stats[0].payload_sent, [0, 5, 0]);
        assert_eq!(stats[2].wire_sent, [9 + FRAME_HEADER, 0, 0]);
        assert!(stats.iter().all(|s| s.messages == 1));
    }
}

#[test]
fn parallel_messages_are_one_round() {
    for stats in both(3, |me, link| {
        for _inference in 0..2 {
            link.begin();
            for round in 0..10 {
                let got = all_to_all(link, round, 100).unwrap();
                assert!((0..3).all(|p| p == me || got[p] == [p as u8; 100]));
            }
        }
        link.stats()
    }) {
        for (me, stats) in stats.iter().enumerate() {
            assert_eq!((stats.level, stats.messages), (10, 20));
            assert!((0..3).all(|p| stats.payload_sent[p] == if p == me { 0 } else { 1000 }));
            assert!((0..3).all(|p| p == me || stats.wire_sent[p] == 1000 + 10 * FRAME_HEADER));
        }
    }
}

#[test]
fn lengths_may_change_and_the_caller_keeps_its_buffers() {
    both(2, |me, link| {
        let peer = 1 - me;
        let (mut out, mut incoming) = (vec![Vec::new(); 2], vec![Vec::new(); 2]);
        let mut expect = [0; 2];
        out[peer] = vec![me as u8; 1000];
        let kept = out[peer].as_ptr();
        for (round, length) in [(0, 1000), (1, 3), (2, 500)] {
            out[peer].resize(length, me as u8);
            expect[peer] = length;
            link.exchange(&at(round), &out, &expect, &mut incoming).unwrap();
            assert_eq!(incoming[peer], vec![peer as u8; length]);
        }
        assert_eq!(out[peer].as_ptr(), kept);
        // Nothing to send, nothing to expect.
        link.exchange(&at(3), &[vec![], vec![]], &[0; 2], &mut incoming).unwrap();
        assert!(incoming[peer].is_empty());
    });
}

#[test]
fn one_party_alone_needs_no_peer() {
    let mut link = memory::network(1).pop().unwrap();
    assert!(exchange(&mut link, 0, &[], &[]).is_ok());
    let address = "127.0.0.1:1".parse().unwrap();
    let mut link = tcp::connect(Party(0), &[address], quick(), &hello()).unwrap();
    assert!(exchange(&mut link, 0, &[], &[]).is_ok());
}

fn large_messages(options: Options, length: usize) {
    parties(tcp_links(3, options), |me, mut link| {
        let fill = |from: usize, to: usize| -> Vec<u8> {
            (0..length as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ (from * 3 + to) as u8).collect()
        };
        let peers: Vec<usize> = (0..3).filter(|&p| p != me).collect();
        for round in 0..2 {
            let send: Vec<_> = peers.iter().map(|&p| (p, fill(me, p))).collect();
            let take: Vec<_> = peers.iter().map(|&p| (p, length)).collect();
            let got = exchange(&mut link, round, &send, &take).unwrap();
            assert!(peers.iter().all(|&p| got[p] == fill(p, me)));
        }
        link.close().unwrap();
    });
}

#[test]
fn large_messages_in_all_directions_do_not_block_tiny_buffers() {
    large_messages(tiny_buffers(), 20_000_000);
}

#[test]
fn large_messages_in_all_directions_do_not_block() {
    large_messages(options(), 50_000_000);
}

#[test]
fn a_party_that_vanishes_is_lost_to_all() {
    fn check<L: Link>(links: Vec<L>) {
        let ends = parties(links, |me, mut link| {
            all_to_all(&mut link, 0, 10).unwrap();
            if me == 2 {
                thread::sleep(Duration::from_millis(50));
                return None;
            }
            let start = Instant::now();
            // Party 0 waits for party 1, who waits for the one that is gone.
            let e = exchange(&mut link, 1, &[], &[(me + 1, 10)]).unwrap_err();
            assert!(start.elapsed() < Duration::from_secs(1));
            assert_eq!(exchange(&mut link, 2, &[], &[]), Err(e.clone()), "errors are final");
            Some(e)
        });
        // Both learn who it was, from the connection or from each other.
        for e in ends.iter().flatten() {
            assert_eq!(e.exit_code(), 11, "{e}");
            let lost = matches!(e, LinkError::Lost { peer: Party(2), round: 1, .. });
            assert!(lost || e.to_string().contains("lost party 2"), "{e}");
        }
    }
    check(memory::network(3));
    check(tcp_links(3, options()));
}

#[test]
fn the_end_of_any_party_is_seen_while_waiting_for_another() {
    fn check<L: Link>(links: Vec<L>) {
        let (done, wait) = mpsc::channel::<()>();
        let (done, wait) = (Mutex::new(Some(done)), Mutex::new(wait));
        parties(links, |me, mut link| match me {
            0 => {
                let e = exchange(&mut link, 1, &[], &[(1, 10)]).unwrap_err();
                assert!(matches!(e, LinkError::Lost { peer: Party(2), .. }), "{e}");
                drop(done.lock().unwrap().take());
            }
            // Computes until party 0 has noticed.
            1 => {
                let ended = wait.lock().unwrap().recv_timeout(Duration::from_secs(2));
                assert_eq!(ended, Err(mpsc::RecvTimeoutError::Disconnected));
            }
            _ => thread::sleep(Duration::from_millis(50)),
        });
    }
    check(memory::network(3));
    check(tcp_links(3, options()));
}

#[test]
fn a_party_that_vanishes_amid_a_large_message_is_lost() {
    parties(tcp_links(2, tiny_buffers()), |me, mut link| {
        if me == 1 {
            thread::sleep(Duration::from_millis(50));
            return;
        }
        let e = exchange(&mut link, 4, &[(1, vec![0; 1 << 22])], &[(1, 1 << 22)]).unwrap_err();
        assert!(matches!(e, LinkError::Lost { peer: Party(1), round: 4, .. }), "{e}");
    });
}

#[test]
fn half_a_message_is_no_message() {
    let mut raw = Raw::connect();
    raw.stream.write_all(&frame(100, 1, 1, 1, &[5; 40])).unwrap();
    drop(raw.stream);
    let e = raw.outcome.join().unwrap().unwrap_err();
    assert!(matches!(e, LinkError::Lost { got: 40, expected: 100, .. }), "{e}");
    assert!(e.to_string().contains("after 40 of 100 bytes"), "{e}");
}

#[test]
fn waiting_ends_at_the_deadline() {
    fn check<L: Link>(links: Vec<L>) {
        parties(links, |me, mut link| {
            if me == 1 {
                return thread::sleep(Duration::from_millis(800));
            }
            let start = Instant::now();
            let e = exchange(&mut link, 3, &[], &[(1, 8)]).unwrap_err();
            assert!(matches!(e, LinkError::Deadline { peer: Party(1), round: 3, expected: 8, .. }), "{e}");
            assert_eq!(e.exit_code(), 12);
            assert!(start.elapsed() < Duration::from_millis(700));
            assert!(link.stats().wait >= Duration::from_millis(150));
        });
    }
    let timeouts = Timeouts { round: Duration::from_millis(200), ..quick() };
    check(Network::new(2).timeouts(timeouts).links());
    check(tcp_links(2, Options { timeouts, socket_buffers: None }));
    // A peer that takes nothing.
    parties(tcp_links(2, Options { timeouts, ..tiny_buffers() }), |me, mut link| {
        if me == 1 {
            return thread::sleep(Duration::from_millis(1500));
        }
        let e = exchange(&mut link, 3, &[(1, vec![0; 60_000])], &[]).unwrap_err();
        assert!(matches!(e, LinkError::Deadline { peer: Party(1), expected: 0, .. }), "{e}");
    });
}

#[test]
fn giving_up_reaches_the_peers_with_its_reason() {
    fn check<L: Link>(links: Vec<L>) {
        let ends = parties(links, |me, mut link| {
            if me == 0 {
                link.abort(20, "check 7 of `conv_2`\n failed");
                let e = exchange(&mut link, 0, &[], &[(1, 1)]).unwrap_err();
                thread::sleep(Duration::from_millis(100));
                return e;
            }
            exchange(&mut link, 5, &[], &[(3 - me, 1)]).unwrap_err()
        });
        for e in &ends {
            assert_eq!(e.exit_code(), 20, "{e}");
        }
        for e in &ends[1..] {
            assert!(e.to_string().contains("check 7 of `conv_2` failed"), "{e}");
        }
    }
    check(memory::network(3));
    check(tcp_links(3, options()));
}

#[test]
fn a_party_that_has_ended_in_order_disturbs_nobody() {
    fn check<L: Link>(links: Vec<L>) {
        parties(links, |me, mut link| {
            match me {
                // Ends at once, ahead of everyone.
                0 => {
                    exchange(&mut link, 0, &[(1, vec![1; 5]), (2, vec![1; 5])], &[]).unwrap();
                    exchange(&mut link, 1, &[(2, vec![9; 300_000])], &[]).unwrap();
                }
                1 => {
                    assert_eq!(exchange(&mut link, 0, &[], &[(0, 5)]).unwrap()[0], [1; 5]);
                    assert_eq!(exchange(&mut link, 1, &[], &[(2, 2)]).unwrap()[2], [4; 2]);
                    exchange(&mut link, 2, &[(2, vec![6; 3])], &[]).unwrap();
                }
                _ => {
                    thread::sleep(Duration::from_millis(100));
                    exchange(&mut link, 0, &[(1, vec![4; 2])], &[]).unwrap();
                    assert_eq!(exchange(&mut link, 2, &[], &[(1, 3)]).unwrap()[1], [6; 3]);
                    assert_eq!(exchange(&mut link, 3, &[], &[(0, 5)]).unwrap()[0], [1; 5]);
                    assert_eq!(exchange(&mut link, 4, &[], &[(0, 300_000)]).unwrap()[0], [9; 300_000]);
                    let e = exchange(&mut link, 5, &[], &[(0, 1)]).unwrap_err();
                    assert!(matches!(e, LinkError::Lost { peer: Party(0), .. }), "{e}");
                    return;
                }
            }
            link.close().unwrap();
            link.close().unwrap();
        });
    }
    check(memory::network(3));
    check(tcp_links(3, options()));
}

#[test]
fn each_pair_has_its_own_seed_and_all_one_session() {
    let mut sessions = vec![tcp_links(2, options())[0].session()];
    for ends in both(4, |me, link| {
        let keys = exchange_keys(link).unwrap();
        assert_eq!(format!("{keys:?}"), "PairKeys(4)");
        assert_eq!(keys.as_slice()[me], [0; 32]);
        (keys.as_slice().to_vec(), link.session())
    }) {
        let mut seeds = Vec::new();
        for i in 0..4 {
            assert_eq!(ends[i].1, ends[0].1);
            for j in 0..i {
                assert_eq!(ends[i].0[j], ends[j].0[i]);
                seeds.push(ends[i].0[j]);
            }
        }
        seeds.sort();
        seeds.dedup();
        assert_eq!(seeds.len(), 6);
        sessions.push(ends[0].1);
    }
    sessions.sort();
    sessions.dedup();
    assert_eq!(sessions.len(), 3);
}

#[test]
fn parties_that_differ_learn_where_on_both_sides() {
    let other = Hello::default().with("program", [7; 32]).with("protocol", "rep3").with("reveal", "argmax");
    let ends = try_connect(options(), vec![hello(), other.clone()]);
    for (me, end) in ends.into_iter().enumerate() {
        let Some(LinkError::Disagree { peer, field, mine, theirs }) = end.err() else { panic!("party {me}") };
        assert_eq!((peer.index(), field.as_str()), (1 - me, "reveal"));
        let (a, b) = if me == 0 { (&mine, &theirs) } else { (&theirs, &mine) };
        assert_eq!((a.as_str(), b.as_str()), ("`output`", "`argmax`"));
    }
    // The two that agree are told as well, whoever differs.
    for odd in 0..3 {
        let mut hellos = vec![hello(); 3];
        hellos[odd] = other.clone();
        let start = Instant::now();
        for (me, end) in try_connect(options(), hellos).into_iter().enumerate() {
            let e = end.err().expect("no link between parties that differ");
            assert!(matches!(e, LinkError::Disagree { .. } | LinkError::Aborted { .. }), "{me}: {e}");
            assert_eq!(e.exit_code(), 13, "party {me}, {odd} differs: {e}");
        }
        assert!(start.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn large_and_missing_fields_are_compared() {
    let big = |last: u8| hello().with("big", [vec![1; 60_000], vec![last]].concat());
    assert!(try_connect(tiny_buffers(), vec![big(1), big(1)]).iter().all(Result::is_ok));
    for hellos in [vec![big(1), big(2)], vec![hello(), big(1)]] {
        for end in try_connect(tiny_buffers(), hellos) {
            let e = end.err().expect("they differ");
            assert!(matches!(&e, LinkError::Disagree { field, .. } if field == "big"), "{e}");
            assert!(e.to_string().len() < 300);
        }
    }
}

#[test]
fn another_number_of_parties_is_told() {
    let (mut listeners, addresses) = listeners(3);
    let (first, second) = (listeners.remove(0), listeners.remove(0));
    let (a, b) = thread::scope(|scope| {
        let addresses = &addresses;
        let a = scope.spawn(move || tcp::connect_on(first, Party(0), &addresses[..2], &options(), &hello()).err());
        let b = scope.spawn(move || tcp::connect_on(second, Party(1), addresses, &options(), &hello()).err());
        (a.join().unwrap(), b.join().unwrap())
    });
    for e in [a, b] {
        assert!(matches!(&e, Some(LinkError::Disagree { field, .. }) if field == "number of parties"), "{e:?}");
    }
}

#[test]
fn strangers_do_not_disturb_the_listener() {
    let (mut listeners, addresses) = listeners(2);
    let (second, first) = (listeners.pop().unwrap(), listeners.pop().unwrap());
    let addresses = &addresses;
    thread::scope(|scope| {
        let a = scope.spawn(move || tcp::connect_on(first, Party(0), addresses, &options(), &hello()));
        let mut strangers = Vec::new();
        for junk in [
            &b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"[..],
            b"",
            b"QNNVMLNK",
            // A body of 4 GB; a body that is none; parties that are not missing.
            &preamble(2, 1, 2, u32::MAX),
            &[preamble(2, 1, 2, 30).as_slice(), &[255; 30]].concat(),
            &[preamble(2, 0, 2, 18).as_slice(), &[0; 18]].concat(),
            &[preamble(2, 9, 2, 18).as_slice(), &[0; 18]].concat(),
        ] {
            let mut stranger = TcpStream::connect(addresses[0]).unwrap();
            stranger.write_all(junk).unwrap();
            strangers.push(stranger);
        }
        drop(TcpStream::connect(addresses[0]).unwrap());
        thread::sleep(Duration::from_millis(50));
        let b = scope.spawn(move || tcp::connect_on(second, Party(1), addresses, &options(), &hello()));
        let (mut a, mut b) = (a.join().unwrap().unwrap(), b.join().unwrap().unwrap());
        exchange(&mut a, 0, &[(1, vec![1])], &[]).unwrap();
        assert_eq!(exchange(&mut b, 0, &[], &[(0, 1)]).unwrap()[0], [1]);
        // The listener is closed, so nobody else comes in.
        assert!(TcpStream::connect(addresses[0]).is_err());
    });
}

#[test]
fn a_second_party_with_the_same_index_is_refused() {
    let (mut listeners, addresses) = listeners(3);
    let first = listeners.remove(0);
    let addresses = &addresses;
    thread::scope(|scope| {
        let timeouts = Timeouts { connect: Duration::from_secs(1), ..quick() };
        let options = Options { timeouts, socket_buffers: None };
        let a = scope.spawn(move || tcp::connect_on(first, Party(0), addresses, &options, &hello()));
        let speak = || {
            let mut stream = TcpStream::connect(addresses[0]).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let body = raw_body();
            stream.write_all(&[preamble(2, 1, 3, body.len() as u32).as_slice(), &body].concat()).unwrap();
            let mut answer = [0; 16];
            (stream.read(&mut answer).unwrap(), stream)
        };
        let (answered, _kept) = speak();
        assert_eq!(answered, 16);
        assert_eq!(speak().0, 0, "closed without an answer");
        let e = a.join().unwrap().err().unwrap();
        assert!(matches!(e, LinkError::Unreachable { peer: Party(2), .. }), "{e}");
        assert_eq!(e.exit_code(), 10);
    });
}

#[test]
fn parties_may_come_late_or_not_at_all() {
    let timeouts = Timeouts { connect: Duration::from_millis(300), ..quick() };
    let block = ports::Block::claim();
    let addresses: Vec<SocketAddr> = block.ports(2).iter().map(|p| ([127, 0, 0, 1], *p).into()).collect();
    let start = Instant::now();
    for me in [Party(0), Party(1)] {
        let e = tcp::connect(me, &addresses, timeouts, &hello()).err().unwrap();
        assert!(
            matches!(&e, LinkError::Unreachable { address, .. } if *address == addresses[1 - me.index()].to_string()),
            "{e}"
        );
    }
    assert!(start.elapsed() < Duration::from_secs(2));
    thread::scope(|scope| {
        let late = scope.spawn(|| {
            thread::sleep(Duration::from_millis(200));
            tcp::connect(Party(0), &addresses, quick(), &hello()).map(drop)
        });
        tcp::connect(Party(1), &addresses, quick(), &hello()).map(drop).unwrap();
        late.join().unwrap().unwrap();
    });
    assert!(block.is_free(2), "somebody still listens");
}

#[test]
fn addresses_used_by_others_are_reported() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = [taken.local_addr().unwrap(), "127.0.0.1:1".parse().unwrap()];
    let e = tcp::connect(Party(0), &addresses, quick(), &hello()).err().unwrap();
    assert!(matches!(e, LinkError::Listen { .. }), "{e}");
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = taken.accept().unwrap();
            stream.write_all(b"220 mail.example.org ESMTP\r\n").unwrap();
            thread::sleep(Duration::from_millis(100));
        });
        let e = tcp::connect(Party(1), &addresses, quick(), &hello()).err().unwrap();
        assert!(matches!(e, LinkError::Malformed { fault: Fault::Magic, .. }), "{e}");
    });
}

fn preamble(version: u16, party: u8, parties: u8, body: u32) -> [u8; 16] {
    let mut bytes = *b"QNNVMLNK\0\0\0\0\0\0\0\0";
    bytes[8..10].copy_from_slice(&version.to_le_bytes());
    bytes[10..12].copy_from_slice(&[party, parties]);
    bytes[12..].copy_from_slice(&body.to_le_bytes());
    bytes
}

/// The body of `hello()` with a nonce of ones.
fn raw_body() -> Vec<u8> {
    let mut body = vec![1; 16];
    body.extend([3, 0]);
    for (name, value) in hello().fields {
        body.extend((name.len() as u16).to_le_bytes());
        body.extend(name.as_bytes());
        body.extend((value.len() as u32).to_le_bytes());
        body.extend(value);
    }
    body
}

fn frame(length: u64, level: u32, sequence: u32, kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(level.to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    bytes.push(kind);
    bytes.extend(payload);
    bytes
}

type Outcome = Result<Vec<u8>, LinkError>;

/// A party 1 that is written by hand; party 0 is ours and expects 100 bytes in round 6.
struct Raw {
    stream: TcpStream,
    outcome: thread::JoinHandle<Outcome>,
}

impl Raw {
    fn connect() -> Raw {
        let (mut listeners, addresses) = listeners(2);
        let (first, address) = (listeners.remove(0), addresses[0]);
        let outcome = thread::spawn(move || -> Outcome {
            let mut link = tcp::connect_on(first, Party(0), &addresses, &options(), &hello())?;
            Ok(exchange(&mut link, 6, &[], &[(1, 100)])?.swap_remove(1))
        });
        let mut stream = TcpStream::connect(address).unwrap();
        let body = raw_body();
        stream.write_all(&preamble(2, 1, 2, body.len() as u32)).unwrap();
        stream.write_all(&body).unwrap();
        let mut answer = vec![0; 16 + body.len()];
        stream.read_exact(&mut answer).unwrap();
        let nonces = [&answer[16..32], &[1; 16]].concat();
        stream.write_all(&frame(32, 1, 0, 1, &nonces)).unwrap();
        let mut theirs = [0; 17 + 32];
        stream.read_exact(&mut theirs).unwrap();
        assert_eq!(theirs[..], frame(32, 1, 0, 1, &nonces));
        Raw { stream, outcome }
    }
}

#[test]
fn malformed_frames_are_refused_by_name() {
    let check = |bytes: &[u8], expected: Fault| {
        let mut raw = Raw::connect();
        raw.stream.write_all(bytes).unwrap();
        let e = raw.outcome.join().unwrap().unwrap_err();
        let LinkError::Malformed { peer: Party(1), round: 6, fault, .. } = &e else { panic!("{e}") };
        assert_eq!(*fault, expected);
        assert_eq!(e.exit_code(), 11);
    };
    let data = [0; 100];
    check(&frame(99, 1, 1, 1, &data), Fault::Length { got: 99, expected: 100 });
    check(&frame(u64::MAX, 1, 1, 1, &data), Fault::Length { got: u64::MAX, expected: 100 });
    check(&frame(0, 1, 1, 1, &[]), Fault::Length { got: 0, expected: 100 });
    check(&frame(100, 1, 0, 1, &data), Fault::Sequence { got: 0, expected: 1 });
    check(&frame(100, 1, 2, 1, &data), Fault::Sequence { got: 2, expected: 1 });
    check(&frame(100, 0, 1, 1, &data), Fault::Level { got: 0 });
    check(&frame(100, u32::MAX, 1, 1, &data), Fault::Level { got: u32::MAX });
    check(&frame(100, 1, 1, 77, &data), Fault::Kind { got: 77 });
    check(&frame(1 << 40, 1, 1, 2, &data), Fault::Length { got: 1 << 40, expected: 1 });
}

#[test]
fn a_peer_that_sends_nonsense_is_told_so() {
    let mut raw = Raw::connect();
    raw.stream.write_all(&frame(99, 1, 1, 1, &[])).unwrap();
    assert_eq!(raw.outcome.join().unwrap().unwrap_err().exit_code(), 11);
    let mut said = Vec::new();
    raw.stream.read_to_end(&mut said).unwrap();
    assert_eq!(said[16..18], [2, 11], "an abort with the exit code");
    assert!(String::from_utf8_lossy(&said[18..]).contains("99 bytes where 100 are due"));
}

#[test]
fn a_frame_in_single_bytes_is_read() {
    let mut raw = Raw::connect();
    raw.stream.set_nodelay(true).unwrap();
    for byte in frame(100, 1, 1, 1, &[9; 100]) {
        raw.stream.write_all(&[byte]).unwrap();
        thread::yield_now();
    }
    assert_eq!(raw.outcome.join().unwrap(), Ok(vec![9; 100]));
}

/// Two parties exchange 8 bytes in each of three rounds; the message of round 1 from party 0 meets `fate`.
fn damaged(fate: impl Fn(&mut Vec<u8>) -> Fate + Send + Sync + 'static) -> Vec<Result<Vec<Vec<u8>>, LinkError>> {
    let timeouts = Timeouts { round: Duration::from_millis(300), ..quick() };
    let links = Network::new(2).timeouts(timeouts).intercept(move |sent, payload| {
        if (sent.at.round, sent.from, sent.to) == (1, Party(0), Party(1)) { fate(payload) } else { Fate::Deliver }
    });
    parties(links.links(), |me, mut link| {
        let rounds = (0..3).map(|round| Ok(all_to_all(&mut link, round, 8)?.swap_remove(1 - me)));
        let result = rounds.collect();
        // Everything has been sent, so who is done may leave.
        let _ = link.close();
        result
    })
}

#[test]
fn damaged_messages_are_errors_and_changed_ones_arrive() {
    let ends = damaged(|payload| {
        payload[3] ^= 1;
        Fate::Deliver
    });
    assert_eq!(ends[1], Ok(vec![vec![0; 8], vec![0, 0, 0, 1, 0, 0, 0, 0], vec![0; 8]]));
    assert!(ends[0].is_ok());

    let fault = |ends: Vec<Result<_, LinkError>>| match &ends[1] {
        Err(LinkError::Malformed { peer: Party(0), fault, .. }) => *fault,
        other => panic!("{other:?}"),
    };
    let shorter = damaged(|payload| {
        payload.pop();
        Fate::Deliver
    });
    assert!(matches!(shorter[0], Err(LinkError::Aborted { peer: Party(1), code: 11, .. })), "{shorter:?}");
    assert_eq!(fault(shorter), Fault::Length { got: 7, expected: 8 });
    let longer = damaged(|payload| {
        payload.push(0);
        Fate::Deliver
    });
    assert_eq!(fault(longer), Fault::Length { got: 9, expected: 8 });
    assert_eq!(fault(damaged(|_| Fate::Twice)), Fault::Sequence { got: 1, expected: 2 });
    // Party 0 waits for the answer of round 1 from a party that waits as well, so one of the two runs out of time.
    for fate in [Fate::Drop, Fate::Late] {
        let ends = damaged(move |_| fate);
        assert!(ends[1].is_err(), "{fate:?}: {ends:?}");
    }
}

#[test]
fn lost_and_late_messages_are_noticed_by_their_number() {
    for fate in [Fate::Late, Fate::Drop] {
        let links = Network::new(2).intercept(move |sent, _| if sent.sequence == 0 { fate } else { Fate::Deliver });
        parties(links.links(), |me, mut link| {
            if me == 0 {
                exchange(&mut link, 0, &[(1, vec![0; 4])], &[]).unwrap();
                exchange(&mut link, 1, &[(1, vec![1; 4])], &[]).unwrap();
                return link.close().unwrap();
            }
            let e = exchange(&mut link, 0, &[], &[(0, 4)]).unwrap_err();
            let LinkError::Malformed { fault, .. } = e else { panic!("{e}") };
            assert_eq!(fault, Fault::Sequence { got: 1, expected: 0 });
        });
    }
}

#[test]
fn all_messages_can_be_recorded() {
    let (links, transcript) = Network::new(3).recorded();
    parties(links, |_, mut link| {
        (0..2).for_each(|round| drop(all_to_all(&mut link, round, 2).unwrap()));
        link.close().unwrap();
    });
    let records = transcript.records();
    let keys: Vec<_> = records.iter().map(|r| (r.round, r.from.0, r.to.0, r.sequence)).collect();
    let pairs = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];
    let expected: Vec<_> = (0..2).flat_map(|round| pairs.map(|(from, to)| (round, from, to, round))).collect();
    assert_eq!(keys, expected);
    assert!(records.iter().all(|r| r.payload == [r.from.0; 2]));
}
