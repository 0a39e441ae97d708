//! Fault 4.14: a process that has no descriptors left.

use std::{env, process::Stdio, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
    time::Instant,
};
use wireline::{Client, Config, Error, Message, Server};

/// Says that this process is the server of [`accepting_goes_on_after_the_descriptors_ran_out`].
const FEW_DESCRIPTORS: &str = "WIRELINE_FEW_DESCRIPTORS";

/// A server that echoes until its standard input ends; does nothing unless it was started for that.
#[tokio::test]
async fn a_server_with_few_descriptors() {
    if env::var_os(FEW_DESCRIPTORS).is_none() {
        return;
    }
    tracing_subscriber::fmt().with_ansi(false).init();
    let mut config = Config::default();
    config.timings.handshake = Duration::from_secs(3600);
    let server = Server::bind("127.0.0.1:0").await.expect("a port").config(config).expect("valid");
    println!("\nlistening on {}", server.local_addr().expect("its address"));
    let serve = server.serve(|mut ws, _| async move {
        while let Some(message) = ws.next().await {
            ws.feed(message?).await?;
        }
        Ok(())
    });
    let mut input = tokio::io::stdin();
    tokio::select! {
        served = serve => panic!("{served:?}"),
        _ = input.read_u8() => {}
    }
}

/// That server in a process of its own.
struct Few {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    address: String,
    warnings: usize,
}

impl Few {
    async fn start() -> Self {
        let test = "opening::descriptors::a_server_with_few_descriptors";
        let mut process = Command::new("sh")
            .args(["-c", &format!("ulimit -n 64 && exec \"$0\" --exact {test} --nocapture")])
            .arg(env::current_exe().expect("this program"))
            .env(FEW_DESCRIPTORS, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("sh runs");
        let lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let mut few = Self { process, lines, address: String::new(), warnings: 0 };
        few.address = loop {
            let line = few.line().await.expect("it says where it listens");
            if let Some(address) = line.strip_prefix("listening on ") {
                break address.to_owned();
            }
        };
        few
    }

    async fn line(&mut self) -> Option<String> {
        let line = self.lines.next_line().await.expect("text")?;
        self.warnings += usize::from(line.contains("cannot accept connections"));
        Some(line)
    }

    /// Waits until so many warnings have been printed in all.
    async fn warned(&mut self, times: usize) {
        while self.warnings < times {
            self.line().await.expect("it is still there");
        }
    }

    /// Processor time that it has used, in hundredths of a second.
    #[cfg(target_os = "linux")]
    fn processor_time(&self) -> u64 {
        let id = self.process.id().expect("it runs");
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("it is there");
        let fields = stat.rsplit_once(") ").expect("a name").1.split(' ').skip(11).take(2);
        fields.map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
    }

    /// Processor time is looked at on Linux only.
    #[cfg(not(target_os = "linux"))]
    fn processor_time(&self) -> u64 {
        0
    }

    async fn end(mut self) -> usize {
        drop(self.process.stdin.take());
        while self.line().await.is_some() {}
        assert!(self.process.wait().await.expect("it was started").success());
        self.warnings
    }
}

async fn echo(waiting: Option<TcpStream>, url: &str) -> Result<Option<Message>, Error> {
    let client = Client::new(url)?;
    let stream = match waiting {
        Some(stream) => stream,
        None => TcpStream::connect(url.trim_start_matches("ws://")).await?,
    };
    let (mut ws, _) = client.connect_over(stream).await?;
    ws.send("hello").await?;
    let echoed = ws.next().await.transpose()?;
    ws.close(wireline::CloseCode::NORMAL, "").await?;
    Ok(echoed)
}

const CLIENTS: usize = 500;

/// More than the server has descriptors, and fewer than those and the places in the system's queue, of which some have 128.
const AT_ONCE: usize = 120;

/// Once a second at most the server says so, it does not spin meanwhile, and each client that leaves makes room for another.
#[tokio::test]
async fn accepting_goes_on_after_the_descriptors_ran_out() {
    let begin = now();
    let mut server = Few::start().await;
    let mut waiting = Vec::new();
    for _ in 0..AT_ONCE {
        // The system accepts for the server; the server itself, which is out of descriptors, does not.
        waiting.push(TcpStream::connect(&server.address).await.expect("a place in the queue"));
    }
    server.warned(1).await;
    let used = server.processor_time();
    server.warned(2).await;
    assert!(server.processor_time() - used < 20, "4.14: it spins between two warnings");

    let url = format!("ws://{}", server.address);
    let waiting = waiting.into_iter().map(Some).chain((AT_ONCE..CLIENTS).map(|_| None));
    let mut echoes = stream::iter(waiting).map(|waiting| echo(waiting, &url)).buffer_unordered(AT_ONCE);
    let mut served = 0;
    while let Some(echoed) = echoes.next().await {
        assert_eq!(echoed.expect("served"), Some(Message::from("hello")), "4.14");
        served += 1;
    }
    assert_eq!(served, CLIENTS);

    let warnings = server.end().await;
    let seconds = begin.elapsed().as_secs();
    assert!(u64::try_from(warnings).expect("few") <= seconds + 1, "4.14: {warnings} warnings in {seconds} s");
}

#[expect(clippy::disallowed_methods, reason = "the clock of a test")]
fn now() -> Instant {
    Instant::now()
}
