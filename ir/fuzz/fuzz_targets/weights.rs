//! Any bytes are decoded or refused; what is decoded encodes to the same bytes.
#![no_main]

fn check(bytes: &[u8]) {
    let Ok(weights) = ir::weights::decode(bytes) else { return };
    let salt = bytes[40..].first_chunk().expect("it was read");
    assert!(ir::weights::encode(&weights, salt) == bytes, "two encodings of one file");
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check(&ir_fuzz::repaired(bytes));
});
