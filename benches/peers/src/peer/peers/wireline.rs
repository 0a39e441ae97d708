//! wireline where none of its examples is what the workload needs: TLS, and clients.

use wireline::{
    Server,
    handler::{self, Builder, ErrorKind, Message, Sender, Settings},
};

use crate::{
    options::Options,
    serve::{Done, announce},
    tls,
};

/// Through TLS; without it, wireline's own example is measured.
pub(crate) async fn echo(options: Options) -> Done {
    let server = Server::bind(&options.address).await?.tls(tls::config()?);
    announce(server.local_addr()?);
    server
        .serve(|mut ws, _| async move {
            while let Some(message) = ws.next().await {
                ws.feed(message?).await?;
            }
            Ok(())
        })
        .await?;
    Ok(())
}

/// The same with a `Handler`.
pub(crate) fn handler_echo(options: &Options) -> Done {
    let settings = Settings { max_connections: 10_000, tcp_nodelay: true, ..Settings::default() };
    let server = Builder::new().with_settings(settings).build(|out: Sender| move |message| out.send(message))?;
    let server = server.with_tls(tls::config()?).bind(&*options.address)?;
    announce(server.local_addr()?);
    server.run()?;
    Ok(())
}

pub(crate) async fn receive(options: Options) -> Done {
    let mut ws = wireline::connect(&options.address).await?;
    while let Some(message) = ws.next().await {
        options.check(message?.as_bytes().len())?;
    }
    Ok(())
}

pub(crate) fn handler_receive(options: &Options) -> Done {
    let expected = options.sizes.0;
    handler::connect(&*options.address, |_| {
        move |message: Message| {
            let length = message.len();
            if length == expected {
                return Ok(());
            }
            Err(handler::Error::new(ErrorKind::Internal, format!("a message of {length} bytes")))
        }
    })?;
    Ok(())
}
