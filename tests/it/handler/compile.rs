//! What need only compile: the shapes that programs depend on.
#![expect(dead_code, reason = "compiled, and not run")]

use std::{cell::Cell, hash::Hash, rc::Rc};

use wireline::handler::{
    self as ws, Builder, CloseCode, Error, ErrorKind, Factory, Frame, Handler, Handshake, Message, Request, Response,
    Result, Sender, Settings, WebSocket, connect, listen,
    util::{QueueError, SslStream, TcpStream, Timeout, Token},
};

fn is_send<T: Send>() {}
fn is_sync<T: Sync>() {}
fn is_copy<T: Copy>() {}
fn is_send_now<T: Send>(_: &T) {}

fn handler_is_object_safe_s5_3(handler: &mut dyn Handler) -> Result<()> {
    handler.on_message(Message::text("x"))
}

fn settings_and_builder_are_copy_s5_3() {
    is_copy::<Settings>();
    is_copy::<Builder>();
    is_copy::<Token>();
    is_copy::<CloseCode>();
}

/// With the bound `F: FnMut(Sender) -> H` the types are inferred.
fn listen_and_connect_infer_their_closures_s5_3() -> Result<()> {
    listen("127.0.0.1:0", |out| move |msg| out.send(msg))?;
    connect("ws://127.0.0.1:1", |out| {
        move |msg: Message| if msg.is_empty() { out.ping(vec![]) } else { out.send(msg) }
    })?;
    connect(String::from("ws://127.0.0.1:1"), |out| {
        out.send("hello").unwrap();
        move |msg| out.send(msg)
    })
}

/// There the Sender may need its annotation.
fn new_and_build_take_any_factory_s5_3<F: Factory>(factory: F, closure: fn(Sender) -> Boxed) -> Result<()> {
    WebSocket::new(factory)?;
    WebSocket::new(closure)?;
    WebSocket::new(|out: Sender| move |msg| out.send(msg))?;
    Builder::new().with_settings(Settings::default()).build(|_: Sender| |_: Message| Ok(()))?;
    Ok(())
}

type Boxed = Box<dyn Handler>;

struct Chooses;

impl Factory for Chooses {
    type Handler = Box<dyn Handler + Send>;

    fn connection_made(&mut self, out: Sender) -> Self::Handler {
        if out.connection_id() == 0 { Box::new(Silent) } else { Box::new(move |msg| out.send(msg)) }
    }
}

struct Silent;

impl Handler for Silent {}

fn boxed_handlers_are_handlers_s2_5<'a>(local: &'a Cell<u32>) -> Result<()> {
    let boxed: Box<dyn Handler + 'a> = Box::new(move |_: Message| {
        local.set(1);
        Ok(())
    });
    let mut boxed = Some(boxed);
    WebSocket::new(move |_: Sender| boxed.take().unwrap())?.run()?;
    WebSocket::new(Chooses)?;
    Ok(())
}

/// `FnMut` here, where ws-rs takes `Fn`.
fn a_closure_that_changes_its_state_is_a_handler_s2_5() -> Result<()> {
    connect("ws://127.0.0.1:1", |_| {
        let mut count = 0;
        move |_| {
            count += 1;
            if count < 3 { Ok(()) } else { Err(Error::new(ErrorKind::Internal, "enough")) }
        }
    })
}

fn a_borrowing_handler_with_an_rc_runs_s5_1_and_8_4(name: &str) -> Result<()> {
    let shared = Rc::new(Cell::new(0));
    let mut made = 0;
    let mut ws = WebSocket::new(|out: Sender| {
        made += 1;
        let shared = Rc::clone(&shared);
        move |_: Message| {
            shared.set(shared.get() + name.len());
            out.send(name)
        }
    })?;
    ws.connect(url::Url::parse("ws://127.0.0.1:1").unwrap())?;
    ws.run()?;
    Ok(())
}

fn a_websocket_moves_to_a_thread_where_its_handlers_may_s2_3() -> Result<()> {
    let ws = WebSocket::new(|out: Sender| move |msg: Message| out.send(msg))?;
    is_send_now(&ws);
    std::thread::spawn(|| ws.run().map(drop));
    Ok(())
}

fn futures_are_send_where_their_parts_are_s5_2(ws: WebSocket<Chooses>, listener: tokio::net::TcpListener) {
    is_send_now(&ws.serve(listener));
    is_send_now(&WebSocket::new(Chooses).unwrap().run_async());
    is_send_now(&ws::connect_async("ws://127.0.0.1:1", Chooses));
    let (stream, _) = tokio::io::duplex(1);
    is_send_now(&ws::Attach::client().run(stream, |_| Silent));
    // And need not be.
    let (stream, _) = tokio::io::duplex(1);
    let local = Rc::new(Cell::new(0));
    let _local = ws::Attach::server().run(stream, |_| {
        move |_: Message| {
            local.set(1);
            Ok(())
        }
    });
}

