//! Log lines and spans as a subscriber gets them: what it is given to print is not made any safer here.

use std::{
    fmt::{Debug, Write as _},
    sync::{Arc, Mutex},
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

/// `LEVEL span{field=value …}: message field=value …`, of this library and of these tests, on this thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// Records all levels until the guard is dropped.
    pub(crate) fn record() -> (Self, DefaultGuard) {
        let lines = Self::default();
        let guard = tracing::subscriber::set_default(Registry::default().with(lines.clone()));
        (lines, guard)
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
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

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut written = Written::default();
        attributes.record(&mut written);
        let span = context.span(id).unwrap();
        let text = format!("{}{{{}}}: ", span.name(), written.0);
        span.extensions_mut().insert(text);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let target = event.metadata().target();
        if !target.starts_with("wireline") && !target.starts_with("it") {
            return;
        }
        let mut line = format!("{} ", event.metadata().level());
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            line += span.extensions().get::<String>().map_or("", String::as_str);
        }
        let mut written = Written::default();
        event.record(&mut written);
        self.0.lock().unwrap().push(line + &written.0);
    }
}
