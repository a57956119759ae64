//! The command `protocols`: who computes against whom, what programs may use, and what the exchanges cost.
use super::load::corrupted;
use ir::protocol::{Facts, ROLE_OPS};
use ir::{Domain, Form, Holders, Party, Protocol};
use runtime_protocols::runtime::{Exchange, Flat, Runtime};
use vm::protocols::runtime;

/// Elements that are tried: bits fill bytes.
const ELEMENTS: usize = 1000;
/// Bits of an element.
const RING: u8 = 8;

/// Prints one paragraph for each protocol.
pub fn print() {
    say!("{:<8} {:<8} {:<16} {:<10} {:<8} what", "name", "parties", "adversary", "corrupted", "audited");
    for protocol in Protocol::ALL {
        let (f, rt) = (protocol.facts(), runtime(protocol));
        let (name, parties, adversary) = (f.name, f.scheme.parties, f.adversary.name());
        say!("{name:<8} {parties:<8} {adversary:<16} {:<10} {:<8} {}", corrupted(f.corrupted), "no", f.about);
        // The keys play no role: nothing is sent.
        let rt = (rt.make)(Party(0), &vec![[0; 32]; parties.into()], &[0; 16]);
        for line in lines(&f, rt.as_ref()) {
            say!("         {line}");
        }
        say!("         rounds and bits of each operator: qnnc ops --costs --protocol {name}");
    }
}

fn lines(f: &Facts, rt: &dyn Runtime) -> Vec<String> {
    let missing: Vec<&str> = ROLE_OPS.iter().copied().filter(|_| !f.scheme.roles).collect();
    let ops = if missing.is_empty() { "all but echo".to_owned() } else { format!("all but {}", missing.join(" ")) };
    // Bits of all parties for an element of k bits, as a multiple of k.
    let cost = |form: Form, what: Exchange| {
        let ty = Flat { domain: Domain::Ring(RING), form, len: ELEMENTS };
        rt.messages(what, ty).iter().map(|m| m.bytes).sum::<u64>() * 8 / (ELEMENTS as u64 * u64::from(RING))
    };
    let reshare = Exchange::Reshare { bits: RING };
    let owner = cost(Form::Held(Holders::one(Party(0))), reshare);
    let product = cost(Form::Sum(f.scheme.all()), reshare);
    let open = cost(Form::Shared, Exchange::Open { to: Holders::one(Party(1)) });
    let exchanges = if f.scheme.echo { "2 exchanges" } else { "1 exchange" };
    let hashes = if f.scheme.echo { "; a hash of 256 bits for each pair that vouches in a round" } else { "" };
    vec![
        format!("ops: {ops}"),
        format!(
            "k bits of an owner: {exchanges}, {owner}k bits; product: 1 exchange, {product}k bits; opening: 1 exchange, {open}k \
             bits{hashes}"
        ),
    ]
}
