use wireline_peers::Failure;

/// What a program of the benchmark is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Where to listen; where to connect, as a URL, if it receives.
    pub(crate) address: String,
    pub(crate) extra: Extra,
    /// Bytes of a message, as they come and as they go; of a received one's payload.
    pub(crate) sizes: (usize, usize),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Extra {
    Nothing,
    Deflate,
    Tls,
    /// Memory counts: no more buffers than the library itself, or its own examples, have.
    Plain,
}

impl Options {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut options = Self { address: "127.0.0.1:9001".into(), extra: Extra::Nothing, sizes: (0, 0) };
        while let Some(argument) = arguments.next() {
            let mut size = || Ok::<_, Failure>(arguments.next().ok_or("a size is missing")?.parse()?);
            match &*argument {
                "--deflate" => options.extra = Extra::Deflate,
                "--tls" => options.extra = Extra::Tls,
                "--plain" => options.extra = Extra::Plain,
                "--sizes" => options.sizes = (size()?, size()?),
                flag if flag.starts_with('-') => return Err(format!("unknown option {flag}").into()),
                address => options.address = address.into(),
            }
        }
        Ok(options)
    }

    /// `HOST:PORT` of the URL to connect to.
    pub(crate) fn host(&self) -> &str {
        self.address.trim_start_matches("ws://")
    }

    /// Ends the program if a received message is not of the length it should be of.
    pub(crate) fn check(&self, length: usize) -> Result<(), Failure> {
        if length == self.sizes.0 { Ok(()) } else { Err(format!("a message of {length} bytes").into()) }
    }
}
