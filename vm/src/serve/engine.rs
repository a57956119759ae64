//! The thread that computes: connects to the peers, shares the weights once, then again and again agrees on a batch and
//! runs it. When a peer is lost it connects anew, with new keys.
//!
//! Agreement takes two exchanges before each batch (`docs/serving.md`): party 0 proposes ids, the others say which of them
//! they have, and all run those that all have, in the order of the proposal. An empty proposal every second shows that all
//! are alive.
use super::metrics::{Metrics, Outcome};
use super::queue::Queue;
use super::wire::{Refusal, RequestId, TAG};
use crate::client::{ClientSide, Phase};
use crate::exec::{Inputs, LoadError, Machine, Pieces};
use crate::protocols::Protocol;
use ir::Party;
use ir::weights::Weights;
use runtime_protocols::link::{Link, LinkError, Place};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long without a request until an empty proposal.
const IDLE: Duration = Duration::from_secs(1);
/// Least time that the others wait for what is proposed: a client sends to all parties at once.
const GATHER: Duration = Duration::from_millis(20);
/// How long a party that leaves waits for its requests to end.
const DRAIN: Duration = Duration::from_secs(25);
/// Pauses between sessions.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// Makes a link to all peers; called again after each session.
pub type Connect = Box<dyn FnMut() -> Result<Box<dyn Link>, ConnectError> + Send>;

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConnectError {
    /// Exit code.
    pub code: u8,
    /// Place, cause and next step.
    pub message: String,
}

/// How requests are put together.
#[derive(Clone, Copy, Debug)]
pub struct Batching {
    /// Samples computed together, at most.
    pub most: usize,
    /// How long the first of a batch waits for others.
    pub delay: Duration,
}

/// This party's part of the weights.
pub enum Model {
    /// It owns them.
    Own(Weights),
    /// Their owner is a client and has sent this message.
    Share(zeroize::Zeroizing<Vec<u8>>),
    /// Another party owns them.
    None,
}

/// Why the server ends.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The program cannot run.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A link failed in a way that another session does not mend.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The peers cannot be met, in a way that another try does not mend.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The share of the weights is not of this program.
    #[error("the share of the weights has another length than the program's; deploy the weights again")]
    Share,
}

/// What the thread needs.
pub struct Engine {
    /// The verified program, as its client sees it.
    pub side: Arc<ClientSide>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Weights, or what there is of them.
    pub model: Model,
    /// Requests.
    pub queue: Arc<Queue>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// How requests are put together.
    pub batching: Batching,
    /// Reaches the peers.
    pub connect: Connect,
}

/// How a session ends without an error.
enum End {
    /// This party leaves.
    Left,
    /// Another one does.
    PeerLeft,
}

impl Engine {
    /// Until this party has left.
    pub fn run(mut self) -> Result<(), EngineError> {
        let mut pause = PAUSES[0];
        let mut ever = false;
        let mut said = String::new();
        loop {
            self.metrics.doing("connecting to the peers");
            let mut begun = false;
            match self.session(&mut begun) {
                Ok(End::Left) => {
                    self.metrics.session_ended(None);
                    return Ok(());
                }
                Ok(End::PeerLeft) => self.metrics.session_ended(None),
                Err(e @ (EngineError::Link(_) | EngineError::Connect(_))) => {
                    let code = match &e {
                        EngineError::Link(e) => e.exit_code(),
                        EngineError::Connect(e) => e.code,
                        _ => 1,
                    };
                    self.metrics.session_ended(Some(code));
                    // A peer that stays away is mentioned once.
                    if std::mem::replace(&mut said, e.to_string()) != said || begun {
                        eprintln!("session ended: {e}");
                    }
                    // A party that disagrees from the start will not change by itself; later it may be one that is being
                    // replaced. What a check or an authentication found is never tried again.
                    let mends = match code {
                        10..=12 => true,
                        6 | 13 => ever || begun,
                        _ => false,
                    };
                    if !mends {
                        return Err(e);
                    }
                }
                Err(e) => return Err(e),
            }
            if self.queue.is_draining() {
                return Ok(());
            }
            (ever, pause) = (ever || begun, if begun { PAUSES[0] } else { (2 * pause).min(PAUSES[1]) });
            self.queue.sweep();
            std::thread::sleep(pause);
        }
    }

