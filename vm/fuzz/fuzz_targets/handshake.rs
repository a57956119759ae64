//! Any handshake is refused, or compared alike by both sides.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    runtime_protocols::link::hostile::handshake(bytes);
});
