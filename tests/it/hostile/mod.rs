//! Hostile input on an open connection, one file per table.

pub(crate) mod bits;
pub(crate) mod control;
pub(crate) mod fragments;
pub(crate) mod lengths;
pub(crate) mod masks;
pub(crate) mod outbound;
pub(crate) mod utf8;
