//! Signals of one party: an end that the peers hear of, and a line about what it waits for.
//!
//! A signal is only noted by its handler; a thread acts on it, so nothing happens in the middle of anything.
use super::Failure;
use runtime_protocols::link::Control;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What the thread knows of the run.
#[derive(Clone, Default)]
pub struct Signals(Arc<Mutex<Option<Control>>>);

impl Signals {
    /// Begins to listen.
    pub fn listen() -> Result<Signals, Failure> {
        let own = Signals::default();
        let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1])
            .map_err(|e| Failure::new(Failure::CONFIG, format!("signals: {e}")))?;
        let shared = own.clone();
        let run = move || {
            for signal in signals.forever() {
                let control = shared.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if signal == SIGUSR1 {
                    let status = control.map_or("connecting to the peers".to_owned(), |c| c.status());
                    eprintln!("status: {status}");
                    continue;
                }
                let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
                let code = u8::try_from(128 + signal).unwrap_or(Failure::BUG);
                if let Some(control) = control {
                    control.interrupt(code, &format!("ended by {name}"));
                }
                eprintln!("ended by {name}; the peers were told");
                std::process::exit(code.into());
            }
        };
        let started = thread::Builder::new().name("signals".to_owned()).spawn(run);
        started.map(|_| own).map_err(|e| Failure::new(Failure::LIMIT, format!("no thread: {e}")))
    }

    /// From now on a signal concerns this link.
    pub fn watch(&self, link: Control) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(link);
    }
}

/// The command `status`: asks a party of this machine; it answers on its own standard error.
pub fn status(pid: i32) -> Result<(), Failure> {
    let usage = |e: &dyn std::fmt::Display| Failure::new(Failure::USAGE, format!("process {pid}: {e}"));
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).map_err(|e| usage(&e))?;
    if !name.trim_end().starts_with("qnnvm") {
        return Err(usage(&"this is no qnnvm"));
    }
    let process = rustix::process::Pid::from_raw(pid).ok_or_else(|| usage(&"no such process"))?;
    rustix::process::kill_process(process, rustix::process::Signal::USR1).map_err(|e| usage(&e))?;
    eprintln!("process {pid} prints its status on its own standard error");
    Ok(())
}