    fn session(&mut self, begun: &mut bool) -> Result<End, EngineError> {
        let mut link = (self.connect)()?;
        let link = link.as_mut();
        let keys = (self.protocol.agree)(link)?;
        let (me, session) = (link.me(), link.session());
        let mut machine = Machine::new(self.side.program().clone(), (self.protocol.make)(me, &keys, &session))?;
        drop(keys);
        self.metrics.doing("sharing the weights");
        let (weights, share) = match &self.model {
            Model::Own(weights) => (Some(weights), None),
            Model::Share(message) => {
                (None, Some(self.side.pieces(Phase::Setup, me, message).ok_or(EngineError::Share)?))
            }
            Model::None => (None, None),
        };
        machine.setup_from(weights, share.as_ref(), link)?;
        drop(share);
        *begun = true;
        self.metrics.session();
        let mut draining: Option<Instant> = None;
        for batch in 0u64.. {
            link.begin();
            let late = self.queue.sweep();
            (0..late).for_each(|_| self.metrics.ended(Outcome::Refused));
            if self.queue.is_draining() {
                draining.get_or_insert_with(Instant::now);
            }
            let leaves = draining.is_some_and(|since| self.queue.is_idle() || since.elapsed() > DRAIN);
            self.metrics.doing("waiting for requests");
            let mut agreed = self.agree(link, leaves)?;
            self.metrics.heard();
            if let Some(end) = agreed.end.take() {
                // Whoever is gone already cannot be told.
                let _ = link.close();
                return Ok(end);
            }
            if !agreed.requests.is_empty() {
                self.batch(&mut machine, link, batch, agreed.requests)?;
            }
        }
        unreachable!("2^64 batches take longer than anything")
    }

    /// Runs agreed requests; each ends here, whatever comes.
    fn batch(
        &self,
        machine: &mut Machine,
        link: &mut dyn Link,
        batch: u64,
        requests: Vec<(RequestId, Pieces)>,
    ) -> Result<(), EngineError> {
        let start = Instant::now();
        self.metrics.batch_begins(requests.len());
        self.metrics.doing(format!("computing a batch of {}", requests.len()));
        let nothing: Vec<Option<Vec<i64>>> = vec![None; self.side.program().interface.inputs.len()];
        let samples: Vec<&Inputs> = vec![&nothing; requests.len()];
        let pieces: Vec<&Pieces> = requests.iter().map(|(_, pieces)| pieces).collect();
        let outcome = match machine.infer_shared(&samples, &pieces, link) {
            Ok(outcome) => outcome,
            Err(e) => {
                let what = "a party was lost while this request was computed; ask again with a fresh id";
                for (id, _) in &requests {
                    self.queue.end(*id, Err(Refusal::new(11, what)));
                    self.metrics.ended(Outcome::Lost);
                }
                return Err(e.into());
            }
        };
        let sent = link.stats().payload_sent;
        for (lane, ((id, _), summands)) in requests.iter().zip(&outcome.for_client).enumerate() {
            let answer = [&tag(&link.session(), batch, lane)[..], summands].concat();
            self.queue.end(*id, Ok(Arc::new(answer)));
            self.metrics.ended(Outcome::Answered);
        }
        self.metrics.batch_ends(requests.len(), outcome.rounds, &sent, start.elapsed());
        Ok(())
    }

    /// Two exchanges: the proposal of party 0, then what each of the others has of it.
    fn agree(&self, link: &mut dyn Link, leaves: bool) -> Result<Agreed, LinkError> {
        let (me, parties, most) = (link.me().index(), link.parties(), self.batching.most);
        let lengths = [proposal_bytes(most), reply_bytes(most)];
        let mut incoming = vec![Vec::new(); parties];
        let mut out = vec![Vec::new(); parties];
        let mut expect = vec![0; parties];
        let proposal = if me == 0 {
            let ids = if leaves { vec![] } else { self.queue.propose(most, IDLE, self.batching.delay) };
            let bytes = encode_proposal(leaves, &ids, most);
            (1..parties).for_each(|p| out[p].clone_from(&bytes));
            bytes
        } else {
            expect[0] = lengths[0];
            Vec::new()
        };
        link.exchange(&Place { round: 0, what: "proposal of a batch" }, &out, &expect, &mut incoming)?;
        let proposal = if me == 0 { proposal } else { std::mem::take(&mut incoming[0]) };
        let Some((first_leaves, ids)) = decode_proposal(&proposal, most) else {
            let reason = "party 0 proposes more requests than it announces, or one twice".to_owned();
            link.abort(13, &reason);
            return Err(LinkError::GaveUp { code: 13, reason });
        };
        if me != 0 {
            self.queue.gather(&ids, self.batching.delay.max(GATHER));
        }
        let mut pieces = self.queue.claim(&ids);
        let agreed = self.compare(link, leaves, &proposal, &pieces);
        let (mask, peer_leaves) = match agreed {
            Ok(agreed) => agreed,
            Err(e) => {
                self.put_back(&ids, &mut pieces, |_| true);
                return Err(e);
            }
        };
        let end = match (leaves, peer_leaves || first_leaves) {
            (true, _) => Some(End::Left),
            (false, true) => Some(End::PeerLeft),
            (false, false) => None,
        };
        let stays = end.is_none();
        self.put_back(&ids, &mut pieces, |i| !(stays && mask[i]));
        let requests = ids.into_iter().zip(pieces).filter_map(|(id, pieces)| Some((id, pieces?))).collect();
        Ok(Agreed { requests, end })
    }

