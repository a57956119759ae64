//! Exit codes of both programs, and the error codes under which a run names them. Other programs rely on the numbers.

/// How a process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ending {
    /// Exit code.
    pub exit: u8,
    /// Error code in messages of a run.
    pub code: &'static str,
    /// What it means and what to do.
    pub text: &'static str,
}

/// Every ending of a run that is not success.
pub const ENDINGS: &[Ending] = &[
    Ending {
        exit: 1,
        code: "Q2001",
        text: "A bug: the program broke a rule of its own. Report it with the command line.",
    },
    Ending {
        exit: 2,
        code: "Q2002",
        text: "The arguments contradict each other or miss something. Only party 0 takes the weights, only the owner of \
               an input takes it.",
    },
    Ending {
        exit: 4,
        code: "Q2004",
        text: "The program or the weights file is damaged, of another format version, or they do not belong together. \
               Nobody was contacted. Compile the model again and hand out the new files.",
    },
    Ending {
        exit: 5,
        code: "Q2005",
        text: "The run would need more memory than `--memory-limit` allows, and nobody was contacted; or an output could not \
               be written: no space left, a limit of file sizes, a folder that may not be changed. No half-written file is \
               left behind.",
    },
    Ending {
        exit: 6,
        code: "Q2006",
        text: "A setting cannot be used: an unreadable `net.toml`, an address in use, an output in a folder that does not exist, \
               a key file that others can read, or an address beyond loopback without certificates.",
    },
    Ending {
        exit: 10,
        code: "Q2010",
        text: "A peer could not be reached before the deadline. Check that every party was started and that addresses agree.",
    },
    Ending {
        exit: 11,
        code: "Q2011",
        text: "A peer closed its connection or died in the middle of a run. Nothing was opened after that. Look at its \
               own message, then start all parties again.",
    },
    Ending {
        exit: 12,
        code: "Q2012",
        text: "A message did not arrive in time. The message names layer, round, peer and bytes. A slower machine or link \
               needs a larger `--round-timeout`. A silent peer is stopped or cut off.",
    },
    Ending {
        exit: 13,
        code: "Q2013",
        text: "The parties disagree before anything secret was sent; the message names the field. All need the same \
               program file, the same release and the same options.",
    },
    Ending { exit: 20, code: "Q2020", text: "A check against cheating failed. Nothing was opened. Do not retry." },
    Ending {
        exit: 21,
        code: "Q2021",
        text: "A certificate is not the one in `net.toml`, or not valid now. Compare fingerprints by phone.",
    },
    Ending {
        exit: 30,
        code: "Q2030",
        text: "An input file cannot be read or does not fit the model's input: type, shape, number of inputs, or a picture \
               that cannot be decoded.",
    },
];

/// The exit code of a file that could not be written: a place that is not there is a setting, all else a limit.
pub fn of_write(e: &std::io::Error) -> u8 {
    use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
    if matches!(e.kind(), NotFound | NotADirectory | IsADirectory) { 6 } else { 5 }
}

/// The error code of an exit code; that of a bug where there is none.
pub fn code_of(exit: u8) -> &'static str {
    ENDINGS.iter().find(|e| e.exit == exit).map_or("Q2001", |e| e.code)
}
