//! Protocol runtimes, ring kernels and links.
pub mod kernels;
pub mod link;
pub mod prg;
