//! Why a command failed: code, place, cause, next step, exit code. The codes beyond the importer's are explained here.
use std::fmt;
use std::path::Path;

/// No constants for a requantization.
pub const NO_CONSTANTS: &str = "Q1100";
/// The operator, in this form, cannot be lowered.
pub const NOT_LOWERED: &str = "Q1101";
/// The model as a whole cannot be lowered.
pub const MODEL: &str = "Q1102";
const READ: &str = "Q1200";
const WRITE: &str = "Q1201";
const TOO_LARGE: &str = "Q1202";
const PROGRAM: &str = "Q1203";
/// An input that does not fit the model.
pub const INPUT: &str = "Q1204";
/// Arguments that make no sense.
pub const COMMAND_LINE: &str = "Q1205";

/// Explanations of the codes above.
pub const CODES: &[(&str, &str)] = &[
    (
        NO_CONSTANTS,
        "The compiler replaces each requantization by integer constants and proves every threshold. For this operator no \
         constants exist within its limits, mostly because the scales of operands and result are far apart. Quantize \
         again with a better representative data set.",
    ),
    (
        NOT_LOWERED,
        "The operator was read, but in this form (value ranges, options) it has no secure implementation here, or the \
         protocol that was asked for does not offer it. The message says which, and what helps: another protocol or \
         option, or another form of the operator before quantizing.",
    ),
    (
        MODEL,
        "The model was read, but its inputs, outputs or structure as a whole cannot be computed securely here. Inputs \
         and outputs must be int8 or uint8.",
    ),
    (READ, "The file cannot be read: it is missing, it is a directory, or permission is lacking."),
    (
        WRITE,
        "The file cannot be written. Output files are first written under a temporary name in the same directory and \
         then renamed, so the directory must exist and be writable, and no half-written file is left behind.",
    ),
    (TOO_LARGE, "The file is larger than any file of its kind may be."),
    (
        PROGRAM,
        "The file is no program, was damaged or changed, was made by another release, or breaks a rule that every program \
         must keep (`V1` to `V9`). Compile the model again.",
    ),
    (
        INPUT,
        "The input does not fit the model. Give one `.npy` array per model input, of the tensor's own integer type and \
         shape, or a float array of that shape, which is quantized by the tensor's scale and zero point.",
    ),
    (COMMAND_LINE, "The arguments contradict each other or name something that does not exist."),
];

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    /// Exit code of the process.
    pub exit: u8,
    message: String,
}

impl Failure {
    fn new(exit: u8, code: &str, what: &str, next_step: &str) -> Failure {
        Failure { exit, message: format!("error: {code}: {what}; {next_step}") }
    }

    /// Lines that were made elsewhere, each with its code.
    pub fn listed(exit: u8, message: String) -> Failure {
        Failure { exit, message }
    }

    /// A command line that makes no sense.
    pub fn usage(what: &str, next_step: &str) -> Failure {
        Failure::new(super::USAGE, COMMAND_LINE, what, next_step)
    }

    /// An input file that cannot be read.
    pub fn read(path: &Path, why: &dyn fmt::Display) -> Failure {
        Failure::new(30, READ, &format!("`{}`: cannot read: {why}", path.display()), "check the path and permissions")
    }

    /// An output that cannot be written.
    pub fn write(place: &str, why: &std::io::Error) -> Failure {
        let next = "check that the directory exists, is writable and has space left";
        Failure::new(ir::exit::of_write(why), WRITE, &format!("`{place}`: cannot write: {why}"), next)
    }

    /// A file beyond the size of its kind.
    pub fn too_large(path: &Path, most: u64) -> Failure {
        let what = format!("`{}`: larger than {most} bytes", path.display());
        Failure::new(5, TOO_LARGE, &what, "check that it is the right file")
    }

    /// A file that is no program.
    pub fn program(path: &Path, why: &dyn fmt::Display) -> Failure {
        Failure::new(4, PROGRAM, &format!("`{}`: {why}", path.display()), "compile the model again")
    }

    /// An input that does not fit the model.
    pub fn input(what: &str, next_step: &str) -> Failure {
        Failure::new(30, INPUT, what, next_step)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
