//! Timeouts, on a paused clock.

use std::time::Duration;

use tokio::time::sleep;
use wireline::{
    Role,
    handler::{ErrorKind, Sender, util::Token},
};

use super::rig::{Spec, error};
use crate::scripted::{ROLES, block_on, now, settle, text};

const MS: Duration = Duration::from_millis(1);

/// Schedules these on open: milliseconds and token.
fn scheduling(timeouts: &'static [(u64, usize)]) -> Spec {
    Spec::new().react(move |ws, line| {
        if line == "on_open" {
            for (ms, token) in timeouts {
                ws.timeout(*ms, Token(*token))?;
            }
        }
        Ok(())
    })
}

#[test]
fn timeouts_fire_in_order_of_deadline_and_not_before_s3_9_and_4_timers() {
    let spec = scheduling(&[(300, 3), (100, 1), (200, 2), (100, 11), (0, 0), (250, 9)]);
    block_on(async {
        for role in ROLES {
            let conn = spec.fresh().attach(role).await;
            let new: Vec<_> = [3, 1, 2, 11, 0, 9].iter().map(|token| format!("on_new_timeout {token}")).collect();
            assert_eq!(conn.log.only("on_new_timeout"), new, "{role:?}");
            assert_eq!(conn.log.only("on_timeout"), ["on_timeout 0"], "{role:?}");
            sleep(98 * MS).await;
            settle().await;
            assert_eq!(conn.log.only("on_timeout").len(), 1, "not before, {role:?}");
            // ws-rs ticked every 100 ms.
            sleep(4 * MS).await;
            settle().await;
            assert_eq!(conn.log.only("on_timeout")[1..], ["on_timeout 1", "on_timeout 11"], "4: timers, {role:?}");
            sleep(1000 * MS).await;
            assert_eq!(conn.log.only("on_timeout")[3..], ["on_timeout 2", "on_timeout 9", "on_timeout 3"], "{role:?}");
            conn.ended().await;
        }
    });
}

#[test]
fn a_timeout_may_be_scheduled_again_by_its_own_callback_s3_9() {
    let spec = Spec::new().react(|ws, line| match line {
        "on_open" | "on_timeout 1" => ws.timeout(1000, Token(1)),
        _ => Ok(()),
    });
    block_on(async {
        let conn = spec.attach(Role::Server).await;
        let start = now();
        sleep(10_500 * MS).await;
        assert_eq!(conn.log.count("on_timeout 1"), 10, "in {:?}", now() - start);
        conn.ended().await;
    });
}

#[test]
fn a_cancelled_timeout_does_not_fire_and_cancelling_a_fired_one_does_nothing_s3_9() {
    let spec = scheduling(&[(100, 1), (200, 2), (300, 3)]);
    block_on(async {
        for role in ROLES {
            let conn = spec.fresh().attach(role).await;
            let handles = conn.log.timeouts();
            sleep(150 * MS).await;
            conn.ws().cancel(handles[0].clone()).unwrap();
            conn.ws().cancel(handles[1].clone()).unwrap();
            conn.ws().cancel(handles[1].clone()).unwrap();
            sleep(1000 * MS).await;
            assert_eq!(conn.log.only("on_timeout"), ["on_timeout 1", "on_timeout 3"], "{role:?}");
            conn.ended().await;
        }
    });
}

/// A million that were cancelled leave nothing that fires, wakes, or is held.
#[test]
fn a_cancelled_timeout_costs_nothing_more_s3_9() {
    use crate::support::alloc::Meter;
    block_on(async {
        let conn = Spec::new().attach(Role::Server).await;
        let round = async |rounds: usize| {
            for _ in 0..rounds {
                conn.ws().timeout(1_000_000_000, Token(1)).unwrap();
                settle().await;
                let handle = conn.log.timeouts().pop().unwrap();
                conn.ws().cancel(handle).unwrap();
                settle().await;
            }
        };
        round(10).await;
        let meter = Meter::start();
        round(100).await;
        // The log of the test itself holds a line and a handle for each.
        assert!(meter.held() < 100 * 250, "{} bytes for 100 timeouts", meter.held());
        conn.ended().await;
    });
}

#[test]
fn any_sender_may_cancel_any_timeout_of_its_websocket_s3_9() {
    block_on(async {
        let websocket = Spec::new().websocket();
        let group = websocket.broadcaster();
        let one = scheduling(&[(100, 1), (100, 2)]).join(Role::Server, &group).await;
        let other = Spec::new().join(Role::Client, &group).await;
        let handles = one.log.timeouts();
        other.ws().cancel(handles[0].clone()).unwrap();
        group.cancel(handles[1].clone()).unwrap();
        sleep(1000 * MS).await;
        assert_eq!(one.log.only("on_timeout"), Vec::<String>::new());
    });
}

