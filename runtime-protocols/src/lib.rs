//! Protocol runtimes, ring kernels and links.
pub mod bits;
pub mod check;
pub mod data;
pub mod kernels;
pub mod link;
pub mod ot;
pub mod prg;
pub mod rep3;
pub mod rep3_mal;
pub mod rep4;
pub mod runtime;
pub mod semi;
mod wire;
