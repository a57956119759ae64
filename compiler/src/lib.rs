//! Compiler from quantized TFLite models to secure multi-party computation programs.
pub mod costs;
pub mod lower;
pub mod npy;
pub mod observed;
pub mod passes;
pub mod pipeline;
pub mod price;
pub mod profile;
pub mod qgraph;
pub mod remarks;
pub mod schedule;
pub mod staircase;
pub mod tflite;
pub mod work;
