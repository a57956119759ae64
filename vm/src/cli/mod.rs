//! The command line: what can be asked for, and how failures become messages and exit codes.
#[macro_use]
mod output;
mod bench;
mod deal;
mod deploy;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod io;
mod keys;
mod load;
mod local;
mod manifest;
mod net;
mod net_command;
mod party;
mod picture;
mod private;
mod protocols;
mod query;
mod report;
mod result;
mod serve;
mod sessions;
mod shaper;
mod signals;
mod wire;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Why a command ends early.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Exit code of the process.
    pub code: u8,
    /// Place, cause and next step.
    pub message: String,
}

impl Failure {
    /// A bug of ours.
    pub const BUG: u8 = 1;
    /// Wrong use of the command line.
    pub const USAGE: u8 = 2;
    /// A program or weights file that cannot be used.
    pub const DAMAGED: u8 = 4;
    /// A limit of the user or of the machine: memory, disk.
    pub const LIMIT: u8 = 5;
    /// Addresses, directories, settings.
    pub const CONFIG: u8 = 6;
    /// Parties that do not agree.
    pub const DISAGREE: u8 = 13;
    /// A certificate that will not do.
    pub const AUTHENTICATION: u8 = 21;
    /// A peer that is gone.
    pub const LOST: u8 = 11;
    /// An input file that cannot be used.
    pub const INPUT: u8 = 30;

    /// From a code and a message.
    pub fn new(code: u8, message: impl Display) -> Self {
        Failure { code, message: message.to_string() }
    }
}

impl From<runtime_protocols::link::LinkError> for Failure {
    fn from(e: runtime_protocols::link::LinkError) -> Self {
        match e.advice() {
            Some(advice) => Failure::new(e.exit_code(), format_args!("{e}\n  = help: {advice}")),
            None => Failure::new(e.exit_code(), e),
        }
    }
}

/// Runs one party of a compiled program, or all of them on this machine.
#[derive(Parser)]
#[command(name = "qnnvm", args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    // Read apart: the parser does not see whether nested options were given.
    #[command(flatten)]
    _party: Option<PartyArgs>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs every party as its own process on this machine
    Local(LocalArgs),
    /// Times inferences on this machine, over networks of different speed
    Bench(BenchArgs),
    /// Makes what the dealer of a program sends, in files for the two who compute
    Deal(DealArgs),
    /// Runs one party as a server: weights are shared once, then it computes for clients
    Serve(ServeArgs),
    /// As a client: shares an input among the parties of a server, and joins their answers
    Query(QueryArgs),
    /// As a model owner that does not compute: shares the weights, in one file for each party
    Deploy {
        /// Program (.mpcb), compiled with `--model-owner client`
        model: PathBuf,
        /// Weights file (.mpcw)
        #[arg(short, long)]
        weights: PathBuf,
        /// Directory for MODEL.0.mpcs, MODEL.1.mpcs, …: each for one party alone
        #[arg(short, long, value_name = "DIR")]
        output: PathBuf,
    },
    /// Checks a program, and a weights file that belongs to it
    Verify {
        /// Program
        model: PathBuf,
        /// Weights file
        #[arg(short, long)]
        weights: Option<PathBuf>,
    },
    /// Makes the key of this party and the certificate that the others pin
    Keygen {
        /// What people call this party
        #[arg(long)]
        name: String,
        /// Folder of the key and the certificate
        #[arg(short, long, value_name = "DIR")]
        output: PathBuf,
        /// How long the certificate is valid
        #[arg(long, value_name = "N", default_value_t = 730, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
    /// Says who the parties are: addresses and certificates
    Net {
        #[command(subcommand)]
        command: NetCommand,
    },
    /// Lets a running party print what it waits for
    Status {
        /// Its process
        pid: i32,
    },
    /// Lists the protocols of this build
    Protocols,
    /// Prints completions for a shell
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
    /// Prints the manual page
    Man,
}

