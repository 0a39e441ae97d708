use crate::proto::{
    Fault, Limits, Role,
    connection::{Compressed, Connection},
    deflate::{Agreed, Deflater, End, Inflater, Progress},
    message::assembler::Assembler,
};

/// What permessage-deflate adds to a connection that negotiated it (RFC 7692). What it works with is made, or borrowed, at
/// the first compressed message.
#[derive(Debug)]
pub(super) struct Extension {
    inflater: Inflater,
    pub(super) deflater: Deflater,
    /// What inflating came to since it was last asked for, in frames that it took the place of.
    work: u16,
    /// The other direction's is with the other counters: what deflate adds stays small, and so does what every connection has.
    pub(super) received: Compressed,
}

/// Inflating so many bytes is as much work as a small frame: 128 frames, a connection's budget, are 64 KiB.
const BYTES_PER_FRAME: usize = 512;

impl Extension {
    /// One step of inflating `input` into `body`.
    pub(super) fn inflate(
        &mut self,
        input: &mut &[u8],
        end: End,
        body: &mut Assembler,
        limits: &Limits,
    ) -> Result<Progress, Fault> {
        let before = input.len();
        let inflated = self.inflater.step(input, end, body.bytes(), limits.max_message)?;
        let output = inflated.output();
        self.received.add(output.len() as u64, (before - input.len()) as u64);
        self.work = self.work.saturating_add(u16::try_from(output.len() / BYTES_PER_FRAME).unwrap_or(u16::MAX));
        body.push(output)?;
        Ok(inflated.progress())
    }
}

/// In which form a message goes out that other connections send too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SharedForm {
    /// As it is.
    Plain,
    /// Compressed without any context, with a window of so many bits.
    Compressed(u8),
}

impl<R> Connection<R> {
    /// The form in which this connection may send what another has encoded; `None` where a mask, or the context of earlier
    /// messages, makes it its own.
    pub(crate) fn shared_form(&self) -> Option<SharedForm> {
        match (self.role(), &self.deflate) {
            (Role::Client, _) => None,
            (Role::Server, None) => Some(SharedForm::Plain),
            (Role::Server, Some(extension)) => extension.deflater.window_without_context().map(SharedForm::Compressed),
        }
    }

    /// The same connection, on which messages may be compressed as the handshake agreed.
    pub(crate) fn with_deflate(self, agreed: Option<Agreed>) -> Self {
        let extension = |agreed: Agreed| {
            let (inflater, deflater) = (Inflater::new(agreed.inflate), Deflater::new(agreed.deflate));
            Box::new(Extension { inflater, deflater, work: 0, received: Compressed::default() })
        };
        Self { deflate: agreed.map(extension), ..self }
    }

    /// The work of inflating since this was last called, in frames.
    pub(super) fn inflating_work(&mut self) -> u16 {
        self.deflate.as_mut().map_or(0, |deflate| std::mem::take(&mut deflate.work))
    }
}
