//! Which web pages may open a connection (RFC 6455 section 10.2). Where the scheme is known is in `tls.rs`.

use wireline::server::{Acceptor, Origins};

use super::{
    END, HI_MASKED, REQUEST, cited, replaced,
    server::refusal,
    wire::{deliveries, name, runtime, serve},
};
use crate::support::suite::{Ran, Suite};

pub(super) static ROWS: Suite = Suite::new(run);

#[test]
fn server_lets_in_the_pages_of_its_policy() {
    ROWS.ids();
}

/// Whose pages: Host, the lines of Origin (as characters that stand for bytes), the answer, and what it names.
pub(crate) type Row = (&'static str, &'static [&'static str], u16, &'static str);

const SAME_HOST: &[Row] = &[
    ("good.com", &[], 101, ""),
    ("good.com", &["https://good.com"], 101, ""),
    ("good.com:8443", &["https://good.com:8443"], 101, ""),
    // Other scheme: allowed where our own is not known, as behind a proxy that ends TLS.
    ("good.com", &["http://good.com"], 101, ""),
    ("good.com", &["ftp://good.com"], 403, "Origin"),
    ("good.com", &["app://good.com"], 403, "Origin"),
    ("good.com", &["file://"], 403, "Origin"),
    // Other port, default ports left out or not.
    ("good.com", &["https://good.com:443"], 101, ""),
    ("good.com:443", &["https://good.com"], 101, ""),
    ("good.com:80", &["http://good.com"], 101, ""),
    ("good.com", &["https://good.com:8443"], 403, "Origin"),
    ("good.com:8443", &["https://good.com"], 403, "Origin"),
    ("good.com:80", &["https://good.com"], 403, "Origin"),
    ("good.com", &["https://good.com:"], 403, "Origin"),
    ("good.com", &["https://good.com:99999"], 403, "Origin"),
    // Other host, or a part of ours.
    ("good.com", &["null"], 403, "Origin"),
    ("null", &["null"], 403, "Origin"),
    ("good.com", &[""], 403, "Origin"),
    ("good.com", &["https://good.com.evil.com"], 403, "Origin"),
    ("good.com", &["https://evilgood.com"], 403, "Origin"),
    ("good.com", &["https://sub.good.com"], 403, "Origin"),
    ("good.com", &["https://good.com@evil.com"], 403, "Origin"),
    ("good.com", &["https://evil.com@good.com"], 403, "Origin"),
    ("good.com", &["https://evil.com/good.com"], 403, "Origin"),
    ("good.com", &["https://evil.com#good.com"], 403, "Origin"),
    ("good.com", &["https://good.com/"], 403, "Origin"),
    // Its spelling.
    ("good.com", &["https://GOOD.com"], 101, ""),
    ("GOOD.com", &["HTTPS://good.COM"], 101, ""),
    ("xn--bcher-kva.example", &["https://xn--bcher-kva.example"], 101, ""),
    ("good.com", &["https://b\u{fc}cher.example"], 400, "Origin"),
    ("[::1]:9001", &["http://[::1]:9001"], 101, ""),
    ("[::1]", &["http://[0:0:0:0:0:0:0:1]"], 101, ""),
    ("[::1]", &["http://[::2]"], 403, "Origin"),
    ("127.0.0.1:9001", &["http://127.0.0.1:9001"], 101, ""),
    ("good.com", &["https://good.com."], 403, "Origin"),
    ("good.com.", &["https://good.com"], 403, "Origin"),
    ("good.com.", &["https://good.com."], 101, ""),
    // Two of them.
    ("good.com", &["https://good.com", "https://evil.com"], 403, "Origin"),
    ("good.com", &["https://good.com", "https://good.com"], 403, "Origin"),
    ("good.com", &["https://good.com https://evil.com"], 403, "Origin"),
    ("good.com", &["https://good.com, https://good.com"], 403, "Origin"),
];

/// For `Origins::List` of `LISTED`.
const LIST: &[Row] = &[
    ("api.com", &[], 101, ""),
    ("api.com", &["https://good.com"], 101, ""),
    ("api.com", &["https://GOOD.com:443"], 101, ""),
    ("api.com", &["http://localhost:8080"], 101, ""),
    ("api.com", &["https://xn--bcher-kva.example"], 101, ""),
    ("api.com", &["https://[0::1]"], 101, ""),
    ("api.com", &["http://good.com"], 403, "Origins::List"),
    ("api.com", &["https://good.com:8443"], 403, "Origins::List"),
    ("api.com", &["https://sub.good.com"], 403, "Origins::List"),
    ("api.com", &["https://good.com.evil.com"], 403, "Origins::List"),
    ("api.com", &["https://evilgood.com"], 403, "Origins::List"),
    ("api.com", &["https://goodXcom"], 403, "Origins::List"),
    ("api.com", &["https://good.com."], 403, "Origins::List"),
    ("api.com", &["http://localhost"], 403, "Origins::List"),
    ("api.com", &["https://api.com"], 403, "Origins::List"),
    ("api.com", &["null"], 403, "Origins::List"),
    ("api.com", &["https://good.com", "https://good.com"], 403, "Origin"),
    ("api.com", &["https://good.com\u{e9}"], 400, "Origin"),
];

const LISTED: [&str; 4] = ["https://good.com", "http://localhost:8080", "https://b\u{fc}cher.example", "https://[::1]"];

const NULL_LISTED: &[Row] = &[
    ("api.com", &["null"], 101, ""),
    ("api.com", &["NULL"], 403, "Origins::List"),
    ("api.com", &["https://api.com"], 403, "Origins::List"),
];

const ANY: &[Row] = &[
    ("good.com", &["https://evil.com"], 101, ""),
    ("good.com", &["null"], 101, ""),
    ("good.com", &["\u{ff}"], 101, ""),
    ("good.com", &["a", "b"], 101, ""),
    ("good.com", &[], 101, ""),
];

/// All policies, and whom they let in.
pub(crate) fn policies() -> [(Origins, &'static [Row]); 4] {
    let list = Origins::List(LISTED.map(str::to_owned).to_vec());
    let null = Origins::List(vec!["null".to_owned()]);
    [(Origins::default(), SAME_HOST), (list, LIST), (null, NULL_LISTED), (Origins::Any, ANY)]
}

fn run(ran: &mut Ran) {
    for (origins, rows) in policies() {
        let acceptor = Acceptor::new().origins(origins.clone());
        for &(host, lines, status, says) in rows {
            let lines: String = lines.iter().map(|line| format!("Origin: {line}\r\n")).collect();
            let input = replaced(REQUEST, "example.com\r\n", &format!("{host}\r\n{lines}"));
            check(&acceptor, &input, status, says, &format!("{origins:?}"));
        }
    }
    ran.id("H17");

    // RFC 9112 §3.2.2: a host in the request-target takes the place of Host.
    let target = |origin: &str| {
        let head = String::from_utf8(replaced(REQUEST, "/chat", "http://good.com/chat")).expect("text");
        replaced(&head, END, &format!("Origin: http://{origin}\r\n"))
    };
    check(&Acceptor::new(), &target("good.com"), 101, "", "a host in the request-target");
    check(&Acceptor::new(), &target("example.com"), 403, "Origin", "a host in the request-target");

    // The answer names the header and the setting.
    let evil = replaced(REQUEST, END, "Origin: https://evil.com\r\n");
    for setting in ["Origin is", "Origins::List"] {
        check(&Acceptor::new(), &evil, 403, setting, "S-14");
    }
    ran.id("S-14");
}

fn check(acceptor: &Acceptor, request: &[u8], status: u16, says: &str, shown: &str) {
    let runtime = runtime();
    let input = [request, HI_MASKED].concat();
    for cuts in deliveries(&input) {
        let context = format!("{}, {shown}: {}, cut at {cuts:.16?}", cited(&["H17", "S-14"]), request.escape_ascii());
        let served = runtime.block_on(serve(acceptor, &input, &cuts));
        let answer = served.answer.unwrap_or_else(|| panic!("{context}: no answer"));
        assert_eq!(answer.status, status, "{context}: {answer:?}");
        match served.accepted {
            Ok(_) => assert_eq!(status, 101, "{context}"),
            Err(error) => {
                assert_eq!(name(&error), format!("Refused {status}"), "{context}");
                refusal(&answer, says, &context);
            }
        }
    }
}
