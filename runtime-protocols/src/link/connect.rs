//! Finding the peers: each pair knows which of the two dials.
//!
//! Anyone can connect to a listening port, so a caller counts only when it has shown the certificate of a missing party,
//! where there is TLS, and has sent a whole handshake with that party's index; everyone else is dropped: at most
//! [`CALLERS`] are heard at a time, each for the time of a handshake, TLS included, and with no more than a handshake's
//! length in memory. A difference between two parties does not end the search at once: the others get a little time to
//! be told. A peer that ends while others are still missing may come back.

use super::dial::{AT, Answer, Call, prepare};
use super::handshake::{self, NONCE, PREAMBLE, Preamble, Side};
use super::peer::{AT_A_TIME, Peer, Quiet, linger};
use super::stream::{Refusal, Stream, refusal};
use super::tcp::{Setup, Station, dialler};
use super::{Fault, LinkError, Party, frame, party, poll};
use rustix::event::{PollFd, PollFlags};
use rustls::ServerConfig;
use std::{
    io::{self, IoSliceMut, Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixStream,
    sync::atomic::{AtomicBool, Ordering},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

/// Strangers heard at a time; the oldest goes first.
const CALLERS: usize = 64;
/// What the others get after a difference.
const A_LITTLE: Duration = Duration::from_secs(1);

/// A connected peer.
pub(super) struct Met {
    pub(super) peer: Peer,
    pub(super) nonce: [u8; NONCE],
    agrees: bool,
}

/// Connects to all peers; the entry of this party is `None`. The listener is closed on return.
pub(super) fn meet(setup: Setup<'_>, nonce: &[u8; NONCE]) -> Result<Vec<Option<Met>>, LinkError> {
    let Setup { me, stations, listener, options, hello, identity } = setup;
    assert!(me.index() < stations.len(), "{me} has no address");
    let parties = u8::try_from(stations.len()).expect("links have at most 255 parties");
    let start = Instant::now();
    let unusable = |e: &dyn ToString| LinkError::Authentication {
        peer: Some(me),
        address: "this machine".to_owned(),
        reason: e.to_string(),
    };
    let others = stations.iter().enumerate().filter(|(p, _)| *p != me.index());
    let pins = others.filter_map(|(_, s)| s.fingerprint).collect();
    let server = identity.map(|own| own.server(pins)).transpose().map_err(|e| unusable(&e))?;
    let (send, calls) = mpsc::channel();
    let (ring, bell) = UnixStream::pair().map_err(|e| LinkError::GaveUp { code: 5, reason: e.to_string() })?;
    let handshake = Arc::new(handshake::encode(me, parties, nonce, hello));
    let mut meeting = Meeting {
        me,
        parties,
        stations,
        hello,
        handshake: handshake.clone(),
        server,
        patience: options.timeouts.handshake,
        start,
        deadline: start + options.timeouts.connect,
        met: (0..parties).map(|_| None).collect(),
        difference: None,
        refused: None,
        reasons: stations.iter().map(|_| Arc::default()).collect(),
        calls,
        bell,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let reasons = meeting.reasons.clone();
    let deadline = meeting.deadline;
    let dial = |p: usize| -> Result<(), LinkError> {
        let station = &stations[p];
        let tls = match (identity, station.fingerprint) {
            (Some(own), Some(pin)) => Some(own.client(pin).map_err(|e| unusable(&e))?),
            _ => None,
        };
        let (stop, reason, handshake) = (stop.clone(), reasons[p].clone(), handshake.clone());
        let address = station.address.clone().unwrap_or_default();
        let call = Call { peer: party(p), address, options: *options, tls, handshake, deadline, stop, reason };
        let (send, ring) = (send.clone(), ring.try_clone());
        thread::Builder::new()
            .name(format!("dial {p}"))
            .spawn(move || {
                if let Some(answer) = call.run() {
                    // Nobody may wait for it any more.
                    let _ = send.send((p, answer));
                    let _ = ring.and_then(|mut ring| ring.write_all(&[1]));
                }
            })
            .map(drop)
            .map_err(|e| LinkError::GaveUp { code: 5, reason: format!("no thread: {e}") })
    };
    let result = meeting.search(listener.as_ref(), &dial);
    stop.store(true, Ordering::Relaxed);
    match meeting.difference.take().map_or(result, Err) {
        Ok(()) => Ok(meeting.met),
        Err(e) => {
            meeting.tell(&e);
            Err(e)
        }
    }
}

struct Meeting<'a> {
    me: Party,
    parties: u8,
    stations: &'a [Station],
    hello: &'a super::Hello,
    /// What this party sends.
    handshake: Arc<Vec<u8>>,
    server: Option<Arc<ServerConfig>>,
    /// For one handshake.
    patience: Duration,
    start: Instant,
    deadline: Instant,
    met: Vec<Option<Met>>,
    /// The first difference found.
    difference: Option<LinkError>,
    /// The last caller with a certificate that will not do.
    refused: Option<LinkError>,
    /// Why peers could not be reached at the last attempt.
    reasons: Vec<Arc<Mutex<String>>>,
    /// Peers that have answered; `bell` becomes readable.
    calls: mpsc::Receiver<(usize, Result<Answer, LinkError>)>,
    bell: UnixStream,
}

impl Meeting<'_> {
    fn missing(&self) -> Option<usize> {
        (0..self.met.len()).find(|&p| p != self.me.index() && self.met[p].is_none())
    }

    fn dials(&self, p: usize) -> bool {
        dialler(self.stations, self.me.index(), p) == Some(self.me.index())
    }

    fn unreachable(&mut self, p: usize) -> LinkError {
        if let Some(refused) = self.refused.take() {
            return refused;
        }
        let reason = match self.dials(p) {
            true => self.reasons[p].lock().unwrap_or_else(PoisonError::into_inner).clone(),
            false => "it did not connect".to_owned(),
        };
        let address = self.stations[p].address.clone().unwrap_or("an address of its own choice".to_owned());
        LinkError::Unreachable { peer: party(p), address, after: self.start.elapsed(), reason }
    }

    /// Waits until all are there.
    fn search(
        &mut self,
        listener: Option<&TcpListener>,
        dial: &dyn Fn(usize) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        let address = self.stations[self.me.index()].address.clone().unwrap_or_default();
        let listen = |e: io::Error| LinkError::Listen { address: address.clone(), reason: e.to_string() };
        if let Some(listener) = listener {
            listener.set_nonblocking(true).map_err(listen)?;
        }
        self.bell.set_nonblocking(true).map_err(listen)?;
        (0..self.met.len()).filter(|p| *p != self.me.index() && self.dials(*p)).try_for_each(dial)?;
        let mut callers: Vec<Caller> = Vec::new();
        while let Some(missing) = self.missing() {
            // Also what came together with a handshake.
            for gone in self.look()? {
                self.met[gone] = None;
                if self.dials(gone) {
                    dial(gone)?;
                }
            }
            self.wait(listener, &callers).map_err(listen)?;
            let _ = self.bell.read(&mut [0; 64]);
            while let Ok((p, answer)) = self.calls.try_recv() {
                let Answer { stream, preamble, body } = answer?;
                self.judge(p, stream, preamble, &body)?;
            }
            let now = Instant::now();
            if now >= self.deadline && self.missing().is_some() {
                return Err(self.unreachable(missing));
            }
            callers.retain(|caller| now < caller.since + self.patience);
            // An error here is about one caller that has already gone.
            while let Some(Ok((socket, from))) = listener.map(TcpListener::accept) {
                if let (Ok(()), Ok(stream)) = (prepare(&socket), Stream::answer(socket, self.server.as_ref())) {
                    callers.push(Caller { stream, from, bytes: Vec::new(), since: now });
                }
                if callers.len() > CALLERS {
                    callers.remove(0);
                }
            }
            for mut caller in std::mem::take(&mut callers) {
                match caller.listen() {
                    Heard::Part => callers.push(caller),
                    Heard::Junk(None) => {}
                    Heard::Junk(Some(reason)) => {
                        let address = caller.from.to_string();
                        self.refused = Some(LinkError::Authentication { peer: None, address, reason });
                    }
                    Heard::All(preamble) => self.answer(caller, preamble)?,
                }
            }
        }
        Ok(())
    }

    /// Waits until something happens.
    fn wait(&self, listener: Option<&TcpListener>, callers: &[Caller]) -> io::Result<bool> {
        let oldest = callers.iter().map(|caller| caller.since + self.patience).min();
        let until = oldest.map_or(self.deadline, |oldest| oldest.min(self.deadline));
        let mut set: Vec<_> = callers.iter().map(Caller::waits).collect();
        set.extend(listener.map(|listener| PollFd::new(listener, PollFlags::IN)));
        set.push(PollFd::new(&self.bell, PollFlags::IN));
        let peers = self.met.iter().flatten().map(|met| &met.peer);
        set.extend(peers.filter(|p| p.quiet == Quiet::Open).map(|p| PollFd::new(p.stream.socket(), PollFlags::IN)));
        poll::wait(&mut set, until)
    }

    /// Sees whether those that are here have given up; returns those that have gone without a word.
    fn look(&mut self) -> Result<Vec<usize>, LinkError> {
        let mut gone = Vec::new();
        for (p, met) in self.met.iter_mut().enumerate() {
            let Some(Met { peer, agrees: true, .. }) = met else { continue };
            for _ in 0..AT_A_TIME {
                if peer.quiet != Quiet::Open {
                    break;
                }
                match peer.pull(&mut []) {
                    Ok(Some(0)) | Err(_) => {
                        gone.push(p);
                        break;
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                }
                match peer.header() {
                    Some(Ok(header)) if header.kind == frame::Kind::Abort => {
                        let (code, reason) = peer.last_words(&header, &[]);
                        return Err(LinkError::aborted(&AT, party(p), code, &reason));
                    }
                    Some(_) => peer.quiet = Quiet::Ahead,
                    None => {}
                }
            }
        }
        Ok(gone)
    }

    /// Notes a difference; the others get a little time to be told.
    fn differ(&mut self, difference: LinkError) {
        self.difference.get_or_insert(difference);
        self.deadline = self.deadline.min(Instant::now() + self.patience.min(A_LITTLE));
    }

    /// Compares what `p` said with what this party says.
    fn judge(&mut self, p: usize, stream: Stream, preamble: Preamble, body: &[u8]) -> Result<(), LinkError> {
        let decoded = handshake::decode_body(body);
        let mine = Side::own(self.me, self.parties, self.hello);
        if preamble.version == mine.version && decoded.is_none() {
            let fault = Fault::Handshake { got: body.len() as u64 };
            return Err(LinkError::malformed(&AT, party(p), fault));
        }
        let (nonce, hello) = decoded.unzip();
        let theirs =
            Side { party: party(p), version: preamble.version, parties: preamble.parties, hello: hello.as_ref() };
        let mut difference = handshake::difference(&mine, &theirs);
        if difference.is_none() && preamble.party != party(p) {
            let (mine, theirs) = (party(p).to_string(), preamble.party.to_string());
            let field = format!("who is at {}", self.stations[p].address.as_deref().unwrap_or_default());
            difference = Some(LinkError::Disagree { peer: party(p), field, mine, theirs });
        }
        let agrees = difference.is_none();
        self.met[p] = Some(Met { peer: Peer::new(stream), nonce: nonce.unwrap_or_default(), agrees });
        if let Some(difference) = difference {
            self.differ(difference);
        }
        Ok(())
    }

    /// Answers a caller that has sent a whole handshake, and takes it in when it is a missing party.
    fn answer(&mut self, mut caller: Caller, preamble: Preamble) -> Result<(), LinkError> {
        let claimed = preamble.party.index();
        let until = Instant::now() + self.patience.min(A_LITTLE);
        if let Some(shown) = caller.stream.fingerprint()
            && self.stations.get(claimed).and_then(|s| s.fingerprint) != Some(shown)
        {
            // Only a party gets here: TLS lets in nobody else.
            let owner = self.stations.iter().position(|s| s.fingerprint == Some(shown)).unwrap_or(claimed);
            let (field, theirs) = ("party index".to_owned(), format!("{} by its own word", preamble.party));
            let mine = format!("{} by its certificate", party(owner));
            let difference = LinkError::Disagree { peer: party(owner), field, mine, theirs };
            let words = frame::abort(0, difference.exit_code(), &difference.to_string());
            let _ = caller.stream.write_full(&[self.handshake.as_slice(), &words].concat(), until);
            caller.stream.end();
            self.differ(difference);
            return Ok(());
        }
        let missing = claimed != self.me.index() && self.met.get(claimed).is_some_and(Option::is_none);
        let missing = missing && !self.dials(claimed);
        let readable = handshake::decode_body(&caller.bytes[PREAMBLE..]).is_some();
        let own = Side::own(self.me, self.parties, self.hello);
        let same_version = preamble.version == own.version;
        if same_version && preamble.parties != self.parties && !missing && readable {
            // It has no place here, but should learn why.
            let theirs =
                Side { party: preamble.party, version: preamble.version, parties: preamble.parties, hello: None };
            if caller.stream.write_full(&self.handshake, until).is_ok()
                && let Some(difference) = handshake::difference(&own, &theirs)
            {
                self.differ(difference);
            }
            return Ok(());
        }
        if !missing || (same_version && !readable) {
            return Ok(());
        }
        match caller.stream.write_full(&self.handshake, until) {
            Ok(()) => self.judge(claimed, caller.stream, preamble, &caller.bytes[PREAMBLE..]),
            Err(_) => Ok(()),
        }
    }

    /// Tells the peers that have agreed why nothing comes of it.
    fn tell(&mut self, e: &LinkError) {
        let mut peers: Vec<&mut Peer> =
            self.met.iter_mut().flatten().filter(|met| met.agrees).map(|met| &mut met.peer).collect();
        let words = frame::abort(0, e.exit_code(), &e.to_string());
        for peer in &mut peers {
            let _ = peer.stream.write_full(&words, Instant::now() + Duration::from_millis(100));
            peer.stream.end();
        }
        let patience = Duration::from_millis(300);
        linger(peers.into_iter(), Instant::now() + patience, patience, || false);
    }
}

/// Someone who has connected and may be a peer.
struct Caller {
    stream: Stream,
    from: SocketAddr,
    bytes: Vec<u8>,
    since: Instant,
}

enum Heard {
    Part,
    All(Preamble),
    /// With what is wrong with its certificate, if it has shown one.
    Junk(Option<String>),
}

impl Caller {
    fn waits(&self) -> PollFd<'_> {
        let events = if self.stream.unsent() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        PollFd::new(self.stream.socket(), events)
    }

    /// Reads what has come, up to the end of the handshake.
    fn listen(&mut self) -> Heard {
        let mut chunk = [0; 4096];
        loop {
            let preamble = self.bytes.first_chunk().map(Preamble::decode);
            let total = match preamble {
                None => PREAMBLE,
                Some(None) => return Heard::Junk(None),
                Some(Some(preamble)) if self.bytes.len() == PREAMBLE + preamble.body => {
                    return Heard::All(preamble);
                }
                Some(Some(preamble)) => PREAMBLE + preamble.body,
            };
            let want = (total - self.bytes.len()).min(chunk.len());
            match self.stream.read(&mut [IoSliceMut::new(&mut chunk[..want])]) {
                Ok(0) => return Heard::Junk(None),
                Ok(n) => self.bytes.extend_from_slice(&chunk[..n]),
                Err(e) if poll::later(&e) => return Heard::Part,
                Err(e) => {
                    return Heard::Junk(match refusal(&e) {
                        Some(Refusal::Certificate(reason)) => Some(reason),
                        Some(Refusal::Alert(alert)) => {
                            Some(format!("it refused the certificate of this party ({alert})"))
                        }
                        _ => None,
                    });
                }
            }
        }
    }
}
