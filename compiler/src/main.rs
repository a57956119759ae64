//! `qnnc`, the compiler.
fn main() {}
