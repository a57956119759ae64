//! Secrets stay where they belong: no core file, nothing of them in messages, reports, logs or `Debug`, and nothing left in
//! memory that was given back.
mod common;
use common::launch::{Dir, Three, error_text, local, qnnvm};
use common::testdata;
use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Planted as pixels of the input: 64 numbers of a signed byte.
const PIXELS: &[u8; 16] = b"HushTheseAreMine";
/// Planted as every weight.
const WEIGHT: i32 = 0x5ec2_e701;

/// Ways in which bytes show up in a text.
fn traces(bytes: &[u8]) -> Vec<String> {
    let list = |b: &[u8]| b.iter().map(u8::to_string).collect::<Vec<_>>();
    let hex = |b: &[u8]| b.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let mut all = vec![list(bytes).join(", "), list(bytes).join(","), list(bytes).join(" "), hex(bytes)];
    all.push(hex(bytes).to_uppercase());
    all.push(String::from_utf8_lossy(bytes).into_owned());
    all
}

/// No trace of what was planted in any of the texts.
fn silent(what: &str, texts: &[&[u8]]) {
    let mut planted = traces(&PIXELS[..6]);
    planted.extend(traces(&WEIGHT.to_le_bytes()));
    planted.extend([WEIGHT.to_string(), format!("{WEIGHT:x}")]);
    planted.push((WEIGHT as u32).to_string());
    for text in texts {
        let text = String::from_utf8_lossy(text);
        for trace in &planted {
            assert!(!text.contains(trace.as_str()), "{what}: `{trace}` in\n{text}");
        }
    }
}

fn said(out: &Output) -> [&[u8]; 2] {
    [&out.stdout, &out.stderr]
}

/// A program with weights and an input that can be recognised.
fn planted() -> Dir {
    let dir = Dir::new();
    let c = dir.compile("digits", &testdata("digits.tflite"));
    let tensors = c.weights.tensors.iter().map(|t| vec![WEIGHT; t.len()]).collect();
    let weights = ir::weights::Weights { program: c.weights.program, tensors };
    fs::write(dir.file("digits.mpcw"), ir::weights::encode(&weights, &[7; 32])).expect("weights");
    let mut input = fs::read(testdata("digits.input_0.npy")).expect("testdata");
    let start = input.len() - 64;
    input[start..].iter_mut().zip(PIXELS.iter().cycle()).for_each(|(x, p)| *x = *p);
    fs::write(dir.file("in.npy"), input).expect("input");
    dir
}

#[test]
fn good_and_failing_runs_say_nothing_of_secrets() {
    let dir = planted();
    let input = dir.file("in.npy");
    let output = dir.file("y.npy");
    for more in
        [&[][..], &["--json"], &["--top", "10", "--repeat", "2"], &["--memory-limit", "1000"], &["--batch", "2"]]
    {
        let out = local(&dir, "digits", &input, &output, more);
        silent(&format!("local {more:?}"), &said(&out));
    }
    // Damaged files of every kind: cut, of another shape, of another type, another program's.
    let good = fs::read(&input).expect("input");
    let bad = dir.file("bad.npy");
    let replace = |from: &str, to: &str| {
        let at = good.windows(from.len()).position(|w| w == from.as_bytes()).expect("in the header");
        [&good[..at], to.as_bytes(), &good[at + from.len()..]].concat()
    };
    let inputs = [
        good[..good.len() - 1].to_vec(),
        good[64..].to_vec(),
        PIXELS.repeat(9),
        [&b"\x89PNG\r\n\x1a\n"[..], &PIXELS.repeat(9)].concat(),
        [&b"\x93NUMPY\x01\x00\x20\x00"[..], &PIXELS.repeat(9)].concat(),
        replace("|i1", "<i2"),
        replace("(1, 8, 8, 1)", "(1, 4, 8, 2)"),
    ];
    for (i, bytes) in inputs.iter().enumerate() {
        fs::write(&bad, bytes).expect("input");
        let out = local(&dir, "digits", &bad, &output, &["--json"]);
        assert_eq!(out.status.code(), Some(30), "input {i}: {}", error_text(&out));
        silent(&format!("input {i}"), &said(&out));
    }
    let weights = fs::read(dir.file("digits.mpcw")).expect("weights");
    for at in [3, 40, weights.len() / 2, weights.len() - 1] {
        let mut bytes = weights.clone();
        bytes[at] ^= 1;
        fs::write(dir.file("bad.mpcw"), &bytes).expect("weights");
        let mut command = qnnvm();
        command.arg("verify").arg(dir.file("digits.mpcb")).arg("-w").arg(dir.file("bad.mpcw"));
        let out = command.output().expect("runs");
        assert_eq!(out.status.code(), Some(4), "byte {at}: {}", error_text(&out));
        silent(&format!("weights, byte {at}"), &said(&out));
    }
    // Weights where a program, a list of labels or an address book should be.
    for file in ["digits.mpcw", "in.npy"] {
        let file = dir.file(file);
        let mut commands = [qnnvm(), qnnvm(), qnnvm()];
        commands[0].arg("verify").arg(&file);
        commands[1].args(["--party", "2"]).arg(dir.file("digits.mpcb")).arg("--net").arg(&file);
        commands[2].arg("verify").arg(dir.file("digits.mpcb")).arg("-w").arg(dir.file("in.npy"));
        for command in &mut commands {
            let out = command.output().expect("runs");
            assert!(matches!(out.status.code(), Some(4 | 6)), "{}", error_text(&out));
            silent(&format!("{} elsewhere", file.display()), &said(&out));
        }
    }
}

