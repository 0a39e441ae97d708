//! Serving behind a reverse proxy: a guide.
//!
//! A proxy such as nginx ends TLS, knows the site's other programs, and passes `/live` on to us. Three things change:
//!
//! - **Who the client is.** Every connection comes from the proxy. It names the client in `X-Forwarded-For`, and in
//!   `X-Forwarded-Proto` and `X-Forwarded-Host` what the client asked for; so could anyone who reaches our port. Name the
//!   proxy with [`trusted_proxies`](super::Server::trusted_proxies), and each request has a [`Peer`](super::Peer) that
//!   neither the client nor a stranger can forge. The proxy must **replace or remove** those headers of its clients, or add to
//!   them on the right; the configurations below do.
//! - **Which pages may connect.** [`Origins::SameHost`](super::Origins::SameHost) compares the page with what the client asked
//!   the proxy for. Without a trusted proxy it goes by `Host`, which then must be passed on, and cannot tell `http` from
//!   `https`.
//! - **Silence.** Proxies end connections on which nothing comes for a while, most of them after a minute.
//!   [`Timings::ping_after`](crate::Timings) is 20 s, which survives that; keep it below half of the proxy's timeout.
//!
//! The server for all of the configurations below, `examples/behind_nginx.rs`:
//!
//! ```no_run
#![doc = include_str!("../../examples/behind_nginx.rs")]
//! ```
//!
//! Over a Unix socket nobody else reaches it: [`Server::bind_unix`](super::Server::bind_unix) with
//! [`TrustedProxies::unix_peer`](super::TrustedProxies::unix_peer), and in the configuration, in place of `127.0.0.1:9010`,
//! `unix:/run/live.sock` (nginx), `unix@/run/live.sock` (HAProxy) or `unix//run/live.sock` (Caddy); Apache has
//! `unix:/run/live.sock|http://localhost/live` as its address. The proxy's user must be allowed to write to the socket.
//!
//! # nginx
//!
//! ```nginx
#![doc = include_str!("../../examples/behind_nginx.conf")]
//! ```
//!
//! # HAProxy
//!
//! ```haproxy
#![doc = include_str!("../../examples/behind_haproxy.cfg")]
//! ```
//!
//! # Caddy
//!
//! ```caddyfile
#![doc = include_str!("../../examples/behind_caddy.caddyfile")]
//! ```
//!
//! # Apache
//!
//! ```apache
#![doc = include_str!("../../examples/behind_apache.conf")]
//! ```
//!
//! # The PROXY protocol
//!
//! A proxy that passes on TLS as it is cannot add headers. nginx's stream module (`proxy_protocol on`, version 1) and HAProxy
//! (`send-proxy`, `send-proxy-v2`) name the client in front of the first byte instead;
//! [`Server::proxy_protocol`](super::Server::proxy_protocol) reads it. Behind one that ends TLS the scheme stays unknown then.
//!
//! # Several proxies
//!
//! Name all of them, or their networks. The header is followed from the right through trusted addresses, and the first other
//! one is the client. [`TrustedProxies::forwarded`](super::TrustedProxies::forwarded) is for proxies that write `Forwarded`
//! (RFC 7239); only one family of headers is ever read, because the other would be the client's own.
