//! `qnnc`, the compiler: reads the command line, calls the library, prints.
//!
//! Data goes to stdout, messages to stderr, without colour. Exit codes: 0 done, 1 bug, 2 usage, 3 model not supported,
//! 4 file damaged, 5 resource limit, 6 configuration (a file cannot be written), 30 bad input.
mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::report_panics();
    let args = match cli::Cli::read() {
        Ok(args) => args,
        Err(e) => {
            // Fails when the reader has gone away: nobody is left to tell.
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { cli::USAGE } else { 0 });
        }
    };
    match cli::run(args) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            cli::say(&format!("{failure}"));
            ExitCode::from(failure.exit)
        }
    }
}
