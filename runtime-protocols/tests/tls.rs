//! Encrypted links: who gets in, what a session is bound to, and who counts as alive.

use runtime_protocols::link::{
    Control, Fingerprint, Hello, Identity, Link, LinkError, Party, Place, Timeouts, exchange_keys,
    tcp::{self, Options, Setup, Station, TcpLink},
};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn quick() -> Timeouts {
    Timeouts { connect: millis(4000), handshake: millis(1000), ..Timeouts::default() }
}

/// A certificate that is valid in these years.
fn identity(from: i32, until: i32) -> Identity {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["party".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let certificate = params.self_signed(&pair).unwrap();
    Identity::from_pem(certificate.pem().as_bytes(), pair.serialize_pem().as_bytes()).unwrap()
}

fn good() -> Identity {
    identity(2020, 2090)
}

fn pin(identity: &Identity) -> Fingerprint {
    identity.certificate.fingerprint
}

fn exchange(link: &mut dyn Link, send: Option<usize>, take: Option<usize>, bytes: usize) -> Result<Vec<u8>, LinkError> {
    let n = link.parties();
    let (mut out, mut expect, mut incoming) = (vec![Vec::new(); n], vec![0; n], vec![Vec::new(); n]);
    if let Some(p) = send {
        out[p] = (0..bytes).map(|i| (i * 31) as u8).collect();
    }
    if let Some(p) = take {
        expect[p] = bytes;
    }
    link.exchange(&Place { round: 4, what: "test" }, &out, &expect, &mut incoming)?;
    Ok(take.map_or(Vec::new(), |p| std::mem::take(&mut incoming[p])))
}

/// Connects parties that know each other by `pins`, and runs each in its own thread.
fn run<R: Send>(
    timeouts: Timeouts,
    own: &[Identity],
    pins: &[Fingerprint],
    act: impl Fn(usize, Result<TcpLink, LinkError>) -> R + Sync,
) -> Vec<R> {
    let options = Options { timeouts, ..Options::default() };
    let any = "127.0.0.1:0".parse().unwrap();
    let listeners: Vec<TcpListener> = own.iter().map(|_| tcp::listen(any, &options).unwrap()).collect();
    let station = |(listener, pin): (&TcpListener, &Fingerprint)| Station {
        address: Some(listener.local_addr().unwrap().to_string()),
        listens_only: false,
        fingerprint: Some(*pin),
    };
    let stations: Vec<Station> = listeners.iter().zip(pins).map(station).collect();
    let (stations, act) = (&stations, &act);
    thread::scope(|scope| {
        let parties = listeners.into_iter().zip(own).enumerate();
        let handles: Vec<_> = parties
            .map(|(me, (listener, own))| {
                scope.spawn(move || {
                    let hello = Hello::default().with("program", "p");
                    let setup = Setup {
                        me: Party(me as u8),
                        stations,
                        listener: Some(listener),
                        options: &options,
                        hello: &hello,
                        identity: Some(own),
                    };
                    act(me, tcp::join(setup))
                })
            })
            .collect();
        handles.into_iter().map(|h| h.join().unwrap()).collect()
    })
}

#[test]
fn one_session_and_fresh_keys_over_encrypted_channels() {
    let own = [good(), good(), good()];
    let pins: Vec<_> = own.iter().map(pin).collect();
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let ends = run(quick(), &own, &pins, |me, link| {
            let mut link = link.unwrap();
            let keys = exchange_keys(&mut link).unwrap();
            let bindings: Vec<_> = (0..3).map(|p| link.binding(Party(p))).collect();
            assert!(bindings[me].is_none());
            // Larger than every buffer, around the ring.
            let n = 3_000_000;
            let (mut out, mut expect, mut incoming) = (vec![Vec::new(); 3], vec![0; 3], vec![Vec::new(); 3]);
            (out[(me + 1) % 3], expect[(me + 2) % 3]) = (vec![me as u8; n], n);
            link.exchange(&Place { round: 5, what: "ring" }, &out, &expect, &mut incoming).unwrap();
            assert_eq!(incoming[(me + 2) % 3], vec![((me + 2) % 3) as u8; n]);
            let session = link.session();
            link.close().unwrap();
            (session, keys.as_slice().to_vec(), bindings)
        });
        for i in 0..3 {
            assert_eq!(ends[i].0, ends[0].0);
            for j in 0..i {
                assert_eq!(ends[i].1[j], ends[j].1[i]);
                assert_eq!(ends[i].2[j], ends[j].2[i]);
                assert!(ends[i].2[j].is_some());
            }
        }
        sessions.push((ends[0].0, ends[0].1.clone(), ends[0].2.clone()));
    }
    assert!(sessions[0].0 != sessions[1].0 && sessions[0].1 != sessions[1].1 && sessions[0].2 != sessions[1].2);
}

/// The reasons of both sides when party `odd` of two shows `shown` where `pinned` is written down.
fn refused(odd: usize, shown: Identity, pinned: Fingerprint) -> Vec<String> {
    let mut own = vec![good(), good()];
    let mut pins: Vec<_> = own.iter().map(pin).collect();
    (own[odd], pins[odd]) = (shown, pinned);
    let timeouts = Timeouts { connect: millis(1500), ..quick() };
    run(timeouts, &own, &pins, |_, link| {
        let e = link.err().expect("nobody gets in");
        assert_eq!(e.exit_code(), 21, "{e}");
        e.to_string()
    })
}

