//! Any preprocessing file is refused, or read to its end and no further; most have a right checksum.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if bytes.first().is_some_and(|b| b % 8 == 0) {
        vm_fuzz::dealt::check(bytes);
    } else {
        vm_fuzz::dealt::check(&vm_fuzz::dealt::repaired(bytes.to_vec()));
    }
});
