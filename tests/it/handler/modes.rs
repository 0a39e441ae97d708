//! The ways to run, and what each asks of its handlers.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use tokio::io::duplex;
use wireline::{
    Role,
    handler::{
        Attach, Builder, CloseCode, ErrorKind, Factory, Handler, Handshake, Message, Request, Response, Result, Sender,
        Settings, WebSocket, connect, connect_async,
    },
};

use super::{
    rig::{Spec, error, outcome},
    wire::{CLIENTS, Mode, REQUEST, Raw, Refused, SERVERS, listener, runtime},
};
use crate::scripted::{Scripted, block_on, close, encode, ping, pong, settle, text};

/// A handler that borrows the caller's stack and shares an `Rc`.
struct Borrowing<'a> {
    out: Sender,
    heard: &'a RefCell<Vec<String>>,
    open: Rc<Cell<u32>>,
}

impl Handler for Borrowing<'_> {
    fn on_open(&mut self, _: Handshake) -> Result<()> {
        self.open.set(self.open.get() + 1);
        Ok(())
    }

    fn on_message(&mut self, msg: Message) -> Result<()> {
        self.heard.borrow_mut().push(msg.to_string());
        self.out.close(CloseCode::Normal)
    }
}

#[test]
fn a_blocking_run_takes_handlers_that_borrow_and_share_s5_1_and_8_4() {
    let (listener, url) = listener();
    let (heard, open) = (RefCell::new(Vec::new()), Rc::new(Cell::new(0)));
    let peer = std::thread::spawn(move || {
        for _ in 0..2 {
            let mut peer = Raw::welcome(&listener);
            peer.send([text("hello")]);
            assert_eq!(peer.frame(), Some(close(1000, "")));
        }
    });
    let mut made = 0;
    let mut ws = WebSocket::new(|out: Sender| {
        made += 1;
        Borrowing { out, heard: &heard, open: Rc::clone(&open) }
    })
    .unwrap();
    let url = url::Url::parse(&url).unwrap();
    ws.connect(url.clone()).unwrap().connect(url).unwrap();
    drop(ws.run().unwrap());
    peer.join().unwrap();
    assert_eq!((made, open.get(), heard.borrow().len()), (2, 2, 2));
}

#[test]
fn callbacks_of_a_blocking_run_are_on_its_thread_and_may_spawn_s5_1() {
    let spawned = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&spawned);
    let (listener, url) = listener();
    let peer = std::thread::spawn(move || {
        let mut peer = Raw::welcome(&listener);
        assert_eq!(peer.frame(), Some(text("from a task")));
        peer.send([close(1000, "")]);
        peer.frame();
    });
    let here = std::thread::current().id();
    connect(url, |out| {
        assert_eq!(std::thread::current().id(), here);
        let done = Arc::clone(&done);
        tokio::runtime::Handle::current().spawn(async move {
            tokio::task::yield_now().await;
            done.store(true, Ordering::Relaxed);
            out.send("from a task").unwrap();
        });
        move |_: Message| {
            assert_eq!(std::thread::current().id(), here);
            Ok(())
        }
    })
    .unwrap();
    peer.join().unwrap();
    assert!(spawned.load(Ordering::Relaxed));
}

#[test]
fn a_blocking_run_inside_a_runtime_s5_1() {
    let nobody = Refused::new();
    let run = || {
        let spec = Spec::new();
        let mut ws = spec.websocket();
        ws.connect(url::Url::parse(&nobody.url).unwrap()).unwrap();
        ws.run().map(drop)
    };
    let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    assert_eq!(outcome(multi.block_on(async { run() })), "Ok");
    let error = runtime().block_on(async { run() }).unwrap_err();
    assert!(error.to_string().contains("run_async"), "it points to the other way: {error}");
    assert_eq!(outcome::<()>(Err(error)), "Internal");
}

#[test]
fn bind_takes_the_first_address_that_works_s2_3() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let ws = Spec::new().websocket();
    assert_eq!(ws.local_addr().unwrap_err().kind(), std::io::ErrorKind::NotFound);
    let ws = ws.bind(&[taken.local_addr().unwrap(), free][..]).unwrap();
    assert_ne!(ws.local_addr().unwrap().port(), 0);
    // Really listening, before any run.
    drop(std::net::TcpStream::connect(ws.local_addr().unwrap()).unwrap());
    assert_eq!(outcome(ws.bind("127.0.0.1:0")), "Internal", "a second bind");
    assert_eq!(outcome(Spec::new().websocket().bind(&[][..])), "Internal", "no address");
    let all_taken = Spec::new().websocket().bind(taken.local_addr().unwrap());
    assert_eq!(outcome(all_taken), "Io(AddrInUse)");
}