#[test]
fn certificates_that_will_not_do() {
    for odd in 0..2 {
        let (expected, got) = (pin(&good()), good());
        let shown = pin(&got);
        let said = refused(odd, got, expected);
        let words = format!("expected {expected}, got {shown} (issued Jan");
        assert!(said[1 - odd].contains(&words), "{said:?}");
        assert!(said[odd].contains("refused the certificate"), "{said:?}");
        for (old, words) in [(identity(2020, 2021), "expired on Jan"), (identity(2080, 2090), "not valid before")] {
            let fingerprint = pin(&old);
            let said = refused(odd, old, fingerprint);
            assert!(said[1 - odd].contains(words), "{said:?}");
        }
    }
}

#[test]
fn a_key_belongs_to_its_certificate() {
    let pem = || {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let params = rcgen::CertificateParams::new(vec!["party".to_owned()]).unwrap();
        (params.self_signed(&pair).unwrap().pem(), pair.serialize_pem())
    };
    let ((certificate, key), (_, other)) = (pem(), pem());
    assert!(Identity::from_pem(certificate.as_bytes(), key.as_bytes()).is_ok());
    for (c, k) in [(&certificate, &other), (&key, &key), (&certificate, &certificate)] {
        let e = Identity::from_pem(c.as_bytes(), k.as_bytes()).unwrap_err();
        assert!(!e.to_string().contains("PRIVATE"), "{e}");
    }
}

#[test]
fn strangers_are_dropped_in_time_and_do_not_disturb() {
    let own = [good(), good()];
    let pins: Vec<_> = own.iter().map(pin).collect();
    let options = Options { timeouts: quick(), ..Options::default() };
    let listener = tcp::listen("127.0.0.1:0".parse().unwrap(), &options).unwrap();
    let address = listener.local_addr().unwrap();
    let station = |pin: &Fingerprint| Station {
        address: Some(address.to_string()),
        listens_only: false,
        fingerprint: Some(*pin),
    };
    let stations: Vec<_> = pins.iter().map(station).collect();
    let hello = Hello::default();
    let join = |me: usize, listener| {
        let setup = Setup {
            me: Party(me as u8),
            stations: &stations,
            listener,
            options: &options,
            hello: &hello,
            identity: Some(&own[me]),
        };
        tcp::join(setup)
    };
    thread::scope(|scope| {
        let join = &join;
        let first = scope.spawn(move || join(0, Some(listener)).map(|mut link| link.close()));
        let start = Instant::now();
        // More than are heard at a time, most of them mute.
        let mut mute: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
        for junk in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[22, 3, 1, 255, 255], &[255; 5000], b"QNNVMLNK"] {
            let mut stranger = TcpStream::connect(address).unwrap();
            stranger.write_all(junk).unwrap();
            mute.push(stranger);
        }
        // One byte at a time: cut when the time of a handshake is over, however busy it looks.
        let slow = scope.spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            let record = [22, 3, 1, 2, 0];
            let begun = Instant::now();
            while begun.elapsed() < millis(3000) {
                let sent = stream.write_all(&record[..1]);
                stream.set_read_timeout(Some(millis(100))).unwrap();
                let ended = matches!(stream.read(&mut [0; 64]), Ok(0)) || sent.is_err();
                if ended {
                    return begun.elapsed();
                }
            }
            panic!("a slow stranger is still connected");
        });
        assert!(slow.join().unwrap() < millis(1800));
        let second = scope.spawn(move || join(1, None).map(|mut link| link.close()));
        assert!(first.join().unwrap().is_ok());
        assert!(second.join().unwrap().is_ok());
        assert!(start.elapsed() < millis(4000));
        drop(mute);
    });
}

/// Party 1 computes for longer than silence is allowed, and sends signs of life. (One that is frozen: see the tests of
/// processes.)
#[test]
fn slow_is_not_dead() {
    let own = [good(), good()];
    let pins: Vec<_> = own.iter().map(pin).collect();
    let timeouts = Timeouts { silence: millis(400), round: millis(10_000), ..quick() };
    let ends = run(timeouts, &own, &pins, |me, link| {
        let mut link = link.unwrap();
        if me == 0 {
            let result = exchange(&mut link, None, Some(1), 64).err();
            let _ = link.close();
            return result;
        }
        thread::sleep(millis(1500));
        let result = exchange(&mut link, Some(0), None, 64).err();
        let _ = link.close();
        result
    });
    assert_eq!(ends, [None, None]);
}

#[test]
fn a_link_can_be_interrupted_and_asked() {
    let own = [good(), good()];
    let pins: Vec<_> = own.iter().map(pin).collect();
    let ends = run(quick(), &own, &pins, |me, link| {
        let mut link = link.unwrap();
        let control: Control = link.control();
        if me == 0 {
            thread::sleep(millis(600));
            control.interrupt(143, "ended by a test");
            return (control.status(), exchange(&mut link, None, Some(1), 8).unwrap_err());
        }
        let asked = thread::spawn(move || {
            thread::sleep(millis(300));
            control.status()
        });
        let e = exchange(&mut link, None, Some(0), 8).unwrap_err();
        (asked.join().unwrap(), e)
    });
    assert!(matches!(ends[0].1, LinkError::GaveUp { code: 143, .. }), "{:?}", ends[0].1);
    assert!(matches!(ends[1].1, LinkError::Aborted { code: 143, .. }), "{:?}", ends[1].1);
    assert_eq!(ends[1].1.exit_code(), 11);
    assert!(ends[1].0.contains("round 4 (test): waiting for party 0 for 0.") && ends[1].0.contains("0 of 8 bytes"));
}