/// What `qnnvm net` does.
#[derive(Subcommand)]
pub enum NetCommand {
    /// Begins a `net.toml` with this party in it
    Init(NetInit),
    /// Adds a peer and its certificate
    AddPeer(NetAdd),
    /// Prints the parties and their fingerprints, to be compared over the phone
    Show {
        /// Folder of `net.toml`
        #[arg(long, value_name = "DIR", default_value = ".", env = "QNN_CONFIG_DIR")]
        dir: PathBuf,
    },
    /// Connects to all parties, who do the same now, and measures the network
    Check(NetCheck),
}

/// The own entry.
#[derive(Args)]
pub struct NetInit {
    /// Index of this party
    #[arg(long, value_name = "I")]
    pub party: u8,
    /// Where the others reach it, as HOST:PORT; without it this party only dials
    #[arg(long, value_name = "ADDR")]
    pub address: Option<String>,
    /// Where it binds, if not at that address
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<std::net::SocketAddr>,
    /// It never dials: the others do
    #[arg(long)]
    pub listen_only: bool,
    /// Folder of key and certificate, where `net.toml` is written
    #[arg(long, value_name = "DIR", default_value = ".", env = "QNN_CONFIG_DIR")]
    pub dir: PathBuf,
}

/// A peer's entry.
#[derive(Args)]
pub struct NetAdd {
    /// Its certificate
    pub cert: PathBuf,
    /// Where it is reached, as HOST:PORT; `-` when it only dials
    #[arg(value_name = "ADDR")]
    pub address: String,
    /// Index of the peer
    #[arg(long, value_name = "I")]
    pub party: u8,
    /// It never dials: the others do
    #[arg(long)]
    pub listen_only: bool,
    /// Replace an entry, after its new fingerprint was confirmed
    #[arg(long)]
    pub replace: bool,
    /// Folder of `net.toml`
    #[arg(long, value_name = "DIR", default_value = ".", env = "QNN_CONFIG_DIR")]
    pub dir: PathBuf,
}

/// A look at the network.
#[derive(Args)]
pub struct NetCheck {
    /// Index of this party; without it the one whose certificate is there
    #[arg(long, value_name = "I")]
    pub party: Option<u8>,
    #[command(flatten)]
    pub waits: WaitArgs,
    /// Folder of `net.toml`
    #[arg(long, value_name = "DIR", default_value = ".", env = "QNN_CONFIG_DIR")]
    pub dir: PathBuf,
}

/// What one party and the launcher have in common.
#[derive(Args, Clone)]
pub struct RunArgs {
    /// Program (.mpcb)
    pub model: PathBuf,
    /// Weights file (.mpcw), for the model owner
    #[arg(short, long)]
    pub weights: Option<PathBuf>,
    /// Input (.npy or .png) in the order of the model's inputs, or NAME=FILE; may be repeated, also for more samples. Where
    /// the model keeps state, they are successive calls of one session
    #[arg(long, value_name = "[NAME=]FILE")]
    pub input: Vec<String>,
    /// Output (.npy) in the order of the model's outputs, or NAME=FILE; may be repeated
    #[arg(long, value_name = "[NAME=]FILE")]
    pub output: Vec<String>,
    /// One class label a line
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Print the N most likely classes
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Inferences in one session; times are medians
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub repeat: u32,
    /// Samples computed together, in the rounds of one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: u32,
    /// Number of samples, for a party that owns no input; 1 without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub samples: Option<u32>,
    /// Refuse a program that needs more memory
    #[arg(long, value_name = "BYTES")]
    pub memory_limit: Option<u64>,
    #[command(flatten)]
    pub waits: WaitArgs,
    /// Accept links that are not encrypted; on loopback they are accepted anyway
    #[arg(long)]
    pub insecure_plaintext: bool,
}

