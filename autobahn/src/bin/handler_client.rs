//! `handler-client URL AGENT`: runs every case of the fuzzing server at URL with a `Handler` that offers compression, one
//! after the other, with the strict flags on, and then has the reports written.

use std::{cell::Cell, rc::Rc, time::Duration};

use wireline::handler::{
    Builder, CloseCode, Error, ErrorKind, Handler, Message, Result, Sender, Settings, deflate::DeflateHandler,
};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(agent)) = (arguments.next(), arguments.next()) else {
        return Err(Error::new(ErrorKind::Internal, "usage: handler-client URL AGENT"));
    };

    let count = Rc::new(Cell::new(0));
    run(&format!("{url}/getCaseCount"), |out| Count { out, count: Rc::clone(&count) })?;
    for case in 1..=count.get() {
        run(&format!("{url}/runCase?case={case}&agent={agent}"), |out| DeflateHandler::new(Echo { case, out }))?;
    }
    run(&format!("{url}/updateReports?agent={agent}"), |_| |_| Ok(()))
}

fn run<H: Handler>(url: &str, factory: impl FnMut(Sender) -> H) -> Result<()> {
    let settings = Settings {
        masking_strict: true,
        key_strict: true,
        method_strict: true,
        tcp_nodelay: true,
        // The suite answers the last handshake only when it has written the report of every case.
        handshake_timeout: Duration::from_secs(300),
        ..Settings::default()
    };
    let mut websocket = Builder::new().with_settings(settings).build(factory)?;
    let url = url.parse().map_err(|error| Error::new(ErrorKind::Internal, format!("{url}: {error}")))?;
    websocket.connect(url)?;
    websocket.run().map(drop)
}

/// Notes the number of cases.
struct Count {
    out: Sender,
    count: Rc<Cell<u32>>,
}

impl Handler for Count {
    fn on_message(&mut self, message: Message) -> Result<()> {
        self.count.set(message.as_text()?.parse().map_err(Box::new)?);
        self.out.close(CloseCode::Normal)
    }
}

/// Sends every message back.
struct Echo {
    case: u32,
    out: Sender,
}

impl Handler for Echo {
    fn on_message(&mut self, message: Message) -> Result<()> {
        self.out.send(message)
    }

    // Most cases end in an error on purpose; it goes to the agent's log.
    fn on_error(&mut self, error: Error) {
        eprintln!("{}: {error}", self.case);
    }
}
