//! The command `serve`.
use super::wire::Wire;
use super::{Failure, ServeArgs, WaitArgs, keys, load, manifest, net, party};
use ir::{Party, bytecode};
use runtime_protocols::link::{Hello, Identity, Link};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls::ServerConfig;
use vm::client::ClientSide;
use vm::serve::engine::{Batching, Connect, ConnectError, EngineError, Model};
use vm::serve::queue::Limits;
use vm::serve::{ServeError, Server};

/// How long one try to reach all peers lasts; then the next begins.
const CONNECT: u64 = 5;
/// How long a session may last, in seconds; then another one begins.
const SESSION: u64 = 30 * 24 * 3600;

/// Serves until it is told to end.
pub fn run(args: &ServeArgs) -> Result<(), Failure> {
    let usage = |what: String| Failure::new(Failure::USAGE, what);
    let loaded = load::program(&args.model)?;
    let me = Party(args.party);
    if me.0 >= loaded.program.parties {
        let last = loaded.program.parties - 1;
        return Err(usage(format!("{me} does not exist, the program has parties 0 to {last}")));
    }
    let side = load::client(&loaded)?;
    side.owns_inputs_and_outputs()?;
    loaded.check_memory(args.memory_limit, args.max_batch.into(), args.weights.is_some())?;
    let cell = manifest::cell(&args.cell)?;
    let mut net = net::Net::load(args.net.as_deref(), loaded.program.parties, cell)?;
    net.look_in(&args.folders);
    let (model, deployment, weights) = model(args, me, &loaded, &side)?;
    let weights = load::weights_field(&loaded, weights.as_deref(), args.weights_id.as_deref())?;
    let client = match args.listen_client {
        Some(address) => address,
        None => {
            let text = net.clients()?.swap_remove(me.index());
            text.parse().map_err(|_| usage(format!("`{text}` is a name: say where to bind with `--listen-client`")))?
        }
    };
    let hello = Hello::default()
        .with("program format", bytecode::FORMAT.to_string())
        .with("program", loaded.hash)
        .with("protocol", &loaded.program.protocol)
        .with("parties", loaded.program.parties.to_string())
        .with("reveal", &loaded.program.reveal)
        .with("mode", "serve 1")
        .with("largest batch", args.max_batch.to_string())
        .with("deployment of the weights", deployment)
        .with("?weights", weights)
        .with("cell", cell.map_or("none".into(), |cell| cell.to_string()));
    // A try to meet is short, the next one follows; a server has no end of its own.
    let waits = WaitArgs {
        connect_timeout: Some(CONNECT),
        round_timeout: args.timeout,
        session_timeout: Some(SESSION),
        ..WaitArgs::default()
    };
    let wire = Wire::new(me, net, &waits, None)?;
    let secure = wire.tls();
    let tls = tls(args, client, wire.identity())?;
    let server = Server {
        me,
        side: Arc::new(side),
        protocol: loaded.protocol,
        hash: loaded.hash,
        model,
        batching: Batching { most: args.max_batch.into(), delay: Duration::from_millis(args.max_delay) },
        limits: Limits {
            pending: args.queue as usize,
            patience: Duration::from_secs(args.patience),
            age: Duration::from_secs(args.remember),
            ..Limits::default()
        },
        clients: listen(client)?,
        tls,
        certificate_until: wire.identity().map(|i| i.certificate.valid[1]),
        http: args.http.map(listen).transpose()?,
        connect: connect(wire, hello),
    };
    eprintln!("{}", loaded.security_line(if secure { party::SECURE } else { party::PLAIN }));
    eprintln!("{me} serves clients at {client}");
    vm::serve::run(server).map_err(|e| {
        let code = match &e {
            ServeError::Engine(EngineError::Link(e)) => e.exit_code(),
            ServeError::Engine(EngineError::Connect(e)) => e.code,
            ServeError::Engine(EngineError::Load(_)) | ServeError::Panic => Failure::BUG,
            ServeError::Engine(EngineError::Share) => Failure::DAMAGED,
            ServeError::Io { .. } => Failure::CONFIG,
        };
        Failure::new(code, e)
    })
}

/// How this party reaches the others.
fn connect(wire: Wire, hello: Hello) -> Connect {
    Box::new(move || -> Result<Box<dyn Link>, ConnectError> {
        let link = wire.join(None, &hello).map_err(|e| ConnectError { code: e.code, message: e.message })?;
        Ok(Box::new(link))
    })
}

/// What this party has of the weights, the deployment that all parties compare, and the identity of a file of its own.
fn model(
    args: &ServeArgs,
    me: Party,
    loaded: &load::Loaded,
    side: &ClientSide,
) -> Result<(Model, Vec<u8>, Option<String>), Failure> {
    let usage = |what: String| Failure::new(Failure::USAGE, what);
    let owner = loaded.program.interface.weight_owner;
    match (&args.weights, &args.weights_share) {
        (None, Some(path)) if owner == Party::CLIENT => {
            let share = vm::deploy::open(path, side, &loaded.hash, me)?;
            Ok((Model::Share(share.message), share.deployment.to_vec(), None))
        }
        _ if owner == Party::CLIENT => {
            Err(usage("a client owns the weights: give this party's share with `--weights-share`".into()))
        }
        (_, Some(_)) => Err(usage(format!("{owner} owns the weights, there is no share of them"))),
        (Some(path), None) if owner == me => {
            let (weights, identity) = load::weights(path, loaded)?;
            Ok((Model::Own(weights), vec![], Some(identity)))
        }
        (None, None) if owner == me && !loaded.program.modes.public_weights => {
            Err(usage(format!("{me} owns the model: give its weights file with `-w`")))
        }
        (Some(_), None) => Err(usage(format!("{me} must not have weights, only {owner}"))),
        (None, None) => Ok((Model::None, vec![], None)),
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let fail =
        |e| Failure::new(Failure::CONFIG, format!("cannot listen on {address}: {e}; is another process using it?"));
    TcpListener::bind(address).map_err(fail)
}

/// Encrypts what clients say, as links between parties are. Beyond loopback clients are known, or it is said that they need not
/// be.
fn tls(
    args: &ServeArgs,
    address: SocketAddr,
    identity: Option<&Identity>,
) -> Result<Option<Arc<ServerConfig>>, Failure> {
    let fail = |what: String| Failure::new(Failure::CONFIG, what);
    let local = address.ip().is_loopback();
    let Some(identity) = identity else {
        return match (local, &args.clients) {
            (true, None) => Ok(None),
            (true, Some(_)) => Err(fail("`--clients`: the `net.toml` has no certificates, links are plain".into())),
            (false, _) => Err(fail(format!(
                "{address} is not loopback: without certificates in the `net.toml` clients' links are not encrypted, so only \
                 127.0.0.1 and ::1 are allowed"
            ))),
        };
    };
    let known = args.clients.as_deref().map(keys::clients).transpose()?;
    if known.is_none() && !local && !args.anonymous_clients {
        return Err(fail(format!(
            "{address} is not loopback: name the clients' certificates with `--clients FILE`, or serve everybody with \
             `--anonymous-clients`"
        )));
    }
    identity.for_clients(known).map(Some).map_err(|e| fail(e.to_string()))
}
