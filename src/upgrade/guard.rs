use std::sync::{Arc, OnceLock};

use http::{Request, Response, StatusCode};

/// Opens the WebSocket of one request only if its own response leaves the service that is given to hyper.
///
/// hyper hands a connection over when it is done with HTTP on it, whatever the response was: after a 403 that a layer sent
/// in the place of the 101, with `Connection: close` or because the client closed, what is left of the connection would be
/// taken for a WebSocket. Over HTTP/2 any response of 2xx would. Where something around the handler may replace its
/// response, a guard goes around that: [`new`](Self::new) first, [`confirm`](Self::confirm) last. Then
/// [`Upgrading`](super::hyper::Upgrading) fails with [`Error::Network`](crate::Error::Network) unless the response that
/// belongs to it is what was confirmed: with its status, and with its extensions.
///
/// Of guards around guards the outermost counts. With axum, [`GuardLayer`](super::axum::GuardLayer) does it.
///
/// ```
/// use http::{Request, Response};
/// use wireline::upgrade::hyper::Guard;
///
/// async fn service<B>(mut request: Request<B>) -> Response<String> {
///     let guard = Guard::new(&mut request);
///     let response = whatever_may_answer(request).await;
///     guard.confirm(&response);
///     response
/// }
/// # async fn whatever_may_answer<B>(_: Request<B>) -> Response<String> { Response::default() }
/// ```
#[derive(Debug)]
#[must_use = "nothing opens unless the response is confirmed"]
pub struct Guard {
    /// `None` within another guard.
    watched: Option<Watched>,
}

impl Guard {
    /// Guards a request, by an extension that it is given.
    pub fn new<B>(request: &mut Request<B>) -> Self {
        let extensions = request.extensions_mut();
        if extensions.get::<Watched>().is_some() {
            return Self { watched: None };
        }
        let watched = Watched::default();
        extensions.insert(watched.clone());
        Self { watched: Some(watched) }
    }

    /// Lets the WebSocket open if this is the response that opens it. Nothing may change the response behind this.
    pub fn confirm<B>(self, response: &Response<B>) {
        let opening = response.extensions().get::<Opening>();
        if let Some((watched, opening)) = self.watched.zip(opening)
            && Arc::ptr_eq(&watched.0, &opening.watched.0)
            && response.status() == opening.status
        {
            // It is set by whoever confirms, once.
            let _ = watched.0.set(());
        }
    }
}

/// Among the extensions of a request: it is guarded. Set once its response is confirmed.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched(Arc<OnceLock<()>>);

impl Watched {
    /// hyper hands a connection over only after it has the response, and by then that is confirmed or never will be.
    pub(super) fn is_confirmed(&self) -> bool {
        self.0.get().is_some()
    }

    /// Marks the response that opens the connection.
    pub(super) fn mark<B>(&self, response: &mut Response<B>) {
        let opening = Opening { watched: self.clone(), status: response.status() };
        response.extensions_mut().insert(opening);
    }
}

/// Among the extensions of a response: it opens the connection of this request, if it has this status.
#[derive(Clone, Debug)]
struct Opening {
    watched: Watched,
    status: StatusCode,
}
