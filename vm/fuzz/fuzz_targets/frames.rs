//! Any stream of a peer is refused where it differs from what is due.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((due, stream)) = bytes.split_at_checked(4) else { return };
    runtime_protocols::link::hostile::frames(stream, due);
});
