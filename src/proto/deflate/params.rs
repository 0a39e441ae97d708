//! The negotiation of permessage-deflate (RFC 7692 sections 5 and 7.1): offers and answers in, what was agreed out.
//!
//! ```text
//!  client  offer(config)          ──▶  permessage-deflate; client_max_window_bits; server_no_context_takeover
//!  server  accept(offers, config) ◀──  permessage-deflate; server_no_context_takeover
//!  client  judge_answer(answer, config)
//! ```
//!
//! Headers and their grammar are the handshake's: names and values come in parsed.

use std::{fmt, mem};

use super::{AnswerError, ContextTakeover, DeflateConfig, NAME};

/// The smallest window that a compressor of ours can have. RFC 7692 also has 8.
pub(super) const MIN_BITS: u8 = 9;
/// The largest window of DEFLATE, 32 KiB; and the one in force where nothing is said.
pub(super) const MAX_BITS: u8 = 15;

const SERVER_CONTEXT: &str = "server_no_context_takeover";
const CLIENT_CONTEXT: &str = "client_no_context_takeover";
const SERVER_WINDOW: &str = "server_max_window_bits";
const CLIENT_WINDOW: &str = "client_max_window_bits";

/// What both ends agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// What we receive.
    pub(crate) inflate: Direction,
    /// What we send.
    pub(crate) deflate: Direction,
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Direction {
    /// 8 to 15: a repetition may lie 2 to the power of this many bytes back.
    pub(super) window_bits: u8,
    pub(super) context: Context,
}

/// What a message may refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// To earlier messages too.
    Kept,
    /// To itself alone.
    Fresh,
}

/// The parameters behind the extension's name, in an offer or in an answer; written, with the name, as a header value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parameters {
    server_context: Context,
    client_context: Context,
    server_window: Option<u8>,
    client_window: ClientWindow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientWindow {
    /// Not mentioned.
    Absent,
    /// Mentioned without a value: the client can limit its window.
    Any,
    AtMost(u8),
}

/// What a server answers: the first acceptable offer decides (RFC 7692 section 5.1). `None` answers nothing at all.
///
/// Each extension is its name and its parameters, names with values. Those of other names are left out of account.
pub(crate) fn accept<'a, P>(
    extensions: impl IntoIterator<Item = (&'a str, P)>,
    config: &DeflateConfig,
) -> Option<(Agreed, Parameters)>
where
    P: IntoIterator<Item = (&'a str, Option<&'a str>)>,
{
    let offers = extensions.into_iter().filter(|(name, _)| *name == NAME);
    // RFC 7692 §7: an offer with unknown, repeated or invalid parameters is declined, and the next one considered.
    offers.into_iter().find_map(|(_, parameters)| accept_one(&Parameters::parse(parameters).ok()?, config))
}

fn accept_one(offer: &Parameters, config: &DeflateConfig) -> Option<(Agreed, Parameters)> {
    let server_context = context(offer.server_context, config.server_context_takeover)?;
    let client_context = context(offer.client_context, config.client_context_takeover)?;
    let server_bits = offer.server_window.unwrap_or(MAX_BITS).min(config.server_max_window_bits);
    // A window of 256 bytes is more than this compressor can promise.
    if server_bits < MIN_BITS {
        return None;
    }
    let client_bits = match offer.client_window {
        // RFC 7692 §7.1.2.2: a client that did not say so cannot limit its window.
        ClientWindow::Absent => MAX_BITS,
        ClientWindow::Any => config.client_max_window_bits,
        ClientWindow::AtMost(bits) => bits.min(config.client_max_window_bits),
    };
    let answer = Parameters {
        server_context,
        client_context,
        // RFC 7692 §7.1.2.1: what was asked for has to be confirmed.
        server_window: (offer.server_window.is_some() || server_bits < MAX_BITS).then_some(server_bits),
        client_window: if client_bits < MAX_BITS { ClientWindow::AtMost(client_bits) } else { ClientWindow::Absent },
    };
    let agreed = Agreed {
        inflate: Direction { window_bits: client_bits, context: client_context },
        deflate: Direction { window_bits: server_bits, context: server_context },
    };
    Some((agreed, answer))
}

