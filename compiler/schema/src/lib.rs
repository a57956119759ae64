//! Readers of the TFLite file format, generated from `tflite.fbs`. A crate of its own, so that a change of the compiler
//! does not build them again.
#[allow(clippy::all, clippy::pedantic, missing_docs, dead_code, unused_imports, unsafe_op_in_unsafe_fn)]
#[allow(clippy::undocumented_unsafe_blocks, mismatched_lifetime_syntaxes)]
#[rustfmt::skip]
mod generated;

pub use generated::tflite;
