//! Headless Chromium, the page it opens, and the server that the page comes from and reports to.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::sleep,
};
use tokio_util::io::InspectWriter;
use wireline::server::Acceptor;

use super::{POLLING, directory::Directory};

/// A running browser; it is killed with the value.
pub(super) struct Browser {
    process: Child,
    profile: Directory,
}

impl Browser {
    pub(super) fn open(url: &str) -> Self {
        Self::start(&[url])
    }

    /// A browser without a page, whose pages are opened and driven by the programs that it listens to.
    pub(super) fn driven() -> Self {
        Self::start(&["--remote-debugging-port=0", "about:blank"])
    }

    /// The WebSocket URL that a driven browser listens on, once it does.
    pub(super) async fn driver_url(&self) -> String {
        // Its second line is the path. There is no other sign of it than the file.
        let file = self.profile.path().join("DevToolsActivePort");
        loop {
            let written = fs::read_to_string(&file).unwrap_or_default();
            if let Some((port, path)) = written.split_once('\n').filter(|(_, path)| !path.is_empty()) {
                return format!("ws://127.0.0.1:{port}{path}");
            }
            sleep(POLLING).await;
        }
    }

    fn start(arguments: &[&str]) -> Self {
        let profile = Directory::new();
        let log = File::create(profile.path().join("log")).expect("a file under target");
        let process = Command::new("/usr/bin/chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            // The certificate was made for this test: no browser knows its authority.
            .arg("--ignore-certificate-errors")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(arguments)
            // Its temporary files go with the profile. It puts a socket among them, so that their path must be short.
            .current_dir(profile.path())
            .env("TMPDIR", ".")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("chromium does not run; tests/peers/install installs it: {error}"));
        Self { process, profile }
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.profile.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The whole group: its children would outlive it and write into the profile that is about to be removed. A
        // failure here has no remedy, and must not hide the test's own.
        let group = format!("-{}", self.process.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The server of tests/peers/page.html and deflate.html, whose origin is the page's.
pub(super) struct Page {
    listener: TcpListener,
}

impl Page {
    pub(super) async fn bind() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.expect("a free port") }
    }

    pub(super) fn origin(&self) -> String {
        format!("http://{}", self.listener.local_addr().expect("it listens"))
    }

    /// The page that plays the scenario against the WebSocket server at `server`.
    pub(super) fn url(&self, server: &str) -> String {
        format!("{}/?{server}", self.origin())
    }

    /// The page that also outlasts the server.
    #[cfg(all(feature = "deflate", unix))]
    pub(super) fn restart_url(&self, server: &str) -> String {
        format!("{}#restart", self.url(server))
    }

    /// The page that exchanges compressed messages with the servers at `servers`.
    #[cfg(feature = "deflate")]
    pub(super) fn deflate_url(&self, servers: &[String]) -> String {
        format!("{}/deflate?{}", self.origin(), servers.join(","))
    }

    /// Serves the page until it has reported, and returns the report.
    pub(super) async fn report(&self) -> String {
        let (report, mut reported) = mpsc::channel(1);
        // Browsers open connections ahead of need, so that none may keep another waiting.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    let (stream, _) = accepted.expect("a connection");
                    connections.spawn(answer(stream, report.clone()));
                }
                Some(report) = reported.recv() => return report,
            }
        }
    }
}

/// Answers one HTTP request. A browser that breaks off is no failure: the report decides.
async fn answer(stream: TcpStream, report: mpsc::Sender<String>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        if line.trim_end().is_empty() {
            break;
        }
        request.push_str(&line);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;

    let (status, kind, text) = match request.split([' ', '?']).nth(1) {
        Some("/") => ("200 OK", "text/html", include_str!("../../peers/page.html")),
        Some("/deflate") => ("200 OK", "text/html", include_str!("../../peers/deflate.html")),
        Some("/deflate.mjs") => ("200 OK", "text/javascript", include_str!("../../peers/deflate.mjs")),
        Some("/scenario.mjs") => ("200 OK", "text/javascript", include_str!("../../peers/scenario.mjs")),
        Some("/report") => ("200 OK", "text/plain", ""),
        _ => ("404 Not Found", "text/plain", ""),
    };
    let length = text.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;

    if request.starts_with("POST /report ") {
        report.send(String::from_utf8_lossy(&body).into_owned()).await.expect("the report is waited for");
    }
    Ok(())
}

/// Our server with its defaults, whose permission a page of another origin does not have, and what it answers.
pub(super) struct Recorder {
    listener: TcpListener,
}

impl Recorder {
    pub(super) async fn bind() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.expect("a free port") }
    }

    pub(super) fn port(&self) -> u16 {
        self.listener.local_addr().expect("it listens").port()
    }

    /// Accepts until a request was answered, and returns the answer.
    pub(super) async fn first_answer(&self) -> String {
        let acceptor = Acceptor::new();
        let mut handshakes = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    let (stream, _) = accepted.expect("a connection");
                    handshakes.push(handshake(&acceptor, stream));
                }
                // A connection that was opened ahead of need ends without one.
                Some(answer) = handshakes.next() => if !answer.is_empty() { return answer },
            }
        }
    }
}

async fn handshake(acceptor: &Acceptor, stream: TcpStream) -> String {
    let answer = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::clone(&answer);
    let stream =
        InspectWriter::new(stream, move |bytes| written.lock().expect("not poisoned").extend_from_slice(bytes));
    let outcome = acceptor.accept(stream).await;
    drop(outcome);
    let answer = answer.lock().expect("not poisoned");
    String::from_utf8_lossy(&answer).into_owned()
}
