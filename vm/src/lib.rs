//! One party: loads a program, checks it, executes its side.
pub mod ahead;
mod checking;
pub mod client;
pub mod deploy;
pub mod exec;
mod lane;
mod local;
pub mod protocols;
pub mod query;
mod replace;
pub mod serve;
