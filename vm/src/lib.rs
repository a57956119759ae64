//! One party: loads a program, checks it, executes its side.
pub mod ahead;
mod bits;
pub mod client;
pub mod deploy;
pub mod exec;
mod local;
pub mod protocols;
pub mod query;
pub mod serve;
