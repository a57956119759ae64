//! The server: one party that computes for clients, many inferences in one session.
//!
//! Three places share one list of requests ([`queue`]): connections of clients ([`clients`]) and pages for probes ([`http`])
//! run on one thread that waits for many things, the computation ([`engine`]) on a thread of its own. How parties agree on a
//! batch and what each message reveals stands in `docs/serving.md`.
pub mod clients;
pub mod engine;
mod http;
pub mod metrics;
pub mod queue;
pub mod wire;

use crate::client::{ClientSide, Phase};
use crate::protocols::Protocol;
use engine::{Batching, Connect, Engine, EngineError, Model};
use ir::Party;
use metrics::Metrics;
use queue::{Limits, Queue};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long replies may take after the last computation.
const LEAVE: Duration = Duration::from_secs(2);
/// How long after a signal everything has to be over.
const DRAINED: Duration = Duration::from_secs(29);

/// What a server needs.
pub struct Server {
    /// Which party this is.
    pub me: Party,
    /// The program.
    pub side: Arc<ClientSide>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its hash.
    pub hash: [u8; 32],
    /// Weights, or what this party has of them.
    pub model: Model,
    /// How requests are put together.
    pub batching: Batching,
    /// Bounds of the list of requests.
    pub limits: Limits,
    /// Where clients connect.
    pub clients: TcpListener,
    /// Encrypts what clients say, where that is encrypted.
    pub tls: Option<Arc<tokio_rustls::rustls::ServerConfig>>,
    /// When this party's certificate ends, in seconds since 1970, where links are encrypted.
    pub certificate_until: Option<i64>,
    /// Where probes read.
    pub http: Option<TcpListener>,
    /// Reaches the peers.
    pub connect: Connect,
}

/// Why a server ends.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The computation.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Sockets, signals, threads.
    #[error("{what}: {source}")]
    Io {
        /// Which.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The thread that computes has panicked.
    #[error("the computation ended unexpectedly; this is a bug")]
    Panic,
}

/// Serves until SIGTERM or SIGINT: then it takes nothing new, ends what it has and leaves.
pub fn run(server: Server) -> Result<(), ServeError> {
    let io = |what| move |source| ServeError::Io { what, source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io("runtime"))?;
    runtime.block_on(serve(server))
}

async fn serve(server: Server) -> Result<(), ServeError> {
    let io = |what| move |source| ServeError::Io { what, source };
    let Server { me, side, protocol, hash, model, batching, limits, clients, tls, certificate_until, http, connect } =
        server;
    let queue = Arc::new(Queue::new(limits));
    let metrics = Arc::new(Metrics::new(me, side.program().parties, &hash, certificate_until));
    let port = Arc::new(clients::Port {
        hello: wire::Hello { party: me.0, program: hash },
        bytes: side.message_bytes(Phase::Inference, me),
        side: side.clone(),
        queue: queue.clone(),
        metrics: metrics.clone(),
        tls: tls.map(Into::into),
        owed: AtomicUsize::new(0),
    });
    let listen = |socket: TcpListener, what| {
        socket.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(socket)).map_err(io(what))
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(io("signals"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(io("signals"))?;
    let accepting = tokio::spawn(clients::serve(listen(clients, "port for clients")?, port.clone()));
    if let Some(http) = http {
        tokio::spawn(http::serve(listen(http, "port for probes")?, queue.clone(), metrics.clone()));
    }
    let engine = Engine { side, protocol, model, queue: queue.clone(), metrics, batching, connect };
    let (done, mut ended) = tokio::sync::oneshot::channel();
    let computing = std::thread::Builder::new().name("engine".into()).spawn(move || {
        // Where nobody listens any more the process ends anyway.
        let _ = done.send(engine.run());
    });
    computing.map_err(io("thread"))?;
    let result = tokio::select! {
        result = &mut ended => Some(result),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    let result = match result {
        Some(result) => Some(result),
        None => {
            queue.drain();
            tokio::time::timeout(DRAINED, ended).await.ok()
        }
    };
    let start = tokio::time::Instant::now();
    while port.owed.load(Relaxed) > 0 && start.elapsed() < LEAVE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    accepting.abort();
    match result {
        // The computation waits for a peer that says nothing: this process leaves all the same.
        None => Ok(()),
        Some(result) => Ok(result.map_err(|_| ServeError::Panic)??),
    }
}
