//! Compression of messages: permessage-deflate (RFC 7692).
//!
//! ```text
//!  "hello hello"  ── deflater ──▶  DEFLATE blocks … 00 │ 00 00 ff ff    the end of a flush, which does not travel
//!  RSV1 on the message's first frame, whose payload is ╰─▶ ca 48 cd … 00  ── inflater ──▶  "hello hello"
//! ```
//!
//! The handshake settles for each direction how far back a repetition may point, the window, and whether one may point
//! into earlier messages, the context. `params` is that negotiation for both roles, `deflater` and `inflater` are the
//! directions, and `pool` lends them what they work with. Frames and fragments are not known here, nor is text: whether an
//! inflated message is UTF-8 is judged by whoever puts it together.
//!
//! Without the feature `deflate` the same names exist, and [`DeflateConfig`] has no value.

#[cfg(not(feature = "deflate"))]
mod absent;
#[cfg(feature = "deflate")]
mod config;
#[cfg(feature = "deflate")]
mod deflater;
#[cfg(feature = "deflate")]
mod history;
#[cfg(feature = "deflate")]
mod inflater;
#[cfg(feature = "deflate")]
mod params;
#[cfg(feature = "deflate")]
mod pool;

use std::fmt;

#[cfg(not(feature = "deflate"))]
pub use absent::DeflateConfig;
#[cfg(not(feature = "deflate"))]
pub(crate) use absent::{Agreed, Deflater, Inflater, accept, judge_answer, offer};
#[cfg(feature = "deflate")]
pub use config::{ContextTakeover, DeflateConfig};
#[cfg(feature = "deflate")]
pub(crate) use deflater::Deflater;
#[cfg(feature = "deflate")]
pub(crate) use inflater::Inflater;
#[cfg(feature = "deflate")]
pub(crate) use params::{Agreed, accept, judge_answer, offer};

/// The name of the extension in `Sec-WebSocket-Extensions`.
pub(crate) const NAME: &str = "permessage-deflate";

/// Whether one message is compressed, on a connection that may compress.
///
/// ```
/// use wireline::proto::deflate::Compression;
/// assert_eq!(Compression::default(), Compression::ByLength);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// From the configured threshold on; and, unless later messages may refer to it, only if that makes it shorter.
    #[default]
    ByLength,
    /// Whatever its length, even if it becomes longer.
    Always,
    /// Not at all: for what is compressed already, and for secrets in one message with what an attacker chose, whose
    /// length would give them away (RFC 7692 section 8).
    Never,
}

/// Whether more of a message's payload follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// More follows, in this frame or in another.
    More,
    /// The message ends behind this.
    Last,
}

/// What an inflater wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "deflate"), expect(dead_code, reason = "nothing is inflated without the feature"))]
pub(crate) enum Progress {
    /// Another step: there is more output, or more input than one step takes.
    Again,
    /// More of the payload; all of the input is used up.
    NeedInput,
    /// Nothing: the message is complete.
    Finished,
}

