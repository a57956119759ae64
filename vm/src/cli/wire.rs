//! From a configuration to a link: key, socket, waiting times, the session that is used once.
use super::net::Net;
use super::sessions::Sessions;
use super::{Failure, WaitArgs, keys};
use runtime_protocols::link::{Hello, Identity, Link, Party, Timeouts, tcp};
use std::net::TcpListener;
use std::time::Duration;

/// Everything that can go wrong before a peer is contacted, done.
pub struct Wire {
    me: Party,
    net: Net,
    identity: Option<Identity>,
    options: tcp::Options,
    sessions: Option<Sessions>,
    session: Option<String>,
}

impl Wire {
    /// Reads the key of this party and looks at its certificate.
    pub fn new(me: Party, net: Net, waits: &WaitArgs, session: Option<&str>) -> Result<Wire, Failure> {
        let identity = keys::identity(&net, me.index())?;
        let timeouts = timeouts(net.timeouts, waits);
        // What runs on loopback without a key has nothing that a used session could harm.
        let sessions = net.dir.as_deref().filter(|_| net.tls || session.is_some()).map(Sessions::new);
        if let (Some(sessions), Some(name)) = (&sessions, session) {
            sessions.check(name)?;
        }
        let options = tcp::Options { timeouts, ..tcp::Options::default() };
        Ok(Wire { me, net, identity, options, sessions, session: session.map(str::to_owned) })
    }

    /// What the parties must have alike of this.
    fn hello(&self, hello: &Hello) -> Hello {
        let pins = blake3::hash(&self.net.pins());
        let session = self.session.as_deref().unwrap_or("random");
        hello.clone().with("session", session).with("certificates", pins.as_bytes())
    }

    /// Connects to all. `listener` is a socket that listens already.
    pub fn join(&self, listener: Option<TcpListener>, hello: &Hello) -> Result<tcp::TcpLink, Failure> {
        let listener = match listener {
            None if self.net.is_dialled(self.me.index()) => {
                Some(tcp::listen(self.net.bind(self.me.index())?, &self.options)?)
            }
            listener => listener,
        };
        let mut link = tcp::join(tcp::Setup {
            me: self.me,
            stations: &self.net.stations,
            listener,
            options: &self.options,
            hello: &self.hello(hello),
            identity: self.identity.as_ref(),
        })?;
        if let Some(sessions) = &self.sessions {
            sessions.take(&link.session(), self.session.as_deref()).inspect_err(|e| link.abort(e.code, &e.message))?;
        }
        Ok(link)
    }

    /// Whether links are encrypted.
    pub fn tls(&self) -> bool {
        self.identity.is_some()
    }

    /// Names of the parties, for messages.
    pub fn names(&self) -> &[String] {
        &self.net.names
    }
}

/// Those of the file, with what the command line says instead.
fn timeouts(mut timeouts: Timeouts, waits: &WaitArgs) -> Timeouts {
    let seconds = |s: Option<u64>| s.map(Duration::from_secs);
    if let Some(t) = seconds(waits.timeout) {
        (timeouts.connect, timeouts.round) = (t, t);
        timeouts.handshake = t.min(timeouts.handshake);
    }
    timeouts.connect = seconds(waits.connect_timeout).unwrap_or(timeouts.connect);
    timeouts.round = seconds(waits.round_timeout).unwrap_or(timeouts.round);
    timeouts.session = seconds(waits.session_timeout).unwrap_or(timeouts.session);
    timeouts.silence = seconds(waits.silence_timeout).unwrap_or(timeouts.silence);
    timeouts
}
