//! Ports that a test may close and open again: outside the range from which the system takes numbers for connections, and
//! in blocks of a hundred, of which each belongs to one test of all processes at a time.
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Ports in a block.
pub const SIZE: u16 = 100;
/// Below it live the services of a machine.
const FIRST: u16 = 10_000;

/// A block of ports, until it is dropped.
pub struct Block {
    /// A multiple of a hundred.
    pub first: u16,
    /// The last port. Who listens there owns the block.
    _owner: TcpListener,
}

fn listen(port: u16) -> Option<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
}

/// First and last port that the system gives to connections.
fn ephemeral() -> (u16, u16) {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().map_while(|n| n.parse().ok());
    (numbers.next().unwrap_or(32_768), numbers.next().unwrap_or(60_999))
}

impl Block {
    /// A block whose ports are all free.
    pub fn claim() -> Block {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (low, high) = ephemeral();
        let outside = |first: u16| first.checked_add(SIZE - 1).is_some_and(|last| last < low || first > high);
        let mut blocks: Vec<u16> = (FIRST..=u16::MAX - SIZE).step_by(SIZE.into()).filter(|b| outside(*b)).collect();
        if blocks.is_empty() {
            blocks.extend((FIRST..=u16::MAX - SIZE).step_by(SIZE.into()));
        }
        // Processes begin at different places, so that they seldom meet.
        let begin = std::process::id().wrapping_mul(7).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) as usize;
        let tried = (0..blocks.len()).map(|i| blocks[(begin + i) % blocks.len()]);
        let free = |first: u16| {
            let owner = listen(first + SIZE - 1)?;
            (first..first + SIZE - 1).all(|port| listen(port).is_some()).then_some(Block { first, _owner: owner })
        };
        tried.filter_map(free).next().expect("a hundred free ports")
    }

    /// The first `n` of them.
    pub fn ports(&self, n: u16) -> Vec<u16> {
        assert!(n < SIZE, "the last port is taken");
        (self.first..self.first + n).collect()
    }

    /// Whether nobody listens on the first `n` any more.
    pub fn is_free(&self, n: u16) -> bool {
        self.ports(n).into_iter().all(|port| listen(port).is_some())
    }
}
