//! Any bytes are decoded or refused; what is decoded encodes to the same bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(weights) = ir::weights::decode(bytes) else { return };
    assert!(ir::weights::encode(&weights) == bytes, "two encodings of one file");
});
