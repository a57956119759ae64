//! Any model is refused with explained problems, or read into a graph whose parts fit. What follows is not run here: compiling
//! enumerates thresholds, which takes seconds where every comparison is counted.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| match compiler::tflite::import(bytes) {
    Ok(graph) => {
        for op in &graph.ops {
            assert!(
                op.inputs.iter().all(|id| id.index() < graph.tensors.len()) && op.output.index() < graph.tensors.len()
            );
        }
        for tensor in &graph.tensors {
            assert!(tensor.constant.as_ref().is_none_or(|c| c.len() == tensor.len()), "length of {}", tensor.name);
        }
    }
    Err(report) => {
        assert!(!report.problems.is_empty(), "refused without a reason");
        for problem in &report.problems {
            assert!(compiler::tflite::CODES.iter().any(|(code, _)| *code == problem.code), "{}", problem.code);
            assert!(!problem.to_string().contains('\n'), "{problem}");
        }
    }
});
