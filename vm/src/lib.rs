//! One party: loads a program, checks it, executes its side.
pub mod ahead;
mod bits;
mod checking;
pub mod exec;
mod local;
pub mod protocols;
