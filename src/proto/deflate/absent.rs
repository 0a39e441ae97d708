//! What stands in for permessage-deflate without the feature: types without a value, so that nothing is ever offered,
//! accepted or compressed.

#![expect(clippy::needless_pass_by_ref_mut, reason = "the same signatures as with the feature")]

use std::fmt;

use bytes::Bytes;

use super::{AnswerError, Compression, End, Progress};
use crate::proto::{Fault, Misuse};

/// The settings of permessage-deflate. Without wireline's feature `deflate` there are none to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeflateConfig {}

impl DeflateConfig {
    pub(crate) const fn validate(&self) -> Result<(), Misuse> {
        match *self {}
    }
}

/// Stands in for what both ends agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) inflate: Direction,
    pub(crate) deflate: Direction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {}

/// Stands in for the parameters of an offer or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parameters(());

impl fmt::Display for Parameters {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

pub(crate) fn accept<'a, P>(
    _: impl IntoIterator<Item = (&'a str, P)>,
    config: &DeflateConfig,
) -> Option<(Agreed, Parameters)>
where
    P: IntoIterator<Item = (&'a str, Option<&'a str>)>,
{
    match *config {}
}

pub(crate) const fn offer(config: &DeflateConfig) -> Parameters {
    match *config {}
}

pub(crate) fn judge_answer<'a, P>(
    _: impl IntoIterator<Item = (&'a str, P)>,
    config: &DeflateConfig,
) -> Result<Option<Agreed>, AnswerError>
where
    P: IntoIterator<Item = (&'a str, Option<&'a str>)>,
{
    match *config {}
}

/// Stands in for what compresses.
#[derive(Debug)]
pub(crate) enum Deflater {}

impl Deflater {
    pub(crate) const fn new(direction: Direction) -> Self {
        match direction {}
    }

    pub(crate) const fn window_without_context(&self) -> Option<u8> {
        match *self {}
    }

    pub(crate) const fn compress(&mut self, _: &[u8], _: Compression, _: &DeflateConfig) -> Option<Bytes> {
        match *self {}
    }
}

/// Stands in for what inflates.
#[derive(Debug)]
pub(crate) enum Inflater {}

/// Stands in for what one step put out.
#[derive(Debug)]
pub(crate) enum Inflated {}

impl Inflated {
    pub(crate) const fn output(&self) -> &[u8] {
        match *self {}
    }

    pub(crate) const fn progress(&self) -> Progress {
        match *self {}
    }
}

impl Inflater {
    pub(crate) const fn new(direction: Direction) -> Self {
        match direction {}
    }

    pub(crate) const fn step(&mut self, _: &mut &[u8], _: End, _: &[u8], _: Option<u64>) -> Result<Inflated, Fault> {
        match *self {}
    }
}
