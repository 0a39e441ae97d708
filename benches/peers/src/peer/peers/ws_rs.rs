//! ws-rs with room for all connections. It has an event loop of its own, and writes what has been sent when that turns.

#![expect(clippy::result_large_err, reason = "ws-rs's own error")]

use ws::{Builder, Handler, Message, Result, Sender, Settings, deflate::DeflateHandler};

use crate::{
    options::{Extra, Options},
    serve::{Done, announce},
};

pub(crate) fn echo(options: &Options) -> Done {
    match options.extra {
        Extra::Deflate => listen(options, |out: Sender| DeflateHandler::new(move |message: Message| out.send(message))),
        Extra::Nothing | Extra::Tls | Extra::Plain => {
            listen(options, |out: Sender| move |message: Message| out.send(message))
        }
    }
}

pub(crate) fn broadcast(options: &Options) -> Done {
    listen(options, |out: Sender| move |message: Message| out.broadcast(message))
}

fn listen<H: Handler>(options: &Options, factory: impl FnMut(Sender) -> H) -> Done {
    let settings =
        Settings { max_connections: 10_000, tcp_nodelay: true, panic_on_internal: false, ..Settings::default() };
    let server = Builder::new().with_settings(settings).build(factory)?.bind(&*options.address)?;
    announce(server.local_addr()?);
    server.run()?;
    Ok(())
}

pub(crate) fn receive(options: &Options) -> Done {
    let expected = options.sizes.0;
    ws::connect(&*options.address, |_| {
        move |message: Message| -> Result<()> {
            let length = message.len();
            if length == expected {
                return Ok(());
            }
            Err(ws::Error::new(ws::ErrorKind::Internal, format!("a message of {length} bytes")))
        }
    })?;
    Ok(())
}
