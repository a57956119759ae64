//! Many inferences in one server while parties die and come back: every request is answered exactly once, memory and
//! descriptors stay flat. Here for some seconds; `vm/benches/soak.sh` runs it for long, in a release build.
mod common;

use common::npy;
use common::serve::Servers;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Resident bytes and open descriptors of a process.
fn usage(pid: u32) -> (u64, usize) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("resident memory");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    (kib << 10, std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count())
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

#[test]
fn every_request_is_answered_once() {
    let requests = setting("QNN_SOAK_REQUESTS", 240) as usize;
    let every = Duration::from_millis(setting("QNN_SOAK_RESTART_MS", 1500));
    let most_restarts = setting("QNN_SOAK_RESTARTS", 1) as usize;
    let seed = setting("QNN_SOAK_SEED", std::process::id().into());
    println!("seed {seed}");

    // Outcomes are remembered for a short time only, so that what is remembered is as much in the middle as at the end.
    let servers = Mutex::new(Servers::started("digits_mlp", &["--remember", "2", "--max-batch", "8"]));
    let wanted: Vec<_> = (0..4).map(|i| vec![npy(&format!("digits_mlp.output_{i}.npy"))]).collect();
    let inputs: Vec<_> = (0..4).map(|i| vec![npy(&format!("digits_mlp.input_{i}.npy"))]).collect();
    let answers: Vec<AtomicU32> = (0..requests).map(|_| AtomicU32::new(0)).collect();
    let (next, done, retries) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicU64::new(0));
    let (side, hash, addresses) = {
        let servers = servers.lock().expect("servers");
        (common::serve::side(&servers.compiled.program), servers.hash(), servers.doors.clone())
    };
    let mut restarts = 0;
    let mut samples: Vec<(usize, u64, usize)> = Vec::new();
    let start = Instant::now();
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                let open = || vm::query::Connection::open(&side, hash, &addresses, Duration::from_secs(20));
                let mut connection = None;
                loop {
                    let k = next.fetch_add(1, Relaxed);
                    if k >= requests {
                        return;
                    }
                    loop {
                        let asked = match connection.take().map_or_else(open, Ok) {
                            Ok(mut c) => c.infer(&inputs[k % 4]).inspect(|_| connection = Some(c)),
                            Err(e) => Err(e),
                        };
                        match asked {
                            Ok(output) => {
                                assert_eq!(output, wanted[k % 4], "request {k}");
                                answers[k].fetch_add(1, Relaxed);
                                done.fetch_add(1, Relaxed);
                                break;
                            }
                            Err(e) => {
                                assert!(e.may_retry(), "request {k}: {e}");
                                retries.fetch_add(1, Relaxed);
                                std::thread::sleep(Duration::from_millis(100));
                            }
                        }
                    }
                }
            });
        }
        // Party 0 stays, as its memory is what is watched; the tests of `serve` restart it as well.
        let mut random = seed | 1;
        let mut last = Instant::now();
        let first = servers.lock().expect("servers").pid(0);
        while done.load(Relaxed) < requests {
            std::thread::sleep(Duration::from_millis(50));
            assert!(start.elapsed() < Duration::from_secs(60 + requests as u64), "it hangs");
            if samples.last().is_none_or(|(at, ..)| done.load(Relaxed) >= at + requests.div_ceil(50)) {
                let (rss, descriptors) = usage(first);
                samples.push((done.load(Relaxed), rss, descriptors));
            }
            if restarts < most_restarts && last.elapsed() >= every {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let party = 1 + (random >> 20) as usize % 2;
                let mut servers = servers.lock().expect("servers");
                servers.kill(party);
                servers.start(party);
                (restarts, last) = (restarts + 1, Instant::now());
            }
        }
        let (rss, descriptors) = usage(first);
        samples.push((requests, rss, descriptors));
    });
    let seconds = start.elapsed().as_secs_f64();
    assert!(answers.iter().all(|n| n.load(Relaxed) == 1), "a request without an answer, or with two");
    println!(
        "{requests} requests answered once each in {seconds:.1} s, {restarts} restarts, {} asked again",
        retries.load(Relaxed)
    );
    // After a tenth, which is the warm-up.
    let warm: Vec<_> = samples.iter().filter(|(at, ..)| *at * 10 >= requests).collect();
    let (_, rss, descriptors) = warm[0];
    let (_, rss_end, descriptors_end) = warm[warm.len() - 1];
    println!(
        "party 0: {rss} bytes resident after a tenth, {rss_end} at the end; {descriptors} and {descriptors_end} descriptors"
    );
    samples.iter().for_each(|(at, rss, fds)| println!("{at:>8} {:>8} KiB {fds:>4} descriptors", rss >> 10));
    // Each client has a connection, and those of the peers come and go.
    assert!(*descriptors_end <= descriptors + 6, "{descriptors} descriptors, then {descriptors_end}");
    // Debug builds remember every pad of a session to find one used twice; that is no leak.
    if !cfg!(debug_assertions) && requests >= 5000 {
        assert!(*rss_end <= rss + rss / 20, "{rss} bytes, then {rss_end}");
    }
}
