//! `wireline::handler`: callbacks in the order, with the arguments and the effects that programs rely on.
//!
//! A number such as 3.6 in a name or a label is the number of a rule of the module's contract, `d6` a defect of ws-rs that must
//! not come back, `4: sizes` a deliberate
//! difference from ws-rs. Connections over memory run on a paused clock ([`rig`]), those over sockets against raw peers
//! ([`wire`]).

mod batches;
mod broadcast;
mod buffers;
mod closing;
mod commands;
mod compile;
mod defects;
mod errors;
mod examples;
mod handshakes;
mod hooks;
mod messages;
mod modes;
mod observes;
mod order;
mod panics;
mod shutdown;
mod timers;
#[cfg(feature = "tls")]
mod tls;

mod rig;
mod wire;
