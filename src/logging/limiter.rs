use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Lines of one kind in a second: enough to see what happens, and too few to fill a disk.
pub(super) const MOST: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);

/// Lets the first few lines of a second through, and counts the others.
#[derive(Debug, Default)]
pub(super) struct Limiter(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl Limiter {
    /// Whether a line may be written now: then how many were not since the last that was.
    pub(super) fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if window.began.is_none_or(|began| now.saturating_duration_since(began) >= SECOND) {
            (window.began, window.lines) = (Some(now), 0);
        }
        if window.lines >= MOST {
            window.suppressed += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attack_is_a_few_lines_a_second_and_their_number() {
        #[expect(clippy::disallowed_methods, reason = "any instant does")]
        let start = Instant::now();
        let limiter = Limiter::default();
        // 5,000 a second for three seconds.
        let admitted: Vec<(u32, u64)> = (0..15_000)
            .filter_map(|event| Some((event, limiter.admit(start + Duration::from_micros(200) * event)?)))
            .collect();
        assert_eq!(admitted.len(), 30);
        let counts: Vec<_> = admitted.iter().copied().filter(|(_, suppressed)| *suppressed > 0).collect();
        assert_eq!(counts, [(5000, 4990), (10_000, 4990)]);
        assert_eq!(limiter.admit(start + 4 * SECOND), Some(4990));
    }
}
