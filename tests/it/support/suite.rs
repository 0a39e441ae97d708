//! Tables of rows whose ids are compared with the list of what must run (`tests/it/ids.txt`).
//!
//! A suite runs once per process, whoever asks first: its own test, or the test that compares the ids.

use std::{collections::BTreeSet, sync::OnceLock};

/// Collects the ids of the rows and requirements that were really run.
#[derive(Debug, Default)]
pub(crate) struct Ran(BTreeSet<&'static str>);

impl Ran {
    /// The row or requirement with this id was run to its end.
    pub(crate) fn id(&mut self, id: &'static str) {
        self.0.insert(id);
    }
}

/// A table of rows.
#[derive(Debug)]
pub(crate) struct Suite {
    run: fn(&mut Ran),
    ran: OnceLock<BTreeSet<&'static str>>,
}

impl Suite {
    pub(crate) const fn new(run: fn(&mut Ran)) -> Self {
        Self { run, ran: OnceLock::new() }
    }

    /// The ids that ran; runs the suite if nobody has.
    pub(crate) fn ids(&self) -> &BTreeSet<&'static str> {
        self.ran.get_or_init(|| {
            let mut ran = Ran::default();
            (self.run)(&mut ran);
            ran.0
        })
    }
}
