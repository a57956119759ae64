//! An allocator that counts, for test programs that install it.
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Counts what each thread allocates.
pub struct Counting;

thread_local! {
    /// Allocations.
    pub static COUNT: Cell<u64> = const { Cell::new(0) };
    /// Bytes held.
    pub static LIVE: Cell<i64> = const { Cell::new(0) };
    /// Most bytes held.
    pub static PEAK: Cell<i64> = const { Cell::new(0) };
}

fn counted(bytes: i64) {
    COUNT.set(COUNT.get() + u64::from(bytes > 0));
    LIVE.set(LIVE.get() + bytes);
    PEAK.set(PEAK.get().max(LIVE.get()));
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches cells of this thread, which need no
// allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        counted(layout.size() as i64);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        counted(layout.size() as i64);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        counted(size as i64 - layout.size() as i64);
        // SAFETY: as promised by the caller.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        counted(-(layout.size() as i64));
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(old, layout) }
    }
}
