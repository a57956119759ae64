//! The port for clients: reads their requests, hands them to the list, writes replies as they come.
//!
//! What a client sends is untrusted: the head is bounded, the length is the program's or the connection ends, and a request
//! that would be refused anyway is refused before its bytes are read.
use super::metrics::{Metrics, Outcome};
use super::queue::{Queue, Reply};
use super::wire::{self, HELLO, Hello, REQUEST, Refusal, RequestId};
use crate::client::{ClientSide, Phase};
use ir::Party;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

/// Connections at a time; more wait.
const CONNECTIONS: usize = 512;
/// Of these, connections that have not shaken hands yet; the oldest goes first.
const STRANGERS: usize = 64;
/// For the first bytes, and for each request once it has begun.
const PATIENCE: Duration = Duration::from_secs(10);
/// For one who was refused to read why.
const LINGER: Duration = Duration::from_secs(1);
/// Without a request.
const QUIET: Duration = Duration::from_secs(300);
/// Time for each so many bytes of a request.
const SLOWEST_BYTES_PER_SECOND: u64 = 64 << 10;

/// What each connection needs.
pub struct Port {
    /// What this party says of itself.
    pub hello: Hello,
    /// Length of a request's pieces.
    pub bytes: u64,
    /// Reads pieces.
    pub side: Arc<ClientSide>,
    /// Requests.
    pub queue: Arc<Queue>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Encrypts connections, where they are encrypted.
    pub tls: Option<TlsAcceptor>,
    /// Replies that are not written yet.
    pub owed: AtomicUsize,
}

/// Connections that have not shaken hands, oldest first.
#[derive(Default)]
struct Strangers(Mutex<VecDeque<(u64, AbortHandle)>>);

impl Strangers {
    fn list(&self) -> MutexGuard<'_, VecDeque<(u64, AbortHandle)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of them, until this is dropped.
struct Stranger {
    number: u64,
    all: Arc<Strangers>,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.all.list().retain(|(number, _)| *number != self.number);
    }
}

/// Accepts clients until the task is dropped.
pub async fn serve(listener: TcpListener, port: Arc<Port>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let strangers = Arc::new(Strangers::default());
    for number in 0.. {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, for example.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let port = port.clone();
        let stranger = Stranger { number, all: strangers.clone() };
        // While the list is locked, so that it is entered before it leaves.
        let mut list = strangers.list();
        let task = tokio::spawn(async move {
            // Small replies go out at once; where this fails they go out later.
            let _ = stream.set_nodelay(true);
            // A client that goes away, for whatever reason, is no concern of others.
            match &port.tls {
                None => {
                    let (read, write) = stream.into_split();
                    let _ = connection(read, write, &port, stranger).await;
                }
                Some(tls) => {
                    match timeout(PATIENCE, tls.accept(stream).into_fallible()).await {
                        Ok(Ok(stream)) => {
                            let (read, write) = tokio::io::split(stream);
                            let _ = connection(read, write, &port, stranger).await;
                        }
                        Ok(Err((_, mut stream))) => {
                            // The alert is lost when a socket closes on what was not read.
                            let _ = stream.shutdown().await;
                            let mut rest = stream.take(64 << 10);
                            let _ = timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
                        }
                        Err(_) => {}
                    }
                }
            }
            drop(place);
        });
        list.push_back((number, task.abort_handle()));
        let oldest = (list.len() > STRANGERS).then(|| list.pop_front()).flatten();
        drop(list);
        if let Some((_, oldest)) = oldest {
            oldest.abort();
        }
    }
}

async fn connection(
    mut read: impl AsyncRead + Unpin,
    mut write: impl AsyncWrite + Unpin + Send + 'static,
    port: &Arc<Port>,
    stranger: Stranger,
) -> std::io::Result<()> {
    let mut hello = [0; HELLO];
    timeout(PATIENCE, read.read_exact(&mut hello)).await??;
    let Ok(theirs) = Hello::decode(&hello) else { return Ok(()) };
    let difference = port.hello.difference(&theirs);
    let status = difference.as_ref().map_or(0, |refusal| refusal.code);
    timeout(PATIENCE, send(&mut write, &[&port.hello.encode()[..], &[status]].concat())).await??;
    if difference.is_some() {
        return Ok(());
    }
    drop(stranger);
    let (waiter, mut replies) = mpsc::unbounded_channel::<(RequestId, Reply)>();
    let own = port.clone();
    let writer = tokio::spawn(async move {
        while let Some((id, reply)) = replies.recv().await {
            let frame = wire::reply(id, &reply);
            let due = PATIENCE + Duration::from_secs(frame.len() as u64 / SLOWEST_BYTES_PER_SECOND);
            if !matches!(timeout(due, send(&mut write, &frame)).await, Ok(Ok(()))) {
                return;
            }
            own.owed.fetch_sub(1, Relaxed);
        }
        // Says that nothing was cut off; the client may be gone.
        let _ = timeout(PATIENCE, write.shutdown()).await;
    });
    let refuse = |id, refusal: Refusal| {
        port.metrics.ended(Outcome::Refused);
        port.owed.fetch_add(1, Relaxed);
        // The writer is gone when the client is.
        let _ = waiter.send((id, Err(refusal)));
    };
    let due = PATIENCE + Duration::from_secs(port.bytes / SLOWEST_BYTES_PER_SECOND);
    loop {
        let mut head = [0; REQUEST];
        match timeout(QUIET, read.read_exact(&mut head)).await {
            Ok(Ok(_)) => {}
            _ => break,
        }
        if waiter.is_closed() {
            // It sends and does not read.
            break;
        }
        let (id, length) = wire::read_request(&head);
        if length != port.bytes {
            let what = format!("{length} bytes where {} are due: is it the program of this server?", port.bytes);
            refuse(id, Refusal::new(30, what));
            break;
        }
        if let Some(refusal) = port.queue.refusal(id) {
            refuse(id, refusal);
            if !skip(&mut read, length, due).await {
                break;
            }
            continue;
        }
        let mut message = Zeroizing::new(vec![0; length as usize]);
        match timeout(due, read.read_exact(&mut message)).await {
            Ok(Ok(_)) => {}
            _ => break,
        }
        let digest = *blake3::hash(&message).as_bytes();
        match port.side.pieces(Phase::Inference, Party(port.hello.party), &message) {
            Some(pieces) => {
                port.owed.fetch_add(1, Relaxed);
                port.queue.submit(id, digest, pieces, &waiter);
            }
            None => refuse(id, Refusal::new(30, "not the pieces of a request of this program")),
        }
    }
    drop(waiter);
    // Replies that are due still go out.
    let _ = writer.await;
    Ok(())
}

/// Writes all of it, also what encryption holds back.
async fn send(write: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    write.write_all(bytes).await?;
    write.flush().await
}

/// Reads past a request.
async fn skip(read: &mut (impl AsyncRead + Unpin), length: u64, due: Duration) -> bool {
    let mut past = read.take(length);
    matches!(timeout(due, tokio::io::copy(&mut past, &mut tokio::io::sink())).await, Ok(Ok(n)) if n == length)
}
