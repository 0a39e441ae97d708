//! What stands in without the feature: nothing is published.

use crate::{
    Error,
    metrics::Failed,
    proto::{
        Role,
        connection::{Ending, Stats},
    },
};

#[derive(Debug)]
pub(crate) struct Reporter;

impl Reporter {
    pub(crate) const fn opened(_: Role) -> Self {
        Self
    }

    #[expect(clippy::needless_pass_by_ref_mut, reason = "the same signature as with the feature")]
    pub(crate) const fn publish(&mut self, _: Role, _: &Stats) {}

    #[expect(clippy::needless_pass_by_ref_mut, reason = "the same signature as with the feature")]
    pub(crate) const fn closed(&mut self, _: Role, _: &Stats, _: Option<&Ending>) {}
}

pub(crate) const fn handshake_failed(_: &Error) {}

pub(crate) const fn handshake_refused() {}

pub(crate) const fn accept_paused() {}

pub(crate) const fn application_failed(_: Failed) {}