/// `None` where a configuration that requires the context meets a peer that rules it out.
fn context(peer: Context, ours: ContextTakeover) -> Option<Context> {
    match (peer, ours) {
        (Context::Fresh, ContextTakeover::Required) => None,
        (Context::Fresh, _) | (_, ContextTakeover::Refused) => Some(Context::Fresh),
        (Context::Kept, ContextTakeover::Allowed | ContextTakeover::Required) => Some(Context::Kept),
    }
}

/// What a client offers: that its window can be limited, and whatever else its configuration asks for.
pub(crate) fn offer(config: &DeflateConfig) -> Parameters {
    let context = |takeover| match takeover {
        ContextTakeover::Refused => Context::Fresh,
        ContextTakeover::Allowed | ContextTakeover::Required => Context::Kept,
    };
    Parameters {
        server_context: context(config.server_context_takeover),
        client_context: context(config.client_context_takeover),
        server_window: Some(config.server_max_window_bits).filter(|bits| *bits < MAX_BITS),
        client_window: match config.client_max_window_bits {
            MAX_BITS => ClientWindow::Any,
            bits => ClientWindow::AtMost(bits),
        },
    }
}

/// What a server's answer to the [`offer`] comes to for the client: `None` if it accepted nothing.
///
/// Each extension is its name and its parameters, names with values. One of another name is for the caller to refuse.
///
/// # Errors
///
/// The answer is malformed, accepts twice, or is none to this offer: the handshake fails.
pub(crate) fn judge_answer<'a, P>(
    extensions: impl IntoIterator<Item = (&'a str, P)>,
    config: &DeflateConfig,
) -> Result<Option<Agreed>, AnswerError>
where
    P: IntoIterator<Item = (&'a str, Option<&'a str>)>,
{
    let mut answers = extensions.into_iter().filter(|(name, _)| *name == NAME);
    let Some((_, parameters)) = answers.next() else { return Ok(None) };
    if answers.next().is_some() {
        return Err(AnswerError::Repeated);
    }
    judge(&Parameters::parse(parameters)?, &offer(config), config).map(Some)
}

fn judge(answer: &Parameters, offer: &Parameters, config: &DeflateConfig) -> Result<Agreed, AnswerError> {
    // RFC 7692 §7.1.2.1: no larger than asked for. Unasked, a server may limit itself as it likes.
    let server_bits = answer.server_window.unwrap_or(MAX_BITS);
    if offer.server_window.is_some_and(|asked| server_bits > asked) {
        return Err(AnswerError::NotGranted(SERVER_WINDOW));
    }
    // RFC 7692 §7.1.2.2: only if offered, and with a value. The value in an offer is only a hint of what our window will
    // be anyway; an answer may exceed it.
    let client_bits = match (answer.client_window, offer.client_window) {
        (ClientWindow::Absent, _) => config.client_max_window_bits,
        (_, ClientWindow::Absent) => return Err(AnswerError::Unrequested(CLIENT_WINDOW)),
        (ClientWindow::Any, _) => return Err(AnswerError::InvalidValue(CLIENT_WINDOW)),
        (ClientWindow::AtMost(bits), _) => bits.min(config.client_max_window_bits),
    };
    // RFC 7692 §7.1.1.1: a server that accepts has to accept this as well.
    if (offer.server_context, answer.server_context) == (Context::Fresh, Context::Kept) {
        return Err(AnswerError::NotGranted(SERVER_CONTEXT));
    }
    let server_context = context(answer.server_context, config.server_context_takeover);
    // RFC 7692 §7.1.1.2: this one comes unasked too, and is obeyed.
    let client_context = context(answer.client_context, config.client_context_takeover);
    Ok(Agreed {
        inflate: Direction {
            window_bits: server_bits,
            context: server_context.ok_or(AnswerError::Unacceptable(SERVER_CONTEXT))?,
        },
        deflate: Direction {
            window_bits: client_bits,
            context: client_context.ok_or(AnswerError::Unacceptable(CLIENT_CONTEXT))?,
        },
    })
}

