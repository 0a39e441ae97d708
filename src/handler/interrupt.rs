//! SIGINT shuts down what runs, and ends the process where nothing does or it comes again.

use std::sync::{Arc, Weak};

use crate::handler::hub::Hub;

/// Has SIGINT shut this run down, until dropped.
pub(crate) fn watch(hub: &Arc<Hub>) -> Watched {
    signal::register(hub);
    Watched(Arc::downgrade(hub))
}

#[derive(Debug)]
pub(crate) struct Watched(Weak<Hub>);

impl Drop for Watched {
    fn drop(&mut self) {
        signal::forget(&self.0);
    }
}

#[cfg(unix)]
mod signal {
    use std::{
        sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
        thread,
    };

    use signal_hook::{consts::SIGINT, iterator::Signals, low_level::emulate_default_handler};

    use crate::handler::hub::Hub;

    /// The runs that have not been interrupted.
    static RUNS: Mutex<Vec<Weak<Hub>>> = Mutex::new(Vec::new());

    pub(super) fn register(hub: &Arc<Hub>) {
        static WATCHING: OnceLock<()> = OnceLock::new();
        RUNS.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(hub));
        WATCHING.get_or_init(|| {
            let watching = Signals::new([SIGINT])
                .and_then(|signals| thread::Builder::new().name("wireline-sigint".to_owned()).spawn(|| watch(signals)));
            if let Err(error) = watching {
                tracing::warn!(%error, "SIGINT cannot be watched, and ends the process as it does by default");
            }
        });
    }

    pub(super) fn forget(hub: &Weak<Hub>) {
        let mut runs = RUNS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = runs.iter().position(|run| run.ptr_eq(hub)) {
            runs.swap_remove(at);
        }
    }

    fn watch(mut signals: Signals) {
        for signal in signals.forever() {
            let runs = std::mem::take(&mut *RUNS.lock().unwrap_or_else(PoisonError::into_inner));
            let running: Vec<_> = runs.iter().filter_map(Weak::upgrade).collect();
            if running.is_empty() {
                // Ctrl-C must not stop working in a program that goes on after its run, or does not end by it.
                let _ = emulate_default_handler(signal);
            }
            for hub in running {
                hub.shutdown();
            }
        }
    }
}

#[cfg(not(unix))]
mod signal {
    use std::sync::{Arc, Weak};

    use crate::handler::hub::Hub;

    pub(super) fn register(_: &Arc<Hub>) {}

    pub(super) fn forget(_: &Weak<Hub>) {}
}
