//! The opening handshake over real connections: hostile requests, hostile responses, what applications may choose, and
//! the requirements of RFC 6455 sections 3, 4, 9.1, 10.1, 10.2, 10.4 and 10.6.
//!
//! The tables of `src/proto/handshake` judge heads; these show that the bytes of a connection meet that judgement,
//! however they are cut, and what the other end then sees.

mod choices;
mod client;
mod deadlines;
#[cfg(unix)]
mod descriptors;
mod grammar;
mod listening;
mod opened;
pub(crate) mod origin;
mod request;
mod server;
mod settings;
mod slowloris;
#[cfg(feature = "tls")]
mod tls;
mod wire;

use wireline::Client;

use crate::support::suite::Suite;

/// The suites whose ids are compared with the list of what must run.
pub(crate) static SUITES: &[&Suite] = &[
    &choices::ROWS,
    &client::ROWS,
    &deadlines::ROWS,
    &grammar::ROWS,
    &listening::ROWS,
    &opened::ROWS,
    &origin::ROWS,
    &request::ROWS,
    &server::ROWS,
    #[cfg(feature = "tls")]
    &tls::ROWS,
];

/// The key of RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A request that every server accepts. Rows replace a part of it.
const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// The one answer to it (RFC 6455 section 4.2.2).
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A response that every client accepts.
const RESPONSE: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: <Sec-WebSocket-Accept value>\r\n\r\n";

/// The text message `hi` from a client.
const HI_MASKED: &[u8] = b"\x81\x82\0\0\0\0hi";

/// The text message `hi` from a server.
const HI: &[u8] = b"\x81\x02hi";

/// As the part to be replaced: the end of the head, where a row adds lines.
const END: &str = "";

/// `head` with `from` replaced by `to`, in which each character stands for one byte.
fn replaced(head: &str, from: &str, to: &str) -> Vec<u8> {
    let text = match from {
        END => format!("{}{to}\r\n", &head[..head.len() - 2]),
        from => {
            assert!(head.contains(from), "{from:?} is part of {head:?}");
            head.replacen(from, to, 1)
        }
    };
    text.chars().map(|character| u8::try_from(character).expect("one byte")).collect()
}

/// A client of a server that a test plays.
fn client() -> Client {
    Client::new("ws://example.com/chat").expect("a URL")
}

/// The ids of a row with what its first one comes from, for failure messages.
fn cited(ids: &[&str]) -> String {
    let from =
        ids.iter().find_map(|id| FROM.iter().find(|(known, _)| known == id)).map_or("RFC 6455", |(_, from)| from);
    format!("{} ({from})", ids.join(", "))
}

/// Where the rows come from.
const FROM: &[(&str, &str)] = &[
    ("H1", "slowloris"),
    ("H2", "CVE-2023-43669, CVE-2026-54465"),
    ("H3", "CVE-2024-37890"),
    ("H4", "RFC 6455 section 10.4"),
    ("H5", "CVE-2021-32640"),
    ("H6", "CVE-2020-7662, CVE-2020-7663, GHSA-5v72-xg48-5rpm"),
    ("H7", "CVE-2026-42544"),
    ("H8", "CVE-2026-69243, CVE-2018-12541"),
    ("H9", "CVE-2026-2833"),
    ("H10", "aiohttp #12723"),
    ("H11", "RFC 6455 section 4.2.1"),
    ("H12", "RFC 6455 section 4.2.1"),
    ("H13", "RFC 6455 sections 4.2.1, 4.2.2 and 4.4"),
    ("H14", "RFC 6455 section 4.2.1, RFC 9112 section 2.2"),
    ("H16", "RUSTSEC-2024-0341"),
    ("H17", "CVE-2026-67405, CVE-2023-3581"),
    ("H18", "CVE-2026-54463, CVE-2026-54466"),
    ("C1", "CVE-2026-107284, rama #895"),
    ("C2", "CVE-2024-23326, CVE-2026-42498"),
    ("C3", "RFC 6455 section 4.1"),
    ("C4", "CVE-2026-2229"),
    ("C5", "RFC 6455 section 4.1"),
    ("C6", "CVE-2026-55517"),
    ("C7", "CVE-2023-43669"),
    ("C8", "CVE-2026-2833"),
    ("C9", "RFC 6455 sections 5.1 and 7.1"),
    ("C10", "RFC 6455 section 4.1"),
    ("C11", "CVE-2026-47072, CVE-2026-1527, RUSTSEC-2017-0002"),
    ("C12", "RFC 6455 section 3"),
];
