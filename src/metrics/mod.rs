//! Feature `metrics`: what connections count, through the facade of the crate [`metrics`](https://docs.rs/metrics), for
//! whatever recorder the program installs.
//!
//! | name | kind | labels | what |
//! |---|---|---|---|
//! | `wireline_connections_opened_total` | counter | `role` | connections whose opening handshake was done |
//! | `wireline_connections_open` | gauge | `role` | of those, the ones that have not ended |
//! | `wireline_connections_closed_total` | counter | `role`, `code`, `cause` | of those, the ones that have |
//! | `wireline_messages_received_total` | counter | `role` | whole messages that arrived |
//! | `wireline_messages_sent_total` | counter | `role` | messages that were queued |
//! | `wireline_bytes_received_total` | counter | `role` | bytes read behind the opening handshake |
//! | `wireline_bytes_sent_total` | counter | `role` | bytes written behind it |
//! | `wireline_pings_sent_total` | counter | `role` | Pings of keepalive and of the application |
//! | `wireline_round_trip_seconds` | histogram | `role` | from a Ping to its Pong |
//! | `wireline_compression_payload_bytes_total` | counter | `role`, `direction` | bytes of compressed messages |
//! | `wireline_compression_wire_bytes_total` | counter | `role`, `direction` | bytes that these were in frames |
//! | `wireline_handshakes_failed_total` | counter | `reason` | connections that `Server` and `upgrade` did not open |
//! | `wireline_accept_pauses_total` | counter | | pauses of `Server`'s accepting: out of descriptors |
//! | `wireline_applications_failed_total` | counter | `how` | applications of a server that ended with an error or a panic |
//!
//! The labels take few values, whatever a peer does:
//!
//! - `role`: `client` or `server`, this end's;
//! - `code`: the peer's close code, [`Ending::code`](crate::Ending::code); those that applications choose are `3xxx` and `4xxx`.
//!   `1006` also where this end dropped the connection;
//! - `cause`: `clean`, `fault`, `timeout`, `lost`, or `dropped`: let go of before its end;
//! - `direction`: `received` or `sent`;
//! - `reason`: `refused`, `timeout`, `lost`, or `other`;
//! - `how`: `error` or `panic`.
//!
//! # When
//!
//! A connection counts for itself ([`Stats`](crate::Stats)), and nothing is published for each message: what has been added
//! is published whenever the connection's timer fires, that is about every
//! [`Timings::ping_after`](crate::Timings::ping_after) (20 s by default), and at the end. The round-trip time is the latest
//! one at each of these.
//!
//! # Whose
//!
//! Connections of every kind: of [`Server`](crate::Server), [`upgrade`](crate::upgrade), [`Client`](crate::Client),
//! [`handler`](crate::handler) and [`WebSocket::after_handshake`](crate::WebSocket::after_handshake).

#[cfg(not(feature = "metrics"))]
mod absent;
#[cfg(feature = "metrics")]
mod facade;

#[cfg(not(feature = "metrics"))]
pub(crate) use absent::{Reporter, accept_paused, application_failed, handshake_failed, handshake_refused};
#[cfg(feature = "metrics")]
pub use facade::describe;
#[cfg(feature = "metrics")]
pub(crate) use facade::{Reporter, accept_paused, application_failed, handshake_failed, handshake_refused};

/// How an application of a server failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    Error,
    Panic,
}