/// What is wrong with a server's answer to the offer of permessage-deflate. The handshake fails (RFC 7692 section 7.1).
///
/// ```
/// use wireline::proto::deflate::AnswerError;
/// let error = AnswerError::NotGranted("server_max_window_bits");
/// assert_eq!(error.to_string(), "server_max_window_bits was asked for and not granted (RFC 7692 section 7.1)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AnswerError {
    /// The extension is accepted twice.
    Repeated,
    /// A parameter that RFC 7692 does not know.
    UnknownParameter,
    /// This parameter stands there twice.
    RepeatedParameter(&'static str),
    /// This parameter has a value that it may not have, or lacks one.
    InvalidValue(&'static str),
    /// This parameter may only answer an offer that has it.
    Unrequested(&'static str),
    /// We asked for this parameter, and the answer lacks it or has a larger value.
    NotGranted(&'static str),
    /// This parameter takes away the context that our configuration requires.
    Unacceptable(&'static str),
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repeated => write!(f, "{NAME} is accepted twice (RFC 7692 section 5.1)"),
            Self::UnknownParameter => write!(f, "unknown parameter of {NAME} (RFC 7692 section 7.1)"),
            Self::RepeatedParameter(name) => write!(f, "{name} stands there twice (RFC 7692 section 7.1)"),
            Self::InvalidValue(name) => write!(f, "invalid value of {name} (RFC 7692 section 7.1)"),
            Self::Unrequested(name) => write!(f, "{name} was not offered (RFC 7692 section 7.1)"),
            Self::NotGranted(name) => write!(f, "{name} was asked for and not granted (RFC 7692 section 7.1)"),
            Self::Unacceptable(name) => write!(f, "{name} is not acceptable: the configuration requires the context"),
        }
    }
}

impl std::error::Error for AnswerError {}

#[cfg(test)]
#[cfg(feature = "deflate")]
mod tests {
    use http::{HeaderMap, HeaderValue, header};
    use proptest::prelude::*;

    use super::*;
    use crate::proto::{
        Fault,
        handshake::{Extension, extensions},
    };

    fn headers(parameters: &params::Parameters) -> HeaderMap {
        let value = HeaderValue::from_str(&parameters.to_string()).unwrap();
        HeaderMap::from_iter([(header::SEC_WEBSOCKET_EXTENSIONS, value)])
    }

    fn parts<'a>(
        extension: &'a Extension<'a>,
    ) -> (&'a str, impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a>) {
        (extension.name(), extension.parameters().iter().map(|parameter| (parameter.name(), parameter.value())))
    }

    fn negotiate(server: &DeflateConfig, client: &DeflateConfig) -> (Agreed, Agreed) {
        let offer = headers(&offer(client));
        let (at_server, answer) = accept(extensions(&offer).unwrap().iter().map(parts), server).unwrap();
        let answer = headers(&answer);
        let at_client = judge_answer(extensions(&answer).unwrap().iter().map(parts), client);
        (at_server, at_client.unwrap().unwrap())
    }

    fn transmit(
        message: &[u8],
        from: &mut Deflater,
        to: &mut Inflater,
        config: &DeflateConfig,
    ) -> Result<Vec<u8>, Fault> {
        let Some(payload) = from.compress(message, Compression::ByLength, config) else { return Ok(message.to_vec()) };
        let (mut rest, mut so_far) = (&*payload, Vec::new());
        loop {
            let step = to.step(&mut rest, End::Last, &so_far, Some(message.len() as u64))?;
            so_far.extend_from_slice(step.output());
            if step.progress() == Progress::Finished {
                return Ok(so_far);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_negotiated_works_in_both_directions(
            windows in prop::array::uniform4(9..=15u8),
            kept: [bool; 4],
            messages in prop::collection::vec(("[a-d]{1,9}", 1..9000usize), 1..9),
        ) {
            let takeover = |kept| if kept { ContextTakeover::Allowed } else { ContextTakeover::Refused };
            let [server, client] = [0, 2].map(|at| DeflateConfig {
                server_max_window_bits: windows[at],
                client_max_window_bits: windows[at + 1],
                server_context_takeover: takeover(kept[at]),
                client_context_takeover: takeover(kept[at + 1]),
                ..DeflateConfig::default()
            });
            let (at_server, at_client) = negotiate(&server, &client);
            let mut from_server = (Deflater::new(at_server.deflate), Inflater::new(at_client.inflate));
            let mut from_client = (Deflater::new(at_client.deflate), Inflater::new(at_server.inflate));
            for (word, len) in messages {
                let message = word.repeat(len / word.len() + 1).into_bytes();
                for ((from, to), config) in [(&mut from_server, &server), (&mut from_client, &client)] {
                    let arrived = transmit(&message, from, to, config);
                    prop_assert_eq!(arrived.as_ref(), Ok(&message));
                }
            }
        }
    }
}
