//! Looking at the compiler while it works: `--print-ir-after` and its like, and `qnnc passes`.
use super::failure::Failure;
use super::files::{self, Access};
use super::{print, say};
use compiler::passes::text::{Shown, stage};
use compiler::passes::{Pass, Unit};
use compiler::pipeline::PASSES;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

/// Options of a compilation that show how it goes.
#[derive(clap::Args, Default)]
pub struct Instruments {
    /// Print the program after a pass, or after `all`; constants are shortened
    #[arg(long, value_name = "PASS|all", value_parser = pass_or_all)]
    pub print_ir_after: Vec<String>,
    /// Print the program after each pass that changed it
    #[arg(long)]
    pub print_ir_changed: bool,
    /// Write the whole program after each pass to a file of this directory
    #[arg(long, value_name = "DIR")]
    pub dump_ir_dir: Option<PathBuf>,
    /// Stop after a pass and print the program as it is then; writes no program
    #[arg(long, value_name = "PASS", value_parser = pass_name, conflicts_with_all = ["output", "remarks"])]
    pub stop_after: Option<String>,
    /// Print only layers of this operator number or name; may be repeated
    #[arg(long, value_name = "LAYER")]
    pub filter: Vec<String>,
    /// Say how long each pass took
    #[arg(long)]
    pub time_passes: bool,
}

fn pass_name(name: &str) -> Result<String, String> {
    if PASSES.iter().any(|p| p.name == name) {
        return Ok(name.into());
    }
    let known: Vec<&str> = PASSES.iter().map(|p| p.name).collect();
    Err(format!("the passes are {}", known.join(", ")))
}

fn pass_or_all(name: &str) -> Result<String, String> {
    if name == "all" { Ok(name.into()) } else { pass_name(name) }
}

/// Lists the passes.
pub fn passes() -> Result<u8, Failure> {
    let width = PASSES.iter().map(|p| p.name.len()).max().unwrap_or(0);
    let mut s = String::new();
    for p in PASSES {
        let _ = writeln!(s, "{:width$}  {}", p.name, p.about);
    }
    print(&s)?;
    Ok(0)
}

/// Watches the passes of one compilation.
pub struct Watch<'a> {
    options: &'a Instruments,
    before: String,
    number: usize,
    times: Vec<(&'static str, Duration)>,
    failure: Option<Failure>,
}

impl<'a> Watch<'a> {
    /// Nothing seen yet.
    pub fn new(options: &'a Instruments) -> Self {
        Watch { options, before: String::new(), number: 0, times: vec![], failure: None }
    }

    /// Called after each pass.
    pub fn seen(&mut self, pass: &Pass, unit: &Unit<'_>, took: Duration) -> ControlFlow<()> {
        self.number += 1;
        self.times.push((pass.name, took));
        match self.show(pass, unit) {
            Ok(()) if self.options.stop_after.as_deref() == Some(pass.name) => ControlFlow::Break(()),
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => {
                self.failure = Some(e);
                ControlFlow::Break(())
            }
        }
    }

    fn show(&mut self, pass: &Pass, unit: &Unit<'_>) -> Result<(), Failure> {
        let o = self.options;
        let shown = |elide| Shown { elide, layers: o.filter.clone() };
        if let Some(dir) = &o.dump_ir_dir {
            let text = stage(unit, &shown(false));
            let path = dir.join(format!("{:02}-{}.qir", self.number, pass.name));
            std::fs::create_dir_all(dir).map_err(|e| Failure::write(&dir.display().to_string(), &e))?;
            files::stage(&path, text.as_bytes(), Access::Ordinary)?.place()?;
        }
        let stop = o.stop_after.as_deref() == Some(pass.name);
        let asked = stop || o.print_ir_after.iter().any(|p| p == "all" || p == pass.name);
        if !asked && !o.print_ir_changed {
            return Ok(());
        }
        let text = stage(unit, &shown(!stop));
        let changed = text != self.before;
        let head = |what: &str| format!("; after {} (pass {} of {}){what}\n", pass.name, self.number, PASSES.len());
        if asked || changed {
            print(&format!("{}{text}", head("")))?;
        } else {
            print(&head(": nothing changed"))?;
        }
        self.before = text;
        Ok(())
    }

    /// The times, and what went wrong on the way.
    pub fn done(self) -> Result<(), Failure> {
        if self.options.time_passes {
            let all: Duration = self.times.iter().map(|t| t.1).sum();
            let line = |name: &str, t: Duration| say(&format!("{name:<14} {:>10.3} ms", t.as_secs_f64() * 1e3));
            self.times.iter().for_each(|(name, t)| line(name, *t));
            line("all", all);
        }
        self.failure.map_or(Ok(()), Err)
    }
}
