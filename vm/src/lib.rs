//! One party: loads a program, checks it, executes its side.
pub mod exec;
mod local;
