//! Sends to the client under test as fast as it takes it. What the kernel holds is as much at the window's end as it was
//! at its beginning, so that the bytes sent are the bytes received.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use sha1::{Digest, Sha1};
use wireline_peers::{Failure, Sample};

use crate::{
    content::payload,
    frames::{opcode, unmasked},
    job::Job,
    meter::{Meter, STALLED},
    subject::Subject,
};

/// Bytes of one write, at least.
const CHUNK: usize = 64 * 1024;

pub(crate) fn run(job: &Job, command: &[String], core: Option<usize>) -> Result<Sample, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("ws://{}", listener.local_addr()?);
    let mut subject = Subject::start(&[command, &[url]].concat(), core, job.limit())?;
    send(job, &listener, &subject).map_err(|failure| subject.explain(failure))
}

fn send(job: &Job, listener: &TcpListener, subject: &Subject) -> Result<Sample, Failure> {
    let mut stream = accept(listener)?;
    let mut chunk = Vec::new();
    let mut messages = 0;
    while chunk.len() < CHUNK {
        unmasked(opcode(job.workload), &payload(job.workload), &mut chunk);
        messages += 1;
    }
    let mut meter = Meter::new(subject, job.warm_up, job.window);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(8);
    stream.set_nonblocking(true)?;
    poll.registry().register(&mut SourceFd(&stream.as_raw_fd()), Token(0), Interest::WRITABLE)?;
    loop {
        let mut left = &chunk[..];
        while !left.is_empty() {
            match stream.write(left) {
                Ok(written) => left = &left[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => meter.wait(&mut poll, &mut events)?,
                Err(error) => return Err(error.into()),
            }
        }
        if !meter.count(Instant::now(), messages, None)? {
            return meter.sample();
        }
    }
}

/// Waits for the client, and opens the connection.
fn accept(listener: &TcpListener) -> Result<TcpStream, Failure> {
    listener.set_nonblocking(true)?;
    let until = Instant::now() + STALLED;
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(_) if Instant::now() < until => thread::sleep(Duration::from_millis(5)),
            Err(_) => return Err("the client does not connect".into()),
        }
    };
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STALLED))?;
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Err("the client hung up in the handshake".into()),
            read => head.extend_from_slice(&buffer[..read]),
        }
    }
    let head = String::from_utf8(head)?;
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    });
    let digest = Sha1::digest(format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key.ok_or("no key")?));
    let accept = STANDARD.encode(digest);
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(response.as_bytes())?;
    Ok(stream)
}
