//! A peer that sends without end, or begins what it never ends: it is cut, and what it makes this party hold is no more than the
//! message that is due and 1 MiB.
mod common;

use common::counting::{Counting, LIVE, PEAK};
use runtime_protocols::link::tcp::{self, Options};
use runtime_protocols::link::{Hello, Link, LinkError, Party, Place, Timeouts};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What one peer may make a party hold beyond the message that is due.
const MARGIN: i64 = 1 << 20;

fn frame(length: u64, sequence: u32, kind: u8) -> Vec<u8> {
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    bytes.push(kind);
    bytes
}

/// How an exchange ended, how long it took, and the most that its party held, messages apart.
struct End {
    result: Result<(), LinkError>,
    took: Duration,
    held: i64,
}

/// Party 0 sends `out` bytes and expects `due` of a party 1 that is written by hand and does `act` once it has shaken hands.
fn meet(out: usize, due: usize, act: impl FnOnce(TcpStream) + Send) -> End {
    let timeouts = Timeouts { round: Duration::from_secs(2), silence: Duration::from_secs(2), ..Timeouts::default() };
    // Small ones, so that who is not heard blocks soon.
    let options = Options { timeouts, socket_buffers: Some(16 << 10) };
    let listener = tcp::listen(([127, 0, 0, 1], 0).into(), &options).expect("listens");
    let address = listener.local_addr().expect("bound");
    thread::scope(|scope| {
        let party = scope.spawn(move || {
            let addresses = [address, ([127, 0, 0, 1], 1).into()];
            let mut link = tcp::connect_on(listener, Party(0), &addresses, &options, &Hello::default()).expect("meets");
            let (out, mut incoming) = (vec![vec![], vec![7; out]], vec![vec![], Vec::with_capacity(due)]);
            let start = LIVE.get();
            PEAK.set(start);
            let begun = Instant::now();
            let result = link.exchange(&Place { round: 6, what: "test" }, &out, &[0, due], &mut incoming);
            End { result, took: begun.elapsed(), held: PEAK.get() - start }
        });
        let mut stream = TcpStream::connect(address).expect("connects");
        // A handshake without fields, then the nonces of both.
        let mut hello = b"QNNVMLNK\x02\0\x01\x02\x12\0\0\0".to_vec();
        hello.extend([[1; 16].as_slice(), &[0, 0]].concat());
        stream.write_all(&hello).expect("sent");
        let mut answer = [0; 16 + 18];
        stream.read_exact(&mut answer).expect("an answer");
        stream.write_all(&[&frame(32, 0, 1), &answer[16..32], &[1; 16]].concat()).expect("sent");
        act(stream);
        party.join().expect("a party")
    })
}

/// Writes until the other side has had enough.
fn flood(mut stream: TcpStream, piece: &[u8]) {
    let piece = piece.repeat(1 + (64 << 10) / piece.len());
    stream.set_write_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    while stream.write_all(&piece).is_ok() {}
}

#[test]
fn signs_of_life_without_end() {
    let beat = frame(0, 0, 4);
    // While a short message is due, a long one, and none.
    for (out, due) in [(0, 100), (0, 32 << 20), (256 << 10, 0)] {
        let end = meet(out, due, |stream| flood(stream, &beat));
        let e = end.result.expect_err("it is cut");
        assert!(e.exit_code() == 11 && e.to_string().contains("signs of life without end"), "{due}: {e}");
        assert!(end.took < Duration::from_secs(4), "{due}: {:?}", end.took);
        assert!(end.held < MARGIN, "{due}: {} bytes", end.held);
    }
}

#[test]
fn signs_of_life_are_welcome() {
    let end = meet(0, 100, |mut stream| {
        for _ in 0..300 {
            stream.write_all(&frame(0, 0, 4)).expect("taken");
            thread::sleep(Duration::from_millis(2));
        }
        // Many that have waited for the network, right before the message.
        stream.write_all(&frame(0, 0, 4).repeat(5000)).expect("taken");
        stream.write_all(&[frame(100, 1, 1), vec![9; 100]].concat()).expect("taken");
        // Until the party leaves, its own signs of life read: who ends on unread bytes resets the connection.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    assert_eq!(end.result, Ok(()));
}

#[test]
fn messages_that_are_too_long() {
    for due in [100, 8 << 20] {
        for length in [due as u64 + 1, 1 << 30, 1 << 40, u64::MAX] {
            let end = meet(0, due, |stream| flood(stream, &frame(length, 1, 1)));
            let e = end.result.expect_err("it is cut");
            assert!(e.exit_code() == 11 && e.to_string().contains("are due"), "{length}: {e}");
            assert!(end.held < MARGIN, "{length}: {} bytes", end.held);
        }
    }
}

/// What comes before it is due stays with the system, whatever it is.
#[test]
fn messages_ahead_of_time() {
    let ahead = [frame(100, 1, 1), vec![9; 100], frame(100, 2, 1), vec![9; 100]].concat();
    let end = meet(256 << 10, 0, |stream| flood(stream, &ahead));
    let e = end.result.expect_err("nobody takes what is sent");
    assert_eq!(e.exit_code(), 12, "{e}");
    assert!(end.held < MARGIN, "{} bytes", end.held);
}

/// A message that grows by a byte now and then is cut at the end of its round.
#[test]
fn messages_that_never_end() {
    let end = meet(0, 100_000, |mut stream| {
        stream.set_nodelay(true).expect("a socket");
        stream.write_all(&frame(100_000, 1, 1)).expect("taken");
        while stream.write_all(&[1]).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let e = end.result.expect_err("it is cut");
    assert!(e.exit_code() == 12 && e.to_string().contains("of 100000 bytes"), "{e}");
    assert!(end.took < Duration::from_secs(5) && end.held < MARGIN, "{:?}, {} bytes", end.took, end.held);
}