/// How long to wait. What is not given here stands in `net.toml`, or is the default.
#[derive(Args, Clone, Default)]
pub struct WaitArgs {
    /// How long to wait for peers, and in each round
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: Option<u64>,
    /// How long to wait for peers; 30 by default
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub connect_timeout: Option<u64>,
    /// How long a round may take, the peers' computation before it included; 60 by default
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub round_timeout: Option<u64>,
    /// How long everything may take; a day by default
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=2_592_000))]
    pub session_timeout: Option<u64>,
    /// How long a peer may give no sign of life; 10 by default
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub silence_timeout: Option<u64>,
}

impl WaitArgs {
    /// The same as options of a command line.
    pub fn options(&self) -> Vec<String> {
        let all = [
            ("--timeout", self.timeout),
            ("--connect-timeout", self.connect_timeout),
            ("--round-timeout", self.round_timeout),
            ("--session-timeout", self.session_timeout),
            ("--silence-timeout", self.silence_timeout),
        ];
        let given = all.into_iter().filter_map(|(option, value)| Some([option.to_owned(), value?.to_string()]));
        given.flatten().collect()
    }
}

/// Where a party has its files, if not beside the `net.toml`.
#[derive(Args, Clone)]
pub struct FolderArgs {
    /// Folder of key and certificate of this party [default: that of the `net.toml`]
    #[arg(long, value_name = "DIR")]
    pub identity: Option<PathBuf>,
    /// Folder for what is kept: the list of used sessions [default: that of the `net.toml`]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// One party.
#[derive(Args, Clone)]
pub struct PartyArgs {
    /// Which party this is: 0 model owner, 1 data owner and receiver, others help
    #[arg(long, value_name = "I")]
    pub party: u8,
    #[command(flatten)]
    pub run: RunArgs,
    /// Who and where the parties are, with their certificates; without it 127.0.0.1, ports from 7700, not encrypted
    #[arg(long, value_name = "FILE", env = "QNN_NET")]
    pub net: Option<PathBuf>,
    #[command(flatten)]
    pub folders: FolderArgs,
    /// Name of the session, the same at all parties; one that was used is refused. Without it a random one
    #[arg(long, value_name = "ID", value_parser = sessions::name)]
    pub session: Option<String>,
    /// Identity of the weights that the owner must use, from `qnnvm verify` there; without it any
    #[arg(long, value_name = "ID", value_parser = load::weights_id)]
    pub weights_id: Option<String>,
    /// Preprocessing of this party (.mpcd, from `qnnvm deal`): the dealer need not be there
    #[arg(long, value_name = "FILE")]
    pub offline: Option<PathBuf>,
    #[command(flatten)]
    pub cell: CellArgs,
    #[command(flatten)]
    pub batch: BatchArgs,
    /// Started by the launcher: standard input is the listening socket, standard output its pipe
    #[arg(long, hide = true)]
    pub launched: bool,
}

/// All parties.
#[derive(Args)]
pub struct LocalArgs {
    #[command(flatten)]
    pub run: RunArgs,
    /// Party I listens on port P + I; without it on free ports
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u16).range(1..=65_000))]
    pub port_base: Option<u16>,
    /// Slow the links down: lan, wan, or as in rtt=40ms,bw=100mbit
    #[arg(long, value_name = "NETWORK")]
    pub net: Option<ir::network::Network>,
    /// Encrypt the links, with keys that are thrown away
    #[arg(long)]
    pub tls: bool,
    /// Deal first, into files, then run the two who compute without the dealer
    #[arg(long)]
    pub offline: bool,
}

/// One of several groups of parties.
#[derive(Args, Clone)]
pub struct CellArgs {
    /// Number of this cell: replaces `{cell}` in addresses, and all parties of a session must name the same
    #[arg(long, value_name = "N")]
    pub cell: Option<u32>,
    /// The number is that of the pod: JOB_COMPLETION_INDEX, or the end of the host name after the last `-`
    #[arg(long, conflicts_with = "cell")]
    pub cell_from_env: bool,
}

