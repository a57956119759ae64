//! Any bytes behind the magic of an array are refused or are whole samples that the model takes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    vm_fuzz::cli::hostile::input(&[b"\x93NUMPY", bytes].concat());
});
