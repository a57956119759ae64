//! The commands. Each prints its own data and returns an exit code, or a [`Failure`] that `main` prints.
mod assemble;
mod check;
mod compare;
mod compile;
mod diff;
mod estimate;
mod explain;
mod failure;
mod files;
mod inspect;
mod instruments;
mod leakage;
mod prices;
mod program;
mod remarks;
mod report;
mod simulate;
mod stats;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use compiler::pipeline::{Protocol, Reveal, Route};
use failure::Failure;
use ir::Party;
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
    // Read apart: the parser does not see whether nested options were given.
    #[command(flatten)]
    _compile: Option<CompileArgs>,
    #[arg(skip)]
    compile: Option<CompileArgs>,
}

impl Cli {
    /// Reads the command line.
    pub fn read() -> Result<Cli, clap::Error> {
        let matches = Cli::command().try_get_matches()?;
        let mut cli = Cli::from_arg_matches(&matches)?;
        if cli.command.is_none() {
            cli.compile = Some(CompileArgs::from_arg_matches(&matches)?);
        }
        Ok(cli)
    }
}

// The version above names the format.
const _: () = assert!(ir::bytecode::FORMAT == 1);

#[derive(Args)]
struct CompileArgs {
    /// Model to compile
    #[arg(value_name = "MODEL.tflite", required = true)]
    model: PathBuf,
    /// Program to write; holds no weights
    #[arg(short, long, value_name = "MODEL.mpcb", required_unless_present_any = SHOWING)]
    output: Option<PathBuf>,
    /// Private weights to write, mode 0600 [default: beside the program, `.mpcw`]; or `public`: they become constants of the
    /// program, which everybody who has it knows, and layers take an exchange less
    #[arg(short, long, value_name = "MODEL.mpcw|public")]
    weights: Option<PathBuf>,
    /// How results are rounded: `exact` (TFLite's bytes), or `probabilistic` (for comparisons: cheaper, each requantized value may
    /// be off by one, and what it is tells a little about what was rounded)
    #[arg(long, value_enum, default_value = "exact")]
    rounding: Rounding,
    /// Who knows multipliers and zero points between input and output: everybody, or (`private`) the model owner alone
    #[arg(long, value_enum, default_value = "public")]
    scales: Scales,
    /// What the receiver learns: `output`, `logits` (finishes a last SOFTMAX itself), `argmax`, or `topk:N` (places of the
    /// N largest, and no value)
    #[arg(long, value_name = "POLICY", default_value = "output", value_parser = reveal)]
    reveal: Reveal,
    /// The party that owns an input, by its name or number, or `client`; may be repeated [default: 1 for each]
    #[arg(long, value_name = "INPUT=PARTY", value_parser = input_owner)]
    input_owner: Vec<(String, Party)>,
    /// The party that receives the outputs, or `client`
    #[arg(long, value_name = "PARTY", default_value = "1", value_parser = party)]
    receiver: Party,
    /// Who owns the weights: party 0, or a `client` that shares them once with `qnnvm deploy`
    #[arg(long, value_name = "PARTY", default_value = "0", value_parser = model_owner)]
    model_owner: Party,
    /// How many compute, for `semi` 2 to 10 [default: as many as the protocol has, for `semi` 2]
    #[arg(long, value_name = "N")]
    parties: Option<u8>,
    /// Who computes: `rep3` (three parties), `dealer2` (two, and party 2 deals ahead of the input), `rep4` (four, one of
    /// whom may cheat), `rep3-mal` (three, one of whom may cheat), or `semi` (2 to 10, all but one of whom may collude)
    #[arg(long, value_name = "NAME", default_value = "rep3", value_parser = protocol)]
    protocol: Protocol,
    /// How requantizations are computed: `dealer` (five exchanges each), or `boolean` (ten, the conventional way); `rep4`,
    /// `rep3-mal` and `semi` have one way of their own [default: dealer]
    #[arg(long, value_name = "ROUTE", value_parser = route)]
    route: Option<Route>,
    /// Network to choose for, `loopback`, `lan`, `wan`, or as in `rtt=40ms,bw=100mbit`: of two ways to compute a layer the
    /// one that takes less time on it [default: the one that sends fewer bits]
    #[arg(long, value_name = "NET")]
    net: Option<ir::network::Network>,
    /// Print one JSON object on stdout
    #[arg(long, conflicts_with_all = ["print_ir_after", "print_ir_changed", "stop_after", "remarks"])]
    json: bool,
    /// Say for each layer which rounds it takes and why, which ranges were proved, or what was not merged
    #[arg(long, value_enum, value_name = "KIND", value_delimiter = ',')]
    remarks: Vec<remarks::Kind>,
    #[command(flatten)]
    instruments: instruments::Instruments,
}

/// In the place of the file of weights.
const PUBLIC: &str = "public";

/// How results are rounded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Rounding {
    #[value(help = "the bytes of TFLite")]
    Exact,
    #[value(help = "each requantized value may be off by one")]
    Probabilistic,
}

/// Who knows multipliers and zero points.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Scales {
    #[value(help = "everybody")]
    Public,
    #[value(help = "the model owner")]
    Private,
}

/// With one of these, a program need not be written.
const SHOWING: [&str; 6] =
    ["print_ir_after", "print_ir_changed", "dump_ir_dir", "stop_after", "time_passes", "remarks"];

