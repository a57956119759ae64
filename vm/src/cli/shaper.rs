//! A slower network on this machine: relays between the parties that hold every byte back for half a round trip and for
//! its share of the bandwidth. It sees what an observer of the wire sees.
use super::Failure;
use ir::network::Network;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Most bytes that travel as one.
const CHUNK: usize = 64 << 10;
/// Chunks under way in one direction, at most: what does not fit waits at the sender.
const WINDOW: usize = 4096;

/// Per party, the addresses at which it reaches the others: `addresses`, but through a relay of its own where it dials.
/// Party i dials those before it.
pub fn relays(network: Network, addresses: &[SocketAddr]) -> Result<Vec<Vec<SocketAddr>>, Failure> {
    let mut seen = vec![addresses.to_vec(); addresses.len()];
    for (dialler, list) in seen.iter_mut().enumerate() {
        for target in &mut list[..dialler] {
            *target = relay(network, *target)?;
        }
    }
    Ok(seen)
}

/// Relays every connection made to the address that it returns, until this process ends.
fn relay(network: Network, target: SocketAddr) -> Result<SocketAddr, Failure> {
    let fail = |e: std::io::Error| Failure::new(Failure::CONFIG, format!("relay to {target}: {e}"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            // A party that cannot be reached shows as a closed connection, as it would without the relay.
            let Ok(far) = TcpStream::connect(target) else { continue };
            let _ = join(network, near, far);
        }
    });
    Ok(address)
}

fn join(network: Network, near: TcpStream, far: TcpStream) -> std::io::Result<()> {
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        let (hold, held) = sync_channel(WINDOW);
        thread::spawn(move || take(network, from, &hold));
        thread::spawn(move || deliver(to, &held));
    }
    Ok(())
}

/// Reads, and says when each chunk may arrive. An empty chunk is the end.
fn take(network: Network, mut from: TcpStream, hold: &SyncSender<(Instant, Vec<u8>)>) {
    let mut free = Instant::now();
    let mut buffer = vec![0; CHUNK];
    loop {
        let n = from.read(&mut buffer).unwrap_or(0);
        let wire = Duration::from_secs_f64(n as f64 * 8.0 / network.bits_per_second);
        free = free.max(Instant::now()) + wire;
        if hold.send((free + network.rtt / 2, buffer[..n].to_vec())).is_err() || n == 0 {
            return;
        }
    }
}

fn deliver(mut to: TcpStream, held: &Receiver<(Instant, Vec<u8>)>) {
    for (due, chunk) in held {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if chunk.is_empty() || to.write_all(&chunk).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_in_order_and_late() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("port");
        let network: Network = "rtt=40ms,bw=80mbit".parse().expect("network");
        let address = listener.local_addr().expect("address");
        let seen = relays(network, &[address, address]).expect("relays");
        assert_eq!(seen[0], [address, address]);
        assert_eq!(seen[1][1], address);
        let sent: Vec<u8> = (0..500_000u32).map(|i| (i * 7) as u8).collect();
        let start = Instant::now();
        let got = thread::scope(|s| {
            s.spawn(|| {
                let mut to = TcpStream::connect(seen[1][0]).expect("relay");
                to.write_all(&sent).expect("sent");
            });
            let (mut from, _) = listener.accept().expect("caller");
            let mut got = Vec::new();
            from.read_to_end(&mut got).expect("read");
            got
        });
        assert!(got == sent);
        // 20 ms on the way and 50 ms for half a megabyte; never sooner.
        assert!(start.elapsed() >= Duration::from_millis(70), "{:?}", start.elapsed());
    }
}
