//! Servers and clients as processes: results, batches, repeated and poisoned requests, lost and returning parties.
mod common;

use common::launch::{Dir, error_text, local, qnnvm};
use common::serve::{Servers, owners};
use common::{npy, testdata};
use compiler::pipeline::Options;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::thread::sleep;
use std::time::{Duration, Instant};
use vm::query::QueryError;
use vm::serve::wire::{self, HELLO, Hello, REPLY, RequestId};

fn input(i: usize) -> Vec<Vec<i64>> {
    vec![npy(&format!("digits_mlp.input_{i}.npy"))]
}

fn output(i: usize) -> Vec<Vec<i64>> {
    vec![npy(&format!("digits_mlp.output_{i}.npy"))]
}

/// A client's connection to one party alone.
fn one(servers: &Servers, party: usize) -> TcpStream {
    let mut stream = TcpStream::connect(servers.clients[party]).expect("client port");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    let hello = Hello { party: party as u8, program: servers.hash() };
    stream.write_all(&hello.encode()).expect("hello");
    let mut theirs = [0; HELLO + 1];
    stream.read_exact(&mut theirs).expect("hello");
    assert_eq!(theirs[HELLO], 0);
    stream
}

fn ask_one(stream: &mut TcpStream, id: RequestId, message: &[u8]) {
    stream.write_all(&wire::request(id, message.len() as u64)).expect("head");
    stream.write_all(message).expect("pieces");
}

fn reply(stream: &mut TcpStream) -> (RequestId, u8, Vec<u8>) {
    let mut head = [0; REPLY];
    stream.read_exact(&mut head).expect("a reply");
    let (id, code, length) = wire::read_reply(&head);
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).expect("its body");
    (id, code, body)
}

#[test]
fn queries_give_what_the_launcher_gives() {
    let mut servers = Servers::started("digits", &[]);
    let plain = Dir::new();
    plain.compile("digits", &testdata("digits.tflite"));
    for i in 0..2 {
        let input = testdata(&format!("digits.input_{i}.npy"));
        let (theirs, ours) = (plain.file("y.npy"), servers.dir.file("y.npy"));
        let out = local(&plain, "digits", &input, &theirs, &[]);
        assert_eq!(out.status.code(), Some(0), "{}", error_text(&out));
        let out = servers.query(&input, &ours, &[]);
        assert_eq!(out.status.code(), Some(0), "{}", error_text(&out));
        assert!(error_text(&out).contains("to the client"), "{}", error_text(&out));
        assert_eq!(fs::read(&ours).expect("output"), fs::read(&theirs).expect("output"));
        assert_eq!(fs::read(&ours).ok(), fs::read(testdata(&format!("digits.output_{i}.npy"))).ok());
    }
    // A picture works as with the launcher, and two samples are two requests.
    let two = ["--input", testdata("digits.input_1.npy").to_str().expect("path"), "--top", "2"].map(str::to_owned);
    let two: Vec<&str> = two.iter().map(String::as_str).collect();
    let out = servers.query(&testdata("digits.png"), &servers.dir.file("two.npy"), &two);
    assert_eq!(out.status.code(), Some(0), "{}", error_text(&out));
    for p in 0..3 {
        assert_eq!(servers.metric(p, "qnnvm_inferences_total{outcome=\"answered\"}"), 4.0);
        assert_eq!(servers.metric(p, "qnnvm_sessions_total"), 1.0);
    }
    for p in 0..3 {
        let (code, took) = servers.terminate(p);
        assert!(code == Some(0) && took < Duration::from_secs(30), "{code:?} after {took:?}: {}", servers.log(p));
    }
}

