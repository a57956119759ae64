//! Ring arithmetic kernels on plain slices.
