/// What the load generator does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Sends a batch on each connection, and the next once all of it came back.
    Echo,
    /// The same through TLS.
    Tls,
    /// The same with permessage-deflate, without context takeover.
    Deflate,
    /// Opens connections, has one message echoed on each, and looks at the memory.
    Idle,
    /// One connection sends, all receive.
    Fan,
    /// The same, beside one that never reads.
    Slow,
    /// Opens connections, has one message echoed on each, and closes them.
    Storm,
    /// Sends messages as fast as a client takes them.
    Receive,
}

/// What a message is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Content {
    /// Text in ASCII.
    Ascii,
    /// Text with no ASCII in it.
    Text,
    Binary,
    /// Text in JSON: a list of records.
    Json,
}

#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub name: &'static str,
    /// For the table, beside the name.
    pub about: &'static str,
    pub kind: Kind,
    pub connections: usize,
    /// Messages of one batch.
    pub in_flight: usize,
    pub content: Content,
    /// Bytes of one message's payload.
    pub bytes: usize,
    /// Frames of one message.
    pub frames: usize,
}

impl Workload {
    /// Whether a bare TCP server can be held against it: one that knows the sizes and nothing of WebSocket.
    pub fn has_floor(&self) -> bool {
        matches!(self.kind, Kind::Echo | Kind::Idle | Kind::Receive) && self.frames == 1
    }

    /// Bytes of one message from a client, whose frames are masked.
    pub fn request(&self) -> usize {
        let whole = self.bytes.div_ceil(self.frames);
        (0..self.frames).map(|at| whole.min(self.bytes - whole * at)).map(|bytes| header(bytes) + 4 + bytes).sum()
    }

    /// Bytes of one message from a server that puts it into one frame.
    pub fn reply(&self) -> usize {
        header(self.bytes) + self.bytes
    }
}

/// RFC 6455 section 5.2, without the masking-key.
fn header(payload: usize) -> usize {
    match payload {
        ..126 => 2,
        126..65_536 => 4,
        _ => 10,
    }
}

pub fn workload(name: &str) -> Option<&'static Workload> {
    WORKLOADS.iter().find(|workload| workload.name == name)
}

pub const WORKLOADS: &[Workload] = &[
    echo("hello", "5 B, 512 connections", 512, 1, Content::Ascii, 5),
    echo("small", "20 B, 64 connections", 64, 1, Content::Ascii, 20),
    echo("text1k", "1 KiB of text without ASCII, 64 connections", 64, 1, Content::Text, 1024),
    echo("bin16k", "16 KiB, 32 connections", 32, 1, Content::Binary, 16 * 1024),
    echo("big1m", "1 MiB, 8 connections", 8, 1, Content::Binary, 1024 * 1024),
    echo("pipe", "20 B, 16 connections, 64 in flight", 16, 64, Content::Ascii, 20),
    echo("pipe1k", "1 KiB, 16 connections, 16 in flight", 16, 16, Content::Binary, 1024),
    Workload {
        frames: 8,
        ..echo("frag", "4 KiB of text in 8 frames, 16 connections, 4 in flight", 16, 4, Content::Text, 4096)
    },
    echo("many", "64 B, 4,000 connections", 4000, 1, Content::Ascii, 64),
    Workload { kind: Kind::Idle, ..echo("idle", "2,000 connections at rest", 2000, 1, Content::Ascii, 20) },
    Workload { kind: Kind::Fan, ..echo("fan", "128 B to 500 receivers", 500, 1, Content::Ascii, 128) },
    Workload { kind: Kind::Fan, ..echo("fan16", "128 B to 500 receivers, 16 in flight", 500, 16, Content::Ascii, 128) },
    Workload {
        kind: Kind::Slow,
        ..echo("slow", "1 KiB to 100 receivers beside a stalled one, 16 in flight", 100, 16, Content::Binary, 1024)
    },
    Workload { kind: Kind::Deflate, ..echo("json1k", "1 KiB of JSON, deflated", 16, 1, Content::Json, 1024) },
    Workload {
        kind: Kind::Deflate,
        ..echo("json8k", "8 KiB of JSON, deflated, 4 in flight", 16, 4, Content::Json, 8 * 1024)
    },
    Workload { kind: Kind::Storm, ..echo("storm", "connect, upgrade, echo, close", 64, 1, Content::Ascii, 5) },
    Workload { kind: Kind::Tls, ..echo("tls", "1 KiB over TLS, 64 connections", 64, 1, Content::Binary, 1024) },
    Workload { kind: Kind::Receive, ..echo("receive", "a client receives 20 B", 1, 1, Content::Ascii, 20) },
    Workload {
        kind: Kind::Receive,
        ..echo("receive16k", "a client receives 16 KiB", 1, 1, Content::Binary, 16 * 1024)
    },
];

const fn echo(
    name: &'static str,
    about: &'static str,
    connections: usize,
    in_flight: usize,
    content: Content,
    bytes: usize,
) -> Workload {
    Workload { name, about, kind: Kind::Echo, connections, in_flight, content, bytes, frames: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (at, workload) in WORKLOADS.iter().enumerate() {
            assert!(WORKLOADS[..at].iter().all(|other| other.name != workload.name), "{}", workload.name);
        }
    }

    #[test]
    fn sizes_count_headers_and_masking_keys() {
        let rows = [
            ("hello", 2 + 4 + 5, 2 + 5),
            ("text1k", 4 + 4 + 1024, 4 + 1024),
            ("big1m", 10 + 4 + 1024 * 1024, 10 + 1024 * 1024),
            ("frag", 8 * (4 + 4 + 512), 4 + 4096),
        ];
        for (name, request, reply) in rows {
            let sizes = workload(name).map(|workload| (workload.request(), workload.reply()));
            assert_eq!(sizes, Some((request, reply)), "{name}");
        }
    }
}
