//! The negotiation over the wire (RFC 7692 sections 5 and 7): offers to a server and its answers, answers to a client and
//! what becomes of them; and that the connection then does what was agreed.

use wireline::{
    Config, Error, Role,
    proto::{
        Opcode, Violation,
        deflate::{AnswerError, ContextTakeover, DeflateConfig},
        handshake::HandshakeError,
    },
};

use super::{HELLO_COMPRESSED, config, fresh, takeover};
use crate::support::{
    peer::{After, Peer},
    row,
    script::{Delivery, Keys, Script},
    suite::{Ran, Suite},
};

pub(super) static OFFERS: Suite = Suite::new(offers);
pub(super) static ANSWERS: Suite = Suite::new(answers);

#[test]
fn a_server_answers_offers() {
    OFFERS.ids();
}

#[test]
fn a_client_judges_answers() {
    ANSWERS.ids();
}

/// Written `P` in the rows.
const NAME: &str = "permessage-deflate";

const SERVER_FRESH: &str = "P; server_no_context_takeover";

fn long(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| value.replace('P', NAME)).collect()
}

/// A peer that sends a compressed `Hello` and then waits for Close.
fn peer(role: Role) -> Peer {
    let script = Script::frames(HELLO_COMPRESSED);
    Peer::new(script.source(Keys::for_role(role)[0], Delivery::Whole), After::EndOnClose)
}

/// Windows of so many bits.
fn windows(mut deflate: DeflateConfig, bits: u8) -> DeflateConfig {
    deflate.server_max_window_bits = bits;
    deflate.client_max_window_bits = bits;
    deflate
}

fn required() -> DeflateConfig {
    let mut deflate = takeover();
    deflate.server_context_takeover = ContextTakeover::Required;
    deflate.client_context_takeover = ContextTakeover::Required;
    deflate
}

fn offers(ran: &mut Ran) {
    let kept = config(takeover());
    let alone = config(fresh());
    let twelve = config(windows(takeover(), 12));
    let required = config(required());
    let both = "P; server_no_context_takeover; client_no_context_takeover";
    // id, configuration, the offers in lines of their own, the answer
    type Row<'a> = (&'static str, &'a Config, &'a [&'a str], Option<&'a str>);
    let table: &[Row<'_>] = &[
        ("NS-01", &kept, &["P"], Some("P")),
        ("NS-01", &alone, &["P"], Some(both)),
        ("NS-01", &twelve, &["P"], Some("P; server_max_window_bits=12")),
        ("NS-02", &kept, &["P; unknown"], None),
        ("NS-02", &kept, &["P; server_no_context_takeover=42"], None),
        ("NS-02", &kept, &["P; client_no_context_takeover=true"], None),
        ("NS-02", &kept, &["P; server_no_context_takeover; server_no_context_takeover"], None),
        ("NS-02", &kept, &["P; client_max_window_bits=9; client_max_window_bits=10"], None),
        ("NS-03", &kept, &[SERVER_FRESH], Some(SERVER_FRESH)),
        ("NS-03", &required, &[SERVER_FRESH], None),
        ("NS-04", &kept, &["P; client_no_context_takeover"], Some("P; client_no_context_takeover")),
        ("NS-05", &kept, &["P; server_max_window_bits"], None),
        ("NS-05", &kept, &["P; server_max_window_bits=7"], None),
        ("NS-05", &kept, &["P; server_max_window_bits=16"], None),
        ("NS-05", &kept, &["P; server_max_window_bits=08"], None),
        ("NS-05", &kept, &["P; server_max_window_bits=+9"], None),
        ("NS-05", &kept, &["P; server_max_window_bits=abc"], None),
        ("NS-05", &kept, &["P; server_max_window_bits=\"9\""], Some("P; server_max_window_bits=9")),
        ("NS-06", &kept, &["P; server_max_window_bits=10"], Some("P; server_max_window_bits=10")),
        ("NS-06", &twelve, &["P; server_max_window_bits=15"], Some("P; server_max_window_bits=12")),
        ("NS-07", &kept, &["P; server_max_window_bits=8"], None),
        ("NS-08", &kept, &["P; client_max_window_bits"], Some("P")),
        ("NS-08", &kept, &["P; client_max_window_bits=9"], Some("P; client_max_window_bits=9")),
        (
            "NS-08",
            &twelve,
            &["P; client_max_window_bits"],
            Some("P; server_max_window_bits=12; client_max_window_bits=12"),
        ),
        ("NS-09", &twelve, &["P"], Some("P; server_max_window_bits=12")),
        ("NS-10", &kept, &["P; unknown, P; client_no_context_takeover"], Some("P; client_no_context_takeover")),
        ("NS-10", &kept, &["P; server_max_window_bits=8", "P"], Some("P")),
        ("NS-11", &kept, &["P, P; server_no_context_takeover"], Some("P")),
        ("NS-11", &kept, &[SERVER_FRESH, "P"], Some(SERVER_FRESH)),
        ("NS-12", &kept, &["x-webkit-deflate-frame, P"], Some("P")),
        ("NS-12", &kept, &["x-webkit-deflate-frame; no_context_takeover"], None),
    ];
    let runtime = row::runtime();
    for (id, config, offers, answer) in table {
        runtime.block_on(offered(id, config, offers, *answer));
        ran.id(id);
    }
}

