//! [`wireline::handler`] under the name `ws`, for programs written for ws-rs that say `ws` in more than one place.
//!
//! In such a program's manifest this crate takes the place of the old one. Its sources stay as they are:
//!
//! ```no_run
//! use ws::listen;
//!
//! listen("127.0.0.1:3012", |out| move |msg| out.send(msg))?;
//! # Ok::<(), ws::Error>(())
//! ```

pub use wireline::handler::*;
