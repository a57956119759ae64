//! Any bytes are a list of labels, and none moves the cursor of a terminal.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    vm_fuzz::cli::hostile::labels(bytes);
});