fn kinds_are_matched_as_before_s5_3(error: &Error) -> u8 {
    match &error.kind {
        ErrorKind::Internal => 0,
        ErrorKind::Capacity => 1,
        ErrorKind::Protocol => 2,
        ErrorKind::Encoding(_) => 3,
        ErrorKind::Io(_) => 4,
        ErrorKind::Http(_) => 5,
        ErrorKind::Queue(_) => 6,
        ErrorKind::Ssl(_) => 7,
        ErrorKind::Custom(_) => 8,
    }
}

fn tokens_are_constants_and_patterns_s2_12(token: Token) -> bool {
    const PING: Token = Token(1);
    matches!(token, PING)
}

/// Whatever the features: no method comes or goes.
struct Everything;

impl Handler for Everything {
    fn on_shutdown(&mut self) {}
    fn on_open(&mut self, _: Handshake) -> Result<()> {
        Ok(())
    }
    fn on_message(&mut self, _: Message) -> Result<()> {
        Ok(())
    }
    fn on_close(&mut self, _: CloseCode, _: &str) {}
    fn on_error(&mut self, _: Error) {}
    fn on_request(&mut self, req: &Request) -> Result<Response> {
        Response::from_request(req)
    }
    fn on_response(&mut self, _: &Response) -> Result<()> {
        Ok(())
    }
    fn on_rejected(&mut self, _: &Response) {}
    fn on_timeout(&mut self, _: Token) -> Result<()> {
        Ok(())
    }
    fn on_new_timeout(&mut self, _: Token, _: Timeout) -> Result<()> {
        Ok(())
    }
    fn on_frame(&mut self, frame: Frame) -> Result<Option<Frame>> {
        Ok(Some(frame))
    }
    fn on_send_frame(&mut self, frame: Frame) -> Result<Option<Frame>> {
        Ok(Some(frame))
    }
    fn build_request(&mut self, url: &url::Url) -> Result<Request> {
        Request::from_url(url)
    }
    fn upgrade_ssl_client(&mut self, _: TcpStream, _: &url::Url) -> Result<SslStream<TcpStream>> {
        Err(Error::new(ErrorKind::Internal, ""))
    }
    fn upgrade_ssl_server(&mut self, stream: TcpStream) -> Result<SslStream<TcpStream>> {
        Ok(SslStream::server_default(stream))
    }
}

impl Factory for Everything {
    type Handler = Silent;

    fn connection_made(&mut self, _: Sender) -> Silent {
        Silent
    }
    fn client_connected(&mut self, _: Sender) -> Silent {
        Silent
    }
    fn server_connected(&mut self, _: Sender) -> Silent {
        Silent
    }
    fn connection_lost(&mut self, _: Silent) {}
    fn on_shutdown(&mut self) {}
}

fn types_cross_threads_s2() {
    is_send::<Sender>();
    is_sync::<Sender>();
    is_send::<Error>();
    is_sync::<Error>();
    is_send::<Frame>();
    is_sync::<Frame>();
    is_send::<Timeout>();
    is_sync::<Timeout>();
    is_send::<SslStream<TcpStream>>();
    fn comparable<T: Eq + Hash + Clone>() {}
    comparable::<Sender>();
    comparable::<Token>();
}

fn errors_convert_s2_11(boxed: Box<std::fmt::Error>) -> [Error; 5] {
    [
        boxed.into(),
        QueueError::Full.into(),
        std::io::Error::from(std::io::ErrorKind::Other).into(),
        httparse::Error::Token.into(),
        Error::new(ErrorKind::Internal, String::from("owned")),
    ]
}

fn send_keeps_its_bound_s2_6<M: Into<Message>>(out: &Sender, message: M) -> Result<()> {
    out.send(message)
}

/// All fields are public, with nothing left to be added silently.
fn settings_are_a_literal_s2_2_and_4_additions(settings: Settings) -> Settings {
    Settings { max_connections: 1, queue_size: 1, fragments_grow: false, ..settings }
}

#[cfg(feature = "tls-no-provider")]
fn tls_is_given_to_the_websocket_s2_3(config: std::sync::Arc<rustls::ServerConfig>) -> Result<()> {
    WebSocket::new(Everything)?.with_tls(config).listen("127.0.0.1:0").map(drop)
}