#[test]
fn many_clients_share_batches() {
    let servers = Servers::started("digits_mlp", &["--max-batch", "4", "--max-delay", "20"]);
    std::thread::scope(|s| {
        for client in 0..8 {
            let servers = &servers;
            s.spawn(move || {
                let mut connection = servers.connection();
                for k in 0..4 {
                    let i = (client + k) % 4;
                    assert_eq!(connection.infer(&input(i)).expect("answer"), output(i));
                }
            });
        }
    });
    let (samples, batches) = (servers.metric(0, "qnnvm_samples_total"), servers.metric(0, "qnnvm_batches_total"));
    assert_eq!(samples, 32.0);
    assert!(batches < samples, "{batches} batches of {samples} samples");
    assert_eq!(servers.metric(2, "qnnvm_queue_length"), 0.0);
    let rounds = f64::from(servers.compiled.program.predicted_rounds());
    // Each party counts the levels that it saw.
    assert_eq!(
        (0..3).map(|p| servers.metric(p, "qnnvm_rounds_total{phase=\"online\"}")).fold(0.0, f64::max),
        rounds * batches
    );
    let sent: f64 = [1, 2]
        .map(|p| servers.metric(0, &format!("qnnvm_sent_bytes_total{{peer=\"{p}\",phase=\"online\"}}")))
        .iter()
        .sum();
    let predicted = servers.compiled.program.predicted_bytes()[0] as f64;
    assert!(sent >= predicted * samples && sent < predicted * samples + 64.0 * batches, "{sent}, {predicted} a sample");
    let (_, status) = servers.page(1, "/status").expect("status");
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    assert!(status["ready"] == true && status["answered"] == 32, "{status}");
    assert_eq!(servers.page(1, "/healthz").map(|p| p.0), Some(200));
    assert_eq!(servers.page(1, "/other").map(|p| p.0), Some(404));
}

#[test]
fn a_repeated_request_gets_the_stored_answer() {
    let servers = Servers::started("digits_mlp", &[]);
    let messages = servers.side.share(&input(0)).expect("share");
    let id = RequestId::fresh().expect("id");
    let mut streams: Vec<TcpStream> = (0..3).map(|p| one(&servers, p)).collect();
    let mut first = Vec::new();
    for round in 0..3 {
        for (stream, message) in streams.iter_mut().zip(&messages) {
            ask_one(stream, id, message);
        }
        let replies: Vec<_> = streams.iter_mut().map(reply).collect();
        assert!(replies.iter().all(|(theirs, code, _)| *theirs == id && *code == 0));
        if round == 0 {
            first = replies;
        } else {
            assert!(first == replies, "another answer for the same id");
        }
    }
    assert_eq!(servers.metric(0, "qnnvm_samples_total"), 1.0);
    // The same id with other data is refused, also from another connection.
    let others = servers.side.share(&input(0)).expect("share");
    let mut stream = one(&servers, 0);
    ask_one(&mut stream, id, &others[0]);
    let (_, code, reason) = reply(&mut stream);
    assert_eq!(code, 30, "{}", String::from_utf8_lossy(&reason));
    // So is an id of yesterday.
    ask_one(&mut stream, RequestId([0; 16]), &others[0]);
    assert_eq!(reply(&mut stream).1, 30);
    assert_eq!(servers.metric(0, "qnnvm_samples_total"), 1.0);
}

#[test]
fn a_poisoned_request_harms_nobody() {
    let servers = Servers::started("digits_mlp", &["--patience", "2"]);
    // One that two parties have and the third never gets, one of a wrong length, and garbage.
    let id = RequestId::fresh().expect("id");
    let messages = servers.side.share(&input(0)).expect("share");
    let mut half: Vec<TcpStream> = (0..2).map(|p| one(&servers, p)).collect();
    half.iter_mut().zip(&messages).for_each(|(stream, message)| ask_one(stream, id, message));
    let mut short = one(&servers, 2);
    ask_one(&mut short, RequestId::fresh().expect("id"), &messages[2][1..]);
    assert_eq!(reply(&mut short).1, 30);
    let mut garbage = TcpStream::connect(servers.clients[1]).expect("client port");
    garbage.write_all(&[0x55; 500]).expect("garbage");
    let mut connection = servers.connection();
    for i in 0..4 {
        let start = Instant::now();
        assert_eq!(connection.infer(&input(i)).expect("answer"), output(i));
        assert!(start.elapsed() < Duration::from_secs(2), "{:?} beside a poisoned request", start.elapsed());
    }
    for stream in &mut half {
        let (theirs, code, _) = reply(stream);
        assert!(theirs == id && code == 12, "{code}");
    }
    assert_eq!(connection.infer(&input(0)).expect("answer"), output(0));
    assert_eq!(servers.metric(0, "qnnvm_sessions_total"), 1.0);
}

