//! The callback module.

mod defects;
