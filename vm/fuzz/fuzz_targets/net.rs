//! Any bytes are refused as a net.toml, or are one address per party.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    vm_fuzz::cli::hostile::net(bytes);
});
