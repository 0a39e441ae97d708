//! The opening handshake by hyper, for libraries that leave it to hyper.

use std::sync::{Arc, Mutex};

use http_body_util::Empty;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::SEC_WEBSOCKET_EXTENSIONS,
    server::conn::http1,
    service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use wireline_peers::Failure;

/// Answers the request with what `respond` makes of it, and gives the stream back, with the extensions that were agreed on.
///
/// The stream is the one that came in: going through hyper's own, which is boxed, would be a cost of each read and write.
pub(crate) async fn upgrade<S, E>(
    stream: S,
    respond: impl Fn(&mut Request<Incoming>) -> Result<Response<Empty<Bytes>>, E>,
) -> Result<(S, Option<String>), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    E: Into<Failure>,
{
    let upgraded = Arc::<Mutex<Option<(OnUpgrade, Option<String>)>>>::default();
    let service = service_fn(|mut request| {
        let on_upgrade = hyper::upgrade::on(&mut request);
        let response = respond(&mut request);
        if let (Ok(response), Ok(mut upgraded)) = (&response, upgraded.lock()) {
            let extensions = response.headers().get(SEC_WEBSOCKET_EXTENSIONS).and_then(|value| value.to_str().ok());
            *upgraded = Some((on_upgrade, extensions.map(str::to_owned)));
        }
        std::future::ready(response)
    });
    // Apart, so that what is left of the connection does not have the size of this.
    Box::pin(http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades()).await?;
    let upgraded = upgraded.lock().ok().and_then(|mut upgraded| upgraded.take());
    let (on_upgrade, extensions) = upgraded.ok_or("no request came")?;
    let parts = on_upgrade.await?.downcast::<TokioIo<S>>().map_err(|_| "another stream came back")?;
    if !parts.read_buf.is_empty() {
        return Err("frames came with the request".into());
    }
    Ok((parts.io.into_inner(), extensions))
}
