//! `qnnc as`: from the text form to a program.
use super::failure::Failure;
use super::files::{self, Access};
use super::{program, say};
use ir::text::{TextError, escape, parse_with_places};
use ir::verify::verify;
use std::path::Path;

/// The parser reads no more.
const MAX_TEXT: u64 = 64 << 20;
/// Exit code for a text that is no program.
const NO_PROGRAM: u8 = 4;

/// Reads `text`, checks every rule and writes the program.
pub fn assemble(text: &Path, output: &Path) -> Result<u8, Failure> {
    if text == output || files::same(text, output) {
        let what = format!("`{}` is named for both text and program", text.display());
        return Err(Failure::usage(&what, "name a separate file for each"));
    }
    let bytes = files::read(text, MAX_TEXT)?;
    let source = std::str::from_utf8(&bytes).map_err(|e| Failure::program(text, &e))?;
    let parsed = parse_with_places(source).map_err(|bad| listed(text, &bad))?;
    if let Err(bad) = verify(&parsed.program) {
        let placed: Vec<TextError> = bad
            .iter()
            .map(|v| TextError { place: parsed.place(v.inst), what: format!("V{} {}", v.rule, v.what) })
            .collect();
        return Err(listed(text, &placed));
    }
    let encoded = ir::bytecode::encode(&parsed.program);
    ir::bytecode::decode(&encoded).map_err(|e| Failure::program(text, &e))?;
    files::stage(output, &encoded, Access::Ordinary)?.place()?;
    say(&format!("program: {}, {} bytes, no weights", output.display(), encoded.len()));
    say(&format!("cost: {}", program::cost_line(&parsed.program)));
    say(&program::security_line(&parsed.program));
    Ok(0)
}

fn listed(path: &Path, bad: &[TextError]) -> Failure {
    let lines: Vec<String> =
        bad.iter().map(|e| format!("{}:{}: {}", path.display(), e.place, shown(&e.what))).collect();
    Failure::listed(NO_PROGRAM, lines.join("\n"))
}

/// Messages quote what is already escaped; only what still is not printable needs it.
fn shown(what: &str) -> String {
    if what.chars().any(char::is_control) { escape(what) } else { what.to_owned() }
}
