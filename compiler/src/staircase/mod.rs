//! Finds and proves the integer constants of every monotone integer function the compiler has to evaluate.