impl Parameters {
    const NONE: Self = Self {
        server_context: Context::Kept,
        client_context: Context::Kept,
        server_window: None,
        client_window: ClientWindow::Absent,
    };

    fn parse<'a>(parameters: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Result<Self, AnswerError> {
        let mut found = Self::NONE;
        for (name, value) in parameters {
            let (name, repeated) = match name {
                SERVER_CONTEXT => (SERVER_CONTEXT, flag(&mut found.server_context)),
                CLIENT_CONTEXT => (CLIENT_CONTEXT, flag(&mut found.client_context)),
                SERVER_WINDOW => {
                    let window = bits(value).ok_or(AnswerError::InvalidValue(SERVER_WINDOW))?;
                    (SERVER_WINDOW, found.server_window.replace(window).is_some())
                }
                CLIENT_WINDOW => {
                    let window = match (value, bits(value)) {
                        (None, _) => ClientWindow::Any,
                        (_, Some(bits)) => ClientWindow::AtMost(bits),
                        (Some(_), None) => return Err(AnswerError::InvalidValue(CLIENT_WINDOW)),
                    };
                    (CLIENT_WINDOW, mem::replace(&mut found.client_window, window) != ClientWindow::Absent)
                }
                _ => return Err(AnswerError::UnknownParameter),
            };
            if repeated {
                return Err(AnswerError::RepeatedParameter(name));
            }
            if value.is_some() && matches!(name, SERVER_CONTEXT | CLIENT_CONTEXT) {
                return Err(AnswerError::InvalidValue(name));
            }
        }
        Ok(found)
    }
}

/// Notes a parameter that has no value; whether it was there before.
fn flag(context: &mut Context) -> bool {
    mem::replace(context, Context::Fresh) == Context::Fresh
}

