//! What one side can check alone: the program, the weights file, the limits. No peer is contacted here.
use super::{Failure, RunArgs};
use ir::weights::Weights;
use ir::{Party, Program, bytecode, text, weights};
use std::path::Path;
use vm::client::ClientSide;
use vm::exec::Machine;
use vm::protocols::{self, Protocol};

/// Bytes of a weights file that are read, at most.
const MAX_WEIGHTS: u64 = 4 << 30;
/// Bytes of a program file that are read, at most; the decoder has its own limit below it.
const MAX_PROGRAM: u64 = 1 << 30;
/// What a process takes before it holds a value.
const BASE_MEMORY: u64 = 12 << 20;

/// A verified program and its identity.
pub struct Loaded {
    /// The program.
    pub program: Program,
    /// What it was compiled for.
    pub protocol: Protocol,
    /// Hash of its bytes.
    pub hash: [u8; 32],
    /// Length of the file.
    pub file_bytes: u64,
    /// Bytes of values and messages alive at once in a party, at most.
    pub memory: u64,
    /// Bytes that what is made ahead of an inference takes, about.
    pub ahead: u64,
}

impl Loaded {
    /// The hash in hexadecimal.
    pub fn hash_text(&self) -> String {
        hex(&self.hash)
    }

    /// Says who computes how over which links and who learns what.
    pub fn security_line(&self, links: &str) -> String {
        let p = &self.program;
        let mut receivers: Vec<u8> = p.interface.outputs.iter().map(|o| o.party.0).collect();
        receivers.sort_unstable();
        receivers.dedup();
        let receivers: Vec<String> = receivers.iter().map(|r| Party(*r).to_string()).collect();
        format!(
            "security: {}, {} parties, {}, {} corrupted; reveals {} ({} bits) to {}{}; \
             {links}; not audited",
            self.protocol.facts.name,
            p.parties,
            self.protocol.facts.adversary.name(),
            corrupted(self.protocol.facts.corrupted),
            text::escape(&p.reveal),
            p.opened_bits,
            receivers.join(" and "),
            p.modes.warning(),
        )
    }

    /// Refuses a run that needs more memory than allowed, and what state forbids: samples that begin with what the one
    /// before stored cannot be computed together, and preprocessing goes through one sequence.
    pub fn check_run(&self, args: &RunArgs, offline: bool) -> Result<(), Failure> {
        if self.program.stored().next().is_some() {
            let forbidden =
                [(args.batch > 1, "`--batch`"), (offline && args.repeat > 1, "`--repeat` with `--offline`")];
            if let Some((_, option)) = forbidden.into_iter().find(|(given, _)| *given) {
                let what = format!("the program keeps state from one sample to the next: leave out {option}");
                return Err(Failure::new(Failure::USAGE, what));
            }
        }
        self.check_memory(args.memory_limit, args.batch.into(), args.weights.is_some())
    }

    /// Refuses to need more memory than allowed.
    pub fn check_memory(&self, limit: Option<u64>, batch: u64, has_weights: bool) -> Result<(), Failure> {
        let weights: u64 = self.program.interface.weights.iter().map(|w| 4 * elements(w)).sum();
        let held = if has_weights { weights } else { 0 };
        let each = self.memory.saturating_add(self.ahead);
        let need = [each.saturating_mul(batch), 4 * self.file_bytes, held, BASE_MEMORY]
            .into_iter()
            .fold(0u64, u64::saturating_add);
        match limit {
            Some(limit) if limit < need => Err(Failure::new(
                Failure::LIMIT,
                format!("a party needs about {need} bytes of memory, `--memory-limit` allows {limit}"),
            )),
            _ => Ok(()),
        }
    }
}

/// How many may be corrupted, in words.
pub fn corrupted(most: u8) -> String {
    format!("at most {most}")
}