async fn offered(id: &str, config: &Config, offers: &[&str], answer: Option<&str>) {
    let peer = peer(Role::Server);
    let lines = long(offers);
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut ws = peer.open(Role::Server, config.clone(), &lines).await.unwrap();
    let head = peer.state().head.clone();
    let found: Vec<String> = head
        .split("\r\n")
        .filter_map(|line| line.split_once(": "))
        .filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-extensions"))
        .map(|(_, value)| value.replace(NAME, "P"))
        .collect();
    assert_eq!(found, answer.into_iter().collect::<Vec<_>>(), "{id} {offers:?}");
    match (ws.next().await.unwrap(), answer) {
        (Ok(message), Some(_)) => assert_eq!(message.as_text(), Some("Hello"), "{id} {offers:?}"),
        (Err(Error::Peer(Violation::ReservedBit)), None) => {}
        (other, _) => panic!("{id} {offers:?}: {other:?}"),
    }
}

fn answers(ran: &mut Ran) {
    use AnswerError::{InvalidValue, NotGranted, Repeated, RepeatedParameter, Unacceptable, UnknownParameter};
    let kept = config(takeover());
    let alone = config(fresh());
    let twelve = config(windows(takeover(), 12));
    let required = config(required());
    let server = "server_max_window_bits";
    let client = "client_max_window_bits";
    // id, configuration, the answers in lines of their own, why it fails
    type Row<'a> = (&'static str, &'a Config, &'a [&'a str], Result<(), AnswerError>);
    let table: &[Row<'_>] = &[
        ("NC-01", &kept, &["P"], Ok(())),
        ("NC-01", &kept, &["P, P"], Err(Repeated)),
        ("NC-01", &kept, &["P", "P"], Err(Repeated)),
        ("NC-01", &kept, &["P; unknown"], Err(UnknownParameter)),
        ("NC-01", &kept, &["P; server_no_context_takeover=1"], Err(InvalidValue("server_no_context_takeover"))),
        ("NC-01", &kept, &["P; client_no_context_takeover=1"], Err(InvalidValue("client_no_context_takeover"))),
        (
            "NC-01",
            &kept,
            &["P; client_no_context_takeover; client_no_context_takeover"],
            Err(RepeatedParameter("client_no_context_takeover")),
        ),
        ("NC-02", &kept, &["P; server_max_window_bits=0"], Err(InvalidValue(server))),
        ("NC-02", &kept, &["P; server_max_window_bits=7"], Err(InvalidValue(server))),
        ("NC-02", &kept, &["P; server_max_window_bits=16"], Err(InvalidValue(server))),
        ("NC-02", &kept, &["P; server_max_window_bits=1000"], Err(InvalidValue(server))),
        ("NC-02", &kept, &["P; server_max_window_bits=09"], Err(InvalidValue(server))),
        ("NC-02", &kept, &["P; server_max_window_bits"], Err(InvalidValue(server))),
        ("NC-03", &kept, &["P; server_max_window_bits=8"], Ok(())),
        ("NC-04", &twelve, &["P; server_max_window_bits=13"], Err(NotGranted(server))),
        ("NC-04", &twelve, &["P"], Err(NotGranted(server))),
        ("NC-04", &twelve, &["P; server_max_window_bits=12"], Ok(())),
        ("NC-05", &alone, &["P"], Err(NotGranted("server_no_context_takeover"))),
        ("NC-05", &alone, &[SERVER_FRESH], Ok(())),
        ("NC-06", &kept, &["P; client_max_window_bits=0"], Err(InvalidValue(client))),
        ("NC-06", &kept, &["P; client_max_window_bits=7"], Err(InvalidValue(client))),
        ("NC-06", &kept, &["P; client_max_window_bits=16"], Err(InvalidValue(client))),
        ("NC-06", &kept, &["P; client_max_window_bits=09"], Err(InvalidValue(client))),
        ("NC-06", &kept, &["P; client_max_window_bits"], Err(InvalidValue(client))),
        ("NC-07", &twelve, &["P; server_max_window_bits=12; client_max_window_bits=15"], Ok(())),
        ("NC-08", &kept, &["P; client_max_window_bits=8"], Ok(())),
        ("NC-09", &kept, &["P; client_no_context_takeover"], Ok(())),
        ("NC-09", &required, &["P; client_no_context_takeover"], Err(Unacceptable("client_no_context_takeover"))),
    ];
    let runtime = row::runtime();
    for (id, config, answers, expected) in table {
        runtime.block_on(answered(id, config, answers, *expected));
        ran.id(id);
    }
    runtime.block_on(async {
        nothing_was_offered().await;
        a_window_of_256_bytes_is_never_used().await;
        a_client_that_is_told_to_forgets_its_context().await;
    });
}

async fn answered(id: &str, config: &Config, answers: &[&str], expected: Result<(), AnswerError>) {
    let peer = peer(Role::Client);
    let lines = long(answers);
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    match (peer.open(Role::Client, config.clone(), &lines).await, expected) {
        (Ok(mut ws), Ok(())) => {
            assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("Hello"), "{id} {answers:?}");
        }
        (Err(Error::Handshake(error)), Err(expected)) => {
            assert!(
                matches!(*error, HandshakeError::Deflate(found) if found == expected),
                "{id} {answers:?}: {error:?}"
            );
            assert_eq!(peer.state().wire, b"", "{id} {answers:?}: nothing is sent to a server that failed");
        }
        (found, _) => panic!("{id} {answers:?}: {found:?}"),
    }
}