/// RFC 7692 §7.1.2: a decimal number from 8 to 15 without leading zeros.
fn bits(value: Option<&str>) -> Option<u8> {
    (8..=MAX_BITS).find(|bits| Some(&*bits.to_string()) == value)
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)?;
        if self.server_context == Context::Fresh {
            write!(f, "; {SERVER_CONTEXT}")?;
        }
        if self.client_context == Context::Fresh {
            write!(f, "; {CLIENT_CONTEXT}")?;
        }
        if let Some(bits) = self.server_window {
            write!(f, "; {SERVER_WINDOW}={bits}")?;
        }
        match self.client_window {
            ClientWindow::Absent => Ok(()),
            ClientWindow::Any => write!(f, "; {CLIENT_WINDOW}"),
            ClientWindow::AtMost(bits) => write!(f, "; {CLIENT_WINDOW}={bits}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};
    use proptest::prelude::*;

    use super::*;
    use crate::proto::handshake::{Extension, extensions};

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_str(value).unwrap())])
    }

    fn parts<'a>(
        extension: &'a Extension<'a>,
    ) -> (&'a str, impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a>) {
        (extension.name(), extension.parameters().iter().map(|parameter| (parameter.name(), parameter.value())))
    }

    /// Written as `server window, client window`, each with a `+` where the context is kept.
    fn shown(server: Direction, client: Direction) -> String {
        let one = |direction: Direction| {
            format!("{}{}", direction.window_bits, if direction.context == Context::Kept { "+" } else { "" })
        };
        format!("{}, {}", one(server), one(client))
    }

    fn accepted(offers: &str, config: &DeflateConfig) -> Option<(String, String)> {
        let headers = headers(&offers.replace('P', NAME));
        let (agreed, answer) = accept(extensions(&headers).unwrap().iter().map(parts), config)?;
        Some((answer.to_string().replace(NAME, "P"), shown(agreed.deflate, agreed.inflate)))
    }

    fn judged(answer: &str, config: &DeflateConfig) -> Result<Option<String>, AnswerError> {
        let headers = headers(&answer.replace('P', NAME));
        let agreed = judge_answer(extensions(&headers).unwrap().iter().map(parts), config)?;
        Ok(agreed.map(|agreed| shown(agreed.inflate, agreed.deflate)))
    }

    /// Both contexts `server`'s and `client`'s choice, both windows `bits`.
    fn settings(server: ContextTakeover, client: ContextTakeover, bits: u8) -> DeflateConfig {
        DeflateConfig {
            server_context_takeover: server,
            client_context_takeover: client,
            server_max_window_bits: bits,
            client_max_window_bits: bits,
            ..DeflateConfig::default()
        }
    }

    #[test]
    fn a_server_accepts_by_rfc_7692() {
        use ContextTakeover::{Allowed, Refused, Required};
        let open = settings(Allowed, Allowed, 15);
        let twelve = settings(Allowed, Allowed, 12);
        let refusing = settings(Refused, Refused, 15);
        let required = settings(Required, Required, 15);
        // id, configuration, offers, answer and agreement, or none
        type Row<'a> = (&'a str, &'a DeflateConfig, &'a str, Option<(&'a str, &'a str)>);
        let table: &[Row<'_>] = &[
            ("NS-01", &open, "P", Some(("P", "15+, 15+"))),
            ("NS-01", &refusing, "P", Some(("P; server_no_context_takeover; client_no_context_takeover", "15, 15"))),
            ("NS-01", &twelve, "P", Some(("P; server_max_window_bits=12", "12+, 15+"))),
            ("NS-01", &required, "P", Some(("P", "15+, 15+"))),
            ("NS-01", &open, "x", None),
            ("NS-01", &open, "p-d; client_max_window_bits", None),
            ("NS-02", &open, "P; unknown", None),
            ("NS-02", &open, "P; unknown=1", None),
            ("NS-02", &open, "P; Server_no_context_takeover", None),
            ("NS-02", &open, "P; server_no_context_takeover=42", None),
            ("NS-02", &open, "P; client_no_context_takeover=42", None),
            ("NS-02", &open, "P; server_no_context_takeover; server_no_context_takeover", None),
            ("NS-02", &open, "P; client_no_context_takeover; client_no_context_takeover", None),
            ("NS-02", &open, "P; server_max_window_bits=10; server_max_window_bits=10", None),
            ("NS-02", &open, "P; client_max_window_bits; client_max_window_bits", None),
            ("NS-02", &open, "P; client_max_window_bits=9; client_max_window_bits", None),
            ("NS-03", &open, "P; server_no_context_takeover", Some(("P; server_no_context_takeover", "15, 15+"))),
            ("NS-03", &required, "P; server_no_context_takeover", None),
            ("NS-04", &open, "P; client_no_context_takeover", Some(("P; client_no_context_takeover", "15+, 15"))),
            ("NS-04", &required, "P; client_no_context_takeover", None),
            ("NS-05", &open, "P; server_max_window_bits", None),
            ("NS-05", &open, "P; server_max_window_bits=7", None),
            ("NS-05", &open, "P; server_max_window_bits=16", None),
            ("NS-05", &open, "P; server_max_window_bits=0", None),
            ("NS-05", &open, "P; server_max_window_bits=1000", None),
            ("NS-05", &open, "P; server_max_window_bits=08", None),
            ("NS-05", &open, "P; server_max_window_bits=+9", None),
            ("NS-05", &open, "P; server_max_window_bits=-9", None),
            ("NS-05", &open, "P; server_max_window_bits=abc", None),
            ("NS-05", &open, "P; server_max_window_bits=\"9\"", Some(("P; server_max_window_bits=9", "9+, 15+"))),
            ("NS-06", &open, "P; server_max_window_bits=10", Some(("P; server_max_window_bits=10", "10+, 15+"))),
            ("NS-06", &open, "P; server_max_window_bits=15", Some(("P; server_max_window_bits=15", "15+, 15+"))),
            ("NS-06", &twelve, "P; server_max_window_bits=10", Some(("P; server_max_window_bits=10", "10+, 15+"))),
            ("NS-06", &twelve, "P; server_max_window_bits=14", Some(("P; server_max_window_bits=12", "12+, 15+"))),
            ("NS-07", &open, "P; server_max_window_bits=8", None),
            ("NS-08", &open, "P; client_max_window_bits", Some(("P", "15+, 15+"))),
            ("NS-08", &open, "P; client_max_window_bits=15", Some(("P", "15+, 15+"))),
            ("NS-08", &open, "P; client_max_window_bits=9", Some(("P; client_max_window_bits=9", "15+, 9+"))),
            ("NS-08", &open, "P; client_max_window_bits=8", Some(("P; client_max_window_bits=8", "15+, 8+"))),
            ("NS-08", &open, "P; client_max_window_bits=7", None),
            ("NS-08", &open, "P; client_max_window_bits=16", None),
            ("NS-08", &open, "P; client_max_window_bits=010", None),
            (
                "NS-08",
                &twelve,
                "P; client_max_window_bits",
                Some(("P; server_max_window_bits=12; client_max_window_bits=12", "12+, 12+")),
            ),
            (
                "NS-08",
                &twelve,
                "P; client_max_window_bits=14",
                Some(("P; server_max_window_bits=12; client_max_window_bits=12", "12+, 12+")),
            ),
            (
                "NS-08",
                &twelve,
                "P; client_max_window_bits=10",
                Some(("P; server_max_window_bits=12; client_max_window_bits=10", "12+, 10+")),
            ),
            ("NS-09", &twelve, "P; server_max_window_bits=15", Some(("P; server_max_window_bits=12", "12+, 15+"))),
            (
                "NS-10",
                &open,
                "P; server_max_window_bits=8, P; client_max_window_bits=10",
                Some(("P; client_max_window_bits=10", "15+, 10+")),
            ),
            ("NS-10", &open, "P; unknown, x; y, P", Some(("P", "15+, 15+"))),
            ("NS-10", &required, "P; server_no_context_takeover, P", Some(("P", "15+, 15+"))),
            ("NS-11", &open, "P; server_max_window_bits=10, P", Some(("P; server_max_window_bits=10", "10+, 15+"))),
            ("NS-12", &open, "x-webkit-deflate-frame, P", Some(("P", "15+, 15+"))),
            (
                "D-05",
                &open,
                "P; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9; \
                 client_max_window_bits=10",
                Some((
                    "P; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9; \
                     client_max_window_bits=10",
                    "9, 10",
                )),
            ),
        ];
        for (id, config, offers, expected) in table {
            let found = accepted(offers, config);
            let found = found.as_ref().map(|(answer, agreed)| (&**answer, &**agreed));
            assert_eq!(found, *expected, "{id}: {offers}");
        }
    }

    #[test]
    fn a_client_judges_an_answer_by_rfc_7692() {
        use AnswerError::{InvalidValue, NotGranted, Repeated, RepeatedParameter, Unacceptable, UnknownParameter};
        use ContextTakeover::{Allowed, Refused, Required};
        let open = settings(Allowed, Allowed, 15);
        let ten = settings(Allowed, Allowed, 10);
        let refusing = settings(Refused, Refused, 15);
        let required = settings(Required, Required, 15);
        type Row<'a> = (&'a str, &'a DeflateConfig, &'a str, Result<Option<&'a str>, AnswerError>);
        let table: &[Row<'_>] = &[
            ("D-06", &open, "P", Ok(Some("15+, 15+"))),
            ("D-06", &required, "P", Ok(Some("15+, 15+"))),
            ("NC-01", &open, "x", Ok(None)),
            ("NC-01", &open, "P, P", Err(Repeated)),
            ("NC-01", &open, "P; unknown", Err(UnknownParameter)),
            ("NC-01", &open, "P; server_no_context_takeover=42", Err(InvalidValue(SERVER_CONTEXT))),
            ("NC-01", &open, "P; client_no_context_takeover=42", Err(InvalidValue(CLIENT_CONTEXT))),
            (
                "NC-01",
                &open,
                "P; server_no_context_takeover; server_no_context_takeover",
                Err(RepeatedParameter(SERVER_CONTEXT)),
            ),
            (
                "NC-01",
                &open,
                "P; client_no_context_takeover; client_no_context_takeover",
                Err(RepeatedParameter(CLIENT_CONTEXT)),
            ),
            (
                "NC-01",
                &open,
                "P; server_max_window_bits=9; server_max_window_bits=9",
                Err(RepeatedParameter(SERVER_WINDOW)),
            ),
            (
                "NC-01",
                &open,
                "P; client_max_window_bits=9; client_max_window_bits=9",
                Err(RepeatedParameter(CLIENT_WINDOW)),
            ),
            ("NC-02 CVE-2026-2229", &open, "P; server_max_window_bits=0", Err(InvalidValue(SERVER_WINDOW))),
            ("NC-02 CVE-2026-2229", &open, "P; server_max_window_bits=7", Err(InvalidValue(SERVER_WINDOW))),
            ("NC-02 CVE-2026-2229", &open, "P; server_max_window_bits=16", Err(InvalidValue(SERVER_WINDOW))),
            ("NC-02 CVE-2026-2229", &open, "P; server_max_window_bits=1000", Err(InvalidValue(SERVER_WINDOW))),
            ("NC-02", &open, "P; server_max_window_bits=09", Err(InvalidValue(SERVER_WINDOW))),
            ("NC-02", &open, "P; server_max_window_bits", Err(InvalidValue(SERVER_WINDOW))),
            ("NC-03", &open, "P; server_max_window_bits=8", Ok(Some("8+, 15+"))),
            ("NC-03", &ten, "P; server_max_window_bits=8", Ok(Some("8+, 10+"))),
            ("NC-04", &open, "P; server_max_window_bits=10", Ok(Some("10+, 15+"))),
            ("NC-04", &open, "P; server_max_window_bits=15", Ok(Some("15+, 15+"))),
            ("NC-04", &ten, "P; server_max_window_bits=10", Ok(Some("10+, 10+"))),
            ("NC-04", &ten, "P; server_max_window_bits=9", Ok(Some("9+, 10+"))),
            ("NC-04", &ten, "P; server_max_window_bits=11", Err(NotGranted(SERVER_WINDOW))),
            ("NC-04", &ten, "P", Err(NotGranted(SERVER_WINDOW))),
            ("NC-05", &refusing, "P", Err(NotGranted(SERVER_CONTEXT))),
            ("NC-05", &refusing, "P; server_no_context_takeover", Ok(Some("15, 15"))),
            ("NC-05", &open, "P; server_no_context_takeover", Ok(Some("15, 15+"))),
            ("NC-05", &required, "P; server_no_context_takeover", Err(Unacceptable(SERVER_CONTEXT))),
            ("NC-06", &open, "P; client_max_window_bits=0", Err(InvalidValue(CLIENT_WINDOW))),
            ("NC-06", &open, "P; client_max_window_bits=7", Err(InvalidValue(CLIENT_WINDOW))),
            ("NC-06", &open, "P; client_max_window_bits=16", Err(InvalidValue(CLIENT_WINDOW))),
            ("NC-06", &open, "P; client_max_window_bits=09", Err(InvalidValue(CLIENT_WINDOW))),
            ("NC-06", &open, "P; client_max_window_bits", Err(InvalidValue(CLIENT_WINDOW))),
            ("NC-06", &open, "P; client_max_window_bits=9", Ok(Some("15+, 9+"))),
            ("NC-07", &ten, "P; server_max_window_bits=10; client_max_window_bits=12", Ok(Some("10+, 10+"))),
            // Then the client compresses nothing.
            ("NC-08", &open, "P; client_max_window_bits=8", Ok(Some("15+, 8+"))),
            ("NC-09", &open, "P; client_no_context_takeover", Ok(Some("15+, 15"))),
            ("NC-09", &required, "P; client_no_context_takeover", Err(Unacceptable(CLIENT_CONTEXT))),
        ];
        for (id, config, answer, expected) in table {
            let found = judged(answer, config);
            assert_eq!(found.as_ref().map(Option::as_deref), expected.as_ref().copied(), "{id}: {answer}");
        }
    }

    /// NC-06: our own offer always has this parameter; a server may not answer one that has not.
    #[test]
    fn a_window_that_was_not_offered_cannot_be_limited() {
        let config = DeflateConfig::default();
        let offer = Parameters { server_context: Context::Kept, ..Parameters::NONE };
        for client_window in [ClientWindow::Any, ClientWindow::AtMost(9), ClientWindow::AtMost(15)] {
            let answer = Parameters { client_window, ..offer };
            assert_eq!(judge(&answer, &offer, &config), Err(AnswerError::Unrequested(CLIENT_WINDOW)), "NC-06");
        }
    }

    #[test]
    fn a_client_offers_what_its_configuration_says() {
        use ContextTakeover::{Allowed, Refused, Required};
        let table = [
            (settings(Allowed, Allowed, 15), "P; client_max_window_bits"),
            (settings(Required, Required, 15), "P; client_max_window_bits"),
            (settings(Refused, Allowed, 15), "P; server_no_context_takeover; client_max_window_bits"),
            (settings(Allowed, Refused, 15), "P; client_no_context_takeover; client_max_window_bits"),
            (settings(Allowed, Allowed, 9), "P; server_max_window_bits=9; client_max_window_bits=9"),
            (
                DeflateConfig::default(),
                "P; server_no_context_takeover; client_no_context_takeover; client_max_window_bits",
            ),
        ];
        for (config, expected) in table {
            assert_eq!(offer(&config).to_string().replace(NAME, "P"), expected);
        }
    }

    fn any_config() -> impl Strategy<Value = DeflateConfig> {
        let takeover = || {
            prop_oneof![Just(ContextTakeover::Refused), Just(ContextTakeover::Allowed), Just(ContextTakeover::Required)]
        };
        (takeover(), takeover(), 9..=15u8, 9..=15u8).prop_map(|(server, client, server_bits, client_bits)| {
            DeflateConfig {
                server_max_window_bits: server_bits,
                client_max_window_bits: client_bits,
                ..settings(server, client, 15)
            }
        })
    }

    proptest! {
        /// Whatever a server of ours answers to a client of ours is acceptable, and both agree on the same.
        #[test]
        fn both_ends_understand_the_same(server in any_config(), client in any_config()) {
            let offers = headers(&offer(&client).to_string());
            let accepted = accept(extensions(&offers).unwrap().iter().map(parts), &server);
            let Some((at_server, answer)) = accepted else {
                let required = |config: &DeflateConfig| {
                    [config.server_context_takeover, config.client_context_takeover]
                        .contains(&ContextTakeover::Required)
                };
                prop_assert!(required(&server), "declined for no reason");
                return Ok(());
            };
            let answer = headers(&answer.to_string());
            match judge_answer(extensions(&answer).unwrap().iter().map(parts), &client) {
                Ok(Some(at_client)) => {
                    prop_assert_eq!(at_client.deflate.context, at_server.inflate.context);
                    prop_assert_eq!(at_client.inflate, at_server.deflate);
                    prop_assert!(at_client.deflate.window_bits <= at_server.inflate.window_bits);
                }
                Err(AnswerError::Unacceptable(_)) => {}
                other => prop_assert!(false, "{other:?}"),
            }
        }

        #[test]
        fn any_parameters_are_judged_without_panic(
            value in "permessage-deflate(; ?(server|client)_(no_context_takeover|max_window_bits)(=[0-9\"a]{1,3})?){0,5}",
            config in any_config(),
        ) {
            let headers = headers(&value);
            if let Ok(extensions) = extensions(&headers) {
                let _ = accept(extensions.iter().map(parts), &config);
                let _ = judge_answer(extensions.iter().map(parts), &config);
            }
        }
    }
}