    fn put_back(&self, ids: &[RequestId], pieces: &mut [Option<Pieces>], which: impl Fn(usize) -> bool) {
        // The first of them comes to stand first again.
        for i in (0..ids.len()).rev().filter(|i| which(*i)) {
            if let Some(pieces) = pieces[i].take() {
                self.queue.put_back(ids[i], pieces);
            }
        }
    }

    /// The second exchange: what all have, and whether somebody leaves.
    fn compare(
        &self,
        link: &mut dyn Link,
        leaves: bool,
        proposal: &[u8],
        pieces: &[Option<Pieces>],
    ) -> Result<(Vec<bool>, bool), LinkError> {
        let (me, parties, most) = (link.me().index(), link.parties(), self.batching.most);
        let digest = blake3::hash(proposal);
        let mut out = vec![Vec::new(); parties];
        let mut reply = vec![u8::from(leaves)];
        reply.extend_from_slice(&digest.as_bytes()[..TAG]);
        reply.resize(reply_bytes(most), 0);
        for (i, _) in pieces.iter().enumerate().filter(|(_, pieces)| pieces.is_some()) {
            reply[1 + TAG + i / 8] |= 1 << (i % 8);
        }
        let mut expect = vec![0; parties];
        for p in (0..parties).filter(|p| *p != me) {
            out[p].clone_from(&reply);
            expect[p] = reply.len();
        }
        let mut incoming = vec![Vec::new(); parties];
        link.exchange(&Place { round: 0, what: "agreement on a batch" }, &out, &expect, &mut incoming)?;
        let mut mask: Vec<bool> = pieces.iter().map(Option::is_some).collect();
        let mut peer_leaves = false;
        for p in (0..parties).filter(|p| *p != me) {
            let theirs = &incoming[p];
            if theirs[1..=TAG] != digest.as_bytes()[..TAG] {
                let reason = format!("{} got another proposal than this party", Party(p as u8));
                link.abort(13, &reason);
                return Err(LinkError::GaveUp { code: 13, reason });
            }
            peer_leaves |= theirs[0] & 1 == 1;
            mask.iter_mut().enumerate().for_each(|(i, has)| *has &= theirs[1 + TAG + i / 8] >> (i % 8) & 1 == 1);
        }
        Ok((mask, peer_leaves))
    }
}

/// What was agreed.
struct Agreed {
    requests: Vec<(RequestId, Pieces)>,
    end: Option<End>,
}

/// Equal at all parties, and of no other sample of any session. It tells a client that answers belong together.
fn tag(session: &[u8; 16], batch: u64, lane: usize) -> [u8; TAG] {
    let mut hasher = blake3::Hasher::new_derive_key("qnnvm answer tag 1");
    hasher.update(session).update(&batch.to_le_bytes()).update(&(lane as u64).to_le_bytes());
    *hasher.finalize().as_bytes().first_chunk().expect("32 bytes")
}

fn proposal_bytes(most: usize) -> usize {
    3 + 16 * most
}

fn reply_bytes(most: usize) -> usize {
    1 + TAG + most.div_ceil(8)
}

fn encode_proposal(leaves: bool, ids: &[RequestId], most: usize) -> Vec<u8> {
    let mut bytes = vec![u8::from(leaves)];
    bytes.extend((ids.len() as u16).to_le_bytes());
    ids.iter().for_each(|id| bytes.extend(id.0));
    bytes.resize(proposal_bytes(most), 0);
    bytes
}

fn decode_proposal(bytes: &[u8], most: usize) -> Option<(bool, Vec<RequestId>)> {
    let count = usize::from(u16::from_le_bytes([bytes[1], bytes[2]]));
    let ids: Vec<RequestId> = bytes[3..].as_chunks::<16>().0.iter().take(count).map(|id| RequestId(*id)).collect();
    let mut sorted = ids.clone();
    sorted.sort();
    sorted.dedup();
    (count <= most && sorted.len() == count).then_some((bytes[0] & 1 == 1, ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposals_survive_and_odd_ones_are_refused() {
        let ids: Vec<RequestId> = (0..3).map(|i| RequestId([i; 16])).collect();
        let bytes = encode_proposal(true, &ids, 5);
        assert_eq!(decode_proposal(&bytes, 5), Some((true, ids.clone())));
        assert_eq!(bytes.len(), proposal_bytes(5));
        let mut many = bytes.clone();
        many[1] = 6;
        assert_eq!(decode_proposal(&many, 5), None);
        let twice = encode_proposal(false, &[ids[1], ids[1]], 5);
        assert_eq!(decode_proposal(&twice, 5), None);
        assert_eq!(decode_proposal(&encode_proposal(false, &[], 5), 5), Some((false, vec![])));
    }

    #[test]
    fn tags_differ() {
        let tags = [tag(&[0; 16], 0, 0), tag(&[1; 16], 0, 0), tag(&[0; 16], 1, 0), tag(&[0; 16], 0, 1)];
        (0..4).for_each(|i| (0..i).for_each(|j| assert_ne!(tags[i], tags[j])));
    }
}
