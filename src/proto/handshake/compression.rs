//! Where permessage-deflate meets the headers of a handshake (RFC 7692 section 5).

use http::{HeaderMap, HeaderValue};

use super::{Extension, HandshakeError, extensions, headers::visible};
use crate::proto::deflate::{Agreed, DeflateConfig, accept, judge_answer, offer};

/// What a client's `Sec-WebSocket-Extensions` offers.
pub(crate) fn offer_deflate(config: &DeflateConfig) -> HeaderValue {
    visible(offer(config).to_string())
}

/// What a server makes of the offers in a request, and its answer; `None` opens the connection without compression.
pub(crate) fn accept_deflate(request: &HeaderMap, config: Option<&DeflateConfig>) -> Option<(Agreed, HeaderValue)> {
    let config = config?;
    let offers = extensions(request).ok()?;
    let (agreed, answer) = accept(offers.iter().map(parts), config)?;
    Some((agreed, visible(answer.to_string())))
}

/// What the answer in a response comes to for a client that offered what [`offer_deflate`] says.
pub(crate) fn judge_deflate(
    response: &HeaderMap,
    config: Option<&DeflateConfig>,
) -> Result<Option<Agreed>, HandshakeError> {
    let Some(config) = config else { return Ok(None) };
    let answers = extensions(response).map_err(HandshakeError::MalformedExtensions)?;
    judge_answer(answers.iter().map(parts), config).map_err(HandshakeError::Deflate)
}

type Parameters<'a> = Vec<(&'a str, Option<&'a str>)>;

fn parts<'a>(extension: &'a Extension<'a>) -> (&'a str, Parameters<'a>) {
    let parameters = extension.parameters().iter();
    (extension.name(), parameters.map(|parameter| (parameter.name(), parameter.value())).collect())
}
