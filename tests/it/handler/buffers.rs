//! What is written together, what may wait, and who has a turn.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use wireline::{
    Role,
    handler::{CloseCode, Settings},
    proto::Opcode,
};

use super::{
    rig::{Spec, attach},
    wire::{Raw, SERVERS},
};
use crate::scripted::{ROLES, Scripted, block_on, close, encode, now, ping, pong, seconds, settle, text};

#[test]
fn answers_to_one_read_are_written_together_s3_12_and_8_4_corking() {
    let echo = Spec::new().react(|ws, line| match line.strip_prefix("on_message ") {
        Some(text) => ws.send(text),
        None => Ok(()),
    });
    block_on(async {
        for role in ROLES {
            let conn = echo.fresh().attach(role).await;
            let before = conn.control.writes();
            conn.arrive((0..100).map(|_| ping("p"))).await;
            assert_eq!(conn.frames(), vec![pong("p"); 100], "{role:?}");
            assert_eq!(conn.control.writes() - before, 1, "8.4: N pings in one read, one write back, {role:?}");
            conn.arrive((0..100).map(|number| text(number.to_string()))).await;
            assert_eq!(conn.control.writes() - before, 2, "3.12, {role:?}");
        }
    });
}

#[test]
fn a_command_from_elsewhere_wakes_the_task_and_goes_out_with_what_is_queued_s3_12() {
    block_on(async {
        for role in ROLES {
            let conn = Spec::new().attach(role).await;
            let ws = conn.ws();
            // From a thread without a runtime.
            std::thread::spawn(move || {
                for number in 0..10 {
                    ws.send(number.to_string()).unwrap();
                }
            })
            .join()
            .unwrap();
            settle().await;
            assert_eq!(conn.frames().len(), 10, "{role:?}");
            assert_eq!(conn.control.writes(), 1, "{role:?}");
        }
    });
}

/// The same over sockets, in every mode.
#[test]
fn a_command_from_another_thread_is_carried_out_s3_12() {
    for mode in SERVERS {
        let server = Spec::new().serve(mode);
        let mut peer = Raw::open(server.address);
        server.log.wait_for("on_open");
        server.ws.connections()[0].send("from afar").unwrap();
        assert_eq!(peer.frame(), Some(text("from afar")), "{mode:?}");
        drop(peer);
        server.shut_down();
    }
}

#[test]
fn at_max_out_buffer_the_connection_ends_with_capacity_s3_12_and_4_outgoing_buffer() {
    let settings = Settings { max_out_buffer: 10_000, ..Settings::default() };
    block_on(async {
        for role in ROLES {
            let mut conn = Spec::new().settings(settings).attach(role).await;
            conn.control.room(0);
            for _ in 0..20 {
                conn.ws().send(vec![7; 1000]).unwrap();
            }
            settle().await;
            assert_eq!(conn.log.callbacks(), ["on_open", "on_error Capacity"], "4: outgoing buffer, {role:?}");
            assert_eq!(conn.log.only("on_send_frame").last().map(String::as_str), Some(SLOW), "{role:?}");
            // The peer never reads.
            let start = now();
            conn.join().await.unwrap().unwrap();
            assert_eq!(seconds(start), 10.0, "cut after close_timeout, {role:?}");
            assert_eq!(conn.log.callbacks().last().map(String::as_str), Some("on_close Abnormal"), "{role:?}");

            // The peer reads again: whole data frames are gone, the Close is not.
            let settings = Settings { max_out_buffer: 2_000_000, ..settings };
            let conn = Spec::new().settings(settings).attach(role).await;
            conn.control.room(500);
            for _ in 0..250 {
                conn.ws().send(vec![7; 10_000]).unwrap();
            }
            settle().await;
            conn.control.room(usize::MAX);
            settle().await;
            let mut frames = conn.frames();
            let last = frames.pop().unwrap();
            assert!(last.opcode == Opcode::Close && last.payload.starts_with(&1009_u16.to_be_bytes()), "{role:?}");
            let lens: Vec<_> = frames.iter().map(|frame| frame.payload.len()).collect();
            assert!(lens.len() < 20 && lens.iter().all(|len| *len == 10_000), "{role:?}: {lens:?}");
            conn.ended().await;
        }
    });
}

