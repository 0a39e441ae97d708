//! Before a connection is open: the handler is attended to while something is awaited.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::pin,
    task::Poll,
    time::Instant,
};

use tokio::net::TcpStream;
use url::Url;

use crate::{
    handler::{
        Error, ErrorKind, Handler, Result, accepting,
        agent::{Agent, COMMANDS_PER_TURN, Next, Raised},
        batch::Bundle,
        dialing,
        hub::Place,
        mailbox::Command,
        run::Session,
    },
    proto::connection::{Collector, after},
    tls::TlsAcceptor,
    transport::Transport,
    websocket::{Alarm, Inner, now},
};

/// Where a connection comes from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// It was accepted, by a server with this TLS.
    Accepted(TcpStream, Ends, Option<TlsAcceptor>),
    /// It is to be made, or there is no place for it.
    Asked(Url, Result<()>),
}

/// The addresses of a connection that was accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) peer: SocketAddr,
    pub(crate) local: Option<SocketAddr>,
}

/// What became of an opening handshake.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is the larger one that is there for long")]
pub(crate) enum Opened<H> {
    Session(Session<Transport, H>),
    Failed(Agent<H>, Option<Error>),
}

/// A connection that has ended, or never was.
#[derive(Debug)]
pub(crate) struct Ended<H> {
    pub(crate) handler: H,
    /// Given up when the handler is dealt with.
    pub(crate) place: Place,
    /// Why a client connection could not be made.
    pub(crate) failure: Option<Error>,
}

/// A connection from its beginning to its end.
pub(crate) fn connection<H: Handler>(agent: Agent<H>, origin: Origin) -> impl Future<Output = Ended<H>> {
    // Boxed, so that the memory of opening is free while the connection lives.
    let opening = Box::pin(open(agent, origin));
    async move {
        let mut opened = opening.await;
        if let Opened::Session(session) = &mut opened {
            poll_fn(|cx| session.poll(cx)).await;
        }
        let (mut agent, failure) = match opened {
            Opened::Session(session) => (session.into_agent(), None),
            Opened::Failed(agent, failure) => (agent, failure),
        };
        agent.end();
        let (handler, place) = agent.into_parts();
        Ended { handler, place, failure }
    }
}

async fn open<H: Handler>(mut agent: Agent<H>, origin: Origin) -> Opened<H> {
    let deadline = after(now(), agent.config().timings.handshake);
    match origin {
        Origin::Accepted(stream, ends, tls) => match accepting::accept(&mut agent, stream, ends, tls, deadline).await {
            Ok((inner, shake)) => Opened::Session(Session::new(agent, inner, shake)),
            Err(unopened) => {
                unopened.tell(&mut agent);
                Opened::Failed(agent, None)
            }
        },
        Origin::Asked(url, place) => match dialing::dial(&mut agent, &url, place, deadline).await {
            Ok((inner, Ok(shake))) => Opened::Session(Session::new(agent, inner, shake)),
            Ok((inner, Err(refused))) => Box::pin(end_refused(agent, inner, refused)).await,
            Err(unopened) => {
                let failure = unopened.tell(&mut agent);
                let panics = failure.is_some() && agent.settings().panic_on_new_connection;
                assert!(!panics, "Unable to connect to {url}");
                Opened::Failed(agent, failure)
            }
        },
    }
}

/// A connection that opened for the peer, but not for the handler.
async fn end_refused<H: Handler>(agent: Agent<H>, inner: Inner<Transport, Collector>, refused: Raised) -> Opened<H> {
    let failure = refused.error().repeat();
    let mut session = Session::refused(agent, inner, refused);
    poll_fn(|cx| session.poll(cx)).await;
    Opened::Failed(session.into_agent(), Some(failure))
}

/// Why a connection did not open.
#[derive(Debug)]
pub(crate) enum Unopened {
    /// The handler is to be told.
    Because(Error),
    /// The handler knows, or need not know.
    Silently,
}

impl From<Error> for Unopened {
    fn from(error: Error) -> Self {
        Self::Because(error)
    }
}

impl From<io::Error> for Unopened {
    fn from(error: io::Error) -> Self {
        Self::Because(error.into())
    }
}

impl From<Raised> for Unopened {
    fn from(raised: Raised) -> Self {
        Self::Because(raised.into_error())
    }
}

impl Unopened {
    /// Tells the handler, and repeats what it was told.
    fn tell<H: Handler>(self, agent: &mut Agent<H>) -> Option<Error> {
        let Self::Because(error) = self else { return None };
        let again = error.repeat();
        agent.tell(|handler| handler.on_error(error));
        Some(again)
    }
}

/// Awaits something of the opening handshake. Meanwhile timeouts fire, what is to be sent is held, and a shutdown ends it.
pub(crate) async fn attend<H: Handler, T>(
    agent: &mut Agent<H>,
    deadline: Instant,
    awaited: impl Future<Output = T>,
) -> Result<T, Unopened> {
    let mut awaited = pin!(awaited);
    let mut limit = Alarm::default();
    poll_fn(|cx| {
        let mut left = COMMANDS_PER_TURN;
        loop {
            loop {
                match agent.next(&mut left) {
                    Next::Command(command) => carry_out(agent, command)?,
                    Next::Nothing => break,
                    Next::Enough => {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
            }
            while let Some(fired) = agent.fire() {
                check(agent, fired)?;
            }
            if let Poll::Ready(value) = awaited.as_mut().poll(cx) {
                return Poll::Ready(Ok(value));
            }
            if limit.poll(cx, deadline).is_ready() {
                let timed_out = ErrorKind::Io(io::ErrorKind::TimedOut.into());
                return Poll::Ready(Err(Error::new(timed_out, "the opening handshake took too long").into()));
            }
            if agent.poll_alarm(cx, None).is_pending() && agent.end_turn(cx) {
                return Poll::Pending;
            }
        }
    })
    .await
}

fn carry_out<H: Handler>(agent: &mut Agent<H>, command: Command) -> Result<(), Unopened> {
    match command {
        Command::Shutdown => {
            agent.tell(Handler::on_shutdown);
            Err(Unopened::Silently)
        }
        Command::Cancel(key) => {
            agent.cancel(key);
            Ok(())
        }
        Command::Timeout { ms, token } => {
            let scheduled = agent.schedule(ms, token);
            check(agent, scheduled)
        }
        Command::Shared(Bundle::One(broadcast)) => match broadcast.what.alone() {
            Some(command) => Ok(agent.hold(command)?),
            None => {
                let done = agent.carry_out_timeouts(&broadcast);
                check(agent, done)
            }
        },
        Command::Shared(Bundle::More(batch)) => {
            agent.take_apart(&batch);
            Ok(())
        }
        Command::Message(_) | Command::Send(..) | Command::Close(..) | Command::Ping(_) | Command::Pong(_) => {
            Ok(agent.hold(command)?)
        }
    }
}

/// Tells the handler of its own error; those that an open connection survives do not end its opening either.
fn check<H: Handler>(agent: &mut Agent<H>, result: Result<(), Raised>) -> Result<(), Unopened> {
    let Err(raised) = result else { return Ok(()) };
    let error = raised.into_error();
    if let ErrorKind::Custom(_) | ErrorKind::Queue(_) = error.kind {
        agent.tell(|handler| handler.on_error(error));
        return Ok(());
    }
    Err(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::Message;

    fn size<H, F>(_: impl FnOnce(Agent<H>, Origin) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_future_of_a_connection_is_small() {
        let bytes = size(connection::<fn(Message) -> Result<()>>);
        assert!(bytes <= 512, "{bytes} bytes");
    }
}
