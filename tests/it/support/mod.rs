//! What the tests share.

pub(crate) mod alloc;
pub(crate) mod lines;
pub(crate) mod opening;
pub(crate) mod peer;
pub(crate) mod row;
pub(crate) mod script;
pub(crate) mod suite;
