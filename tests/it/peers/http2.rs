//! The chat of the axum example over TLS, whose page opens its WebSocket on its own connection of HTTP/2 (RFC 8441).

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use super::{DEADLINE, browser::Browser, certificate::Certificate, skipped, tab::Tab};

#[tokio::test]
async fn chromium_opens_its_websocket_on_the_connection_of_its_page() {
    if skipped() {
        return;
    }
    let certificate = Certificate::new();
    // It may have to be built.
    let started = timeout(5 * DEADLINE, start(&certificate)).await;
    let (_chat, origin) = started.expect("the example listens in time");
    let browser = Browser::driven();
    timeout(DEADLINE, talk(&browser, &origin)).await.unwrap_or_else(|_| panic!("not done in time: {}", browser.log()));
}

async fn talk(browser: &Browser, origin: &str) {
    let mut ann = Tab::open(browser, &format!("{origin}/?name=Ann")).await;
    // An HTTP/2 request is a WebSocket only as an extended CONNECT: by GET it is refused.
    ann.shows("welcome, Ann, over HTTP/2.0").await;
    ann.until("performance.getEntriesByType('navigation')[0].nextHopProtocol === 'h2'").await;
    ann.until("ws.extensions.startsWith('permessage-deflate')").await;

    let mut bob = Tab::open(browser, &format!("{origin}/?name=Bob")).await;
    bob.shows("welcome, Bob, over HTTP/2.0").await;
    let long = "grüße ".repeat(20_000);
    ann.run("input", "ws.send('grüße '.repeat(20000))").await;
    ann.shows(&format!("Ann: {long}")).await;
    bob.shows(&format!("Ann: {long}")).await;
    ann.run("input", "ws.close(4001, 'bye')").await;
    ann.shows("closed: 4001").await;
    bob.run("input", "ws.send('alone')").await;
    bob.shows("Bob: alone").await;
}

/// The running example, and its origin.
async fn start(certificate: &Certificate) -> (Child, String) {
    let mut program = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["run", "--quiet", "--all-features", "--example", "axum_chat", "--", "127.0.0.1:0"])
        .arg(certificate.certificate_file())
        .arg(certificate.key_file())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("cargo runs");
    let mut line = String::new();
    let output = program.stdout.take().expect("standard output is piped");
    BufReader::new(output).read_line(&mut line).await.expect("a line of text");
    let origin = line.trim_end().strip_prefix("listening on ");
    let origin = origin.unwrap_or_else(|| panic!("the chat printed {line:?}")).to_owned();
    (program, origin)
}