#[test]
fn serve_refuses_a_websocket_that_listens_already_s5_2() {
    let ws = Spec::new().websocket().bind("127.0.0.1:0").unwrap();
    let served = runtime().block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        ws.serve(listener).await
    });
    assert_eq!(outcome(served), "Internal");
}

#[test]
fn connecting_any_number_before_a_run_only_queues_s2_3() {
    let nobody = Refused::new();
    let url = url::Url::parse(&nobody.url).unwrap();
    let spec = Spec::new().settings(Settings { max_connections: 10_000, ..Settings::default() });
    let mut ws = spec.websocket();
    for _ in 0..10_000 {
        ws.connect(url.clone()).unwrap();
    }
    assert_eq!(spec.log.all(), Vec::<String>::new());
}

#[test]
fn connect_async_fails_where_connect_only_tells_s5_2() {
    runtime().block_on(async {
        let nobody = Refused::new();
        let refused = connect_async(&*nobody.url, |_: Sender| |_: Message| Ok(())).await;
        assert_eq!(outcome(refused), "Io(ConnectionRefused)");
        let bad = connect_async("no URL", |_: Sender| |_: Message| Ok(())).await;
        assert_eq!(outcome(bad), "Internal");
    });
    let (listener, url) = listener();
    let peer = std::thread::spawn(move || {
        let mut peer = Raw::welcome(&listener);
        peer.send([close(1000, "")]);
        peer.frame();
    });
    let opened = runtime().block_on(connect_async(url, |_: Sender| |_: Message| Ok(())));
    assert_eq!(outcome(opened), "Ok");
    peer.join().unwrap();
}

#[test]
fn connect_async_fails_where_the_handler_refuses_the_response_s5_2() {
    struct Refuses;
    impl Handler for Refuses {
        fn on_response(&mut self, _: &Response) -> Result<()> {
            Err(error(ErrorKind::Protocol))
        }
    }
    let (listener, url) = listener();
    let peer = std::thread::spawn(move || {
        let mut peer = Raw::welcome(&listener);
        peer.frame();
    });
    let opened = runtime().block_on(connect_async(url, |_: Sender| Refuses));
    assert_eq!(outcome(opened), "Protocol");
    peer.join().unwrap();
}

/// What the callback has asked for before waits until its own turn is over, and is nothing to the run within.
#[test]
fn a_run_within_a_callback_that_has_sent_something_goes_on_s5_2() {
    let echo = WebSocket::new(|out: Sender| move |message: Message| out.send(message)).unwrap();
    let echo = echo.bind("127.0.0.1:0").unwrap();
    let (url, stop) = (format!("ws://{}", echo.local_addr().unwrap()), echo.broadcaster());
    let echoing = std::thread::spawn(move || drop(echo.run()));
    let spec = Spec::new().react(move |ws, line| {
        if line == "on_message go" {
            ws.send("working")?;
            connect(&*url, |out: Sender| {
                out.send("question").unwrap();
                move |_: Message| out.close(CloseCode::Normal)
            })?;
            ws.send("done")?;
        }
        Ok(())
    });
    let server = spec.websocket();
    let (listener, _) = listener();
    let (address, out) = (listener.local_addr().unwrap(), server.broadcaster());
    listener.set_nonblocking(true).unwrap();
    // A run within a callback needs a runtime of several threads. Leaked: dropping it would wait for a thread that hangs.
    let several = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let several = Box::leak(Box::new(several));
    let serving = several.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        server.serve(listener).await.map(drop)
    });
    let mut peer = Raw::open(address);
    peer.send([text("go")]);
    assert_eq!([peer.frame(), peer.frame()], [Some(text("working")), Some(text("done"))]);
    drop(peer);
    for all in [stop, out] {
        all.shutdown().unwrap();
    }
    several.block_on(serving).unwrap().unwrap();
    echoing.join().unwrap();
}

/// Says whether two of its callbacks are ever under way at once.
struct Exclusive {
    out: Sender,
    inside: Arc<AtomicBool>,
    overlaps: Arc<AtomicUsize>,
}

impl Exclusive {
    fn enter<T>(&self, callback: impl FnOnce() -> T) -> T {
        if self.inside.swap(true, Ordering::SeqCst) {
            self.overlaps.fetch_add(1, Ordering::SeqCst);
        }
        std::thread::yield_now();
        let result = callback();
        self.inside.store(false, Ordering::SeqCst);
        result
    }
}

impl Handler for Exclusive {
    fn on_message(&mut self, msg: Message) -> Result<()> {
        self.enter(|| self.out.broadcast(msg))
    }

    fn on_send_frame(&mut self, frame: wireline::handler::Frame) -> Result<Option<wireline::handler::Frame>> {
        self.enter(|| Ok(Some(frame)))
    }

