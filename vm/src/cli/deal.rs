//! Preprocessing: makes it, and opens a party's part.
use super::{DealArgs, Failure, load};
use ir::Party;
use std::path::{Path, PathBuf};
use std::time::Instant;
use vm::ahead::{self, AheadError, Stock};

impl From<AheadError> for Failure {
    fn from(e: AheadError) -> Self {
        let code = match &e {
            AheadError::Io { .. } => Failure::CONFIG,
            AheadError::Write { source, .. } => ir::exit::of_write(source),
            AheadError::Bad { .. } => Failure::DAMAGED,
            AheadError::Load(_) => Failure::BUG,
            AheadError::Link(e) => e.exit_code(),
        };
        Failure::new(code, e)
    }
}

/// The files of a prefix.
pub fn files(prefix: &Path) -> [PathBuf; 2] {
    [0, 1].map(|p| {
        let mut name = prefix.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{p}.mpcd"));
        prefix.with_file_name(name)
    })
}

/// Batches that a run takes, all of them full.
pub fn inferences(samples: usize, batch: u32, repeat: u32) -> Result<u32, Failure> {
    let usage = |what: String| Failure::new(Failure::USAGE, what);
    if !samples.is_multiple_of(batch as usize) {
        return Err(usage(format!("`--offline`: {samples} samples are not batches of {batch}")));
    }
    let all = u32::try_from(samples / batch as usize).ok().and_then(|n| n.checked_mul(repeat));
    all.ok_or_else(|| usage(format!("`--offline`: {samples} samples {repeat} times are too many for one file")))
}

/// Makes both files. Bytes of messages and seconds.
pub fn make(loaded: &load::Loaded, inferences: u32, batch: u32, prefix: &Path) -> Result<(u64, f64), Failure> {
    if loaded.protocol.facts.dealer.is_none() {
        let what = format!("protocol {} has no dealer: compile with `--protocol dealer2`", loaded.protocol.facts.name);
        return Err(Failure::new(Failure::USAGE, what));
    }
    let start = Instant::now();
    let files = files(prefix);
    let bytes =
        ahead::deal(&loaded.program, &loaded.protocol, loaded.hash, (inferences, batch), [&files[0], &files[1]])?;
    Ok((bytes, start.elapsed().as_secs_f64()))
}

/// The command `deal`.
pub fn run(args: &DealArgs) -> Result<(), Failure> {
    let loaded = load::program(&args.model)?;
    let (bytes, seconds) = make(&loaded, args.inferences, args.batch, &args.output)?;
    let names = files(&args.output).map(|f| f.display().to_string());
    say!("{bytes} bytes for {} x {} samples in {seconds:.3} s, for one session", args.inferences, args.batch);
    say!("{} for party 0, {} for party 1: keep each from the other party", names[0], names[1]);
    Ok(())
}

/// The part of `party`, for so many batches.
pub fn open(path: &Path, party: Party, loaded: &load::Loaded, inferences: u32, batch: u32) -> Result<Stock, Failure> {
    if loaded.protocol.facts.dealer.is_none_or(|d| d == party) {
        let what = format!("`--offline`: protocol {} has no preprocessing for {party}", loaded.protocol.facts.name);
        return Err(Failure::new(Failure::USAGE, what));
    }
    let stock = Stock::open(path, party, &loaded.hash)?;
    let (has, of) = (stock.header.inferences, stock.header.batch);
    if has < inferences || of != batch {
        let what = format!(
            "{}: serves {has} batches of {of} samples, {inferences} of {batch} are asked for; deal for as many",
            path.display()
        );
        return Err(Failure::new(Failure::USAGE, what));
    }
    Ok(stock)
}