/// NC-01.
async fn nothing_was_offered() {
    let found = peer(Role::Client).open(Role::Client, crate::scripted::quiet(), &[NAME]).await;
    assert!(matches!(found, Err(Error::Handshake(_))), "{found:?}");
    let found = peer(Role::Client).open(Role::Client, config(takeover()), &["x-other"]).await;
    assert!(matches!(found, Err(Error::Handshake(_))), "{found:?}");
}

/// What a client sends after this answer: opcodes, and whether RSV1 is set, and payloads.
async fn sent(answer: &str, messages: &[&str]) -> Vec<(u8, Vec<u8>)> {
    let peer = peer(Role::Client);
    let mut ws = peer.open(Role::Client, config(takeover()), &[&*long(&[answer])[0]]).await.unwrap();
    for message in messages {
        ws.send(*message).await.unwrap();
    }
    let wire = peer.state().wire.clone();
    super::wire(&wire)
}

/// NC-08: our compressor cannot do it.
async fn a_window_of_256_bytes_is_never_used() {
    let frames = sent("P; client_max_window_bits=8", &[&"long ".repeat(100)]).await;
    assert_eq!(frames, [(0x80 | Opcode::Text.bits(), "long ".repeat(100).into_bytes())]);
}

/// NC-09.
async fn a_client_that_is_told_to_forgets_its_context() {
    let text = "context ".repeat(100);
    let [first, second] = &*sent("P; client_no_context_takeover", &[&text, &text]).await else { panic!("two frames") };
    assert_eq!(first, second);
    let [first, second] = &*sent("P", &[&text, &text]).await else { panic!("two frames") };
    assert!(second.1.len() < first.1.len(), "{} and {} bytes", first.1.len(), second.1.len());
}
