use crate::handler::{Handler, Sender};

/// Makes a [`Handler`] for every connection, and gets it back when the connection is gone.
///
/// Every closure from a [`Sender`] to a handler is a factory.
///
/// ```
/// use wireline::handler::{Factory, Handler, Message, Result, Sender};
///
/// struct Echo(Sender);
///
/// impl Handler for Echo {
///     fn on_message(&mut self, msg: Message) -> Result<()> {
///         self.0.send(msg)
///     }
/// }
///
/// #[derive(Default)]
/// struct Counting {
///     open: usize,
/// }
///
/// impl Factory for Counting {
///     type Handler = Echo;
///
///     fn connection_made(&mut self, out: Sender) -> Echo {
///         self.open += 1;
///         Echo(out)
///     }
///
///     fn connection_lost(&mut self, _: Echo) {
///         self.open -= 1;
///     }
/// }
/// # let _ = wireline::handler::WebSocket::new(Counting::default())?;
/// # Ok::<(), wireline::handler::Error>(())
/// ```
pub trait Factory {
    /// What it makes.
    type Handler: Handler;

    /// Makes the handler of a new connection, before anything of it was sent or received.
    fn connection_made(&mut self, out: Sender) -> Self::Handler;

    /// Called when the `WebSocket` shuts down, after its last connection.
    fn on_shutdown(&mut self) {
        tracing::debug!("factory: shutting down");
    }

    /// Makes the handler of a connection to a server, before its name is looked up. By default
    /// [`connection_made`](Self::connection_made).
    fn client_connected(&mut self, out: Sender) -> Self::Handler {
        self.connection_made(out)
    }

    /// Makes the handler of a connection that was accepted, before its first byte. By default
    /// [`connection_made`](Self::connection_made).
    fn server_connected(&mut self, out: Sender) -> Self::Handler {
        self.connection_made(out)
    }

    /// Gets the handler back, exactly once, when its connection is gone or could not be made. By default it is dropped.
    fn connection_lost(&mut self, handler: Self::Handler) {
        drop(handler);
    }
}

impl<F, H> Factory for F
where
    H: Handler,
    F: FnMut(Sender) -> H,
{
    type Handler = H;

    fn connection_made(&mut self, out: Sender) -> H {
        self(out)
    }
}
