//! Any text is read or refused; what is read and verified prints to a text that reads back to the same program.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(program) = ir::text::parse(text) else { return };
    if ir::verify::verify(&program).is_ok() {
        let printed = ir::text::print(&program, false).expect("verified");
        assert!(ir::text::parse(&printed).as_ref() == Ok(&program), "printed and read, it differs");
    }
});