    fn on_frame(&mut self, frame: wireline::handler::Frame) -> Result<Option<wireline::handler::Frame>> {
        self.enter(|| Ok(Some(frame)))
    }
}

#[test]
fn callbacks_of_one_handler_never_overlap_s5_2() {
    let overlaps = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&overlaps);
    let ws = WebSocket::new(move |out: Sender| Exclusive { out, inside: Arc::default(), overlaps: Arc::clone(&count) });
    let ws = ws.unwrap();
    let broadcaster = ws.broadcaster();
    let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    multi.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peers = std::thread::spawn(move || {
            let mut peers: Vec<_> = (0..4).map(|_| Raw::open(address)).collect();
            for peer in &mut peers {
                peer.send((0..50).map(|number| text(number.to_string())));
            }
            for peer in &mut peers {
                for _ in 0..200 {
                    peer.frame().expect("each message of each");
                }
            }
            drop(peers);
            broadcaster.shutdown().unwrap();
        });
        ws.serve(listener).await.unwrap();
        peers.join().unwrap();
    });
    assert_eq!(overlaps.load(Ordering::SeqCst), 0);
}

/// Each waits for the other, and gives its thread's other tasks away for as long.
#[test]
fn callbacks_of_different_handlers_run_in_parallel_s5_2() {
    let both = Arc::new(std::sync::Barrier::new(2));
    let spec = Spec::new().react(move |_, line| {
        if line.starts_with("on_message") {
            tokio::task::block_in_place(|| both.wait());
        }
        Ok(())
    });
    let ws = spec.websocket();
    let broadcaster = ws.broadcaster();
    let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    multi.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = spec.log.clone();
        let peers = std::thread::spawn(move || {
            let mut peers = [Raw::open(address), Raw::open(address)];
            for peer in &mut peers {
                peer.send([text("meet"), ping("met")]);
            }
            for peer in &mut peers {
                assert_eq!(peer.frame(), Some(pong("met")));
            }
            log.await_times("on_message meet", 2);
            drop(peers);
            broadcaster.shutdown().unwrap();
        });
        ws.serve(listener).await.unwrap();
        peers.join().unwrap();
    });
}

#[test]
fn dropping_the_future_cuts_all_connections_without_callbacks_s5_2() {
    let spec = Spec::new();
    let ws = spec.websocket();
    let runtime = runtime();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let log = spec.log.clone();
    let peer = std::thread::spawn(move || {
        let peer = Raw::open(address);
        log.wait_for("on_open");
        log.push(0, "cut");
        peer.frames()
    });
    runtime.block_on(async {
        let until = async {
            while spec.log.count("cut") == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = ws.serve(listener) => unreachable!("nobody shuts it down"),
            () = until => {}
        }
    });
    drop(runtime);
    assert_eq!(peer.join().unwrap(), [], "no Close frame");
    assert_eq!(spec.log.all().last().map(String::as_str), Some("cut"), "no callback");
}

#[test]
fn a_panic_with_panic_on_internal_ends_only_its_task_s5_2() {
    let settings = Settings { panic_on_internal: true, ..Settings::default() };
    let spec = Spec::new().settings(settings).react(|ws, line| {
        assert!(ws.connection_id() == 0 || !line.starts_with("on_message"), "asked for");
        Ok(())
    });
    for mode in [Mode::Serve, Mode::RunAsync] {
        let server = spec.fresh().serve(mode);
        let mut healthy = Raw::open(server.address);
        let mut peer = Raw::open(server.address);
        peer.send([text("x")]);
        assert_eq!(peer.frames(), [], "{mode:?}: cut");
        healthy.send([ping("beside")]);
        assert_eq!(healthy.frame(), Some(pong("beside")), "{mode:?}");
        drop(healthy);
        server.shut_down();
    }
}

#[test]
fn attach_needs_no_handshake_and_gives_the_handler_back_s5_2() {
    struct Counting(usize);
    impl Handler for Counting {
        fn on_open(&mut self, shake: Handshake) -> Result<()> {
            assert_eq!(shake.request.resource(), "/upgraded");
            assert_eq!(shake.response.status(), 101);
            Ok(())
        }

        fn on_message(&mut self, _: Message) -> Result<()> {
            self.0 += 1;
            Ok(())
        }
    }
    let request = Request::parse(REQUEST.replace("/chat", "/upgraded").as_bytes()).unwrap().unwrap();
    let response = Response::from_request(&request).unwrap();
    let handshake = Handshake { request, response, peer_addr: None, local_addr: None };
    block_on(async {
        let (transport, control) = Scripted::new();
        control.arrive(encode(Role::Server, [text("2"), close(1000, "")]));
        control.end();
        // What was read behind the request.
        let early = Bytes::from(encode(Role::Server, [text("1")]));
        let attached = Attach::server().handshake(handshake).leftover(early).run(transport, |_| Counting(0)).await;
        assert_eq!(attached.unwrap().0, 2);
    });
}

