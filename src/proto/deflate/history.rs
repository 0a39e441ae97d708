//! What the next message may refer to, where messages refer to earlier ones (RFC 7692 section 7.2.2).

use std::collections::VecDeque;

/// The last bytes of the messages so far, as many as the agreed window has, and no memory beyond that.
#[derive(Default)]
pub(super) struct History(VecDeque<u8>);

impl History {
    /// What is kept, in two parts, the older one first.
    pub(super) fn parts(&self) -> (&[u8], &[u8]) {
        self.0.as_slices()
    }

    /// Adds what was received, in two parts, and drops what lies further back than `window`.
    pub(super) fn append(&mut self, parts: [&[u8]; 2], window: usize) {
        let added = parts.iter().map(|part| part.len()).sum::<usize>().min(window);
        let len = self.0.len();
        self.0.drain(..(len + added).saturating_sub(window).min(len));
        // By doubling, and exactly up to the window.
        let needed = self.0.len() + added;
        if self.0.capacity() < needed {
            self.0.reserve_exact(needed.next_power_of_two().min(window) - self.0.len());
        }
        for part in newest(parts, window) {
            self.0.extend(part);
        }
    }
}

/// The last `at_most` bytes of all parts together.
pub(super) fn newest<const N: usize>(parts: [&[u8]; N], at_most: usize) -> impl Iterator<Item = &[u8]> {
    let mut older = parts.iter().map(|part| part.len()).sum::<usize>().saturating_sub(at_most);
    parts.into_iter().filter_map(move |part| {
        let cut = older.min(part.len());
        older -= cut;
        part.get(cut..).filter(|part| !part.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_as_large_as_the_window_and_no_larger() {
        for window in (8..=15).map(|bits| 1 << bits) {
            let mut history = History::default();
            let mut all = Vec::new();
            for len in [0, 1, 3, 200, 0, 700, 40_000, 5, 9000].into_iter().cycle().take(30) {
                let added: Vec<u8> = (0..251).cycle().take(len).collect();
                let (one, other) = added.split_at(len / 3);
                history.append([one, other], window);
                all.extend_from_slice(&added);
                let (older, old) = history.parts();
                assert!([older, old].concat() == all[all.len().saturating_sub(window)..], "{len} bytes more");
                assert!(history.0.capacity() <= window, "{} bytes in a window of {window}", history.0.capacity());
            }
        }
    }

    #[test]
    fn the_newest_of_all_parts() {
        let table: [([&str; 3], usize, &[&str]); 6] = [
            (["ab", "cd", "ef"], 9, &["ab", "cd", "ef"]),
            (["ab", "cd", "ef"], 5, &["b", "cd", "ef"]),
            (["ab", "cd", "ef"], 4, &["cd", "ef"]),
            (["ab", "", "ef"], 3, &["b", "ef"]),
            (["ab", "cd", "ef"], 1, &["f"]),
            (["ab", "cd", ""], 0, &[]),
        ];
        for (parts, at_most, expected) in table {
            let found: Vec<&[u8]> = newest(parts.map(str::as_bytes), at_most).collect();
            assert_eq!(found, expected.iter().map(|part| part.as_bytes()).collect::<Vec<_>>(), "{parts:?}");
        }
    }
}
