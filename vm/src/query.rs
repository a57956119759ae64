//! A client's connection to all parties of a server: sends the pieces of an input, joins the answers.
use crate::client::{ClientError, ClientSide};
use crate::serve::wire::{self, HELLO, Hello, REASON, REPLY, Refusal, RequestId, TAG};
use ir::Party;
use runtime_protocols::link::tls::Dial;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// A party cannot be reached, or does not speak.
    #[error("{party} at {address}: {source}")]
    Io {
        /// Which.
        party: Party,
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// A party is not the one that it should be, or does not know this client.
    #[error(
        "{party} at {address}: {what}\n  = help: compare the fingerprints in the `net.toml`; a server that pins its clients needs the one of this client in its `--clients`, and `--identity` here"
    )]
    Authentication {
        /// Which.
        party: Party,
        /// Where.
        address: String,
        /// What the handshake says.
        what: String,
    },
    /// A party says no.
    #[error("{party}: {}", .refusal.reason)]
    Refused {
        /// Which.
        party: Party,
        /// What it says; control characters removed.
        refusal: Refusal,
    },
    /// A party says what no party says.
    #[error("{party} sent {what}; is it the client port of qnnvm?")]
    Malformed {
        /// Which.
        party: Party,
        /// What.
        what: String,
    },
    /// The answers are of different runs.
    #[error("the parties answered from different runs; nothing was read, ask again with a fresh id")]
    Runs,
    /// What the client does by itself.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl QueryError {
    /// The exit code of a process that ends with this.
    pub fn exit_code(&self) -> u8 {
        match self {
            QueryError::Authentication { .. } => 21,
            QueryError::Io { source, .. } => match source.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => 12,
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => 11,
                _ => 10,
            },
            QueryError::Refused { refusal, .. } => match refusal.code {
                code @ (5 | 10..=13 | 20 | 21 | 30) => code,
                _ => 11,
            },
            QueryError::Malformed { .. } | QueryError::Runs => 11,
            QueryError::Client(ClientError::Inconsistent(_)) => 20,
            QueryError::Client(ClientError::Data(_)) => 30,
            QueryError::Client(ClientError::Owner { .. }) => 2,
            QueryError::Client(ClientError::Length { .. }) => 13,
            QueryError::Client(ClientError::Load(_)) => 4,
            QueryError::Client(ClientError::Random(_)) => 1,
        }
    }

    /// Whether the same input may be sent once more, under a fresh id.
    pub fn may_retry(&self) -> bool {
        matches!(self.exit_code(), 5 | 10 | 11 | 12)
    }
}

/// Where a party serves clients.
#[derive(Clone, Debug)]
pub struct Door {
    /// Host and port.
    pub address: String,
    /// The certificate that it must show, and what the client shows; plain, on loopback, without.
    pub tls: Option<Dial>,
}

impl Door {
    /// One on this machine.
    pub fn plain(address: SocketAddr) -> Door {
        Door { address: address.to_string(), tls: None }
    }

    /// A connection, encrypted where it should be.
    fn dial(&self, patience: Duration) -> io::Result<Box<dyn Stream>> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, patience) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(patience))?;
                    stream.set_write_timeout(Some(patience))?;
                    return Ok(match &self.tls {
                        Some(dial) => Box::new(dial.over(stream).map_err(io::Error::other)?),
                        None => Box::new(stream),
                    });
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// What failed on a connection. TLS tells of certificates as of wrong data.
fn fail(party: Party, address: &str, source: io::Error) -> QueryError {
    let address = address.to_owned();
    match source.kind() {
        io::ErrorKind::InvalidData => QueryError::Authentication { party, address, what: source.to_string() },
        _ => QueryError::Io { party, address, source },
    }
}

/// A connection to each party.
pub struct Connection<'a> {
    side: &'a ClientSide,
    parties: Vec<(Party, String, Box<dyn Stream>)>,
}