#[test]
fn timeouts_die_with_their_connection_s3_9_and_4_timers() {
    block_on(async {
        let websocket = Spec::new().websocket();
        let group = websocket.broadcaster();
        let first = scheduling(&[(100, 1)]).join(Role::Server, &group).await;
        let (stale, token) = (first.log.timeouts().remove(0), first.ws().token());
        let log = first.log.clone();
        first.ended().await;
        // The slot's next owner, with a timeout of its own.
        let second = scheduling(&[(100, 2)]).join(Role::Server, &group).await;
        assert_eq!(second.ws().token(), token);
        second.ws().cancel(stale).unwrap();
        sleep(1000 * MS).await;
        assert_eq!(log.only("on_timeout"), Vec::<String>::new(), "4: timers");
        assert_eq!(second.log.only("on_timeout"), ["on_timeout 2"], "4: timers");
    });
}

#[test]
fn a_broadcasters_timeout_is_everyones_with_one_handle_s3_9_and_4_timers() {
    block_on(async {
        let websocket = Spec::new().websocket();
        let group = websocket.broadcaster();
        let mut members = Vec::new();
        for _ in 0..3 {
            members.push(Spec::new().join(Role::Server, &group).await);
        }
        group.timeout(100, Token(1)).unwrap();
        group.timeout(200, Token(2)).unwrap();
        settle().await;
        for member in &members {
            assert_eq!(member.log.only("on_new_timeout"), ["on_new_timeout 1", "on_new_timeout 2"]);
        }
        // One handle cancels it everywhere.
        members[1].ws().cancel(members[0].log.timeouts().remove(1)).unwrap();
        let gone = members.pop().unwrap();
        let log = gone.log.clone();
        gone.ended().await;
        sleep(1000 * MS).await;
        for member in &members {
            assert_eq!(member.log.only("on_timeout"), ["on_timeout 1"], "4: timers");
        }
        assert_eq!(log.only("on_timeout"), Vec::<String>::new(), "only those still alive");
    });
}

/// The one that comes first is the first, whatever the callbacks take.
#[test]
fn a_timeout_is_on_time_beside_traffic_s3_9() {
    let spec = scheduling(&[(100, 1)]);
    block_on(async {
        let conn = spec.attach(Role::Server).await;
        for _ in 0..20 {
            conn.arrive([crate::scripted::ping("p")]).await;
            sleep(10 * MS).await;
        }
        assert_eq!(conn.log.count("on_timeout 1"), 1);
        let pings_before = conn.log.all().iter().position(|line| line == "on_timeout 1").unwrap();
        assert!((20..=25).contains(&pings_before), "{:?}", conn.log.all());
    });
}

#[test]
fn errors_of_timeout_callbacks_count_s3_4() {
    for callback in ["on_timeout 1", "on_new_timeout 1"] {
        let spec = Spec::new().react(move |ws: &Sender, line| match line {
            "on_open" => ws.timeout(10, Token(1)),
            _ if line == callback => Err(error(ErrorKind::Capacity)),
            _ => Ok(()),
        });
        block_on(async {
            let conn = spec.attach(Role::Server).await;
            sleep(20 * MS).await;
            settle().await;
            assert_eq!(conn.log.callbacks().last().map(String::as_str), Some("on_error Capacity"));
            sleep(100 * MS).await;
            assert!(conn.log.only("on_timeout").len() <= 1);
            conn.ended().await;
        });
    }
}

/// No callback but on_close follows an error Close.
#[test]
fn timeouts_do_not_fire_behind_an_error_or_the_peers_close_s3_6_and_3_9() {
    let spec = scheduling(&[(1000, 1)]);
    block_on(async {
        for frame in [crate::scripted::close(1000, ""), super::rig::continuation("x")] {
            let conn = spec.fresh().attach(Role::Server).await;
            conn.arrive([frame]).await;
            sleep(5000 * MS).await;
            assert_eq!(conn.log.only("on_timeout"), Vec::<String>::new());
            conn.ended().await;
        }
    });
}

/// A handle is of use to its own `WebSocket` alone (3.9), and harms no other's count of commands.
#[test]
fn a_timeout_of_another_websocket_is_not_cancelled_s3_9() {
    block_on(async {
        let conn = scheduling(&[(1000, 1)]).attach(Role::Server).await;
        let other = Spec::new().attach(Role::Server).await;
        let timeout = conn.log.timeouts().remove(0);
        other.ws().cancel(timeout).unwrap();
        settle().await;
        for ws in [conn.ws(), other.ws()] {
            ws.send("still").unwrap();
        }
        sleep(1001 * MS).await;
        assert_eq!((conn.frames(), other.frames()), (vec![text("still")], vec![text("still")]));
        assert_eq!(conn.log.count("on_timeout 1"), 1);
    });
}
