/// Where an open connection stands between its opening handshake and its end (RFC 6455 section 7.1).
///
/// ```text
///          close()                 peer's Close
///   Open ------------> CloseSent -------------------> Closed
///    |                                                   ^
///    |  peer's Close                    our answer       |
///    +-------------> CloseReceived ----------------------+
///
///   any but Closed --- a broken rule, a lost transport ---> Failed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    /// Our Close is queued; the peer's messages are still delivered.
    CloseSent,
    /// The peer's Close is here; only our answer is still sent.
    CloseReceived,
    /// Both Close frames have passed.
    Closed,
    /// Nothing is read as frames any more (section 7.1.7).
    Failed,
}

/// What moves the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    SendData,
    SendControl,
    SendClose,
    ReceiveFrame,
    ReceiveClose,
    Fail,
}

impl State {
    /// The state after this transition; `None` if it is illegal now.
    #[inline]
    pub(crate) const fn after(self, transition: Transition) -> Option<Self> {
        match (self, transition) {
            (Self::Open, Transition::SendData | Transition::SendControl) => Some(Self::Open),
            (Self::Open, Transition::SendClose) => Some(Self::CloseSent),
            (Self::Open, Transition::ReceiveFrame) => Some(Self::Open),
            (Self::Open, Transition::ReceiveClose) => Some(Self::CloseReceived),
            // RFC 6455 §5.5.1: no data after a Close; we send no Ping or Pong either, so that Close is the last frame.
            (Self::CloseSent, Transition::ReceiveFrame) => Some(Self::CloseSent),
            (Self::CloseSent, Transition::ReceiveClose) => Some(Self::Closed),
            (Self::CloseReceived, Transition::SendClose) => Some(Self::Closed),
            (Self::Open | Self::CloseSent | Self::CloseReceived, Transition::Fail) => Some(Self::Failed),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{State::*, Transition::*, *};

    #[test]
    fn the_whole_table_of_section_7_1() {
        let table = [
            (Open, [Some(Open), Some(Open), Some(CloseSent), Some(Open), Some(CloseReceived), Some(Failed)]),
            (CloseSent, [None, None, None, Some(CloseSent), Some(Closed), Some(Failed)]),
            (CloseReceived, [None, None, Some(Closed), None, None, Some(Failed)]),
            (Closed, [None; 6]),
            (Failed, [None; 6]),
        ];
        let transitions = [SendData, SendControl, SendClose, ReceiveFrame, ReceiveClose, Fail];
        for (state, row) in table {
            let actual: [Option<State>; 6] = transitions.map(|transition| state.after(transition));
            assert_eq!(actual, row, "{state:?}");
        }
    }
}
