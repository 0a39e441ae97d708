//! D21: a `send` is dropped after every possible number of polls, and what the compressor remembers is still what the peer
//! has seen.

use wireline::{Client, Message, Role, WebSocket, proto::deflate::Compression, server::Acceptor};

use super::{config, fresh, noise, takeover};
use crate::{
    scripted::{Control, Pace, ROLES, Scripted, block_on, polled},
    support::suite::Suite,
};

pub(super) static CANCELLING: Suite = Suite::new(|ran| {
    block_on(async {
        for deflate in [takeover(), fresh()] {
            for fragment_size in [None, Some(16)] {
                let mut config = config(deflate.clone());
                config.fragment_size = fragment_size;
                for role in ROLES {
                    every_number_of_polls(&config, role).await;
                }
            }
        }
    });
    ran.id("D21");
});

#[test]
fn a_cancelled_send_leaves_the_compressor_in_step() {
    CANCELLING.ids();
}

pub(super) type End = (WebSocket<Scripted>, Control);

/// A client and a server over transports in the test's hands.
pub(super) async fn pair(config: &wireline::Config) -> (End, End) {
    let [(near, near_control), (far, far_control)] = Scripted::pair();
    let client = Client::new("ws://example.com").unwrap().config(config.clone()).unwrap();
    let acceptor = Acceptor::new().config(config.clone()).unwrap();
    let (client, server) = tokio::join!(client.connect_over(near), acceptor.accept(far));
    ((client.unwrap().0, near_control), (server.unwrap().0, far_control))
}

async fn every_number_of_polls(config: &wireline::Config, role: Role) {
    let [first, second] = ["first", "second"].map(|word| Message::from(format!("{word} {:?}", noise(12)).repeat(3)));
    for polls in 0.. {
        assert!(polls < 10_000, "a message of {} bytes is sent in the end", first.len());
        let (client, server) = pair(config).await;
        let ((mut from, control), (mut to, _)) = match role {
            Role::Client => (client, server),
            Role::Server => (server, client),
        };
        control.pace(Pace::free(), Pace::bytewise(), Pace::free());
        from.set_compression(Compression::Always);
        let sent = polled(polls, from.send(first.clone())).await;
        from.send(second.clone()).await.unwrap();
        let mut received = vec![to.next().await.unwrap().unwrap()];
        if received[0] == first {
            received.push(to.next().await.unwrap().unwrap());
        }
        assert_eq!(received.last(), Some(&second), "{role:?} after {polls} polls");
        assert!(sent.is_none() || received.len() == 2, "what {role:?} sent in {polls} polls is lost");
        if sent.is_some() {
            return;
        }
    }
}
