//! A connection to a server, until it is open.

use std::{io, net::SocketAddr, time::Instant};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, lookup_host},
};
use url::{Host, Url};

use crate::{
    handler::{
        Error, ErrorKind, Handler, Handshake, Request, Response, Result,
        agent::{Agent, Raised},
        opening::{Unopened, attend},
    },
    proto::{
        Limits, Role,
        connection::Collector,
        handshake::{
            Accept, Expected, FinalResponse, ReadResponse, extensions, judge_deflate, offer_deflate, subprotocols,
        },
    },
    transport::Transport,
    websocket::{HEAD_READ, Inner},
};

/// A connection, and what opened it or why the handler does not want it.
type Dialed = (Inner<Transport, Collector>, Result<Handshake, Raised>);

pub(super) async fn dial<H: Handler>(
    agent: &mut Agent<H>,
    url: &Url,
    place: Result<()>,
    deadline: Instant,
) -> Result<Dialed, Unopened> {
    place?;
    let security = match url.scheme() {
        "ws" => Scheme::Plain,
        "wss" => Scheme::Tls,
        other => {
            let details = format!("the scheme of a WebSocket URL is ws or wss, and not {other}");
            return Err(Error::new(ErrorKind::Internal, details).into());
        }
    };
    let mut request = agent.call(|handler| handler.build_request(url))?;
    if let Some(config) = agent.compress(Role::Client) {
        request.add_extension(&String::from_utf8_lossy(offer_deflate(config).as_bytes()));
    }
    let mut ask = Vec::new();
    request.format(&mut ask)?;
    let expected = expect(agent, &request)?;
    let addresses = attend(agent, deadline, addresses(url)).await??;
    let mut stream = reach(agent, url, security, addresses, deadline).await?;
    let (peer_addr, local_addr) = (stream.peer_addr().ok(), stream.local_addr().ok());
    let mut input = BytesMut::new();
    let limits = agent.config().limits.clone();
    let received = attend(agent, deadline, exchange(&mut stream, &ask, &mut input, &limits)).await??;
    let response = Response::parse_head(&received.head, received.body.to_vec())?;
    if response.status() != 101 {
        agent.tell(|handler| handler.on_rejected(&response));
        return Err(rejected(&response).into());
    }
    expected.check(&received.response).map_err(Error::from)?;
    let compression = agent.config().deflate.as_ref();
    let agreed = judge_deflate(received.response.headers(), compression).map_err(Error::from)?;
    let welcome = agent.call(|handler| handler.on_response(&response));
    let collector = agent.collector(agent.settings().masking(Role::Client), agreed.as_ref());
    let inner = Inner::of_frames(stream, Role::Client, collector, agent.config().clone(), agreed, &input);
    Ok((inner, welcome.map(|()| Handshake { request, response, peer_addr, local_addr })))
}

/// How a URL is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Plain,
    Tls,
}

/// What the response has to be, given what the request offers.
fn expect<H: Handler>(agent: &Agent<H>, request: &Request) -> Result<Expected> {
    let asked = request.to_http()?;
    let headers = asked.headers();
    let malformed = |what: &str| Error::new(ErrorKind::Protocol, format!("the request's own {what} is malformed"));
    let offered = subprotocols(headers).map_err(|_| malformed("Sec-WebSocket-Protocol"))?;
    let extensions = extensions(headers).map_err(|_| malformed("Sec-WebSocket-Extensions"))?;
    let accept = if agent.settings().key_strict { Accept::Exactly(request.hashed_key()?) } else { Accept::Any };
    Ok(Expected {
        accept,
        subprotocols: offered.into_iter().map(str::to_owned).collect(),
        extensions: extensions.iter().map(|extension| extension.name().to_owned()).collect(),
    })
}