const SLOW: &str =
    "on_send_frame CLOSE 1009 WebSocket at Capacity: the peer reads too slowly: max_out_buffer bytes are unsent";

#[test]
fn while_less_is_unsent_a_message_of_any_size_is_taken_s3_12() {
    let settings = Settings { max_out_buffer: 10_000, ..Settings::default() };
    block_on(async {
        for role in ROLES {
            let conn = Spec::new().settings(settings).attach(role).await;
            conn.control.room(0);
            conn.ws().send(vec![7; 9_000]).unwrap();
            conn.ws().send(vec![7; 5_000_000]).unwrap();
            settle().await;
            assert_eq!(conn.log.callbacks(), ["on_open"], "{role:?}");
            conn.control.room(usize::MAX);
            settle().await;
            let sent: usize = conn.frames().iter().map(|frame| frame.payload.len()).sum();
            assert_eq!(sent, 5_009_000, "{role:?}");
        }
    });
}

#[test]
fn out_buffer_grow_off_bounds_data_and_not_control_frames_s2_2_and_4_outgoing_buffer() {
    let settings = Settings { out_buffer_grow: false, out_buffer_capacity: 100, ..Settings::default() };
    block_on(async {
        let conn = Spec::new().settings(settings).attach(Role::Server).await;
        conn.ws().send(vec![7; 98]).unwrap();
        settle().await;
        assert_eq!(conn.frames().len(), 1, "100 bytes with its header fit");
        conn.ws().send(vec![7; 99]).unwrap();
        settle().await;
        assert_eq!(conn.log.callbacks(), ["on_open", "on_error Capacity"], "4: outgoing buffer: flag honoured");
        assert!(conn.frames()[1].payload.starts_with(&1009_u16.to_be_bytes()));

        let conn = Spec::new().settings(Settings { out_buffer_grow: true, ..settings }).attach(Role::Server).await;
        conn.ws().send(vec![7; 5000]).unwrap();
        settle().await;
        assert_eq!(conn.frames().len(), 1, "a hint");
    });
}

/// One poll comes to its end, whatever there is to read.
#[test]
fn a_connection_with_endless_input_yields_s3_12() {
    const FRAMES: usize = 1024;
    block_on(async {
        for role in ROLES {
            for frame in [ping("p"), text("x")] {
                let spec = Spec::new();
                let (transport, control) = Scripted::new();
                control.arrive_for_ever(encode(role, vec![frame; 1000]));
                let mut task = tokio_test::task::spawn(attach(role).run(transport, |ws| spec.spy(ws)));
                for polls in 1..=5 {
                    tokio_test::assert_pending!(task.poll().map(drop), "{role:?}");
                    assert!(task.is_woken(), "{role:?}: it goes on");
                    let seen = spec.log.only("on_frame").len();
                    assert!(seen > 0 && seen <= polls * FRAMES, "{seen} frames in {polls} polls, {role:?}");
                }
            }
        }
    });
}

/// One connection floods; the other's timeout and answers come all the same.
#[test]
fn a_flood_does_not_stop_the_others_s3_12() {
    for mode in SERVERS {
        let server = Spec::new().serve(mode);
        let mut flood = Raw::open(server.address);
        let mut other = Raw::open(server.address);
        let stop = Arc::new(AtomicUsize::new(0));
        let stopped = Arc::clone(&stop);
        let pongs = encode(Role::Server, (0..1000).map(|_| pong("p")));
        let flooding = std::thread::spawn(move || {
            while stopped.load(Ordering::Relaxed) == 0 {
                flood.write(&pongs);
            }
        });
        for _ in 0..5 {
            other.send([ping("between")]);
            assert_eq!(other.frame(), Some(pong("between")), "{mode:?}");
        }
        stop.store(1, Ordering::Relaxed);
        flooding.join().unwrap();
        drop(other);
        server.shut_down();
    }
}

