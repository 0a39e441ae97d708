//! Shutdown, and how long a run lives.

#[cfg(unix)]
mod programs;

use std::time::Duration;

use wireline::{
    Role,
    handler::{CloseCode, Sender, Settings},
};

use super::{
    rig::Spec,
    wire::{CLIENTS, REQUEST, RESPONSE, Raw, Refused, SERVERS, listener},
};
use crate::scripted::{ROLES, block_on, close, now, seconds, settle, text};

#[test]
fn shutdown_closes_every_connection_and_calls_back_everyone_s3_10_and_4_shutdown() {
    for mode in SERVERS {
        let server = Spec::new().serve(mode);
        let mut peers = [Raw::open(server.address), Raw::open(server.address), Raw::open(server.address)];
        let mut handshaking = Raw::dial(server.address);
        handshaking.write(&REQUEST[..20]);
        server.log.await_times("server_connected", 4);
        server.log.await_times("on_open", 3);
        let log = server.log.clone();
        server.ws.shutdown().unwrap();
        for peer in &mut peers {
            assert_eq!(peer.frame(), Some(close(1001, "Shutting down.")), "4: shutdown, {mode:?}");
            peer.send([close(1001, "")]);
        }
        for peer in peers {
            assert_eq!(peer.frames(), [], "{mode:?}");
        }
        assert_eq!(handshaking.rest(), b"", "{mode:?}");
        let lines = server.ended();
        for id in 0..3 {
            let expected =
                ["server_connected", "on_request", "on_open", "on_shutdown", "on_close Away", "connection_lost"];
            assert_eq!(log.of(id), expected, "3.10, {mode:?}");
        }
        assert_eq!(log.of(3), ["server_connected", "on_shutdown", "connection_lost"], "3.10, {mode:?}");
        assert_eq!(lines.last().map(String::as_str), Some("Factory::on_shutdown"), "{mode:?}");
        assert_eq!(log.count("Factory::on_shutdown"), 1, "{mode:?}");
    }
}

#[test]
fn on_shutdown_comes_before_the_close_and_nothing_is_delivered_behind_it_s3_10() {
    let spec = Spec::new().react(|ws, line| match line {
        "on_message 1" => ws.shutdown(),
        "on_shutdown" => ws.send("dropped"),
        _ => Ok(()),
    });
    block_on(async {
        for role in ROLES {
            let conn = spec.fresh().attach(role).await;
            conn.arrive([text("1"), text("2"), close(1000, "theirs")]).await;
            let expected = [
                "on_open",
                "on_frame TEXT 1",
                "on_message 1",
                "on_shutdown",
                "on_send_frame CLOSE 1001 Shutting down.",
                "on_close Normal theirs",
            ];
            assert_eq!(conn.log.all(), expected, "3.10, {role:?}");
            assert_eq!(conn.frames(), [close(1001, "Shutting down.")], "{role:?}");
            conn.ended().await;
        }
    });
}

#[test]
fn shutdown_waits_for_a_silent_peer_up_to_close_timeout_s3_10() {
    block_on(async {
        for role in ROLES {
            let mut conn = Spec::new().attach(role).await;
            conn.ws().shutdown().unwrap();
            let start = now();
            conn.join().await.unwrap().unwrap();
            assert_eq!(seconds(start), 10.0, "{role:?}");
            assert_eq!(conn.log.callbacks(), ["on_open", "on_shutdown", "on_close Abnormal"], "{role:?}");
        }
    });
    // Over sockets: a peer that reads nothing and answers nothing.
    let settings = Settings { close_timeout: Duration::from_millis(100), ..Settings::default() };
    for mode in SERVERS {
        let server = Spec::new().settings(settings).serve(mode);
        let peer = Raw::open(server.address);
        server.log.wait_for("on_open");
        let lines = server.shut_down();
        assert_eq!(lines[3..6], ["on_shutdown", "on_close Abnormal", "connection_lost"], "{mode:?}");
        drop(peer);
    }
}

