/// Durations in nanoseconds, counted in buckets 3 % wide: enough for percentiles, and no allocation per message.
#[derive(Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

/// Buckets of each power of two.
const STEPS: u64 = 32;

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; (64 * STEPS) as usize], total: 0 }
    }

    pub(crate) fn add(&mut self, nanoseconds: u64) {
        self.counts[bucket(nanoseconds)] += 1;
        self.total += 1;
    }

    pub(crate) fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }

    /// The duration that the given share of all did not exceed, in microseconds.
    pub(crate) fn percentile(&self, share: f64) -> Option<f64> {
        let rank = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        let at = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank.max(1)
        })?;
        Some(upper(at as u64) as f64 / 1000.0)
    }
}

fn bucket(nanoseconds: u64) -> usize {
    let value = nanoseconds.max(STEPS);
    let power = u64::from(value.ilog2());
    ((power - 5) * STEPS + ((value >> (power - 5)) - STEPS)) as usize
}

/// The largest duration of a bucket.
fn upper(bucket: u64) -> u64 {
    let shift = bucket / STEPS;
    ((bucket % STEPS + STEPS + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_it_says() {
        for nanoseconds in (32..100_000).step_by(7) {
            let upper = upper(bucket(nanoseconds) as u64);
            assert!(nanoseconds <= upper && upper <= nanoseconds + nanoseconds / 31, "{nanoseconds} in {upper}");
        }
    }

    #[test]
    fn percentiles() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.percentile(0.5), None);
        (1..=100).for_each(|microseconds| histogram.add(microseconds * 1000));
        for (share, expected) in [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            let found = histogram.percentile(share).unwrap_or_default();
            assert!((found / expected - 1.0).abs() < 0.035, "{share}: {found}");
        }
    }
}
