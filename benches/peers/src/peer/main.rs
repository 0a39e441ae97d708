//! The peers: one program, so that all of them are built alike.
//!
//! ```text
//! peer echo NAME [ADDR] [--deflate | --tls | --plain] [--sizes REQUEST REPLY]
//! peer broadcast NAME [ADDR]
//! peer receive NAME --sizes PAYLOAD PAYLOAD URL
//! ```
//!
//! Each runs on one thread, with `TCP_NODELAY` and the allocator of the system.

mod batch;
mod handshake;
mod hub;
mod options;
mod peers;
mod serve;
mod tls;
mod upgrade;

use std::process::ExitCode;

use crate::{
    options::Options,
    peers::{
        fastwebsockets, floor, sockudo_ws, soketto, tokio_tungstenite, tokio_websockets, web_socket, wireline, ws_rs,
        yawc,
    },
    serve::Done,
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Done {
    let mut arguments = std::env::args().skip(1);
    let (Some(task), Some(name)) = (arguments.next(), arguments.next()) else {
        return Err("usage: peer echo|broadcast|receive NAME [ADDR|URL] [OPTIONS]".into());
    };
    let options = Options::parse(arguments)?;
    match (&*task, &*name) {
        ("echo", "floor") => on_tokio(floor::echo(options)),
        ("echo", "tokio-tungstenite") => on_tokio(tokio_tungstenite::echo(options)),
        ("echo", "tokio-websockets") => on_tokio(tokio_websockets::echo(options)),
        ("echo", "fastwebsockets") => on_tokio(fastwebsockets::echo(options)),
        ("echo", "yawc") => on_tokio(yawc::echo(options)),
        ("echo", "sockudo-ws") => on_tokio(sockudo_ws::echo(options)),
        ("echo", "web-socket") => on_tokio(web_socket::echo(options)),
        ("echo", "soketto") => on_tokio(soketto::echo(options)),
        ("echo", "ws-rs") => ws_rs::echo(&options),
        ("echo", "wireline") => on_tokio(wireline::echo(options)),
        ("echo", "wireline-handler") => wireline::handler_echo(&options),

        ("broadcast", "tokio-tungstenite") => on_tokio(tokio_tungstenite::broadcast(options)),
        ("broadcast", "tokio-websockets") => on_tokio(tokio_websockets::broadcast(options)),
        ("broadcast", "fastwebsockets") => on_tokio(fastwebsockets::broadcast(options)),
        ("broadcast", "yawc") => on_tokio(yawc::broadcast(options)),
        ("broadcast", "sockudo-ws") => on_tokio(sockudo_ws::broadcast(options)),
        ("broadcast", "web-socket") => on_tokio(web_socket::broadcast(options)),
        ("broadcast", "soketto") => on_tokio(soketto::broadcast(options)),
        ("broadcast", "ws-rs") => ws_rs::broadcast(&options),

        ("receive", "floor") => on_tokio(floor::receive(options)),
        ("receive", "tokio-tungstenite") => on_tokio(tokio_tungstenite::receive(options)),
        ("receive", "tokio-websockets") => on_tokio(tokio_websockets::receive(options)),
        ("receive", "fastwebsockets") => on_tokio(fastwebsockets::receive(options)),
        ("receive", "yawc") => on_tokio(yawc::receive(options)),
        ("receive", "sockudo-ws") => on_tokio(sockudo_ws::receive(options)),
        ("receive", "web-socket") => on_tokio(web_socket::receive(options)),
        ("receive", "soketto") => on_tokio(soketto::receive(options)),
        ("receive", "ws-rs") => ws_rs::receive(&options),
        ("receive", "wireline") => on_tokio(wireline::receive(options)),
        ("receive", "wireline-handler") => wireline::handler_receive(&options),

        _ => Err(format!("there is no {task} of {name}").into()),
    }
}

fn on_tokio(program: impl Future<Output = Done>) -> Done {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(program)
}
