//! Any bytes behind the magic of a PNG are refused or become a picture of the size that the model takes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    vm_fuzz::cli::hostile::input(&[b"\x89PNG\r\n\x1a\n", bytes].concat());
});
