//! One party.
