//! `--remarks`: what the compiler says about each layer.
use compiler::costs::{analyse, profile_of};
use compiler::passes::Unit;
use compiler::passes::text::Shown;
use compiler::remarks::{Remark, missed, ranges, rounds};
use ir::verify::type_program;

/// What remarks are about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Kind {
    /// Which rounds a layer takes, why each, and what it waits for
    Rounds,
    /// Bounds of accumulators, widths of rings, shifts
    Ranges,
    /// What was not merged, and why
    Missed,
}

/// Remarks on a compiled unit, one kind after the other.
pub fn remarks(unit: &Unit<'_>, kinds: &[Kind], shown: &Shown) -> Vec<Remark> {
    let (Some(f), Some(g), Some(plans)) = (&unit.function, &unit.graph, &unit.plans) else { return vec![] };
    let (Ok(typed), Some(profile)) = (type_program(&f.program), profile_of(&f.program)) else { return vec![] };
    let costs = analyse(&f.program, &typed, profile);
    let of = |kind: &Kind| match kind {
        Kind::Rounds => rounds(&f.program, &costs, &unit.notes, shown),
        Kind::Ranges => ranges(g, plans, shown),
        Kind::Missed => missed(&f.program, &typed, &costs, g, plans, shown),
    };
    kinds.iter().flat_map(of).collect()
}
