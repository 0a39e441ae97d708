//! What only HTTP/2 has: flow control of each stream.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use tokio::sync::Semaphore;
use wireline::server::Acceptor;

use super::rig::{connect, http2, serve_with};

/// An application that does not read holds back its own stream, by HTTP/2's window, and no other.
#[tokio::test]
async fn h_08_a_slow_application_holds_back_its_stream_only() {
    static GO: Semaphore = Semaphore::const_new(0);
    let stream = serve_with(Acceptor::new(), |mut ws| async move {
        let first = ws.next().await.ok_or("no message")??;
        if first.len() == 1 {
            GO.acquire().await?.forget();
        }
        while let Some(message) = ws.next().await {
            ws.feed(message?).await?;
        }
        Ok(())
    });
    let mut client = http2(stream).await;
    let mut headers = HeaderMap::new();
    headers.insert("sec-websocket-version", HeaderValue::from_static("13"));

    let (response, mut slow) = connect(&mut client, &headers);
    let mut slow_answers = response.await.unwrap().into_body();
    slow.send_data(Bytes::from_static(b"\x82\x81\0\0\0\0x"), false).unwrap();
    // 16 MiB in messages of 1,024 bytes: far more than the windows.
    let mut frame = vec![0x82, 0xfe, 4, 0, 0, 0, 0, 0];
    frame.resize(8 + 1024, 0);
    let messages = 16 * 1024;
    let all = Bytes::from(frame.repeat(messages));
    let total = all.len();
    slow.send_data(all, false).unwrap();

    // The other stream, meanwhile.
    let (response, mut quick) = connect(&mut client, &headers);
    let mut answers = response.await.unwrap().into_body();
    quick.send_data(Bytes::from_static(b"\x82\x82\0\0\0\0yy\x81\x82\0\0\0\0hi"), false).unwrap();
    assert_eq!(answers.data().await.unwrap().unwrap(), "\u{81}\u{2}hi".chars().map(|c| c as u8).collect::<Vec<_>>());
    slow.reserve_capacity(total + 1);
    let held = slow.capacity() < total;
    assert!(held, "the windows are full: {}", slow.capacity());

    GO.add_permits(1);
    let mut received = 0;
    while received < messages * (4 + 1024) {
        let data = slow_answers.data().await.unwrap().unwrap();
        received += data.len();
        slow_answers.flow_control().release_capacity(data.len()).unwrap();
    }
}