#[test]
fn parties_that_lose_each_other_say_nothing_of_secrets() {
    let mut three = Three::new(planted());
    for party in 0..3 {
        let mut command = three.command(party, "digits");
        command.args(["--repeat", "100000", "--json", "--timeout", "20"]);
        three.start(command);
    }
    sleep(Duration::from_millis(700));
    three.children[2].kill().expect("killed");
    let ends = three.finish(Duration::from_secs(60));
    for (p, out) in ends.iter().enumerate() {
        assert!(!out.status.success());
        silent(&format!("party {p} of a broken run"), &said(out));
    }
    assert!(!three.dir.file("y.npy").exists(), "no output of a broken run");
}

#[test]
fn debug_shows_sizes_only() {
    use runtime_protocols::data::{Data, Value};
    let secret = vec![0x5ec2_e701u32; 3];
    let texts = [
        format!("{:?}", Data::W32(secret.clone())),
        format!("{:?}", Data::W64(vec![WEIGHT as u64; 2])),
        format!("{:?}", Data::Planes { words: vec![WEIGHT as u64], len: 5 }),
        format!("{:?}", Value::one(Data::W32(secret))),
        format!("{:?}", ir::weights::Weights { program: [0; 32], tensors: vec![vec![WEIGHT; 4]] }),
        format!("{:?}", vm::exec::Outcome { outputs: vec![Some(vec![WEIGHT.into(); 2])], ..Default::default() }),
        {
            let (links, transcript) = runtime_protocols::link::memory::Network::new(2).recorded();
            let keys = common::in_threads(links, |mut link| {
                let keys = runtime_protocols::link::exchange_keys(&mut link).expect("keys");
                let other = 1 - runtime_protocols::link::Link::me(&link).index();
                (format!("{keys:?}"), keys.as_slice()[other])
            });
            let text = format!("{:?} {}", transcript.records(), keys[0].0);
            traces(&keys[0].1[..6]).iter().for_each(|t| assert!(!text.contains(t.as_str()), "{text}"));
            text
        },
    ];
    texts.iter().for_each(|t| silent("Debug", &[t.as_bytes()]));
}

/// Ends `child` by SIGABRT and tells whether the system dumped it.
fn dumps(command: &str, dir: &Path) -> bool {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("ulimit -c unlimited; exec {command}")).current_dir(dir);
    let mut child = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    sleep(Duration::from_millis(500));
    assert!(child.try_wait().expect("child").is_none(), "it has ended by itself");
    let abort = Command::new("sh").arg("-c").arg(format!("kill -ABRT {}", child.id())).status().expect("kill");
    assert!(abort.success());
    let deadline = Instant::now() + Duration::from_secs(20);
    let status = loop {
        if let Some(status) = child.try_wait().expect("child") {
            break status;
        }
        assert!(Instant::now() < deadline, "it does not end");
        sleep(Duration::from_millis(10));
    };
    assert_eq!(status.signal(), Some(6), "{status:?}");
    let files = fs::read_dir(dir).expect("folder").filter_map(|e| e.ok()?.file_name().into_string().ok());
    status.core_dumped() || files.into_iter().any(|name| name.starts_with("core"))
}

#[test]
fn an_aborted_party_leaves_no_core_file() {
    let dir = planted();
    let away = |name: &str| {
        let place = dir.file(name);
        fs::create_dir(&place).expect("folder");
        place
    };
    if !dumps("sleep 60", &away("control")) {
        println!("this system dumps nobody: what follows shows little");
    }
    let three = Three::new(dir);
    let place = three.dir.file("party");
    fs::create_dir(&place).expect("folder");
    let command = format!("{:?}", three.command(2, "digits")).replace('"', "'");
    assert!(!dumps(&command, &place), "a core file was written");
}

/// Where no limit is set, it is the process itself that forbids: the limits of a waiting party.
#[test]
fn a_running_party_may_not_be_dumped() {
    let mut three = Three::new(planted());
    three.start(three.command(2, "digits"));
    sleep(Duration::from_millis(300));
    let id = three.children[0].id();
    let limits = fs::read_to_string(format!("/proc/{id}/limits")).expect("a process");
    let core = limits.lines().find(|l| l.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
}

/// Checks that what is given back holds zeros only.
struct Checked;

static FREED: AtomicUsize = AtomicUsize::new(0);
static DIRTY: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; a block is read while it is still owned.
unsafe impl GlobalAlloc for Checked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as promised by the caller. Zeroed, so that every byte may be read later.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is alive, of this size, and was initialized.
        let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
        FREED.fetch_add(layout.size(), Ordering::Relaxed);
        DIRTY.fetch_add(bytes.iter().filter(|b| **b != 0).count(), Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(block, layout) }
    }
}

#[test]
fn the_heap_is_wiped_when_it_is_given_back() {
    let heap = zeroizing_alloc::ZeroAlloc(Checked);
    for size in [1usize, 7, 64, 4096, 1 << 20] {
        let layout = Layout::from_size_align(size, 8).expect("a layout");
        let more = Layout::from_size_align(2 * size, 8).expect("a layout");
        // SAFETY: blocks are used within their size and given back once, with the layout that they have by then.
        unsafe {
            let block = heap.alloc(layout);
            block.write_bytes(0x5e, size);
            let block = heap.realloc(block, layout, 2 * size);
            assert_eq!(*block, 0x5e);
            heap.dealloc(block, more);
        }
    }
    let (freed, dirty) = (FREED.load(Ordering::Relaxed), DIRTY.load(Ordering::Relaxed));
    assert!(freed > 3 << 20 && dirty == 0, "{dirty} of {freed} bytes were left");
    // And the program does use it.
    let main = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/main.rs")).expect("source");
    assert!(main.contains("#[global_allocator]\nstatic HEAP: zeroizing_alloc::ZeroAlloc"));
}
