//! One server for each core, on one port: a guide.
//!
//! A runtime of several threads moves connections between them, so that no thread is idle while another has work. A server for
//! each core has a runtime of one thread each ([`Server::bind_reuse_port`](super::Server::bind_reuse_port)), and a connection
//! stays where it was accepted. `examples/per_core.rs`:
//!
//! ```no_run
#![doc = include_str!("../../examples/per_core.rs")]
//! ```
//!
//! # What it gains
//!
//! - No thread wakes, steals from or waits for another. What a connection needs is in the caches of its core: its memory, the
//!   buffers of its thread, the state that the application keeps per thread.
//! - Accepting is spread, too, with one queue for each server.
//! - What one thread does for long delays the connections of that thread only.
//!
//! It is for many connections of about the same work. Where a few of them do most of it, or where connections wait for much
//! else in the same program, `#[tokio::main]` is the better choice, and the simpler one: measure both.
//!
//! # What it costs
//!
//! - **The spread is uneven.** Linux picks a server by a hash of both addresses and ports, once, when a connection begins:
//!   of 1,000 connections, four servers get about 250 each, give or take 14; of 8, one may get half. It does not look at who
//!   has work, and nothing moves a connection later. Behind one proxy it is as even, since each of its connections has a port
//!   of its own. Other systems may give every connection to the last server that listens (macOS), or need another option
//!   (FreeBSD); there it is of no use.
//! - **State is not shared.** Who broadcasts to everybody has to send to every thread. Closures must be `Send` all the same,
//!   because [`serve`](super::Server::serve) cannot know that its runtime has one thread;
//!   [`handler`](crate::handler) has handlers that need not be.
//! - **Each limit counts for one server**: [`max_connections`](super::Server::max_connections) and
//!   [`max_handshakes`](super::Server::max_handshakes) of each are its share of the whole.
//! - **Who stops listening loses what waits for it.** Connections that the kernel has given to a server, and that it has not
//!   accepted, are reset when its socket is closed. Stop all of them together, or let the kernel move them
//!   (`net.ipv4.tcp_migrate_req`).
//! - **Any process of the same user** may listen on the port as well, and gets its share.