/// What was sent before it goes out before the Close, and the Close is flushed.
#[test]
fn what_was_sent_before_shutdown_goes_out_first_s3_10_and_4_shutdown() {
    let spec = Spec::new().react(|ws, line| match line {
        "on_open" => {
            ws.send("last words")?;
            ws.shutdown()
        }
        _ => Ok(()),
    });
    for mode in SERVERS {
        let server = spec.fresh().serve(mode);
        let mut peer = Raw::open(server.address);
        assert_eq!(peer.frame(), Some(text("last words")), "{mode:?}");
        assert_eq!(peer.frame(), Some(close(1001, "Shutting down.")), "{mode:?}");
        drop(peer);
        server.ended();
    }
}

#[test]
fn shutdown_works_before_any_connection_and_the_factory_is_asked_for_none_s3_10() {
    for mode in SERVERS {
        let server = Spec::new().serve(mode);
        assert_eq!(server.shut_down(), ["Factory::on_shutdown"], "{mode:?}");
    }
    for mode in CLIENTS {
        let client = Spec::new().connect(mode, &[]);
        assert_eq!(client.shut_down(), ["Factory::on_shutdown"], "{mode:?}");
    }
}

#[test]
fn shutdown_while_a_client_connects_ends_it_quietly_s3_10() {
    for mode in CLIENTS {
        let (listener, url) = listener();
        let client = Spec::new().connect(mode, &[url]);
        let mut peer = Raw::accept(&listener);
        peer.head();
        let lines = client.shut_down();
        let expected = ["client_connected", "build_request", "on_shutdown", "connection_lost", "Factory::on_shutdown"];
        assert_eq!(lines, expected, "{mode:?}");
        assert_eq!(peer.rest(), b"", "{mode:?}");
    }
}

#[test]
fn behind_shutdown_nothing_is_accepted_or_connected_s3_10() {
    let nobody = Refused::new();
    let url = url::Url::parse(&nobody.url).unwrap();
    let spec = Spec::new().react(move |ws, line| match line {
        "on_shutdown" | "connection_lost" => ws.connect(url.clone()),
        _ => Ok(()),
    });
    for mode in SERVERS {
        let server = spec.fresh().serve(mode);
        let mut peer = Raw::open(server.address);
        server.log.wait_for("on_open");
        server.ws.shutdown().unwrap();
        assert_eq!(peer.frame(), Some(close(1001, "Shutting down.")), "{mode:?}");
        drop(peer);
        let lines = server.ended();
        assert!(!lines.contains(&"client_connected".to_owned()), "{mode:?}: {lines:?}");
    }
}

#[test]
fn a_listening_run_outlives_its_connections_s3_10() {
    for mode in SERVERS {
        let server = Spec::new().serve(mode);
        for connections in 1..=3 {
            drop(Raw::open(server.address));
            server.log.await_times("connection_lost", connections);
        }
        assert!(server.ws.is_alive(), "{mode:?}");
        server.shut_down();
    }
}

#[test]
fn a_clients_run_ends_with_its_last_connection_s3_10() {
    for mode in CLIENTS {
        let (listener, url) = listener();
        let client = Spec::new().connect(mode, &[url.clone(), url]);
        for _ in 0..2 {
            let mut peer = Raw::welcome(&listener);
            peer.send([close(1000, "")]);
            peer.frame();
        }
        let lines = client.ended();
        assert_eq!(lines.iter().filter(|line| *line == "connection_lost").count(), 2, "{mode:?}");
        assert_eq!(lines.last().map(String::as_str), Some("Factory::on_shutdown"), "{mode:?}");
    }
}