#[test]
fn attached_alone_it_is_a_websocket_of_its_own_s5_2() {
    block_on(async {
        let conn = Spec::new().attach(Role::Server).await;
        let refused = conn.ws().connect(url::Url::parse("ws://127.0.0.1:1").unwrap());
        assert_eq!(outcome(refused), "Queue(Closed)");
        assert_eq!(conn.ws().connections(), [conn.ws()]);
        conn.ws().broadcast("to itself").unwrap();
        settle().await;
        assert_eq!(conn.frames(), [text("to itself")]);
        conn.ws().shutdown().unwrap();
        settle().await;
        assert_eq!(conn.frames()[1..], [close(1001, "Shutting down.")]);
        conn.ended().await;
    });
}

#[test]
fn in_a_group_it_is_one_of_the_others_s5_2() {
    for mode in SERVERS {
        let server = Spec::new().serve(mode);
        let mut peer = Raw::open(server.address);
        server.log.wait_for("on_open");
        block_on(async {
            let conn = Spec::new().join(Role::Server, &server.ws).await;
            assert_eq!(server.ws.connections().len(), 2, "{mode:?}");
            server.ws.connections()[0].send_to(conn.ws().connection_id(), "to").unwrap();
            conn.ws().broadcast("all").unwrap();
            settle().await;
            assert_eq!(conn.frames(), [text("to"), text("all")], "{mode:?}");
            assert_eq!(peer.frame(), Some(text("all")), "{mode:?}");
            // It shares the shutdown; the run does not wait for it.
            server.ws.shutdown().unwrap();
            while conn.log.count("on_shutdown") == 0 {
                settle().await;
            }
            settle().await;
            assert_eq!(conn.frames()[2..], [close(1001, "Shutting down.")], "{mode:?}");
            assert_eq!(conn.ended().await.last().map(String::as_str), Some("on_close Abnormal"), "{mode:?}");
        });
        drop(peer);
        server.ended();
    }
}

#[test]
fn attach_respects_the_groups_limit_s5_2() {
    block_on(async {
        let settings = Settings { max_connections: 1, ..Settings::default() };
        let websocket = Spec::new().settings(settings).websocket();
        let group = websocket.broadcaster();
        let one = Spec::new().join(Role::Server, &group).await;
        let (other, _) = duplex(64);
        let refused = Attach::server().group(&group).run(other, |_| |_: Message| Ok(())).await;
        assert_eq!(outcome(refused), "Capacity");
        one.ended().await;
        drop(websocket);
        let (other, _) = duplex(64);
        let refused = Attach::server().group(&group).run(other, |_| |_: Message| Ok(())).await;
        assert_eq!(outcome(refused), "Queue(Closed)");
    });
}

/// Two of ours, over a pipe, in every pair of modes that may meet.
#[test]
fn a_client_and_a_server_of_ours_understand_each_other_s5() {
    let echo = || {
        Spec::new().react(|ws, line| match line.strip_prefix("on_message ") {
            Some(text) => ws.send(text),
            None => Ok(()),
        })
    };
    let asking = || {
        Spec::new().react(|ws, line| match line {
            "on_open" => ws.send("hello"),
            "on_message hello" => ws.close_with_reason(CloseCode::Normal, "done"),
            _ => Ok(()),
        })
    };
    for server_mode in SERVERS {
        for client_mode in CLIENTS {
            let server = echo().serve(server_mode);
            let client = asking().connect(client_mode, &[format!("ws://{}/", server.address)]);
            let lines = client.ended();
            assert_eq!(
                lines[3..6],
                ["on_open", "on_message hello", "on_close Normal"],
                "{server_mode:?} {client_mode:?}"
            );
            server.log.wait_for("on_close Normal done");
            server.shut_down();
        }
    }
}

/// The factory of a run that is spawned is called by its future alone.
#[test]
fn a_factory_need_not_be_send_where_its_handlers_are_s5_2() {
    struct Local(Rc<Cell<usize>>);
    impl Factory for Local {
        type Handler = fn(Message) -> Result<()>;

        fn connection_made(&mut self, _: Sender) -> Self::Handler {
            self.0.set(self.0.get() + 1);
            |_| Ok(())
        }
    }
    let nobody = Refused::new();
    let made = Rc::new(Cell::new(0));
    let mut ws = Builder::new().build(Local(Rc::clone(&made))).unwrap();
    ws.connect(url::Url::parse(&nobody.url).unwrap()).unwrap();
    runtime().block_on(ws.run_async()).unwrap();
    assert_eq!(made.get(), 1);
}
