fn main() {
    for dir in std::env::args().skip(1) {
        let mut names: Vec<_> = std::fs::read_dir(&dir)
            .unwrap()
            .filter_map(|e| e.unwrap().file_name().into_string().ok()?.strip_suffix(".tflite").map(str::to_owned))
            .collect();
        names.sort();
        for n in names {
            let m = std::fs::read(format!("{dir}/{n}.tflite")).unwrap();
            let t = std::time::Instant::now();
            match compiler::pipeline::compile(&m) {
                Ok(_) => println!("OK {n} {:?}", t.elapsed()),
                Err(compiler::pipeline::CompileError::Import(e)) => println!("IMPORT {n}: {e}"),
                Err(e) => println!("LOWER {n}: {e}"),
            }
        }
    }
}