/// Checked after `connection_lost`.
#[test]
fn connecting_in_the_last_callbacks_keeps_the_run_alive_s3_10_and_4_second_run_reconnect() {
    for mode in CLIENTS {
        for (last, response) in
            [("on_close", RESPONSE), ("connection_lost", RESPONSE), ("on_error", "HTTP/1.1 503 Busy\r\n\r\n")]
        {
            let (listener, url) = listener();
            let again = url::Url::parse(&url).unwrap();
            let spec = Spec::new().react(move |ws: &Sender, line| {
                if line.starts_with(last) && ws.connection_id() < 2 { ws.connect(again.clone()) } else { Ok(()) }
            });
            let client = spec.connect(mode, &[url]);
            for _ in 0..3 {
                let mut peer = Raw::accept(&listener);
                peer.head();
                peer.write(response);
                peer.end();
                peer.rest();
            }
            let lines = client.ended();
            let count = lines.iter().filter(|line| *line == "connection_lost").count();
            assert_eq!(count, 3, "4: reconnect from {last}, {mode:?}: {lines:?}");
        }
    }
}

#[test]
fn with_nothing_queued_a_run_waits_for_a_first_command_s3_10() {
    for mode in CLIENTS {
        let nobody = Refused::new();
        let client = Spec::new().connect(mode, &[]);
        client.ws.connect(url::Url::parse(&nobody.url).unwrap()).unwrap();
        let lines = client.ended();
        assert_eq!(lines[0], "client_connected", "{mode:?}");
    }
}

#[test]
fn a_websocket_runs_again_s2_3_and_4_second_run_reconnect() {
    let spec = Spec::new();
    let mut ws = spec.websocket().bind("127.0.0.1:0").unwrap();
    let address = ws.local_addr().unwrap();
    for run in 1..=3 {
        let broadcaster = ws.broadcaster();
        let running = std::thread::spawn(move || ws.run().unwrap());
        let mut peer = Raw::open(address);
        spec.log.await_times("on_open", run);
        broadcaster.shutdown().unwrap();
        assert_eq!(peer.frame(), Some(close(1001, "Shutting down.")), "4: second run");
        peer.send([close(1001, "")]);
        drop(peer);
        ws = running.join().unwrap();
        assert_eq!(ws.local_addr().unwrap(), address);
        assert_eq!(spec.log.count("Factory::on_shutdown"), run);
    }
}

#[test]
fn shutdown_of_a_connection_that_closes_already_still_tells_it_s3_10() {
    block_on(async {
        let conn = Spec::new().attach(Role::Server).await;
        conn.ws().close(CloseCode::Normal).unwrap();
        settle().await;
        conn.ws().shutdown().unwrap();
        settle().await;
        assert_eq!(conn.frames(), [close(1000, "")], "one Close");
        conn.arrive([text("not delivered"), close(1000, "")]).await;
        assert_eq!(conn.ended().await, ["on_open", "on_shutdown", "on_close Normal"]);
    });
}

#[test]
fn a_second_shutdown_is_not_told_again_s3_10() {
    block_on(async {
        for role in ROLES {
            let conn = Spec::new().attach(role).await;
            conn.ws().shutdown().unwrap();
            conn.ws().shutdown().unwrap();
            settle().await;
            assert_eq!(conn.ended().await, ["on_open", "on_shutdown", "on_close Abnormal"], "{role:?}");
        }
    });
}

/// A command that nobody is there to carry out is a command.
#[test]
fn a_client_run_ends_after_its_first_command_whatever_that_is_s3_10() {
    for mode in CLIENTS {
        let client = Spec::new().connect(mode, &[]);
        client.ws.send("to nobody").unwrap();
        assert_eq!(client.ended(), ["Factory::on_shutdown"], "{mode:?}");
    }
}

/// It is no failure to connect.
#[test]
fn a_shutdown_while_connecting_does_not_panic_with_panic_on_new_connection_s3_10() {
    let settings = Settings { panic_on_new_connection: true, ..Settings::default() };
    for mode in CLIENTS {
        let (listener, url) = listener();
        let client = Spec::new().settings(settings).connect(mode, &[url]);
        let mut peer = Raw::accept(&listener);
        peer.head();
        client.ws.shutdown().unwrap();
        let expected = ["client_connected", "build_request", "on_shutdown", "connection_lost", "Factory::on_shutdown"];
        assert_eq!(client.ended(), expected, "{mode:?}");
    }
}
