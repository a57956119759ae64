//! The commands. Each prints its own data and returns an exit code, or a [`Failure`] that `main` prints.
mod assemble;
mod check;
mod compile;
mod explain;
mod failure;
mod files;
mod inspect;
mod program;
mod simulate;

use clap::{Args, Parser, Subcommand};
use compiler::pipeline::Reveal;
use failure::Failure;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

/// Exit code for a command line that makes no sense.
pub const USAGE: u8 = 2;

/// Compiles quantized TFLite models to secure multi-party computation programs.
#[derive(Parser)]
#[command(
    name = "qnnc",
    version = concat!(env!("CARGO_PKG_VERSION"), ", program format 1"),
    color = clap::ColorChoice::Never,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    compile: Option<CompileArgs>,
}

// The version above names the format.
const _: () = assert!(ir::bytecode::FORMAT == 1);

#[derive(Args)]
struct CompileArgs {
    /// Model to compile
    #[arg(value_name = "MODEL.tflite", required = true)]
    model: PathBuf,
    /// Program to write; holds no weights
    #[arg(short, long, value_name = "MODEL.mpcb", required = true)]
    output: PathBuf,
    /// Private weights to write, mode 0600 [default: beside the program, `.mpcw`]
    #[arg(short, long, value_name = "MODEL.mpcw")]
    weights: Option<PathBuf>,
    /// What the receiver learns: `output`, `logits` (finishes a last SOFTMAX itself), `argmax`, or `topk:N` (places of the
    /// N largest, and no value)
    #[arg(long, value_name = "POLICY", default_value = "output", value_parser = reveal)]
    reveal: Reveal,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// Reads `--reveal`.
fn reveal(text: &str) -> Result<Reveal, String> {
    Reveal::from_name(text).ok_or_else(|| "`output`, `logits`, `argmax` or `topk:N` with N from 1 to 64".to_owned())
}

#[derive(Subcommand)]
enum Command {
    /// List everything that keeps a model from compiling
    Check {
        /// Model to check
        #[arg(value_name = "MODEL.tflite")]
        model: PathBuf,
        /// Print one JSON object on stdout
        #[arg(long)]
        json: bool,
    },
    /// Run a model in the clear, bit for bit as TFLite's reference kernels do
    Simulate(simulate::SimulateArgs),
    /// Print the text form of a program
    Dis {
        /// Program to print
        #[arg(value_name = "MODEL.mpcb")]
        program: PathBuf,
        /// Shorten constants to their first elements; `as` does not read the result
        #[arg(long)]
        elide: bool,
    },
    /// Make a program from its text form
    As {
        /// Text to read, as `dis` prints it
        #[arg(value_name = "PROGRAM.qir")]
        text: PathBuf,
        /// Program to write
        #[arg(short, long, value_name = "MODEL.mpcb")]
        output: PathBuf,
    },
    /// Show interface, layers, rounds, bytes and what is revealed
    Inspect {
        /// Program to show
        #[arg(value_name = "MODEL.mpcb")]
        program: PathBuf,
        /// Show who learns what
        #[arg(long)]
        leakage: bool,
        /// Print one JSON object on stdout
        #[arg(long)]
        json: bool,
    },
    /// List the TFLite operators that compile
    Ops {
        /// Print one JSON object on stdout
        #[arg(long)]
        json: bool,
    },
    /// Say more about an error code, or about `security` or `rounds`
    Explain {
        /// `Qnnnn`, `security` or `rounds`
        topic: String,
    },
}

/// Runs one command; the result is the exit code.
pub fn run(cli: Cli) -> Result<u8, Failure> {
    match (cli.command, cli.compile) {
        (Some(Command::Check { model, json }), _) => check::check(&model, json),
        (Some(Command::Simulate(args)), _) => simulate::simulate(&args),
        (Some(Command::Dis { program, elide }), _) => inspect::disassemble(&program, elide),
        (Some(Command::As { text, output }), _) => assemble::assemble(&text, &output),
        (Some(Command::Inspect { program, leakage, json }), _) => inspect::inspect(&program, leakage, json),
        (Some(Command::Ops { json }), _) => explain::operators(json),
        (Some(Command::Explain { topic }), _) => explain::explain(&topic),
        (None, Some(args)) => compile::compile(&args),
        (None, None) => Err(Failure::usage("no model and no command", "`qnnc --help` lists both")),
    }
}

/// A message to stderr. If nobody reads it, nothing can be done.
pub fn say(message: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{message}");
}

/// Data to stdout. A reader that stops reading is no error.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Failure::write("stdout", &e)),
        _ => Ok(()),
    }
}

/// A JSON object on a line of stdout.
fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    print(&format!("{value}\n"))
}

/// Makes a panic in any thread end the process with exit code 1 and a request to report it.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let message = text.or(payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        let place = info.location().map_or(String::new(), |l| format!(" at {}:{}", l.file(), l.line()));
        say(&format!(
            "internal error: {message}{place}; this is a bug in qnnc, please report it with the command line"
        ));
        std::process::exit(1);
    }));
}
