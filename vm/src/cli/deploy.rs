//! The command `deploy`.
use super::{Failure, load};
use std::path::Path;
use vm::client::ClientError;
use vm::deploy::DeployError;

impl From<ClientError> for Failure {
    fn from(e: ClientError) -> Self {
        let e = vm::query::QueryError::Client(e);
        Failure::new(e.exit_code(), e)
    }
}

/// Shares the weights among files.
pub fn run(model: &Path, weights: &Path, output: &Path) -> Result<(), Failure> {
    let loaded = load::program(model)?;
    let side = load::client(&loaded)?;
    let (weights, _) = load::weights(weights, &loaded)?;
    let stem = output.join(model.file_stem().unwrap_or_default());
    let files = vm::deploy::deploy(&side, loaded.hash, &weights, &stem).map_err(|e| match e {
        DeployError::File(e) => e.into(),
        DeployError::Client(e) => Failure::from(e),
    })?;
    for (party, file) in files.iter().enumerate() {
        say!("{} for party {party} alone", file.display());
    }
    Ok(())
}
