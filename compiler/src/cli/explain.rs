//! `qnnc ops` and `qnnc explain`.
use super::failure::{self, Failure};
use super::{print, print_json};
use compiler::schedule::KERNELS;
use compiler::tflite;
use serde_json::json;

/// Texts that belong to no code.
const TOPICS: &[(&str, &str)] = &[
    (
        "security",
        "Three parties compute on replicated secret shares; any one of them may be curious (semi-honest) and learns \
         nothing from what it receives. Secret: weights, biases, inputs, intermediate values. Public, and part of the \
         program: architecture, shapes, operators, scales and zero points (per-channel scales tell each channel's \
         largest weight). The receiver learns the output, or what `--reveal` says: places of the largest entries only, or \
         the logits, where it finishes a last SOFTMAX by itself. A \
         party that deviates from the protocol, or two that collude, are outside of this model. The code has not been \
         audited. `qnnc inspect --leakage` shows the table of one program.",
    ),
    (
        "rounds",
        "A round is a level of the message graph: what a party sends in round r depends on what it received in rounds \
         before r only. On a slow network each round costs one latency, whatever its size, so rounds often decide the \
         time. A linear layer with its requantization takes a few: one for the product, the others for the comparison \
         inside. Independent work (branches of a residual block) shares rounds. Weights are shared once per session, in \
         set-up rounds that are not counted. `qnnc stats` shows which layer talks in which rounds and for what, \
         `--remarks=rounds` what each waits for, `qnnc dis` every message.",
    ),
];

/// Stored types of operands.
fn types(wide: bool) -> Vec<&'static str> {
    if wide { vec!["int8", "uint8", "int16"] } else { vec!["int8", "uint8"] }
}

/// Prints the supported operators: what each costs at most and what it must be like.
pub fn operators(json: bool) -> Result<u8, Failure> {
    let all = || tflite::operators().map(|(name, code)| (name, code, tflite::support(name)));
    let (rank, elements) = (tflite::MAX_RANK, tflite::MAX_ELEMENTS);
    if json {
        let one = |(name, code, s): (&str, i32, tflite::Support)| {
            json!({
                "name": name, "code": code, "cost": s.cost.name(), "rounds": s.cost.rounds(), "types": types(s.wide),
                "limits": s.limits,
            })
        };
        let list: Vec<_> = all().map(one).collect();
        let limits = json!({ "dimensions": rank, "elements": elements });
        let types = types(true);
        print_json(&json!({ "schema": 1, "kernels": KERNELS, "types": types, "limits": limits, "operators": list }))?;
        return Ok(0);
    }
    let mut text = format!("{:<28} {:>4}  {:<14}  {:<20}  limits\n", "operator", "code", "cost at most", "types");
    for (name, code, s) in all() {
        let types = types(s.wide).join(", ");
        text += &format!("{name:<28} {code:>4}  {:<14}  {types:<20}  {}\n", s.cost.name(), s.limits);
    }
    text += &format!("\nkernels {KERNELS}; shapes are fixed, up to {rank} dimensions and {elements} elements\n");
    text += "costs are those of 8-bit operands\n";
    for cost in tflite::Cost::ALL {
        text += &format!("{:<14}  {}\n", cost.name(), cost.about());
    }
    print(&text)?;
    Ok(0)
}

/// Prints what is known about a code or topic.
pub fn explain(topic: &str) -> Result<u8, Failure> {
    let run: Vec<(&str, &str)> = ir::exit::ENDINGS.iter().map(|e| (e.code, e.text)).collect();
    let known = || tflite::CODES.iter().chain(failure::CODES).chain(&run).chain(TOPICS);
    match known().find(|(name, _)| name.eq_ignore_ascii_case(topic)) {
        Some((name, text)) => {
            print(&format!("{name}: {text}\n"))?;
            Ok(0)
        }
        None => {
            let mut near: Vec<(usize, &str)> = known().map(|(name, _)| (distance(name, topic), *name)).collect();
            near.sort_by_key(|(d, _)| *d);
            let list: Vec<String> = near.iter().take(4).map(|(_, name)| format!("`{name}`")).collect();
            let shown: String = ir::text::escape(topic).chars().take(40).collect();
            Err(Failure::usage(&format!("nothing is known about `{shown}`"), &format!("nearest: {}", list.join(", "))))
        }
    }
}

/// Edits that turn one word into the other, letter case aside.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (i, c) in b.to_lowercase().chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for j in 0..a.len() {
            let changed = diagonal + usize::from(a[j] != c);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[a.len()]
}
