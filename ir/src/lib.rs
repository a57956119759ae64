//! The secret-shared program.
