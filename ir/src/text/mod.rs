//! Text form of a program: `print` writes it, `parse` reads back an equal program.
//!
//! One statement per line; `;` begins a comment. Statements that describe come first, each kind numbered from 0:
//!
//! ```text
//! program protocol="rep3" parties=3 reveal="output" kernels="reference"
//! claims opened_bits=32 thresholds=0 peak_memory=1024
//! weights party=0
//! input 0 "x" int8[1x4] scale=0.5 zero=-1 party=1
//! output 0 "y" int8[1x4] scale=0.5 zero=-1 party=2
//! weight 0 [4x4]
//! const 0 [4] = [1 2 3 4]
//! layer 0 operator=0 "input"
//!     layer 0:
//!     v0: held<64>[1x4]@{1} = input index=0
//!   round 1 {
//!     v1: arith<8>[1x4] = reshare v0, bits=8
//!   } sends 1->0 4
//! ```
//!
//! Instructions before `round` are local ones of that round, those inside are its exchanges, `setup round` is run once
//! per session. The type after a result may be left out; if it is there, it must be the inferred one.
pub mod lex;
mod parse;
mod print;

pub use parse::{Parsed, parse, parse_with_places};
pub use print::{escape, print};

/// Where something stands in a text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Character in the line, from 1.
    pub column: u32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Something in a text that is no program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct TextError {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub what: String,
}
