//! Every hostile row and every requirement of the RFC checklists is really run: what the suites ran is compared with the
//! list in `ids.txt`.

use std::collections::BTreeSet;

use crate::{backpressure, closing, framing, hostile, opening, support::suite::Suite};

/// All suites. Another topic adds its own here.
const SUITES: &[&Suite] = &[
    &backpressure::CONTROL_FIRST,
    &backpressure::ONE_PONG,
    &closing::endings::ENDINGS,
    &closing::over_tcp::FLOOD,
    &closing::ORDER,
    &framing::FRAMING,
    &framing::RANDOM_INPUT,
    &hostile::bits::BITS,
    &hostile::control::CONTROL,
    &hostile::fragments::FRAGMENTS,
    &hostile::lengths::LENGTHS,
    &hostile::masks::MASKS,
    &hostile::outbound::OUTBOUND,
    &hostile::utf8::AUTOBAHN_6,
    &hostile::utf8::UTF8,
];

#[cfg(feature = "hyper")]
const HTTP2: &[&Suite] = &[&crate::upgrade::http2::ROWS];

#[cfg(feature = "axum")]
const FRAMEWORK: &[&Suite] = &[&crate::upgrade::axum::ROWS];

/// The headings of `ids.txt` whose ids must have run. Those under any other heading belong to a part that is not built
/// yet; a part that is built moves its heading here and its suites above.
const BUILT: &[&str] = &[
    "open connection",
    "handshakes",
    #[cfg(feature = "deflate")]
    "deflate",
    #[cfg(feature = "hyper")]
    "HTTP/2",
    #[cfg(feature = "axum")]
    "inside of a framework",
];

#[test]
fn every_id_of_the_list_ran() {
    let list = include_str!("ids.txt");
    let mut heading = "";
    let mut listed = BTreeSet::new();
    let mut later = BTreeSet::new();
    for line in list.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            heading = name;
            continue;
        }
        let ids = if BUILT.contains(&heading) { &mut listed } else { &mut later };
        for id in line.split_whitespace() {
            assert!(ids.insert(id), "{id} is listed twice");
        }
    }
    assert!(listed.is_disjoint(&later), "listed as built and as not built");
    let suites = SUITES.iter().chain(opening::SUITES);
    #[cfg(feature = "deflate")]
    let suites = suites.chain(crate::deflate::SUITES);
    #[cfg(feature = "hyper")]
    let suites = suites.chain(HTTP2);
    #[cfg(feature = "axum")]
    let suites = suites.chain(FRAMEWORK);
    let ran: BTreeSet<&str> = suites.flat_map(|suite| suite.ids()).copied().collect();
    let missing: Vec<_> = listed.difference(&ran).collect();
    let unknown: Vec<_> = ran.difference(&listed).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "did not run: {missing:?}; not listed as built: {unknown:?}");
}