impl<'a> Connection<'a> {
    /// Connects to all parties, by party, and compares programs. `patience` is for each step.
    pub fn open(
        side: &'a ClientSide,
        hash: [u8; 32],
        doors: &[Door],
        patience: Duration,
    ) -> Result<Connection<'a>, QueryError> {
        side.owns_inputs_and_outputs()?;
        let mut connection = Connection { side, parties: Vec::new() };
        for (p, door) in (0u8..).map(Party).zip(doors) {
            let fail = |source| fail(p, &door.address, source);
            let mut stream = door.dial(patience).map_err(fail)?;
            let hello = Hello { party: p.0, program: hash };
            stream.write_all(&hello.encode()).and_then(|()| stream.flush()).map_err(fail)?;
            let mut theirs = [0; HELLO + 1];
            stream.read_exact(&mut theirs).map_err(fail)?;
            let (head, _) = theirs.split_first_chunk().expect("a hello and a status");
            let theirs = Hello::decode(head).map_err(|what| QueryError::Malformed { party: p, what })?;
            if let Some(refusal) = hello.difference(&theirs) {
                return Err(QueryError::Refused { party: p, refusal });
            }
            connection.parties.push((p, door.address.clone(), stream));
        }
        Ok(connection)
    }

    /// Shares the inputs, sends them under a fresh id and joins the answers.
    pub fn infer(&mut self, inputs: &[Vec<i64>]) -> Result<Vec<Vec<i64>>, QueryError> {
        let messages = self.side.share(inputs)?;
        let id = RequestId::fresh().map_err(|e| ClientError::Random(e.to_string()))?;
        let messages: Vec<&[u8]> = messages.iter().map(|m| m.as_slice()).collect();
        self.send(id, &messages)?;
        self.receive(id)
    }

    /// Sends the pieces of a request, by party.
    pub fn send(&mut self, id: RequestId, messages: &[&[u8]]) -> Result<(), QueryError> {
        for ((party, address, stream), message) in self.parties.iter_mut().zip(messages) {
            let fail = |source| fail(*party, address, source);
            stream.write_all(&wire::request(id, message.len() as u64)).map_err(fail)?;
            stream.write_all(message).and_then(|()| stream.flush()).map_err(fail)?;
        }
        Ok(())
    }

    /// Waits for the answers of all parties to request `id`, which was sent last, and joins them.
    pub fn receive(&mut self, id: RequestId) -> Result<Vec<Vec<i64>>, QueryError> {
        let due = TAG as u64 + self.side.answer_bytes();
        let mut answers = Vec::new();
        let mut refused = None;
        for (party, address, stream) in &mut self.parties {
            match answer(stream, id, due).map_err(|e| e.of(*party, address))? {
                Ok(answer) => answers.push(answer),
                Err(refusal) => _ = refused.get_or_insert(QueryError::Refused { party: *party, refusal }),
            }
        }
        if let Some(refused) = refused {
            return Err(refused);
        }
        let (tags, summands): (Vec<&[u8]>, Vec<&[u8]>) = answers.iter().map(|a| a.split_at(TAG)).unzip();
        if tags.iter().any(|tag| *tag != tags[0]) {
            return Err(QueryError::Runs);
        }
        Ok(self.side.open(&summands)?)
    }
}

enum Bad {
    Io(io::Error),
    Malformed(String),
}

impl Bad {
    fn of(self, party: Party, address: &str) -> QueryError {
        match self {
            Bad::Io(source) => fail(party, address, source),
            Bad::Malformed(what) => QueryError::Malformed { party, what },
        }
    }
}

impl From<io::Error> for Bad {
    fn from(e: io::Error) -> Self {
        Bad::Io(e)
    }
}

/// One reply.
fn answer(stream: &mut impl Read, id: RequestId, due: u64) -> Result<Result<Vec<u8>, Refusal>, Bad> {
    let mut head = [0; REPLY];
    stream.read_exact(&mut head)?;
    let (theirs, code, length) = wire::read_reply(&head);
    if theirs != id {
        return Err(Bad::Malformed("a reply to another request".into()));
    }
    let fits = if code == 0 { u64::from(length) == due } else { length as usize <= REASON };
    if !fits {
        return Err(Bad::Malformed(format!("a reply of {length} bytes where {due} are due")));
    }
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body)?;
    if code == 0 {
        return Ok(Ok(body));
    }
    let reason = String::from_utf8_lossy(&body).chars().filter(|c| !c.is_control()).collect::<String>();
    Ok(Err(Refusal { code, reason }))
}
