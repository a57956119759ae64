//! Any model is refused with explained problems, or read; what is read and small is compiled or refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(graph) = compiler::tflite::import(bytes) else { return };
    let elements: usize =
        graph.tensors.iter().map(|t| t.shape.iter().product::<usize>()).fold(0, usize::saturating_add);
    // Compiling takes time by the size of the model, which is no hang.
    if graph.ops.len() <= 8 && elements <= 4096 {
        match compiler::pipeline::compile(bytes) {
            Ok(c) => {
                assert!(ir::bytecode::decode(&c.bytes).is_ok_and(|p| p == c.program), "its program differs when read")
            }
            Err(compiler::pipeline::CompileError::Broken { pass, violations }) => panic!("{pass}: {violations:?}"),
            Err(_) => {}
        }
    }
});
