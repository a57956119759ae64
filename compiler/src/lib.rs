//! Compiler from quantized TFLite models to secure multi-party computation programs.
pub mod lower;
pub mod npy;
pub mod pipeline;
pub mod profile;
pub mod qgraph;
pub mod schedule;
pub mod staircase;
pub mod tflite;
