//! Bombs from a hundred clients at once do not keep another from its turn (fault 4.9).

use std::{cell::RefCell, rc::Rc};

use tokio::{io::duplex, task::LocalSet};
use wireline::{Client, Error, Role, proto::Excess, server::Acceptor};

use super::{MIB, bomb, config, frame, fresh, warm_up};
use crate::support::{
    alloc::Meter,
    peer::{After, Peer},
    row,
    script::{Delivery, Keys, Part, Script},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Echo,
    Refused,
}

const BOMBS: usize = 100;

/// One MiB takes sixteen turns of 64 KiB; an echo takes a few.
#[test]
fn a_hundred_bombs_do_not_disturb_an_honest_client() {
    let runtime = row::runtime();
    row::warm_up(&runtime);
    runtime.block_on(warm_up(&fresh()));
    let script = Script::default().then(Part::Frame(frame(0xc2, &bomb(4)), 1));
    let seen = Rc::new(RefCell::new(Vec::new()));
    let tasks = LocalSet::new();
    let peers = runtime.block_on(async {
        let mut peers = Vec::new();
        for _ in 0..BOMBS {
            let source = script.source(Keys::for_role(Role::Server)[0], Delivery::Whole);
            let mut config = config(fresh());
            config.limits.max_message = Some(MIB as u64);
            let peer = Peer::new(source, After::EndOnClose);
            peers.push(peer.open(Role::Server, config, &["permessage-deflate"]).await.unwrap());
        }
        peers
    });
    let meter = Meter::start();
    for mut ws in peers {
        let seen = Rc::clone(&seen);
        tasks.spawn_local(async move {
            let result = ws.next().await.unwrap();
            assert!(matches!(result, Err(Error::Limit(Excess::Message { .. }))), "{result:?}");
            seen.borrow_mut().push(Seen::Refused);
        });
    }
    let honest = Rc::clone(&seen);
    tasks.spawn_local(async move {
        let (near, far) = duplex(4096);
        let server = async {
            let (mut ws, _) = Acceptor::new().accept(far).await.unwrap();
            while let Some(message) = ws.next().await {
                ws.feed(message.unwrap()).await.unwrap();
            }
        };
        let client = async {
            let (mut ws, _) = Client::new("ws://example.com").unwrap().connect_over(near).await.unwrap();
            for number in 0..4 {
                ws.send(format!("{number}")).await.unwrap();
                assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some(&*number.to_string()));
                honest.borrow_mut().push(Seen::Echo);
            }
            ws.close(wireline::CloseCode::NORMAL, "").await.unwrap();
        };
        tokio::join!(server, client);
    });
    runtime.block_on(tasks);
    let seen = seen.borrow();
    assert_eq!(seen.iter().filter(|seen| **seen == Seen::Refused).count(), BOMBS);
    assert_eq!(seen.iter().filter(|seen| **seen == Seen::Echo).count(), 4);
    let echoes = seen.iter().take_while(|seen| **seen == Seen::Echo).count();
    assert_eq!(echoes, 4, "echoes before the first bomb was refused: {seen:?}");
    let bound = i64::try_from(BOMBS * (MIB + 128 * 1024)).unwrap();
    assert!(meter.peak() <= bound, "{} bytes of heap", meter.peak());
}
