/// Which end of the connection this is (RFC 6455 section 1.2).
///
/// The role decides three things: who masks (the client), who answers the opening handshake (the server), and who
/// ends the transport first after the closing handshake (the server).
///
/// ```
/// use wireline::Role;
/// assert_eq!(Role::Client.peer(), Role::Server);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 6455 knows two roles")]
pub enum Role {
    /// Opened the connection; masks every frame it sends.
    Client,
    /// Accepted the connection; never masks.
    Server,
}

impl Role {
    /// The role of the other endpoint.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}
