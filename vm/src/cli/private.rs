//! Keeps what is in memory there: no core file, and no look at it by other processes of the same user.
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Called before any file is read. Where something is not allowed, the system is stricter already.
pub fn seal() {
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
