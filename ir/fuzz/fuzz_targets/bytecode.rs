//! Any bytes are decoded or refused; what is decoded encodes to the same bytes, and is verified without a panic.
#![no_main]

fn check(bytes: &[u8]) {
    let Ok(program) = ir::bytecode::decode(bytes) else { return };
    assert!(ir::bytecode::encode(&program) == bytes, "two encodings of one program");
    let _ = ir::verify::verify(&program);
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check(&ir_fuzz::repaired(bytes));
});
