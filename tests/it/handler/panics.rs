//! Panics of the application: what they end, and what they do not.

use wireline::handler::{Settings, util::Token};

use super::{
    rig::Spec,
    wire::{Mode, Raw, SERVERS},
};
use crate::scripted::{ROLES, block_on, close, ping, pong, settle, text};

/// The callback that panics, and how it is reached.
fn panicking(callback: &'static str) -> Spec {
    Spec::new().react(move |ws, line| {
        if line == "on_open" && callback.ends_with("timeout") {
            ws.timeout(0, Token(1))?;
        }
        assert!(!line.starts_with(callback), "in {callback}");
        Ok(())
    })
}

const CLOSE: (u16, &str) = (1011, "Internal Application Error");

#[test]
fn a_panic_in_a_callback_ends_its_connection_only_s3_11() {
    for mode in SERVERS {
        for callback in ["on_open", "on_message", "on_frame TEXT", "on_send_frame PONG", "on_timeout", "on_new_timeout"]
        {
            // Not that of the first connection, which is the healthy one.
            let spec = Spec::new().react(move |ws, line| {
                if line == "on_open" && callback.ends_with("timeout") {
                    ws.timeout(0, Token(1))?;
                }
                assert!(ws.connection_id() == 0 || !line.starts_with(callback), "in {callback}");
                Ok(())
            });
            let server = spec.serve(mode);
            let mut healthy = Raw::open(server.address);
            let mut peer = Raw::open(server.address);
            peer.send([ping("p"), text("x")]);
            let closed = std::iter::from_fn(|| peer.frame()).find(|frame| *frame != pong("p"));
            assert_eq!(closed, Some(close(CLOSE.0, CLOSE.1)), "{callback}, {mode:?}");
            drop(peer);
            server.log.wait_for("connection_lost");
            let lines = server.log.of(1);
            let told = ["on_error Internal", "on_close Abnormal", "connection_lost"];
            assert_eq!(lines[lines.len() - 3..], told, "{callback}, {mode:?}");
            let details = format!("Internal Application Error: handler panicked: in {callback}");
            assert_eq!(server.log.errors(), [details], "{mode:?}");
            healthy.send([ping("beside")]);
            assert_eq!(healthy.frame(), Some(pong("beside")), "{callback}, {mode:?}: the others go on");
            drop(healthy);
            server.shut_down();
        }
    }
}

#[test]
fn a_panic_under_attach_ends_its_connection_and_gives_the_handler_back_s3_11() {
    block_on(async {
        for role in ROLES {
            for callback in ["on_open", "on_message", "on_frame TEXT", "on_timeout", "on_new_timeout"] {
                let conn = panicking(callback).attach(role).await;
                conn.arrive([text("x"), close(1000, "")]).await;
                tokio::time::advance(std::time::Duration::from_millis(5)).await;
                settle().await;
                assert_eq!(conn.frames(), [close(CLOSE.0, CLOSE.1)], "{callback}, {role:?}");
                let lines = conn.ended().await;
                assert_eq!(lines.iter().filter(|line| *line == "on_error Internal").count(), 1, "{callback}, {role:?}");
                assert!(lines.last().unwrap().starts_with("on_close"), "{callback}, {role:?}: {lines:?}");
            }
        }
    });
}

#[test]
fn a_panic_in_on_close_on_error_or_on_shutdown_is_only_logged_s3_11() {
    block_on(async {
        for role in ROLES {
            let conn = panicking("on_close").attach(role).await;
            conn.arrive([close(1000, "bye")]).await;
            assert_eq!(conn.frames(), [close(1000, "")], "{role:?}");
            assert_eq!(conn.ended().await[..2], ["on_open", "on_close Normal bye"], "{role:?}");

            let conn = panicking("on_error").attach(role).await;
            conn.arrive([super::rig::continuation("x")]).await;
            assert!(conn.frames()[0].payload.starts_with(&1002_u16.to_be_bytes()), "{role:?}");
            assert_eq!(conn.ended().await.last().map(String::as_str), Some("on_close Abnormal"), "{role:?}");

            let conn = panicking("on_shutdown").attach(role).await;
            conn.ws().shutdown().unwrap();
            settle().await;
            assert_eq!(conn.frames(), [close(1001, "Shutting down.")], "{role:?}");
            assert_eq!(conn.ended().await.last().map(String::as_str), Some("on_close Abnormal"), "{role:?}");
        }
    });
}

#[test]
fn a_panic_of_the_factory_ends_at_most_one_connection_s3_11() {
    for mode in SERVERS {
        for callback in ["server_connected", "connection_lost"] {
            let spec = Spec::new().react(move |ws, line| {
                assert!(ws.connection_id() != 1 || line != callback, "in {callback}");
                Ok(())
            });
            let server = spec.serve(mode);
            let mut healthy = Raw::open(server.address);
            if callback == "server_connected" {
                assert_eq!(Raw::dial(server.address).rest(), b"", "{mode:?}: that connection is dropped");
            } else {
                drop(Raw::open(server.address));
                server.log.wait_for("connection_lost");
            }
            healthy.send([ping("beside")]);
            assert_eq!(healthy.frame(), Some(pong("beside")), "{callback}, {mode:?}");
            drop(healthy);
            let lines = server.shut_down();
            assert_eq!(lines.last().map(String::as_str), Some("Factory::on_shutdown"), "{callback}, {mode:?}");
        }
    }
}

#[test]
fn a_panic_in_the_handshake_is_answered_with_500_without_its_text_s3_11_and_3_5() {
    for mode in SERVERS {
        let server = panicking("on_request").serve(mode);
        let mut peer = Raw::dial(server.address);
        peer.write(super::wire::REQUEST);
        let answer = String::from_utf8(peer.rest()).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 500 ") && answer.ends_with("\r\n\r\nInternal Application Error"),
            "{answer}"
        );
        server.log.wait_for("connection_lost");
        let expected = ["server_connected", "on_request", "on_error Internal", "connection_lost"];
        assert_eq!(server.shut_down()[..4], expected, "{mode:?}");
    }
    for callback in ["build_request", "on_response"] {
        let (listener, url) = super::wire::listener();
        let client = panicking(callback).connect(Mode::Run, &[url]);
        if callback == "on_response" {
            let mut peer = Raw::welcome(&listener);
            assert_eq!(peer.frame(), Some(close(CLOSE.0, CLOSE.1)));
            drop(peer);
        }
        let lines = client.ended();
        let told = ["on_error Internal", "connection_lost", "Factory::on_shutdown"];
        assert_eq!(lines[lines.len() - 3..], told, "{callback}");
    }
}

#[test]
fn with_panic_on_internal_it_unwinds_out_of_run_s3_11_and_4_panic_on_internal() {
    let settings = Settings { panic_on_internal: true, ..Settings::default() };
    for callback in ["on_request", "on_open", "on_message", "on_close"] {
        let server = panicking(callback).settings(settings).serve(Mode::Run);
        let mut peer = Raw::dial(server.address);
        peer.write(super::wire::REQUEST);
        peer.send([text("x"), close(1000, "")]);
        assert_eq!(server.panicked(), format!("in {callback}"));
    }
}

#[test]
fn with_panic_on_internal_a_panic_of_the_factory_unwinds_too_s3_11() {
    let settings = Settings { panic_on_internal: true, ..Settings::default() };
    for callback in ["client_connected", "connection_lost"] {
        let nobody = super::wire::Refused::new();
        let client = panicking(callback).settings(settings).connect(Mode::Run, std::slice::from_ref(&nobody.url));
        assert_eq!(client.panicked(), format!("in {callback}"));
    }
}