/// A stream to the first of the addresses that can be reached.
async fn reach<H: Handler>(
    agent: &mut Agent<H>,
    url: &Url,
    scheme: Scheme,
    addresses: Vec<SocketAddr>,
    deadline: Instant,
) -> Result<Transport, Unopened> {
    let mut failure = Error::from(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
    for address in addresses {
        let stream = match attend(agent, deadline, TcpStream::connect(address)).await? {
            Ok(stream) => stream,
            Err(error) => {
                failure = error.into();
                continue;
            }
        };
        if agent.settings().tcp_nodelay {
            stream.set_nodelay(true)?;
        }
        if scheme == Scheme::Plain {
            return Ok(Transport::tcp(stream));
        }
        let (stream, session) = agent.call(|handler| handler.upgrade_ssl_client(stream, url))?.into_parts();
        match attend(agent, deadline, session.handshake(stream, None)).await?.map_err(Error::from) {
            Ok(stream) => return Ok(stream),
            // Another address would be asked for the same certificate; a lost connection says nothing of the others.
            Err(error) if matches!(error.kind, ErrorKind::Io(_)) => failure = error,
            Err(error) => return Err(error.into()),
        }
    }
    Err(failure.into())
}

/// In the order of the resolver.
async fn addresses(url: &Url) -> Result<Vec<SocketAddr>> {
    let Some((host, port)) = url.host().zip(url.port_or_known_default()) else {
        return Err(Error::new(ErrorKind::Internal, "the URL has no host"));
    };
    Ok(match host {
        Host::Ipv4(address) => vec![(address, port).into()],
        Host::Ipv6(address) => vec![(address, port).into()],
        Host::Domain(name) => lookup_host((name, port)).await?.collect(),
    })
}

async fn exchange(stream: &mut Transport, ask: &[u8], input: &mut BytesMut, limits: &Limits) -> Result<FinalResponse> {
    stream.write_all(ask).await?;
    stream.flush().await?;
    let mut reading = ReadResponse::new(limits);
    loop {
        if let Some(response) = reading.receive(input)? {
            return Ok(response);
        }
        input.reserve(HEAD_READ);
        match stream.read_buf(input).await {
            Ok(0) => return Ok(reading.eof()?),
            Ok(_) => {}
            // A server that has refused, but whose body breaks off, has refused all the same.
            Err(error) => return reading.eof().map_err(|_| error.into()),
        }
    }
}

fn rejected(response: &Response) -> Error {
    let location = response.header("Location").map(|value| String::from_utf8_lossy(value).into_owned());
    let location = location.map_or_else(String::new, |location| format!(", Location: {location}"));
    let details = format!("the server answered {} {} and not 101{location}", response.status(), response.reason());
    Error::new(ErrorKind::Protocol, details)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::net::{TcpListener, TcpSocket};

    use super::*;
    use crate::{
        handler::{
            Message, Settings,
            hub::{Hub, Owner},
        },
        proto::connection::after,
        websocket::now,
    };

    /// The address that was reached of these, or the kind of the error.
    async fn reached(addresses: &[SocketAddr]) -> Result<Option<SocketAddr>, io::ErrorKind> {
        let hub = Hub::new(Settings::default(), Owner::WebSocket);
        let mut agent = Agent::new(|_: Message| Ok(()), hub.join(None), Arc::clone(&hub.rules));
        let url = Url::parse("ws://localhost/").expect("a URL");
        let deadline = after(now(), Duration::from_secs(30));
        match reach(&mut agent, &url, Scheme::Plain, addresses.to_vec(), deadline).await {
            Ok(stream) => Ok(stream.peer_addr().ok()),
            Err(Unopened::Because(Error { kind: ErrorKind::Io(error), .. })) => Err(error.kind()),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn d26_the_first_address_that_does_not_refuse_is_reached() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let listens = listener.local_addr().expect("an address");
        // Bound and not listening: its port refuses, and nobody else gets it.
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let refuses = socket.local_addr().expect("an address");
        let rows: [(&[SocketAddr], _); 6] = [
            (&[listens], Ok(Some(listens))),
            (&[refuses, listens], Ok(Some(listens))),
            (&[refuses, refuses, listens, refuses], Ok(Some(listens))),
            (&[listens, refuses], Ok(Some(listens))),
            (&[refuses, refuses], Err(io::ErrorKind::ConnectionRefused)),
            (&[], Err(io::ErrorKind::NotFound)),
        ];
        for (addresses, expected) in rows {
            assert_eq!(reached(addresses).await, expected, "{addresses:?}");
        }
    }
}
