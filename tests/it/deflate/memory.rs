//! What compression costs a connection that rests.

use wireline::{
    Role,
    proto::deflate::{ContextTakeover, DeflateConfig},
};

use super::{frame, fresh, payload, takeover, warm_up};
use crate::{
    scripted::{ROLES, block_on, quiet},
    support::{
        alloc::Meter,
        peer::{After, Peer},
        script::{Delivery, Keys, Part, Script},
    },
};

/// Bytes that a connection holds: when it has just opened, and after a message in each direction.
async fn held(role: Role, deflate: Option<&DeflateConfig>) -> (i64, i64) {
    let extensions = deflate.map_or(&[][..], |deflate| match deflate.server_context_takeover {
        ContextTakeover::Refused => &["permessage-deflate; server_no_context_takeover; client_no_context_takeover"],
        _ => &["permessage-deflate"],
    });
    let text = "a message of some length. ".repeat(20);
    let first = if deflate.is_some() { 0xc1 } else { 0x81 };
    let payload = if deflate.is_some() { payload(text.as_bytes()) } else { text.clone().into() };
    let script = Script::default().then(Part::Frame(frame(first, &payload), 1));
    let peer = Peer::new(script.source(Keys::for_role(role)[0], Delivery::Whole), After::EndOnClose);
    let mut config = quiet();
    config.deflate = deflate.cloned();
    let meter = Meter::start();
    let mut ws = peer.open(role, config, extensions).await.unwrap();
    let opened = meter.held();
    let received = ws.next().await.unwrap().unwrap();
    assert_eq!(received.as_text(), Some(&*text));
    ws.send(received).await.unwrap();
    (opened, meter.held())
}

/// What deflate costs beyond a connection without it: when it has just opened, and after the messages.
async fn costs(role: Role, deflate: &DeflateConfig) -> (i64, i64) {
    warm_up(deflate).await;
    // Whatever is made once is made now.
    held(role, None).await;
    held(role, Some(deflate)).await;
    let plain = held(role, None).await;
    let with = held(role, Some(deflate)).await;
    (with.0 - plain.0, with.1 - plain.1)
}

#[test]
fn a_connection_that_may_compress_costs_64_bytes_more_until_it_does() {
    block_on(async {
        for (role, deflate) in ROLES.into_iter().flat_map(|role| [(role, fresh()), (role, takeover())]) {
            let (opened, _) = costs(role, &deflate).await;
            assert!(opened <= 64, "{role:?}: {opened} bytes more, {deflate:?}");
        }
    });
}

#[test]
fn without_context_nothing_is_kept_between_messages() {
    block_on(async {
        for role in ROLES {
            let (opened, used) = costs(role, &fresh()).await;
            assert!(used <= opened, "{role:?}: {opened} bytes more before the messages, {used} after them");
        }
    });
}

/// What the documentation of `ContextTakeover` says: 273 KiB for the compressor, and as much history as there was.
#[test]
fn with_context_a_compressor_and_the_history_are_kept() {
    block_on(async {
        for role in ROLES {
            let (_, used) = costs(role, &takeover()).await;
            assert!((265 * 1024..290 * 1024).contains(&used), "{role:?}: {used} bytes");
        }
    });
}
