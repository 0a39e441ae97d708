//! Log lines and spans as a subscriber gets them: what it is given to print is not made any safer here.

use std::{
    cell::RefCell,
    fmt::{Debug, Write as _},
    rc::Rc,
    sync::Once,
};

use tracing::{
    Event, Metadata, Subscriber,
    callsite::rebuild_interest_cache,
    field::{Field, Visit},
    span::{Attributes, Id},
    subscriber::{Interest, set_global_default},
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

thread_local! {
    static RECORDING: RefCell<Option<Lines>> = const { RefCell::new(None) };
}

/// `LEVEL span{field=value …}: message field=value …`, of this library and of these tests, on this thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Rc<RefCell<Vec<String>>>);

/// Records until it is dropped.
#[derive(Debug)]
pub(crate) struct Recording(());

impl Drop for Recording {
    fn drop(&mut self) {
        RECORDING.take();
    }
}

impl Lines {
    /// Records all levels until the guard is dropped.
    ///
    /// The subscriber is one for all threads: while one thread alone has its own, tracing takes a line that another thread
    /// writes first for one that nobody wants, for ever.
    pub(crate) fn record() -> (Self, Recording) {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| set_global_default(Registry::default().with(Recorder)).expect("the only one"));
        rebuild_interest_cache();
        let lines = Self::default();
        RECORDING.set(Some(lines.clone()));
        (lines, Recording(()))
    }

    fn recording() -> Option<Self> {
        RECORDING.with_borrow(Clone::clone)
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    /// Those with these words.
    pub(crate) fn with(&self, words: &str) -> Vec<String> {
        self.all().into_iter().filter(|line| line.contains(words)).collect()
    }
}

/// Fields as they are written, none of them quoted for being text.
#[derive(Default)]
struct Written(String);

impl Visit for Written {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let space = if self.0.is_empty() { "" } else { " " };
        let name = if field.name() == "message" { String::new() } else { format!("{}=", field.name()) };
        write!(self.0, "{space}{name}{value:?}").unwrap();
    }
}

struct Recorder;

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("wireline") || metadata.target().starts_with("it")
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_ours(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        is_ours(metadata)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if Lines::recording().is_none() {
            return;
        }
        let mut written = Written::default();
        attributes.record(&mut written);
        let span = context.span(id).unwrap();
        let text = format!("{}{{{}}}: ", span.name(), written.0);
        span.extensions_mut().insert(text);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(lines) = Lines::recording() else { return };
        let mut line = format!("{} ", event.metadata().level());
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            line += span.extensions().get::<String>().map_or("", String::as_str);
        }
        let mut written = Written::default();
        event.record(&mut written);
        lines.0.borrow_mut().push(line + &written.0);
    }
}
