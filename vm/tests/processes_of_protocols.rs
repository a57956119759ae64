//! Models of others as real processes by each protocol: the output is the recorded one to the byte, rounds and bytes are those
//! predicted, those of what is made ahead as well. `QNN_SLOW=1` also runs the largest of them without a dealer: for some 20 seconds
//! two parties send each other 1.7 GB.
mod common;
use common::launch::{Dir, check, write};
use common::{among, checked, four, models};
use compiler::npy::read_npz;
use compiler::pipeline::{Options, Owners, Protocol, Reveal};

const SMALL: &str = "digits_cnn";
const MIDDLE: &str = "resnet8_cifar10";
const LARGE: &str = "mobilenet_v1_0.25_128_quant";

fn processes(options: Options, names: &[&str]) {
    let Some(models) = models() else { return };
    let facts = options.protocol.facts();
    let protocol = facts.name;
    let dir = Dir::new();
    for name in names {
        let compiled = dir.compile_for(name, &models.join(format!("{name}.tflite")), options, Owners::default());
        let read = |kind: &str| read_npz(models.join(format!("{name}.{kind}.npz"))).expect("recorded arrays");
        let (input, want) = (dir.file("x.npy"), dir.file("want.npy"));
        write(&input, &read("inputs")["input_0"]);
        write(&want, &read("reference")["output_0"]);
        let report = check(&dir, name, &compiled, &input, &std::fs::read(&want).expect("written"));
        assert_eq!(report["protocol"], protocol, "{name}");
        let security = report["security"].as_str().expect("a line");
        assert!(security.contains(facts.adversary.name()), "{security}");
        let ahead = &report["ahead"];
        assert_eq!(ahead.is_object(), facts.scheme.additive, "{name} by {protocol}");
        for what in ["rounds", "payload_bytes"] {
            assert_eq!(ahead[what]["predicted"], ahead[what]["measured"], "{name} by {protocol}: {what} ahead");
        }
        println!(
            "{name} by {protocol}: {} s, {} rounds, bytes sent {}",
            report["seconds"]["inference"], report["rounds"]["measured"], report["payload_bytes"]["measured"]
        );
    }
}

#[test]
fn three_processes_by_rep3() {
    processes(Options { reveal: Reveal::Logits, ..Options::default() }, &[SMALL, MIDDLE, LARGE]);
}

#[test]
fn two_processes_and_a_dealer() {
    let options = Options { protocol: Protocol::Dealer2, reveal: Reveal::Logits, ..Options::default() };
    processes(options, &[SMALL, MIDDLE, LARGE]);
}

#[test]
fn three_processes_check_their_products() {
    processes(checked(), &[SMALL, MIDDLE, LARGE]);
}

#[test]
fn four_processes_vouch_for_messages() {
    processes(four(), &[SMALL, MIDDLE, LARGE]);
}

#[test]
fn two_processes_without_a_dealer() {
    let slow = std::env::var_os("QNN_SLOW").is_some();
    processes(among(2), if slow { &[SMALL, MIDDLE, LARGE] } else { &[SMALL, MIDDLE] });
}

#[test]
fn three_processes_without_a_dealer() {
    processes(among(3), &[SMALL]);
}
