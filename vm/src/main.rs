//! `qnnvm`, the virtual machine of one party, and the launcher of all parties on one machine.
mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    // A panic is a bug of ours, and its code is 1.
    std::panic::catch_unwind(cli::main).unwrap_or(ExitCode::FAILURE)
}
