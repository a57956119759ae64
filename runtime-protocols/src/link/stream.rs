//! A connection, plain or inside TLS, that never blocks.

use super::tls::{self, Fingerprint};
use super::{Fault, TlsError, poll};
use rustix::event::PollFlags;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use std::{
    io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write},
    net::{Shutdown, TcpStream},
    sync::Arc,
    time::Instant,
};

/// Encrypted bytes read from the socket in one go.
const INBOX: usize = 64 << 10;
/// Bytes that wait to be encrypted or written, at most.
const OUTBOX: usize = 256 << 10;

/// One connection to a peer.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

pub(super) struct Tls {
    socket: TcpStream,
    session: Connection,
    /// Read, not yet decrypted: `start..end`.
    inbox: Box<[u8]>,
    start: usize,
    end: usize,
    /// Decrypted bytes that nobody has taken.
    ready: usize,
}

impl Stream {
    /// The side that dialled.
    pub(super) fn dial(socket: TcpStream, tls: Option<&Arc<ClientConfig>>) -> io::Result<Stream> {
        let Some(config) = tls else { return Ok(Stream::Plain(socket)) };
        let session = ClientConnection::new(config.clone(), tls::nobody()).map_err(io::Error::other)?;
        Ok(Stream::secure(socket, session.into()))
    }

    /// The side that listened.
    pub(super) fn answer(socket: TcpStream, tls: Option<&Arc<ServerConfig>>) -> io::Result<Stream> {
        let Some(config) = tls else { return Ok(Stream::Plain(socket)) };
        let session = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
        Ok(Stream::secure(socket, session.into()))
    }

    fn secure(socket: TcpStream, mut session: Connection) -> Stream {
        session.set_buffer_limit(Some(OUTBOX));
        let inbox = vec![0; INBOX].into_boxed_slice();
        Stream::Tls(Box::new(Tls { socket, session, inbox, start: 0, end: 0, ready: 0 }))
    }

    /// For waiting.
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(tls) => &tls.socket,
        }
    }

    /// Reads what is there; 0 bytes are the end.
    pub(super) fn read(&mut self, parts: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read_vectored(parts),
            Stream::Tls(tls) => tls.read(parts),
        }
    }

    /// Takes what can be taken. What TLS has taken may still be here, see [`Stream::unsent`].
    pub(super) fn write(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.write_vectored(parts),
            Stream::Tls(tls) => {
                let taken = tls.session.writer().write_vectored(parts)?;
                tls.flush()?;
                match taken {
                    0 => Err(ErrorKind::WouldBlock.into()),
                    _ => Ok(taken),
                }
            }
        }
    }

    /// Writes what was taken before, as far as the socket lets it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(_) => Ok(()),
            Stream::Tls(tls) => tls.flush(),
        }
    }

    /// Whether bytes were taken that the socket has not got yet.
    pub(super) fn unsent(&self) -> bool {
        match self {
            Stream::Plain(_) => false,
            Stream::Tls(tls) => tls.session.wants_write(),
        }
    }

    /// Whether bytes can be read though the socket has none.
    pub(super) fn holds(&self) -> bool {
        match self {
            Stream::Plain(_) => false,
            Stream::Tls(tls) => tls.ready > 0 || tls.start < tls.end,
        }
    }

    /// Ends this side's direction, as far as that needs no waiting.
    pub(super) fn end(&mut self) {
        if let Stream::Tls(tls) = self {
            tls.session.send_close_notify();
            let _ = tls.flush();
        }
        let _ = self.socket().shutdown(Shutdown::Write);
    }

    /// The certificate whose key the other side holds; none without TLS.
    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        match self {
            Stream::Plain(_) => None,
            Stream::Tls(tls) => tls::shown(tls.session.peer_certificates()),
        }
    }

    /// A secret that only the two ends of this channel have (RFC 8446, 7.5); none without TLS.
    pub(super) fn binding(&self) -> Option<[u8; 32]> {
        match self {
            Stream::Plain(_) => None,
            Stream::Tls(tls) => tls.session.export_keying_material([0; 32], b"EXPORTER-qnnvm-link-v2", None).ok(),
        }
    }

    /// Fills `bytes`; fails with `TimedOut` or `UnexpectedEof`.
    pub(super) fn read_full(&mut self, mut bytes: &mut [u8], deadline: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.read(&mut [IoSliceMut::new(bytes)]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => bytes = &mut bytes[n..],
                Err(e) if poll::later(&e) => self.wait(PollFlags::IN, deadline)?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Writes all of `bytes`; fails with `TimedOut`.
    pub(super) fn write_full(&mut self, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write(&[IoSlice::new(bytes)]) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if poll::later(&e) => self.wait(PollFlags::OUT, deadline)?,
                Err(e) => return Err(e),
            }
        }
        while self.unsent() {
            self.flush()?;
            if self.unsent() {
                self.wait(PollFlags::OUT, deadline)?;
            }
        }
        Ok(())
    }

    fn wait(&self, events: PollFlags, deadline: Instant) -> io::Result<()> {
        // While TLS shakes hands, writing may need an answer first.
        let events = match self {
            Stream::Tls(tls) if tls.session.wants_write() => events | PollFlags::OUT,
            _ => events,
        };
        poll::wait_one(self.socket(), events, deadline)
    }

    /// Completes the handshake of TLS.
    pub(super) fn shake_hands(&mut self, deadline: Instant) -> io::Result<()> {
        let Stream::Tls(tls) = self else { return Ok(()) };
        while tls.session.is_handshaking() {
            tls.flush()?;
            let events = match tls.session.wants_write() {
                true => PollFlags::IN | PollFlags::OUT,
                false => PollFlags::IN,
            };
            match tls.advance() {
                Ok(true) => {}
                Ok(false) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(e) if poll::later(&e) && tls.session.is_handshaking() => {
                    poll::wait_one(&tls.socket, events, deadline)?;
                }
                Err(e) if poll::later(&e) => {}
                Err(e) => return Err(e),
            }
        }
        tls.flush()
    }
}

