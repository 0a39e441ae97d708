//! What the tests share.

pub mod suite;
