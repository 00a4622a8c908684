//! How much memory is in use at once: a length that somebody has claimed must not become room.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static USED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static COUNTED: Counted = Counted;

/// The system's allocator, which counts.
struct Counted;

fn more(bytes: usize) {
    MOST.fetch_max(USED.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: the system's allocator does all of it, with what it is given.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may be there for a moment.
        more(size);
        USED.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(old, layout) }
    }
}

/// Does this, and asserts that it needs no more than so many bytes at once, beside those that were in use.
pub fn within<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let before = USED.load(Relaxed);
    MOST.store(before, Relaxed);
    let done = work();
    let needed = MOST.load(Relaxed).saturating_sub(before);
    assert!(needed <= bytes, "{needed} bytes are needed at once: more than {bytes}");
    done
}
