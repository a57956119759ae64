//! Models of others as real processes, where a party may cheat: three check all products, of four each message is vouched for. The
//! output is the recorded one to the byte, rounds and bytes are those predicted.
mod common;
use common::launch::{Dir, check, write};
use common::{checked, four, models};
use compiler::npy::read_npz;
use compiler::pipeline::{Options, Owners};

fn processes(options: Options) {
    let Some(models) = models() else { return };
    let protocol = options.protocol.facts().name;
    let dir = Dir::new();
    for name in ["digits_cnn", "resnet8_cifar10", "mobilenet_v1_0.25_128_quant"] {
        let compiled = dir.compile_for(name, &models.join(format!("{name}.tflite")), options, Owners::default());
        let read = |kind: &str| read_npz(models.join(format!("{name}.{kind}.npz"))).expect("recorded arrays");
        let (input, want) = (dir.file("x.npy"), dir.file("want.npy"));
        write(&input, &read("inputs")["input_0"]);
        write(&want, &read("reference")["output_0"]);
        let report = check(&dir, name, &compiled, &input, &std::fs::read(&want).expect("written"));
        assert_eq!(report["protocol"], protocol, "{name}");
        let security = report["security"].as_str().expect("a line");
        assert!(security.contains("malicious"), "{security}");
        println!(
            "{name} by {protocol}: {} s, {} rounds, bytes sent {}",
            report["seconds"]["inference"], report["rounds"]["measured"], report["payload_bytes"]["measured"]
        );
    }
}

#[test]
fn three_processes_check_their_products() {
    processes(checked());
}

#[test]
fn four_processes_vouch_for_messages() {
    processes(four());
}
