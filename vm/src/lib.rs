//! One party: loads a program, checks it, executes its side.
mod bits;
pub mod exec;
mod local;
pub mod protocols;
