//! Instruction sets, and loops without a name of their own compiled for each of them.
//!
//! A loop that the compiler turns into vectors by itself is written once and handed to [`wide`], which runs a copy made
//! for the widest vectors of this machine. What the loop calls must be inlined, or it stays as it was.

/// Instruction sets with their own copy of the loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// What every machine of the target runs.
    Portable,
    /// Vectors of 256 bits.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Vectors of 512 bits.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

#[cfg(debug_assertions)]
thread_local! {
    static LIMIT: std::cell::Cell<Option<Isa>> = const { std::cell::Cell::new(None) };
}

impl Isa {
    /// What this machine can run, slowest first.
    pub fn available() -> impl DoubleEndedIterator<Item = Isa> {
        [
            Some(Isa::Portable),
            #[cfg(target_arch = "x86_64")]
            is_x86_feature_detected!("avx2").then_some(Isa::Avx2),
            #[cfg(target_arch = "x86_64")]
            (is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl"))
            .then_some(Isa::Avx512),
        ]
        .into_iter()
        .flatten()
    }

    /// The widest.
    #[inline]
    pub fn best() -> Isa {
        #[cfg(debug_assertions)]
        if let Some(isa) = LIMIT.get() {
            return isa;
        }
        Isa::available().next_back().expect("the portable loops run everywhere")
    }

    /// Runs `f` as on a machine that has `self`, one of [`Isa::available`], and nothing better: what this thread calls, not
    /// what it hands to others. For tests.
    #[cfg(debug_assertions)]
    pub fn at_most<R>(self, f: impl FnOnce() -> R) -> R {
        assert!(Isa::available().any(|isa| isa == self), "{self:?} runs here");
        let before = LIMIT.replace(Some(self));
        let result = f();
        LIMIT.set(before);
        result
    }
}

/// Runs `f` compiled for the widest vectors of this machine. Write `#[inline(always)]` before the closure.
#[inline]
pub fn wide<R>(f: impl FnOnce() -> R) -> R {
    match Isa::best() {
        Isa::Portable => f(),
        // SAFETY: `Isa::best` asked the processor for the features.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2(f) },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512(f) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<R>(f: impl FnOnce() -> R) -> R {
    f()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512<R>(f: impl FnOnce() -> R) -> R {
    f()
}
