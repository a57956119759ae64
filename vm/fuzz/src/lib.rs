//! The command line of `qnnvm`, for its readers of files.
#[allow(dead_code, reason = "the targets use its readers")]
#[path = "../../src/cli/mod.rs"]
pub mod cli;
/// Preprocessing files.
#[path = "../../tests/common/dealt.rs"]
pub mod dealt;
