//! Reads a TFLite file into a [`crate::qgraph::Graph`], or says everything that is wrong with it.