/// A peer that reads nothing does not keep the task from seeing its messages.
#[test]
fn a_slow_reader_is_still_heard_s3_12() {
    block_on(async {
        let conn = Spec::new().attach(Role::Server).await;
        conn.control.room(10);
        conn.ws().send(vec![7; 100_000]).unwrap();
        settle().await;
        conn.arrive([text("heard")]).await;
        assert_eq!(conn.log.callbacks(), ["on_open", "on_message heard"]);
        conn.ws().close(CloseCode::Normal).unwrap();
        conn.arrive([close(1000, "")]).await;
        conn.control.room(usize::MAX);
        settle().await;
        assert_eq!(conn.frames().last(), Some(&close(1000, "")));
        conn.ended().await;
    });
}

/// A sender that outpaces a reader who is merely slow is slowed by nothing but the limit.
#[test]
fn what_waits_goes_out_as_the_peer_reads_s3_12() {
    block_on(async {
        let conn = Spec::new().attach(Role::Server).await;
        conn.control.room(0);
        for number in 0..100 {
            conn.ws().send(format!("{number:04}")).unwrap();
        }
        for _ in 0..100 {
            conn.control.room(7);
            settle().await;
        }
        conn.control.room(usize::MAX);
        tokio::time::sleep(Duration::from_millis(1)).await;
        settle().await;
        assert_eq!(conn.frames(), (0..100).map(|number| text(format!("{number:04}"))).collect::<Vec<_>>());
    });
}

/// The peer reads nothing, so that the Pong finds no place before what is queued.
#[test]
fn no_pong_goes_out_behind_our_close_rfc_6455_5_5_1() {
    let settings = Settings { max_out_buffer: 10_000, ..Settings::default() };
    block_on(async {
        for role in ROLES {
            let conn = Spec::new().settings(settings).attach(role).await;
            conn.control.room(500);
            for _ in 0..11 {
                conn.ws().send(vec![7; 1000]).unwrap();
            }
            settle().await;
            conn.arrive([ping("late")]).await;
            settle().await;
            conn.ws().close(CloseCode::Normal).unwrap();
            settle().await;
            conn.control.room(usize::MAX);
            settle().await;
            let order: Vec<_> = conn.frames().iter().map(|frame| frame.opcode).collect();
            assert_eq!(order.last(), Some(&Opcode::Close), "{role:?}: {order:?}");
        }
    });
}

/// The limit is for data (3.12): a message may be longer than it, and a heartbeat beside that is no fault.
#[test]
fn a_ping_beside_one_long_message_is_no_error_s3_12() {
    let settings = Settings { max_out_buffer: 10_000, ..Settings::default() };
    block_on(async {
        for role in ROLES {
            let conn = Spec::new().settings(settings).attach(role).await;
            conn.control.room(0);
            conn.ws().send(vec![7; 50_000]).unwrap();
            conn.ws().ping(b"alive?".to_vec()).unwrap();
            settle().await;
            conn.control.room(usize::MAX);
            settle().await;
            assert_eq!(conn.log.callbacks(), ["on_open"], "{role:?}");
            let sent: Vec<_> = conn.frames().iter().map(|frame| frame.opcode).collect();
            assert_eq!(sent, [Opcode::Binary, Opcode::Ping], "{role:?}");
        }
    });
}

#[test]
fn pings_without_end_beyond_the_buffer_are_an_error_s3_12() {
    let settings = Settings { max_out_buffer: 10_000, ..Settings::default() };
    block_on(async {
        for (pings, expected) in [(64, &["on_open"][..]), (65, &["on_open", "on_error Capacity"])] {
            let conn = Spec::new().settings(settings).attach(Role::Server).await;
            conn.control.room(0);
            conn.ws().send(vec![7; 10_000]).unwrap();
            for _ in 0..pings {
                conn.ws().ping(vec![]).unwrap();
            }
            settle().await;
            assert_eq!(conn.log.callbacks(), expected, "{pings}");
        }
    });
}