/// The samples of a batch that cells share out.
#[derive(Args, Clone)]
pub struct BatchArgs {
    /// One JSON object a line: `id` and `bytes` of each sample; this cell takes its range. Inputs are DIR/ID.npy
    #[arg(long, value_name = "FILE", requires = "cells")]
    pub manifest: Option<PathBuf>,
    /// Number of cells
    #[arg(long, value_name = "N", requires = "manifest", value_parser = clap::value_parser!(u32).range(1..))]
    pub cells: Option<u32>,
    /// Inputs of the manifest, where this party owns them
    #[arg(long, value_name = "DIR", requires = "manifest", conflicts_with = "input")]
    pub input_dir: Option<PathBuf>,
    /// Outputs of the manifest, where this party receives them
    #[arg(long, value_name = "DIR", requires = "manifest", conflicts_with = "output")]
    pub output_dir: Option<PathBuf>,
}

/// A server.
#[derive(Args)]
pub struct ServeArgs {
    /// Program (.mpcb), compiled with `--input-owner NAME=client --receiver client`
    pub model: PathBuf,
    /// Which party this is
    #[arg(long, value_name = "I")]
    pub party: u8,
    /// Who and where the parties are, with their certificates; without it 127.0.0.1, ports from 7700, not encrypted
    #[arg(long, value_name = "FILE", env = "QNN_NET")]
    pub net: Option<PathBuf>,
    #[command(flatten)]
    pub folders: FolderArgs,
    /// Fingerprints of the certificates of clients, one a line: others are not served
    #[arg(long, value_name = "FILE", conflicts_with = "anonymous_clients")]
    pub clients: Option<PathBuf>,
    /// Serve clients without a certificate also beyond loopback
    #[arg(long)]
    pub anonymous_clients: bool,
    /// Address for clients [default: `client` of this party in the `net.toml`]
    #[arg(long, value_name = "ADDRESS")]
    pub listen_client: Option<SocketAddr>,
    /// Address for /healthz, /readyz, /status and /metrics
    #[arg(long, value_name = "ADDRESS")]
    pub http: Option<SocketAddr>,
    /// Weights file (.mpcw), where this party owns them
    #[arg(short, long)]
    pub weights: Option<PathBuf>,
    /// Identity of the weights that the owner must use, from `qnnvm verify` there; without it any
    #[arg(long, value_name = "ID", value_parser = load::weights_id)]
    pub weights_id: Option<String>,
    /// This party's share of the weights (.mpcs, from `qnnvm deploy`), where a client owns them
    #[arg(long, value_name = "FILE")]
    pub weights_share: Option<PathBuf>,
    /// Requests computed together, at most
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub max_batch: u16,
    /// How long the first request of a batch waits for others
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    pub max_delay: u64,
    /// Requests that may wait; more are refused at once
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub queue: u32,
    /// How long a request waits for all parties to have it
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub patience: u64,
    /// How old the id of a request may be; outcomes are remembered twice as long
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub remember: u64,
    /// How long to wait in each round
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: Option<u64>,
    /// Refuse a program that needs more memory
    #[arg(long, value_name = "BYTES")]
    pub memory_limit: Option<u64>,
    #[command(flatten)]
    pub cell: CellArgs,
    /// Accept links that are not encrypted; on loopback they are accepted anyway
    #[arg(long)]
    pub insecure_plaintext: bool,
}

/// A client.
#[derive(Args)]
pub struct QueryArgs {
    /// Program (.mpcb), the same as the servers'
    pub model: PathBuf,
    /// Who the parties are, with their certificates and a `client` address each
    #[arg(long, value_name = "FILE", env = "QNN_NET")]
    pub net: PathBuf,
    /// Folder of key and certificate of this client, from `qnnvm keygen`, for servers that know their clients
    #[arg(long, value_name = "DIR")]
    pub identity: Option<PathBuf>,
    /// Cell to ask
    #[arg(long, value_name = "N")]
    pub cell: Option<u32>,
    /// Input (.npy or .png) in the order of the model's inputs, or NAME=FILE; may be repeated
    #[arg(long, value_name = "[NAME=]FILE")]
    pub input: Vec<String>,
    /// Output (.npy) in the order of the model's outputs, or NAME=FILE; may be repeated
    #[arg(long, value_name = "[NAME=]FILE")]
    pub output: Vec<String>,
    /// One class label a line
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Print the N most likely classes
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// How often to ask again, each time under a fresh id, where a party is busy or was lost
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub retries: u32,
    /// How long to wait for each answer
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Accept links that are not encrypted; on loopback they are accepted anyway
    #[arg(long)]
    pub insecure_plaintext: bool,
}

