//! Preprocessing in files: two parties compute without the dealer, once, and nothing else is accepted.
mod common;
use common::{build_with, in_threads, npy, testdata};
use compiler::pipeline::{Compiled, Options, Protocol};
use ir::Party;
use runtime_protocols::link::memory::network;
use runtime_protocols::link::{Link, LinkError, exchange_keys};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use vm::ahead::{Stock, deal};
use vm::exec::{Inputs, Machine, Outcome};
use vm::protocols;

/// Preprocessing for a model of the project, in a folder of its own that goes with it.
struct Dealt {
    compiled: Compiled,
    hash: [u8; 32],
    dir: PathBuf,
    bytes: u64,
}

impl Dealt {
    fn new(name: &str, inferences: u32, batch: u32) -> Dealt {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let dir = format!("qnnvm-ahead-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(dir);
        fs::create_dir_all(&dir).expect("folder");
        let options = Options { protocol: Protocol::Dealer2, ..Options::default() };
        let compiled = build_with(&testdata(&format!("{name}.tflite")), options);
        let hash = ir::bytecode::program_hash(&compiled.bytes);
        let mut dealt = Dealt { compiled, hash, dir, bytes: 0 };
        let protocol = protocols::of(&dealt.compiled.program).expect("in this build");
        let files = [dealt.file(0), dealt.file(1)];
        dealt.bytes =
            deal(&dealt.compiled.program, &protocol, hash, (inferences, batch), [&files[0], &files[1]]).expect("deals");
        dealt
    }

    fn file(&self, party: u8) -> PathBuf {
        self.dir.join(format!("{party}.mpcd"))
    }

    fn open(&self, party: u8) -> Result<Stock, String> {
        Stock::open(&self.file(party), Party(party), &self.hash).map_err(|e| e.to_string())
    }

    /// Both parties; each element of `batches` is a batch. Ends early where a link fails.
    fn run(&self, batches: &[Vec<Vec<i64>>]) -> Vec<(Vec<Outcome>, Option<LinkError>)> {
        let protocol = protocols::of(&self.compiled.program).expect("in this build");
        in_threads(network(2), |mut link| {
            let me = link.me();
            let keys = exchange_keys(&mut link).expect("keys");
            let stock = self.open(me.0).expect("fresh");
            let (mut link, mut seeds) = stock.join(link).expect("joins");
            seeds[1 - me.index()] = keys.as_slice()[1 - me.index()];
            let runtime = (protocol.make)(me, &seeds, &link.session());
            let mut machine = Machine::new(self.compiled.program.clone(), runtime).expect("verified");
            machine.setup((me == Party(0)).then_some(&self.compiled.weights), &mut link).expect("set-up");
            let mut outcomes = Vec::new();
            for batch in batches {
                let samples: Vec<Vec<Option<Vec<i64>>>> =
                    batch.iter().map(|x| vec![(me == Party(1)).then(|| x.clone())]).collect();
                let samples: Vec<&Inputs> = samples.iter().map(Vec::as_slice).collect();
                match machine.infer_batch(&samples, &mut link) {
                    Ok(outcome) => outcomes.push(outcome),
                    Err(e) => return (outcomes, Some(e)),
                }
            }
            link.close().expect("close");
            (outcomes, None)
        })
    }
}

impl Drop for Dealt {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn samples(name: &str) -> Vec<(Vec<i64>, Vec<i64>)> {
    (0..4).map(|k| (npy(&format!("{name}.input_{k}.npy")), npy(&format!("{name}.output_{k}.npy")))).collect()
}

#[test]
fn two_parties_compute_with_files() {
    for (name, batch) in [("digits_mlp", 1), ("digits", 2), ("digits_u8", 4)] {
        let all = samples(name);
        let dealt = Dealt::new(name, 4 / batch, batch);
        let batches: Vec<Vec<Vec<i64>>> =
            all.chunks(batch as usize).map(|c| c.iter().map(|s| s.0.clone()).collect()).collect();
        let ran = dealt.run(&batches);
        let got: Vec<i64> = ran[1].0.iter().flat_map(|o| o.outputs[0].clone().expect("party 1 receives")).collect();
        let want: Vec<i64> = all.iter().flat_map(|s| s.1.clone()).collect();
        assert_eq!(got, want, "{name}");
        let p = &dealt.compiled.program;
        let rounds = ran.iter().flat_map(|r| &r.0).map(|o| o.rounds).max();
        assert_eq!(rounds, Some(p.predicted_rounds()), "{name}");
        for (party, (outcomes, _)) in ran.iter().enumerate() {
            for o in outcomes {
                assert_eq!(o.payload_sent, p.predicted_bytes()[party] * u64::from(batch), "{name}, party {party}");
            }
        }
        // What the dealer would have sent is what the files hold.
        let rounds = &p.rounds[..p.setup_rounds as usize];
        let setup: u64 = rounds.iter().map(|r| r.messages.get(3, Party(2), Party(0))).sum();
        assert_eq!(dealt.bytes, setup + 4 * p.predicted_bytes()[2], "{name}");
    }
}

#[test]
fn no_message_goes_to_the_dealer() {
    for name in ["digits", "digits_mlp", "digits_u8"] {
        let dealt = Dealt::new(name, 1, 1);
        let p = &dealt.compiled.program;
        for (i, round) in p.rounds.iter().enumerate() {
            for from in [Party(0), Party(1)] {
                assert_eq!(round.messages.get(3, from, Party(2)), 0, "{name}, round {i}");
            }
            assert_eq!(round.messages.get(3, Party(2), Party(1)), 0, "{name}, round {i}");
        }
    }
}

#[test]
fn preprocessing_serves_once() {
    let all = samples("digits_mlp");
    let dealt = Dealt::new("digits_mlp", 1, 1);
    // One inference more than was dealt for: an error at the party that has the messages, and nothing from the other.
    let ran = dealt.run(&[vec![all[0].0.clone()], vec![all[1].0.clone()]]);
    assert_eq!(ran[1].0[0].outputs[0].as_ref(), Some(&all[0].1));
    let error = ran[0].1.as_ref().expect("too few").to_string();
    assert!(error.contains("preprocessing"), "{error}");
    assert!(ran[1].0.len() == 1 && ran[1].1.is_some(), "the other is told");
    for party in [0, 1] {
        let again = dealt.open(party).err().expect("used");
        assert!(again.contains("used it already"), "{again}");
    }
    // Two files of two dealings have nothing in common.
    let [a, b] = [Dealt::new("digits_mlp", 1, 1), Dealt::new("digits_mlp", 1, 1)];
    assert_ne!(a.open(0).expect("fresh").header.id, b.open(0).expect("fresh").header.id);
}

#[test]
fn other_files_are_refused() {
    let dealt = Dealt::new("digits_mlp", 1, 1);
    let other = Dealt::new("digits_u8", 1, 1);
    let refused = |party: u8, path: &PathBuf, hash: &[u8; 32]| {
        Stock::open(path, Party(party), hash).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(refused(1, &dealt.file(0), &dealt.hash).contains("it is for party 0"));
    assert!(refused(0, &dealt.file(0), &other.hash).contains("another program"));
    let whole = fs::read(dealt.file(0)).expect("file");
    let damaged = dealt.dir.join("damaged.mpcd");
    let mut seen = 0;
    // Every byte of the header, and some of the rest; the mark alone says something else.
    for at in (0..104).chain((104..whole.len()).step_by(997)).chain(whole.len() - 32..whole.len()) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        fs::write(&damaged, &bytes).expect("file");
        let said = refused(0, &damaged, &dealt.hash);
        assert!(!said.is_empty(), "byte {at} changed, and nobody minds");
        seen += 1;
    }
    for end in (0..200).chain([whole.len() - 1]) {
        fs::write(&damaged, &whole[..end]).expect("file");
        assert!(!refused(0, &damaged, &dealt.hash).is_empty(), "cut at {end}, and nobody minds");
    }
    fs::write(&damaged, [&whole[..], &[0]].concat()).expect("file");
    assert!(!refused(0, &damaged, &dealt.hash).is_empty(), "a byte more, and nobody minds");
    println!("{seen} bytes changed");
}

fn qnnvm(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_qnnvm")).args(args).output().expect("runs")
}

#[test]
fn processes_deal_and_compute() {
    let dealt = Dealt::new("digits_mlp", 1, 1);
    let path = |name: &str| dealt.dir.join(name).to_string_lossy().into_owned();
    let (program, weights) = (path("m.mpcb"), path("m.mpcw"));
    fs::write(&program, &dealt.compiled.bytes).expect("program");
    fs::write(&weights, ir::weights::encode(&dealt.compiled.weights, &[7; 32])).expect("weights");
    let input = testdata("digits_mlp.input_0.npy").to_string_lossy().into_owned();
    let output = path("out.npy");
    let want = fs::read(testdata("digits_mlp.output_0.npy")).expect("recorded");

    let run = ["local", &program, "-w", &weights, "--input", &input, "--output", &output];
    for more in [&["--offline"][..], &[], &["--offline", "--repeat", "3"]] {
        let out = qnnvm(&[&run[..], more].concat());
        assert!(out.status.success(), "{more:?}: {}", String::from_utf8_lossy(&out.stderr));
        assert_eq!(fs::read(&output).expect("output"), want, "{more:?}");
        fs::remove_file(&output).expect("output");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert_eq!(text.contains("dealt ahead into files"), more.contains(&"--offline"), "{text}");
    }

    let out = qnnvm(&["deal", &program, "--inferences", "2", "-o", &path("more")]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(Stock::open(&dealt.dir.join("more.0.mpcd"), Party(0), &dealt.hash).is_ok());
    // Enough for two, three are asked for; then the file of the other party; then a program without a dealer.
    let party = |file: &str, program: &str, more: &[&str]| {
        let args = ["--party", "1", program, "--input", &input, "--offline", file];
        qnnvm(&[&args[..], more].concat())
    };
    assert_eq!(party(&path("more.1.mpcd"), &program, &["--repeat", "3"]).status.code(), Some(2));
    assert_eq!(party(&path("more.0.mpcd"), &program, &[]).status.code(), Some(4));
    let plain = build_with(&testdata("digits_mlp.tflite"), Options::default());
    fs::write(path("plain.mpcb"), &plain.bytes).expect("program");
    let plain_weights = plain.weights.clone();
    assert_eq!(party(&path("more.1.mpcd"), &path("plain.mpcb"), &[]).status.code(), Some(2));
    assert_eq!(qnnvm(&["deal", &path("plain.mpcb"), "-o", &path("none")]).status.code(), Some(2));
    assert!(!dealt.dir.join("none.0.mpcd").exists());
    let plain = path("plain.mpcb");
    fs::write(path("plain.mpcw"), ir::weights::encode(&plain_weights, &[7; 32])).expect("weights");
    let offline = ["local", &plain, "-w", &path("plain.mpcw"), "--input", &input, "--offline"];
    assert_eq!(qnnvm(&offline).status.code(), Some(2));
    // More inferences than a file can say.
    let many = [&run[..], &["--offline", "--repeat", "1000000", "--samples", "5000"]].concat();
    assert_eq!(qnnvm(&many).status.code(), Some(2));
}

#[test]
fn hostile_files_are_refused_or_read_to_their_end() {
    use common::dealt::{check, example, repaired};
    let original = example(&[0xc3; 100]);
    assert!(check(&original));
    let (mut opened, mut refused) = (0, 0);
    let mut count = |ok: bool| if ok { opened += 1 } else { refused += 1 };
    for at in 0..original.len() {
        assert!(!check(&original[..at]), "cut at byte {at}");
        count(check(&repaired(original[..at].to_vec())));
        for byte in [original[at] ^ 1, !original[at], 0, 0x7f, 0xff] {
            let mut bytes = original.clone();
            bytes[at] = byte;
            let changed = bytes != original;
            assert!(!(check(&bytes) && changed), "byte {at} is {byte}");
            count(check(&repaired(bytes)));
        }
    }
    println!("{opened} opened, {refused} refused");
    assert!(opened > 300 && refused > 300, "{opened} opened, {refused} refused");
}
