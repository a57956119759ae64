//! Models and cases beside the workspace, where they are.
#![allow(dead_code, missing_docs, reason = "each test file uses a part")]
use std::path::{Path, PathBuf};

/// The folder `models` or `conformance`, or what `QNN_MODELS_DIR` or `QNN_CONFORMANCE_DIR` names instead. None, said, where there is none.
pub fn folder(name: &str) -> Option<PathBuf> {
    let variable = format!("QNN_{}_DIR", name.to_uppercase());
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(name);
    let dir = std::env::var_os(&variable).map_or(beside, PathBuf::from);
    if dir.is_dir() {
        return Some(dir);
    }
    println!("skipped: no folder {}; set {variable}", dir.display());
    None
}

/// Its model files, in order.
pub fn files(name: &str) -> Option<Vec<PathBuf>> {
    let list = std::fs::read_dir(folder(name)?).expect("a folder");
    let mut all: Vec<PathBuf> = list.map(|e| e.expect("an entry").path()).collect();
    all.retain(|p| p.extension().is_some_and(|e| e == "tflite"));
    all.sort();
    Some(all)
}
