//! `qnnvm`, the virtual machine of one party.
fn main() {}