/// Elements of a shape.
pub fn elements(shape: &[u32]) -> u64 {
    shape.iter().fold(1u64, |n, d| n.saturating_mul((*d).into()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Reads a file that is not longer than `most`.
pub fn read(path: &Path, most: u64, code: u8) -> Result<Vec<u8>, Failure> {
    let fail = |e: &dyn std::fmt::Display| Failure::new(code, format!("{}: {e}", path.display()));
    let length = std::fs::metadata(path).map_err(|e| fail(&e))?.len();
    if length > most {
        return Err(fail(&format!("{length} bytes, more than the {most} that are read")));
    }
    std::fs::read(path).map_err(|e| fail(&e))
}

fn path_exists(path: &Path) -> Result<(), Failure> {
    match path.metadata() {
        Ok(m) if m.is_file() => Ok(()),
        Ok(_) => Err(Failure::new(Failure::USAGE, format!("{}: not a file", path.display()))),
        Err(e) => Err(Failure::new(Failure::USAGE, format!("{}: {e}", path.display()))),
    }
}

/// Reads and verifies a program, its messages included.
pub fn program(path: &Path) -> Result<Loaded, Failure> {
    path_exists(path)?;
    let bytes = read(path, MAX_PROGRAM, Failure::DAMAGED)?;
    let bad = |e: &dyn std::fmt::Display| Failure::new(Failure::DAMAGED, format!("{}: {e}", path.display()));
    let program = bytecode::decode(&bytes).map_err(|e| bad(&e))?;
    let Some(protocol) = protocols::of(&program) else {
        let what = format!("protocol `{}` of {} parties", text::escape(&program.protocol), program.parties);
        return Err(Failure::new(Failure::CONFIG, format!("{what} is not in this build, see `qnnvm protocols`")));
    };
    // The keys play no role: nothing is sent.
    let runtime = (protocol.make)(Party(0), &vec![[0; 32]; program.parties.into()], &[0; 16]);
    let machine = Machine::new(program.clone(), runtime).map_err(|e| bad(&e))?;
    let memory = machine.memory().max(program.peak_memory);
    let ahead = machine.memory_ahead();
    Ok(Loaded {
        program,
        protocol,
        hash: bytecode::program_hash(&bytes),
        file_bytes: bytes.len() as u64,
        memory,
        ahead,
    })
}

/// The program as its client sees it.
pub fn client(loaded: &Loaded) -> Result<ClientSide, Failure> {
    Ok(ClientSide::new(loaded.program.clone(), loaded.protocol)?)
}

/// Reads a weights file and checks that it belongs to the program. Also its identity, in hexadecimal.
pub fn weights(path: &Path, loaded: &Loaded) -> Result<(Weights, String), Failure> {
    path_exists(path)?;
    let bytes = read(path, MAX_WEIGHTS, Failure::DAMAGED)?;
    let bad = |e: &dyn std::fmt::Display| Failure::new(Failure::DAMAGED, format!("{}: {e}", path.display()));
    let weights = weights::decode(&bytes).map_err(|e| bad(&e))?;
    let identity = hex(&weights::identity(&bytes));
    if weights.program != loaded.hash {
        let (theirs, ours) = (hex(&weights.program), loaded.hash_text());
        return Err(bad(&format!("made for program {theirs}, not for {ours}; compile both together")));
    }
    let shapes = &loaded.program.interface.weights;
    if weights.tensors.len() != shapes.len() {
        return Err(bad(&format!("{} tensors, the program has {}", weights.tensors.len(), shapes.len())));
    }
    for (i, (tensor, shape)) in weights.tensors.iter().zip(shapes).enumerate() {
        if tensor.len() as u64 != elements(shape) {
            return Err(bad(&format!("tensor {i} has {} elements, the program {}", tensor.len(), elements(shape))));
        }
    }
    Ok((weights, identity))
}

/// What this party says of the weights in the handshake: the identity of its own, the one that it was told to expect, or
/// nothing.
pub fn weights_field(loaded: &Loaded, own: Option<&str>, expected: Option<&str>) -> Result<String, Failure> {
    let program = &loaded.program;
    if expected.is_some() && (program.modes.public_weights || program.interface.weight_owner == Party::CLIENT) {
        let what = match program.modes.public_weights {
            true => "the weights are public, and the hash of the program says which: leave `--weights-id` out",
            false => {
                "a client owns the weights, and their shares say of which deployment they are: leave `--weights-id` out"
            }
        };
        return Err(Failure::new(Failure::USAGE, what));
    }
    match (own, expected) {
        (Some(own), Some(expected)) if own != expected => {
            let what = format!("the weights file is {own}, `--weights-id` says {expected}");
            Err(Failure::new(Failure::DAMAGED, what))
        }
        (own, expected) => Ok(own.or(expected).unwrap_or_default().to_owned()),
    }
}

/// An identity of weights as people write it.
pub fn weights_id(text: &str) -> Result<String, String> {
    match text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("64 hexadecimal digits, as `qnnvm verify MODEL.mpcb -w MODEL.mpcw` prints them".to_owned()),
    }
}

/// The command `verify`.
pub fn verify_files(model: &Path, weights_file: Option<&Path>) -> Result<(), Failure> {
    let loaded = program(model)?;
    let p = &loaded.program;
    say!("program {}", loaded.hash_text());
    say!(
        "{} instructions, {} rounds, payload bytes sent per party {:?}, {} layers",
        p.insts.len(),
        p.predicted_rounds(),
        p.predicted_bytes(),
        p.layers.len()
    );
    if let Some(path) = weights_file {
        let (w, identity) = weights(path, &loaded)?;
        say!("weights: {} tensors, bound to this program, for `--weights-id` {identity}", w.tensors.len());
    }
    say!("{}", loaded.security_line("links plaintext on loopback, or TLS 1.3 with pinned certificates"));
    say!("ok");
    Ok(())
}
