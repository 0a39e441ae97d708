//! The grammar of the handshake's lists (RFC 6455 sections 4.3 and 9.1): tokens, quoted strings that hold tokens, and
//! several lines of a header that are one list.

use tokio::runtime::Runtime;
use wireline::{
    proto::handshake::{extensions, subprotocols},
    server::Acceptor,
};

use super::{
    END, HI_MASKED, REQUEST, replaced,
    wire::{name, runtime, serve},
};
use crate::support::suite::{Ran, Suite};

pub(super) static ROWS: Suite = Suite::new(run);

#[test]
fn server_reads_lists_by_their_grammar() {
    ROWS.ids();
}

/// What a list means, in its one canonical form, or `None` where the request is refused.
type Row = (&'static [&'static str], Option<&'static str>);

const PROTOCOLS: &[Row] = &[
    (&["a"], Some("a")),
    (&["a,b"], Some("a,b")),
    (&["a , b"], Some("a,b")),
    (&["\ta\t,\tb\t"], Some("a,b")),
    (&["a,b,c"], Some("a,b,c")),
    (&["a", "b"], Some("a,b")),
    (&["a,b", "c", "d,e"], Some("a,b,c,d,e")),
    (&["Chat, chat"], Some("Chat,chat")),
    (&["!#$%&'*+-.^_`|~09azAZ"], Some("!#$%&'*+-.^_`|~09azAZ")),
    (&[",a,,b,"], Some("a,b")),
    (&["a", ""], Some("a")),
    (&["a", ","], Some("a")),
    (&[""], None),
    (&[",", ","], None),
    (&["a,a"], None),
    (&["a,b", "b"], None),
    (&["a b"], None),
    (&["a\tb"], None),
    (&["a;b"], None),
    (&["a=b"], None),
    (&["a/b"], None),
    (&["\"a\""], None),
    (&["a, (b)"], None),
    (&["a, <b>"], None),
    (&["a@b"], None),
    (&["a:b"], None),
    (&["a\\b"], None),
    (&["a[b]"], None),
    (&["a?b"], None),
    (&["{a}"], None),
];

const EXTENSIONS: &[Row] = &[
    (&["a"], Some("a")),
    (&["a,b"], Some("a,b")),
    (&["a", "b; c"], Some("a,b;c")),
    (&["a; b", "c; d=e, f"], Some("a;b,c;d=e,f")),
    (&["a ; b = c ;\td"], Some("a;b=c;d")),
    (&["a;b=\"c\""], Some("a;b=c")),
    (&["a;b=\"\\c\\d\""], Some("a;b=cd")),
    (&["a;b=\"c\" ; d , e"], Some("a;b=c;d,e")),
    (&["a;b;b=1"], Some("a;b;b=1")),
    (&["a,a"], Some("a,a")),
    (&[",a,,b,"], Some("a,b")),
    (&["permessage-deflate; server_max_window_bits=\"10\""], Some("permessage-deflate;server_max_window_bits=10")),
    (&["a", ""], Some("a")),
    (&[""], None),
    (&[","], None),
    (&["a;"], None),
    (&["a;;b"], None),
    (&[";a"], None),
    (&["a b"], None),
    (&["a=b"], None),
    (&["a;b="], None),
    (&["a;=b"], None),
    (&["a;b=c d"], None),
    (&["a;b=c=d"], None),
    (&["a;b=\"\""], None),
    (&["a;b=\"c d\""], None),
    (&["a;b=\"c,d\""], None),
    (&["a;b=\"c;d\""], None),
    (&["a;b=\"c\\\"\""], None),
    (&["a;b=\"c\"d"], None),
    (&["a;b=\"c"], None),
    (&["a;b=\"c", "d\""], None),
    (&["a;b=\"c\\"], None),
    (&["\"a\""], None),
    (&["a;\"b\""], None),
    (&["a/b"], None),
];

fn run(ran: &mut Ran) {
    let runtime = runtime();
    for &(lines, expected) in PROTOCOLS {
        check(&runtime, "Sec-WebSocket-Protocol", lines, expected, |request| {
            Ok(subprotocols(request.headers())?.join(","))
        });
    }
    for &(lines, expected) in EXTENSIONS {
        check(&runtime, "Sec-WebSocket-Extensions", lines, expected, |request| {
            Ok(shown(&extensions(request.headers())?))
        });
    }
    assert!(PROTOCOLS.len() + EXTENSIONS.len() >= 50, "S-12");
    ran.id("S-12");
    ran.id("S-13");
}

type Meaning = fn(&http::Request<()>) -> Result<String, wireline::proto::handshake::GrammarError>;

fn check(runtime: &Runtime, header: &str, lines: &[&str], expected: Option<&str>, meaning: Meaning) {
    let text: String = lines.iter().map(|line| format!("{header}: {line}\r\n")).collect();
    let input = [&*replaced(REQUEST, END, &text), HI_MASKED].concat();
    for cuts in [vec![], (1..input.len()).collect()] {
        let served = runtime.block_on(serve(&Acceptor::new(), &input, &cuts));
        match expected {
            Some(expected) => {
                let accepted = served.accepted.unwrap_or_else(|error| panic!("S-12 {header} {lines:?}: {error:?}"));
                assert_eq!(meaning(&accepted.request).as_deref(), Ok(expected), "S-12 {header} {lines:?}");
            }
            None => {
                let refused = served.accepted.map_err(|error| name(&error)).err();
                assert_eq!(refused.as_deref(), Some("Refused 400"), "S-12, S-13 {header} {lines:?}");
                let body = String::from_utf8(served.answer.expect("an answer").body).expect("text");
                assert!(body.contains(header), "S-12 {header} {lines:?}: {body}");
            }
        }
    }
}

fn shown(extensions: &[wireline::proto::handshake::Extension<'_>]) -> String {
    let shown = extensions.iter().map(|extension| {
        let parameters = extension.parameters().iter().map(|parameter| match parameter.value() {
            Some(value) => format!(";{}={value}", parameter.name()),
            None => format!(";{}", parameter.name()),
        });
        [extension.name().to_owned(), parameters.collect()].concat()
    });
    shown.collect::<Vec<_>>().join(",")
}