/// Reads `--input-owner`.
fn input_owner(text: &str) -> Result<(String, Party), String> {
    let (name, party) = text.rsplit_once('=').ok_or("an input and a party, as in `x=2`")?;
    Ok((name.to_owned(), self::party(party)?))
}

/// Reads who owns or receives something.
fn party(text: &str) -> Result<Party, String> {
    match text {
        "client" => Ok(Party::CLIENT),
        // The number of a client is not one to write.
        _ => text.parse().map(Party).ok().filter(|p| *p < Party::CLIENT).ok_or("a number from 0, or `client`".into()),
    }
}

/// Reads `--model-owner`.
fn model_owner(text: &str) -> Result<Party, String> {
    party(text).ok().filter(|p| [Party(0), Party::CLIENT].contains(p)).ok_or("party 0, or `client`".into())
}

/// Reads `--protocol`.
fn protocol(text: &str) -> Result<Protocol, String> {
    let names: Vec<&str> = Protocol::ALL.iter().map(|p| p.facts().name).collect();
    Protocol::from_name(text).ok_or_else(|| names.join(" or "))
}

/// Reads `--route`.
fn route(text: &str) -> Result<Route, String> {
    Route::from_name(text).ok_or_else(|| "`dealer` or `boolean`".to_owned())
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
    /// List the passes of the compiler, in order
    Passes,
    /// Show what a program costs, and why
    Stats {
        /// Program to show
        #[arg(value_name = "MODEL.mpcb")]
        program: PathBuf,
        /// Rows of the table
        #[arg(long, value_enum, default_value = "layer")]
        by: stats::By,
        /// Print one JSON object with every table on stdout
        #[arg(long)]
        json: bool,
    },
    /// Say how long a run will take, and what it needs, before running it
    Estimate {
        /// Program to run
        #[arg(value_name = "MODEL.mpcb")]
        program: PathBuf,
        /// Network between the parties: `loopback`, `lan` (0.2 ms, 10 Gbit), `wan` (40 ms, 100 Mbit) or both numbers
        #[arg(long, value_name = "lan|wan|rtt=MS,bw=RATE", default_value = "lan")]
        net: ir::network::Network,
        /// Local operations that one party does in a second [default: as measured, for each kind of operation]
        #[arg(long, value_name = "N", value_parser = estimate::rate)]
        ops_per_second: Option<f64>,
        /// Print one JSON object on stdout
        #[arg(long)]
        json: bool,
    },
    /// Show what changed between two programs, and where
    Diff {
        /// First program
        #[arg(value_name = "A.mpcb")]
        first: PathBuf,
        /// Second program
        #[arg(value_name = "B.mpcb")]
        second: PathBuf,
        /// Print one JSON object on stdout
        #[arg(long)]
        json: bool,
    },
    /// Find the first layer where the program and the oracle differ on an input
    Compare(compare::CompareArgs),
    /// Write a page about a program, and about a run of it, for a browser
    Report {
        /// Program to show
        #[arg(value_name = "MODEL.mpcb")]
        program: PathBuf,
        /// Statistics of a run, as `qnnvm local --json` prints them
        #[arg(long, value_name = "STATS.json")]
        run: Option<PathBuf>,
        /// Page to write
        #[arg(short, long, value_name = "REPORT.html")]
        output: PathBuf,
    },
    /// List the TFLite operators that compile
    Ops {
        /// Say what they cost: rounds, and bits that a party sends for an element of the result
        #[arg(long)]
        costs: bool,
        /// Costs of this protocol
        #[arg(long, value_name = "NAME", default_value = "rep3", value_parser = protocol, requires = "costs")]
        protocol: Protocol,
        /// Among so many, for `semi`
        #[arg(long, value_name = "N", requires = "costs")]
        parties: Option<u8>,
        /// Print one JSON object on stdout
        #[arg(long)]
        json: bool,
    },
    /// Print completions for a shell
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
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
        (Some(Command::Passes), _) => instruments::passes(),
        (Some(Command::Stats { program, by, json }), _) => stats::stats(&program, by, json),
        (Some(Command::Estimate { program, net, ops_per_second, json }), _) => {
            estimate::estimate(&program, net, ops_per_second, json)
        }
        (Some(Command::Diff { first, second, json }), _) => diff::diff(&first, &second, json),
        (Some(Command::Compare(args)), _) => compare::compare(&args),
        (Some(Command::Report { program, run, output }), _) => report::report(&program, run.as_deref(), &output),
        (Some(Command::Ops { costs: true, protocol, parties, json }), _) => {
            prices::prices(compile::among(protocol, parties)?, json)
        }
        (Some(Command::Ops { costs: false, json, .. }), _) => explain::operators(json),
        (Some(Command::Completions { shell }), _) => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "qnnc", &mut text);
            print(&String::from_utf8_lossy(&text)).map(|()| 0)
        }
        (Some(Command::Man), _) => {
            let mut text = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut text).map_err(|e| Failure::write("stdout", &e))?;
            print(&String::from_utf8_lossy(&text)).map(|()| 0)
        }
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

/// A JSON object on a line of stdout, in ASCII, so that names from a model cannot steer a terminal.
fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    let mut line = String::new();
    for c in value.to_string().chars() {
        match c {
            ' '..='~' => line.push(c),
            _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| line += &format!("\\u{unit:04x}")),
        }
    }
    print(&(line + "\n"))
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