/// Preprocessing.
#[derive(Args)]
pub struct DealArgs {
    /// Program (.mpcb), of a protocol with a dealer
    pub model: PathBuf,
    /// Inferences it serves, or batches
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub inferences: u32,
    /// Samples of a batch
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: u32,
    /// Files to write: PREFIX.0.mpcd and PREFIX.1.mpcd
    #[arg(short, long, value_name = "PREFIX")]
    pub output: PathBuf,
}

/// A measurement.
#[derive(Args)]
pub struct BenchArgs {
    /// Program (.mpcb)
    pub model: PathBuf,
    /// Weights file (.mpcw); there is none where weights are public
    #[arg(short, long)]
    pub weights: Option<PathBuf>,
    /// Input, as of `local`; without it random ones
    #[arg(long, value_name = "[NAME=]FILE")]
    pub input: Vec<String>,
    /// Batches that are timed
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub runs: u32,
    /// Batches before these
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub warmup: u32,
    /// Samples computed together
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: u32,
    /// Slow the links down: lan, wan, or as in rtt=40ms,bw=100mbit; may be repeated. Without it loopback as it is
    #[arg(long, value_name = "NETWORK")]
    pub net: Vec<String>,
    /// Time encrypted links after plain ones, and say what they cost
    #[arg(long)]
    pub tls: bool,
    /// Deal first, into files, then time the two who compute without the dealer
    #[arg(long)]
    pub offline: bool,
    /// Print one JSON object a network
    #[arg(long)]
    pub json: bool,
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    private::seal();
    let version = format!("{} (program format {})", env!("CARGO_PKG_VERSION"), ir::bytecode::FORMAT);
    // The parser keeps it for the life of the process.
    let command = Cli::command().version(&*version.leak());
    let matches = command.get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|e| e.exit());
    let done = match cli.command {
        Some(Command::Local(args)) => local::run(&args),
        Some(Command::Bench(args)) => bench::run(&args),
        Some(Command::Deal(args)) => deal::run(&args),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Query(args)) => query::run(&args),
        Some(Command::Deploy { model, weights, output }) => deploy::run(&model, &weights, &output),
        Some(Command::Verify { model, weights }) => load::verify_files(&model, weights.as_deref()),
        Some(Command::Keygen { name, output, days }) => keys::keygen(&name, &output, days),
        Some(Command::Net { command }) => net_command::run(&command),
        Some(Command::Status { pid }) => signals::status(pid),
        Some(Command::Protocols) => {
            protocols::print();
            Ok(())
        }
        Some(Command::Completions { shell }) => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "qnnvm", &mut text);
            say!("{}", String::from_utf8_lossy(&text).trim_end());
            Ok(())
        }
        Some(Command::Man) => {
            let mut text = Vec::new();
            let made = clap_mangen::Man::new(Cli::command()).render(&mut text);
            say!("{}", String::from_utf8_lossy(&text).trim_end());
            made.map_err(|e| Failure::new(Failure::BUG, e))
        }
        None => match PartyArgs::from_arg_matches(&matches) {
            Ok(args) => party::run(&args),
            Err(_) => Cli::command()
                .error(ErrorKind::MissingRequiredArgument, "give `--party I MODEL.mpcb` or a command")
                .exit(),
        },
    };
    match done.and_then(|()| output::finish()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {}: {e}", ir::exit::code_of(e.code));
            ExitCode::from(e.code)
        }
    }
}
