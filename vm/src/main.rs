//! `qnnvm`, the virtual machine of one party, and the launcher of all parties on one machine.
mod cli;

use std::process::ExitCode;

/// What is given back to the heap is overwritten first, so that no share, key, weight or input outlives its use there.
#[global_allocator]
static HEAP: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

/// Values die and come many times a round. The GNU allocator would give memory of that size back to the system and fetch it
/// again, and keep a heap for each thread, so that what one thread frees does not serve another: see `docs/performance.md`.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_memory() {
    unsafe extern "C" {
        fn mallopt(parameter: std::ffi::c_int, value: std::ffi::c_int) -> std::ffi::c_int;
    }
    const TRIM_THRESHOLD: std::ffi::c_int = -1;
    const MMAP_THRESHOLD: std::ffi::c_int = -3;
    const ARENA_MAX: std::ffi::c_int = -8;
    for (parameter, value) in [(ARENA_MAX, 1), (MMAP_THRESHOLD, 32 << 20), (TRIM_THRESHOLD, std::ffi::c_int::MAX)] {
        // SAFETY: a function of the C library with this signature, which takes any numbers; no other thread runs yet.
        unsafe { mallopt(parameter, value) };
    }
}

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    keep_memory();
    // A panic is a bug of ours, and its code is 1.
    std::panic::catch_unwind(cli::main).unwrap_or(ExitCode::FAILURE)
}
