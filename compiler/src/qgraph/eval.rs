//! The oracle: integer-only interpreter of a [`super::Graph`].