/// Who connects and says nothing makes room for who comes next, and is cut when the time of a handshake is over.
#[test]
fn mute_strangers_make_room() {
    let servers = Servers::started("digits_mlp", &[]);
    let start = Instant::now();
    let connect = |_| TcpStream::connect(servers.clients[0]).expect("client port");
    let mut mute: Vec<TcpStream> = (0..100).map(connect).collect();
    assert_eq!(servers.connection().infer(&input(0)).expect("answer"), output(0));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?} beside strangers", start.elapsed());
    let open = |stream: &mut TcpStream| {
        stream.set_nonblocking(true).expect("a socket");
        matches!(stream.read(&mut [0]), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock)
    };
    // One place was the client's.
    let kept = mute.iter_mut().filter_map(|stream| open(stream).then_some(())).count();
    assert!((1..=64).contains(&kept), "{kept} strangers are heard");
    while mute.iter_mut().any(open) {
        assert!(start.elapsed() < Duration::from_secs(15), "strangers are still connected");
        sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_full_queue_refuses_at_once() {
    let servers = Servers::started("digits_mlp", &["--queue", "2", "--patience", "3"]);
    let messages = servers.side.share(&input(0)).expect("share");
    let mut stream = one(&servers, 0);
    // Two wait for parties that never get them.
    (0..2).for_each(|_| ask_one(&mut stream, RequestId::fresh().expect("id"), &messages[0]));
    while servers.metric(0, "qnnvm_queue_length") < 2.0 {
        sleep(Duration::from_millis(5));
    }
    let mut other = one(&servers, 0);
    let start = Instant::now();
    ask_one(&mut other, RequestId::fresh().expect("id"), &messages[0]);
    let (_, code, _) = reply(&mut other);
    assert_eq!(code, 5);
    // Ten milliseconds by itself; a machine that runs other tests takes longer to schedule it.
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    assert!(
        matches!(servers.connection().infer(&input(0)), Err(QueryError::Refused { refusal, .. }) if refusal.code == 5)
    );
    assert_eq!([reply(&mut stream).1, reply(&mut stream).1], [12, 12]);
    let mut connection = servers.connection();
    assert_eq!(connection.infer(&input(1)).expect("room again"), output(1));
}

#[test]
fn a_lost_party_comes_back() {
    let mut servers = Servers::started("digits_mlp", &[]);
    assert_eq!(servers.connection().infer(&input(0)).expect("answer"), output(0));
    for party in [1, 0, 2] {
        servers.kill(party);
        for p in (0..3).filter(|p| *p != party) {
            servers.await_readiness(p, false, Duration::from_secs(5));
        }
        servers.start(party);
        (0..3).for_each(|p| servers.await_ready(p));
        let out = servers.query(&testdata("digits_mlp.input_1.npy"), &servers.dir.file("y.npy"), &["--retries", "3"]);
        assert_eq!(out.status.code(), Some(0), "{}", error_text(&out));
        assert_eq!(fs::read(servers.dir.file("y.npy")).ok(), fs::read(testdata("digits_mlp.output_1.npy")).ok());
    }
}

#[test]
fn a_party_that_leaves_ends_what_it_has() {
    let mut servers = Servers::started("digits_mlp", &["--max-batch", "4"]);
    for i in 0..4 {
        assert_eq!(servers.connection().infer(&input(i)).expect("answer"), output(i));
    }
    // A request that is there when the signal comes is answered.
    let mut connection = servers.connection();
    let id = RequestId::fresh().expect("id");
    let messages = servers.side.share(&input(2)).expect("share");
    let messages: Vec<Vec<u8>> = messages.iter().map(|m| m.to_vec()).collect();
    connection.send(id, &messages.iter().map(Vec::as_slice).collect::<Vec<_>>()).expect("sent");
    while (0..3).any(|p| servers.metric(p, "qnnvm_queue_length") + servers.metric(p, "qnnvm_samples_total") < 5.0) {
        sleep(Duration::from_millis(2));
    }
    drop(connection);
    let (code, took) = servers.terminate(1);
    assert!(code == Some(0) && took < Duration::from_secs(30), "{code:?} after {took:?}: {}", servers.log(1));
    servers.await_readiness(0, false, Duration::from_secs(5));
    assert_eq!(servers.metric(0, "qnnvm_inferences_total{outcome=\"answered\"}"), 5.0);
    // The two others wait for it.
    servers.start(1);
    (0..3).for_each(|p| servers.await_ready(p));
    assert_eq!(servers.connection().infer(&input(3)).expect("answer"), output(3));
}

#[test]
fn shares_of_two_deployments_do_not_meet() {
    let mut servers = Servers::new("digits_mlp", &[]);
    let old = fs::read(servers.file("1.mpcs")).expect("share");
    for p in 0..3 {
        let mode = fs::metadata(servers.file(&format!("{p}.mpcs"))).expect("share").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    servers.deploy();
    fs::write(servers.file("1.mpcs"), old).expect("share");
    (0..3).for_each(|p| servers.start(p));
    for p in 0..3 {
        assert_eq!(servers.await_end(p), Some(13), "{}", servers.log(p));
        assert!(servers.log(p).contains("deployment of the weights"), "{}", servers.log(p));
    }
    // Another party's share, a damaged one, one of another program.
    let run = |servers: &Servers| servers.command(0).status().expect("qnnvm").code();
    let own = fs::read(servers.file("0.mpcs")).expect("share");
    fs::write(servers.file("0.mpcs"), fs::read(servers.file("1.mpcs")).expect("share")).expect("write");
    assert_eq!(run(&servers), Some(4), "{}", servers.log(0));
    let mut damaged = own.clone();
    damaged[100] ^= 1;
    fs::write(servers.file("0.mpcs"), damaged).expect("write");
    assert_eq!(run(&servers), Some(4), "{}", servers.log(0));
    fs::write(servers.file("0.mpcs"), &own[..own.len() - 1]).expect("write");
    assert_eq!(run(&servers), Some(4), "{}", servers.log(0));
    let mut foreign = own;
    foreign[8] ^= 1;
    fs::write(servers.file("0.mpcs"), foreign).expect("write");
    assert_eq!(run(&servers), Some(4), "{}", servers.log(0));
    assert!(servers.log(0).contains("another program"), "{}", servers.log(0));
}

#[test]
fn programs_that_are_not_for_clients_are_refused() {
    let dir = Dir::new();
    dir.compile("digits", &testdata("digits.tflite"));
    let mut command = qnnvm();
    let out =
        command.args(["serve", "--party", "1", "--listen-client", "127.0.0.1:0"]).arg(dir.file("digits.mpcb")).output();
    let out = out.expect("qnnvm");
    assert_eq!(out.status.code(), Some(2), "{}", error_text(&out));
    assert!(error_text(&out).contains("--input-owner NAME=client"), "{}", error_text(&out));
    // And those that are, by the launcher and by `--party`.
    dir.compile_for("client", &testdata("digits.tflite"), Options::default(), owners());
    let out = local(&dir, "client", &testdata("digits.input_0.npy"), &dir.file("y.npy"), &[]);
    assert_eq!(out.status.code(), Some(2), "{}", error_text(&out));
    assert!(error_text(&out).contains("qnnvm serve"), "{}", error_text(&out));
}
