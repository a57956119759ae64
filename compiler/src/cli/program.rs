//! What is said about a program: one line of costs, one of security, and the same for machines.
use compiler::pipeline::Protocol;
use ir::text::escape;
use ir::{Program, bytecode};
use serde_json::{Value, json};

/// Bytes as lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Operators of the model that the program computes: layers but for input and output.
fn operators(p: &Program) -> usize {
    p.layers.iter().filter(|l| !matches!(l.name.as_str(), "input" | "output")).count()
}

/// Operators, rounds, bytes, proofs and memory.
pub fn cost_line(p: &Program) -> String {
    let bytes: Vec<String> = p.predicted_bytes().iter().map(u64::to_string).collect();
    format!(
        "{} operators, {} rounds per inference, payload bytes per party {}, peak memory {} bytes, {} thresholds proved",
        operators(p),
        p.predicted_rounds(),
        bytes.join(" "),
        p.peak_memory,
        p.thresholds
    )
}

/// Who is protected against whom, and what is revealed to whom.
pub fn security_line(p: &Program) -> String {
    let protocol = escape(&p.protocol);
    let model = match Protocol::of(&p.protocol, p.parties) {
        Some(protocol) => {
            let facts = protocol.facts();
            let dealer = facts.dealer.map_or(String::new(), |p| format!("{p} deals and receives nothing, "));
            format!("{dealer}{}, {} corruption", facts.adversary.name(), facts.corrupted)
        }
        None => "adversary unknown to this release".to_owned(),
    };
    let mut receivers: Vec<String> = p.interface.outputs.iter().map(|o| o.party.to_string()).collect();
    receivers.sort();
    receivers.dedup();
    let secret = if p.modes.public_weights { "inputs" } else { "weights, inputs" };
    format!(
        "security: {protocol}, {} parties, {model}; {secret} and intermediate values secret; reveals {} to {}{}; not audited",
        p.parties,
        escape(&p.reveal),
        receivers.join(" and "),
        p.modes.warning()
    )
}

/// The same and more, for machines.
pub fn summary_json(p: &Program, bytes: &[u8]) -> Value {
    json!({
        "schema": 1,
        "result": "ok",
        "format": bytecode::FORMAT,
        "protocol": p.protocol,
        "parties": p.parties,
        "reveal": p.reveal,
        "kernels": p.kernels,
        "modes": p.modes.names(),
        "program": hex(&bytecode::program_hash(bytes)),
        "program_bytes": bytes.len(),
        "operators": operators(p),
        "instructions": p.insts.len(),
        "rounds": p.predicted_rounds(),
        "setup_rounds": p.setup_rounds,
        "payload_bytes": p.predicted_bytes(),
        "opened_bits": p.opened_bits,
        "thresholds": p.thresholds,
        "peak_memory_bytes": p.peak_memory,
        "security": security_line(p),
    })
}
