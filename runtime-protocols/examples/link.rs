//! How much a link carries, plain and inside TLS, in one run: two parties on this machine, each with one thread, send each other
//! messages at the same time.
//!
//!     cargo run --release -p runtime-protocols --example link

use runtime_protocols::link::{
    Fingerprint, Hello, Identity, Link, Party, Place,
    tcp::{self, Options, Setup, Station},
};
use std::{error::Error, thread, time::Instant};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const PARTIES: usize = 2;
/// Bytes of a message, and how many there are: few large ones, many small ones.
const KINDS: [(usize, usize); 2] = [(16 << 20, 40), (64 << 10, 4000)];

fn identity() -> Result<Identity> {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
    let certificate = rcgen::CertificateParams::new(vec!["party".to_owned()])?.self_signed(&pair)?;
    Ok(Identity::from_pem(certificate.pem().as_bytes(), pair.serialize_pem().as_bytes())?)
}

/// Seconds for all messages of a kind, the slower party's.
fn seconds(tls: bool, (bytes, count): (usize, usize)) -> Result<f64> {
    let options = Options::default();
    let (mut listeners, mut stations, mut own) = (vec![], vec![], vec![]);
    for _ in 0..PARTIES {
        let listener = tcp::listen("127.0.0.1:0".parse()?, &options)?;
        let identity = identity()?;
        let pin: Fingerprint = identity.certificate.fingerprint;
        let address = Some(listener.local_addr()?.to_string());
        stations.push(Station { address, fingerprint: tls.then_some(pin), ..Station::default() });
        listeners.push(listener);
        own.push(identity);
    }
    let party = |me: usize, listener, identity: &Identity| -> Result<f64> {
        let (hello, identity) = (&Hello::default(), tls.then_some(identity));
        let (me, other) = (Party(me as u8), 1 - me);
        let setup = Setup { me, stations: &stations, listener: Some(listener), options: &options, hello, identity };
        let mut link = tcp::join(setup)?;
        let (mut out, mut expect, mut incoming) = (vec![vec![]; PARTIES], [0; PARTIES], vec![vec![]; PARTIES]);
        (out[other], expect[other]) = (vec![7; bytes], bytes);
        let start = Instant::now();
        for _ in 0..count {
            link.exchange(&Place { round: 1, what: "messages" }, &out, &expect, &mut incoming)?;
        }
        let took = start.elapsed().as_secs_f64();
        link.close()?;
        Ok(took)
    };
    thread::scope(|scope| {
        let party = &party;
        let all = listeners.into_iter().zip(&own).enumerate();
        let join: Vec<_> = all.map(|(me, (l, identity))| scope.spawn(move || party(me, l, identity))).collect();
        let mut times = join.into_iter().map(|handle| handle.join().map_err(|_| "a party failed")?);
        times.try_fold(0.0, |most: f64, took| Ok(most.max(took?)))
    })
}

fn main() -> Result<()> {
    println!("{:>12} {:>12} {:>12} {:>8}", "message", "plain MB/s", "TLS MB/s", "ratio");
    for kind in KINDS {
        // In turns, so that both see the same machine; the best of three.
        let (mut plain, mut tls) = (f64::MAX, f64::MAX);
        for _ in 0..3 {
            plain = plain.min(seconds(false, kind)?);
            tls = tls.min(seconds(true, kind)?);
        }
        let rate = |seconds: f64| (kind.0 * kind.1) as f64 / 1e6 / seconds;
        println!("{:>12} {:>12.0} {:>12.0} {:>8.2}", kind.0, rate(plain), rate(tls), rate(tls) / rate(plain));
    }
    Ok(())
}
