use ::metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::{
    Error,
    metrics::Failed,
    proto::{
        Role,
        connection::{Cause, Ending, Stats},
        handshake::HandshakeError,
    },
};

const OPENED: &str = "wireline_connections_opened_total";
const OPEN: &str = "wireline_connections_open";
const CLOSED: &str = "wireline_connections_closed_total";
const MESSAGES_RECEIVED: &str = "wireline_messages_received_total";
const MESSAGES_SENT: &str = "wireline_messages_sent_total";
const BYTES_RECEIVED: &str = "wireline_bytes_received_total";
const BYTES_SENT: &str = "wireline_bytes_sent_total";
const PINGS_SENT: &str = "wireline_pings_sent_total";
const ROUND_TRIP: &str = "wireline_round_trip_seconds";
const COMPRESSION_PAYLOAD: &str = "wireline_compression_payload_bytes_total";
const COMPRESSION_WIRE: &str = "wireline_compression_wire_bytes_total";
const HANDSHAKES_FAILED: &str = "wireline_handshakes_failed_total";
const ACCEPT_PAUSES: &str = "wireline_accept_pauses_total";
const APPLICATIONS_FAILED: &str = "wireline_applications_failed_total";

/// Tells the recorder what the metrics mean, and their units. Call it once, after the recorder is installed.
///
/// ```
/// wireline::metrics::describe();
/// ```
pub fn describe() {
    describe_counter!(OPENED, Unit::Count, "Connections whose opening handshake was done");
    describe_gauge!(OPEN, Unit::Count, "Connections that are open");
    describe_counter!(CLOSED, Unit::Count, "Connections that have ended, by the peer's close code and the cause");
    describe_counter!(MESSAGES_RECEIVED, Unit::Count, "Whole messages that arrived");
    describe_counter!(MESSAGES_SENT, Unit::Count, "Messages that were queued");
    describe_counter!(BYTES_RECEIVED, Unit::Bytes, "Bytes read behind the opening handshake");
    describe_counter!(BYTES_SENT, Unit::Bytes, "Bytes written behind the opening handshake");
    describe_counter!(PINGS_SENT, Unit::Count, "Pings of keepalive and of the application");
    describe_histogram!(ROUND_TRIP, Unit::Seconds, "From a Ping to its Pong");
    describe_counter!(COMPRESSION_PAYLOAD, Unit::Bytes, "Bytes of compressed messages");
    describe_counter!(COMPRESSION_WIRE, Unit::Bytes, "Bytes that compressed messages were in frames");
    describe_counter!(HANDSHAKES_FAILED, Unit::Count, "Connections that a server did not open");
    describe_counter!(ACCEPT_PAUSES, Unit::Count, "Pauses of accepting");
    describe_counter!(APPLICATIONS_FAILED, Unit::Count, "Applications of a server that ended with an error or a panic");
}

/// Publishes what a connection has counted since it last did. An idle connection that was never heard of since it opened
/// holds a pointer.
#[derive(Debug)]
pub(crate) struct Reporter(Option<Box<Stats>>);

impl Reporter {
    pub(crate) fn opened(role: Role) -> Self {
        counter!(OPENED, "role" => name(role)).increment(1);
        gauge!(OPEN, "role" => name(role)).increment(1.0);
        Self(None)
    }

    pub(crate) fn publish(&mut self, role: Role, stats: &Stats) {
        let before = self.0.get_or_insert_default();
        let role = name(role);
        let add = |metric, now: u64, before: u64| {
            if now > before {
                counter!(metric, "role" => role).increment(now - before);
            }
        };
        add(MESSAGES_RECEIVED, stats.messages_received, before.messages_received);
        add(MESSAGES_SENT, stats.messages_sent, before.messages_sent);
        add(BYTES_RECEIVED, stats.bytes_received, before.bytes_received);
        add(BYTES_SENT, stats.bytes_sent, before.bytes_sent);
        add(PINGS_SENT, stats.pings_sent, before.pings_sent);
        for (direction, now, before) in [
            ("received", stats.compressed_received, before.compressed_received),
            ("sent", stats.compressed_sent, before.compressed_sent),
        ] {
            if now != before {
                let labels = [("role", role), ("direction", direction)];
                counter!(COMPRESSION_PAYLOAD, &labels).increment(now.payload - before.payload);
                counter!(COMPRESSION_WIRE, &labels).increment(now.wire - before.wire);
            }
        }
        // One that was published is news again once another Pong is here.
        let measured = stats.round_trip.filter(|_| stats.pongs_received > before.pongs_received);
        if let Some(round_trip) = measured {
            histogram!(ROUND_TRIP, "role" => role).record(round_trip);
        }
        **before = *stats;
    }

    pub(crate) fn closed(&mut self, role: Role, stats: &Stats, ending: Option<&Ending>) {
        self.publish(role, stats);
        gauge!(OPEN, "role" => name(role)).decrement(1.0);
        let code = code(ending.map_or(1006, Ending::code));
        let cause = match ending.map(Ending::cause) {
            Some(Cause::Clean) => "clean",
            Some(Cause::Fault(_)) => "fault",
            Some(Cause::Timeout(_)) => "timeout",
            Some(Cause::Lost) => "lost",
            None => "dropped",
        };
        counter!(CLOSED, "role" => name(role), "code" => code, "cause" => cause).increment(1);
    }
}

pub(crate) fn handshake_failed(error: &Error) {
    let reason = match error {
        Error::Handshake(error) if matches!(**error, HandshakeError::Refused(_)) => "refused",
        Error::Timeout(_) => "timeout",
        Error::Network(_) => "lost",
        Error::Peer(_) | Error::Limit(_) | Error::Handshake(_) | Error::Caller(_) => "other",
    };
    counter!(HANDSHAKES_FAILED, "reason" => reason).increment(1);
}

pub(crate) fn handshake_refused() {
    counter!(HANDSHAKES_FAILED, "reason" => "refused").increment(1);
}

pub(crate) fn accept_paused() {
    counter!(ACCEPT_PAUSES).increment(1);
}

pub(crate) fn application_failed(how: Failed) {
    let how = match how {
        Failed::Error => "error",
        Failed::Panic => "panic",
    };
    counter!(APPLICATIONS_FAILED, "how" => how).increment(1);
}

const fn name(role: Role) -> &'static str {
    match role {
        Role::Client => "client",
        Role::Server => "server",
    }
}

/// A peer that chooses its codes does not choose how many there are.
fn code(code: u16) -> String {
    match code {
        3000..=3999 => "3xxx".into(),
        4000.. => "4xxx".into(),
        code => code.to_string(),
    }
}
