use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::ClientConfig;
use wireline_peers::{Failure, Kind, Workload};

use crate::{
    frames::{Requests, Walker, check_reply},
    socket::{Deflate, Socket, tls},
};

/// One run: which workload, for how long, and what is sent.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) workload: &'static Workload,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
    pub(crate) speech: Speech,
    pub(crate) requests: Requests,
    tls: Option<Arc<ClientConfig>>,
}

/// What the server understands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Speech {
    WebSocket,
    /// Nothing: it returns as many bytes as an echo has.
    Bytes,
}

impl Job {
    /// What the whole run may take.
    pub(crate) fn limit(&self) -> Duration {
        self.warm_up + self.window + Duration::from_secs(60)
    }

    pub(crate) fn new(
        workload: &'static Workload,
        warm_up: Duration,
        window: Duration,
        speech: Speech,
    ) -> Result<Self, Failure> {
        let tls = if workload.kind == Kind::Tls { Some(tls()?) } else { None };
        Ok(Self { workload, warm_up, window, speech, requests: Requests::of(workload)?, tls })
    }

    /// A connection that is ready for messages.
    pub(crate) fn open(&self, address: SocketAddr) -> Result<Socket, Failure> {
        let mut socket = Socket::open(address, self.tls.as_ref())?;
        if self.speech == Speech::WebSocket {
            let wanted = if self.workload.kind == Kind::Deflate { Deflate::Offered } else { Deflate::NotOffered };
            if socket.upgrade(wanted)? != wanted {
                return Err("declines permessage-deflate".into());
            }
        }
        Ok(socket)
    }

    /// A connection that has echoed one message, with the bytes of the reply.
    pub(crate) fn open_and_echo(&self, address: SocketAddr) -> Result<(Socket, Vec<u8>), Failure> {
        let mut socket = self.open(address)?;
        socket.send(&self.requests.one)?;
        let reply = match self.speech {
            Speech::WebSocket => {
                let reply = read_message(&mut socket)?;
                check_reply(&reply, &self.requests.payload)?;
                reply
            }
            Speech::Bytes => read_bytes(&mut socket, self.workload.reply())?,
        };
        Ok((socket, reply))
    }
}

/// The bytes of one message of a server, while nothing more than it is on its way.
pub(crate) fn read_message(socket: &mut Socket) -> Result<Vec<u8>, Failure> {
    let (mut message, mut walker, mut ended) = (Vec::new(), Walker::default(), false);
    let mut buffer = vec![0; 64 * 1024];
    while !ended {
        let read = socket.read(&mut buffer)?;
        if read == 0 {
            return Err("the server hung up".into());
        }
        message.extend_from_slice(&buffer[..read]);
        walker.walk(&buffer[..read], |part| ended |= matches!(part, crate::frames::Part::End))?;
    }
    Ok(message)
}

fn read_bytes(socket: &mut Socket, count: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = vec![0; count];
    let mut have = 0;
    while have < count {
        match socket.read(&mut bytes[have..])? {
            0 => return Err("the server hung up".into()),
            read => have += read,
        }
    }
    Ok(bytes)
}
