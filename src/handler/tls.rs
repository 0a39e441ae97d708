/// A TLS handshake about to happen.
#[derive(Debug)]
pub struct SslStream<S> {
    stream: S,
}
