//! Counts the heap of each thread, so that a row can say what a connection costs (oracle o4).
//!
//! On a current-thread runtime everything that a row does happens on one thread, and parallel tests do not mix. A
//! `realloc` counts as a change of size, not as a new block beside the old one.

#![expect(
    unsafe_code,
    reason = "a global allocator is an unsafe trait; this one counts and leaves the rest to the system's"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

thread_local! {
    static HEAP: Cell<Heap> = const { Cell::new(Heap { held: 0, peak: 0, calls: 0, uncounted: 0 }) };
}

#[derive(Clone, Copy)]
struct Heap {
    held: i64,
    peak: i64,
    /// How often memory was asked for.
    calls: u64,
    /// How many `uncounted` calls are on the stack.
    uncounted: u32,
}

fn change(bytes: i64, calls: u64) {
    // At a thread's end its counter may be gone; nobody asks for it any more.
    let _ = HEAP.try_with(|heap| {
        let Heap { held, peak, calls: before, uncounted } = heap.get();
        if uncounted == 0 {
            let held = held + bytes;
            heap.set(Heap { held, peak: peak.max(held), calls: before + calls, uncounted });
        }
    });
}

fn signed(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

// SAFETY: every call goes to the system's allocator with the arguments it came with, and what that returns is returned;
// counting touches a `Cell` without a destructor and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        change(signed(layout.size()), 1);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        change(signed(layout.size()), 1);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        change(-signed(layout.size()), 0);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`, and `block` came from the system's allocator.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        change(signed(new_size) - signed(layout.size()), 1);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`, and `block` came from the system's allocator.
        unsafe { System.realloc(block, layout, new_size) }
    }
}

/// Runs what belongs to the test and not to what it measures. What is allocated inside must be freed inside another such
/// call, or after the measurement.
pub(crate) fn uncounted<T>(run: impl FnOnce() -> T) -> T {
    let step = |by: i64| {
        HEAP.with(|heap| {
            let now = heap.get();
            heap.set(Heap { uncounted: now.uncounted.saturating_add_signed(i32::try_from(by).unwrap_or(0)), ..now });
        });
    };
    step(1);
    let result = run();
    step(-1);
    result
}

/// The heap of this thread since a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    held: i64,
    calls: u64,
}

impl Meter {
    /// Starts to measure; the highest point is counted from here.
    pub(crate) fn start() -> Self {
        HEAP.with(|heap| {
            let now = heap.get();
            heap.set(Heap { peak: now.held, ..now });
            Self { held: now.held, calls: now.calls }
        })
    }

    /// Bytes held now beyond those held at the start.
    pub(crate) fn held(self) -> i64 {
        HEAP.get().held - self.held
    }

    /// How often memory was asked for since the start; a block that grew counts again.
    pub(crate) fn calls(self) -> u64 {
        HEAP.get().calls - self.calls
    }

    /// The most bytes that were ever held beyond those at the start.
    pub(crate) fn peak(self) -> i64 {
        HEAP.get().peak - self.held
    }
}

#[test]
fn the_counter_sees_what_its_thread_holds() {
    let meter = Meter::start();
    let block = Vec::<u8>::with_capacity(10_000);
    assert_eq!((meter.held(), meter.calls()), (10_000, 1));
    drop(block);
    let hidden = uncounted(|| Vec::<u8>::with_capacity(70_000));
    assert_eq!((meter.held(), meter.peak()), (0, 10_000));
    uncounted(|| drop(hidden));
    std::thread::scope(|scope| scope.spawn(|| drop(Vec::<u8>::with_capacity(50_000))).join()).expect("no panic");
    assert!(meter.peak() < 50_000);
}
