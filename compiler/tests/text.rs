//! The text form of compiled programs reads back to the same program, bytes and text.
use compiler::pipeline::{Options, Route, compile, compile_with};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

fn models(dir: &Path) -> Vec<PathBuf> {
    let Ok(list) = fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = list.map(|e| e.expect("readable").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "tflite"));
    paths.sort();
    paths
}

/// Whether the model compiles; if it does, its text and its bytes must read back, by every route.
fn check(path: &Path) -> bool {
    let model = fs::read(path).expect("readable");
    [Route::Dealer, Route::Boolean].into_iter().all(|route| check_by(path, &model, route))
}

fn check_by(path: &Path, model: &[u8], route: Route) -> bool {
    let name = path.file_stem().expect("a file").to_string_lossy();
    let Ok(compiled) = compile_with(model, Options { route, ..Options::default() }) else { return false };
    let decoded = ir::bytecode::decode(&compiled.bytes).unwrap_or_else(|bad| panic!("{name}: {bad}"));
    assert!(decoded == compiled.program, "{name}: the bytes are another program");
    let text = ir::text::print(&decoded, false).expect("typed by the compiler");
    let start = Instant::now();
    let read = ir::text::parse(&text).unwrap_or_else(|bad| panic!("{name}: {}", bad[0]));
    println!("{name} {route:?}: {} bytes of text read in {:?}", text.len(), start.elapsed());
    assert!(read == compiled.program, "{name}: another program");
    assert!(ir::bytecode::encode(&read) == compiled.bytes, "{name}: other bytes");
    assert!(ir::text::print(&read, false).expect("typed") == text, "{name}: other text");
    true
}

#[test]
fn text_of_our_models_reads_back() {
    let all = models(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/models"));
    assert!(all.len() >= 4, "part of the repository");
    all.iter().for_each(|path| assert!(check(path), "{}: does not compile", path.display()));
}

#[test]
fn text_of_large_models_reads_back() {
    let dir = std::env::var_os("QNN_MODELS_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/models"), PathBuf::from);
    let all = models(&dir);
    let compiled = all.iter().filter(|path| check(path)).count();
    println!("{compiled} of {} models in {} compile", all.len(), dir.display());
}

#[test]
fn shortened_text_is_refused_with_the_reason() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/models/digits_mlp.tflite");
    let compiled = compile(&fs::read(path).expect("part of the repository")).expect("compiles");
    let text = ir::text::print(&compiled.program, true).expect("typed");
    let bad = ir::text::parse(&text).expect_err("constants are missing");
    assert!(bad[0].what.contains("`--elide`"), "{}", bad[0]);
}

/// Runs `qnnc as` on a text; the exit code, stderr and the file that was written.
fn assemble(name: &str, text: &str) -> (Option<i32>, String, Option<Vec<u8>>) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (input, output) = (dir.join(format!("{name}.qir")), dir.join(format!("{name}.mpcb")));
    fs::write(&input, text).expect("writable");
    let _ = fs::remove_file(&output);
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_qnnc"))
        .arg("as")
        .arg(&input)
        .arg("-o")
        .arg(&output)
        .output()
        .expect("qnnc runs");
    let stderr = String::from_utf8_lossy(&run.stderr).replace(&input.display().to_string(), "FILE");
    (run.status.code(), stderr, fs::read(&output).ok())
}

#[test]
fn the_assembler_writes_the_compiled_bytes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/models/digits_mlp.tflite");
    let compiled = compile(&fs::read(path).expect("part of the repository")).expect("compiles");
    let text = ir::text::print(&compiled.program, false).expect("typed");
    let (code, stderr, written) = assemble("whole", &text);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(written.as_deref() == Some(&compiled.bytes[..]), "other bytes");
}

#[test]
fn the_assembler_places_every_error() {
    let head = "program protocol=\"p\" parties=3 reveal=\"output\" kernels=\"k\"\n\
                input 0 \"x\" int8[4] scale=1 zero=0 party=1\n";
    let broken = format!("{head}v0 = input index=1\nv1 = nothing v0\n");
    let (code, stderr, written) = assemble("broken", &broken);
    assert_eq!(stderr, "FILE:3:6: V2 input: no such input\nFILE:4:6: unknown op `nothing`\n");
    assert_eq!((code, written), (Some(4), None));

    let insecure = format!("{head}v0 = input index=0\nv1 = reshare v0, bits=8\n");
    let (code, stderr, written) = assemble("insecure", &insecure);
    assert_eq!(stderr, "FILE:4:6: V3 an exchange after the last round\n");
    assert_eq!((code, written), (Some(4), None));
}
