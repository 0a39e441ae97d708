//! The only place that draws random numbers: from rand's thread generator, a cryptographic one that the operating system
//! seeds (RFC 6455 section 10.3).

use crate::proto::Mask;

/// A fresh masking-key.
pub(crate) fn mask() -> Mask {
    Mask::new(rand::random())
}

/// A fresh nonce for `Sec-WebSocket-Key`.
pub(crate) fn nonce() -> [u8; 16] {
    rand::random()
}
