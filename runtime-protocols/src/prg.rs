//! Key streams of pairs of parties.
