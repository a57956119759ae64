//! The program: types, op table, type rules, verifier, evaluator, text and bytecode.
//!
//! Knows no TFLite, no sockets and no protocol. Start reading at [`ops`].
pub mod bytecode;
pub mod check;
pub mod eval;
pub mod exit;
pub mod imm;
pub mod infer;
mod masks;
pub mod memory;
pub mod modes;
pub mod moves;
pub mod network;
pub mod offline;
pub mod ops;
pub mod program;
pub mod protocol;
pub mod real;
pub mod shape;
pub mod softmax;
pub mod text;
pub mod types;
pub mod verify;
pub mod weights;
pub mod width;

pub use imm::{Amounts, Axes, Dims, PlaneList, SoftmaxRule, Strided, Strides, Terms, Window};
pub use modes::Modes;
pub use ops::Op;
pub use program::{Const, Inst, Interface, Layer, Messages, Port, Program, Round, Value};
pub use protocol::{Protocol, Scheme};
pub use types::{Domain, Form, Holders, Party, Type};
