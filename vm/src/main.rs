//! `qnnvm`, the virtual machine of one party, and the launcher of all parties on one machine.
mod cli;

use std::process::ExitCode;

/// What is given back to the heap is overwritten first, so that no share, key, weight or input outlives its use there.
#[global_allocator]
static HEAP: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    // A panic is a bug of ours, and its code is 1.
    std::panic::catch_unwind(cli::main).unwrap_or(ExitCode::FAILURE)
}
