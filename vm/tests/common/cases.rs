//! Conformance cases with their samples.
use super::{Tensors, conformance, sequences, stored};
use compiler::npy::{Array, read_npz};
use compiler::pipeline::Compiled;
use std::collections::BTreeMap;

/// A case of the folder.
pub struct Case {
    pub name: String,
    pub model: Vec<u8>,
    arrays: BTreeMap<String, Array>,
    /// Whether its samples are successive calls.
    pub sequence: bool,
}

/// Every `step`th case whose name `QNN_CASES` names, or all that it names; none where there is no folder.
pub fn cases(step: usize) -> Vec<Case> {
    let Some(dir) = conformance() else { return vec![] };
    let list = std::fs::read_dir(&dir).expect("folder");
    let name = |e: std::io::Result<std::fs::DirEntry>| e.expect("entry").file_name().into_string().ok();
    let mut names: Vec<String> = list.filter_map(|e| name(e)?.strip_suffix(".tflite").map(str::to_owned)).collect();
    let only = std::env::var("QNN_CASES").unwrap_or_default();
    names.retain(|name| only.split(',').any(|part| name.contains(part)));
    names.sort();
    let sequences = sequences(&dir);
    let step = if only.is_empty() { step } else { 1 };
    let case = |name: String| Case {
        model: std::fs::read(dir.join(format!("{name}.tflite"))).expect("model"),
        arrays: read_npz(dir.join(format!("{name}.npz"))).expect("samples"),
        sequence: sequences.contains(&name),
        name,
    };
    names.into_iter().step_by(step).map(case).collect()
}

impl Case {
    /// The first `most` samples as stored integers: inputs and outputs.
    pub fn samples(&self, c: &Compiled, most: usize) -> Vec<(Tensors, Tensors)> {
        let face = &c.program.interface;
        // The reference kernel reads the bytes of an int8 SUM as unsigned; the other kernel does not.
        let side = if self.name.starts_with("sum_int8") { "builtin_output" } else { "output" };
        let get = |side: &str, i: usize, ports: &[ir::Port]| -> Tensors {
            let key = |j: usize| if j == 0 { format!("{side}_{i}") } else { format!("{side}_{i}_{j}") };
            ports.iter().enumerate().map(|(j, p)| stored(&self.arrays[&key(j)], p, side != "input")).collect()
        };
        (0..most)
            .take_while(|i| self.arrays.contains_key(&format!("input_{i}")))
            .map(|i| (get("input", i, &face.inputs), get(side, i, &face.outputs)))
            .collect()
    }
}
