//! Arithmetic on plain slices: no protocol, no message, no party.
//!
//! Ring elements are `u32` or `u64` taken modulo 2^k by whoever reads them; bits are planes of `u64` words.
//! Lengths are the caller's duty: a kernel panics on slices that do not fit together. Running time and memory
//! accesses depend on lengths only, never on a value.
pub mod choose;
pub mod counter;
pub mod linear;
mod micro;
pub mod pack;
pub mod planes;
pub mod wide;
pub mod words;