impl Tls {
    fn read(&mut self, parts: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.flush()?;
        while self.ready == 0 {
            if !self.advance()? {
                return Ok(0);
            }
            self.flush()?;
        }
        let mut total = 0;
        for part in parts.iter_mut().filter(|part| !part.is_empty()) {
            let n = match self.session.reader().read(part) {
                Ok(n) => n,
                Err(e) if poll::later(&e) => 0,
                Err(e) => return Err(e),
            };
            self.ready = self.ready.saturating_sub(n);
            total += n;
            if n < part.len() {
                break;
            }
        }
        Ok(total)
    }

    /// Decrypts what has come; `false` at the end.
    fn advance(&mut self) -> io::Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            match self.socket.read(&mut self.inbox)? {
                0 => return Ok(false),
                n => self.end = n,
            }
        }
        let mut rest = &self.inbox[self.start..self.end];
        let took = self.session.read_tls(&mut rest)?;
        self.start += took;
        match self.session.process_new_packets() {
            Ok(state) => {
                self.ready = state.plaintext_bytes_to_read();
                Ok(self.ready > 0 || !state.peer_has_closed())
            }
            Err(e) => {
                // The alert that says why.
                let _ = self.flush();
                Err(io::Error::new(ErrorKind::InvalidData, e))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(e) if poll::later(&e) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// What TLS had against the other side.
pub(super) enum Refusal {
    /// Its certificate.
    Certificate(String),
    /// It had something against this party.
    Alert(String),
    /// It does not speak TLS.
    Nonsense(Fault),
}

/// Why a connection failed, when it was TLS.
pub(super) fn refusal(e: &io::Error) -> Option<Refusal> {
    match e.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) => {
            let text = other.0.downcast_ref::<TlsError>().map_or_else(|| other.to_string(), ToString::to_string);
            Some(Refusal::Certificate(text))
        }
        rustls::Error::AlertReceived(alert) => Some(Refusal::Alert(format!("{alert:?}"))),
        e @ (rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Some(Refusal::Certificate(e.to_string()))
        }
        _ => Some(Refusal::Nonsense(Fault::Magic)),
    }
}
