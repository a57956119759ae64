//! One party: loads a program, checks it, executes its side.
pub mod ahead;
pub mod exec;
mod lane;
mod local;
pub mod protocols;
mod replace;
