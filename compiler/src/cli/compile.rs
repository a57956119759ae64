//! `qnnc MODEL.tflite -o MODEL.mpcb`: writes the program and the private weights.
use super::check::{MAX_MODEL, build};
use super::failure::Failure;
use super::files::{self, Access};
use super::{CompileArgs, print_json, program, say};
use compiler::pipeline::Options;

/// Compiles and writes both files, or neither.
pub fn compile(args: &CompileArgs) -> Result<u8, Failure> {
    let weights_path = args.weights.clone().unwrap_or_else(|| args.output.with_extension("mpcw"));
    for (a, b) in [(&args.output, &weights_path), (&args.output, &args.model), (&weights_path, &args.model)] {
        if a == b || files::same(a, b) {
            let what = format!("`{}` is named for two of model, program and weights", a.display());
            return Err(Failure::usage(&what, "name a separate file for each"));
        }
    }
    let model = files::read(&args.model, MAX_MODEL)?;
    let compiled = match build(&model, Options { reveal: args.reveal, ..Options::default() }) {
        Ok(compiled) => compiled,
        Err(refusal) => {
            if args.json {
                print_json(&refusal.json())?;
            }
            return Err(refusal.failure());
        }
    };
    let weights = ir::weights::encode(&compiled.weights);
    let program_file = files::stage(&args.output, &compiled.bytes, Access::Ordinary)?;
    let weights_file = files::stage(&weights_path, &weights, Access::Private)?;
    weights_file.place()?;
    program_file.place()?;

    if args.json {
        let mut object = program::summary_json(&compiled.program, &compiled.bytes);
        object["program_file"] = args.output.display().to_string().into();
        object["weights_file"] = weights_path.display().to_string().into();
        object["weights_bytes"] = weights.len().into();
        return print_json(&object).map(|()| 0);
    }
    say(&format!("program: {}, {} bytes, no weights", args.output.display(), compiled.bytes.len()));
    say(&format!("weights: {}, {} bytes, private to party 0", weights_path.display(), weights.len()));
    say(&format!("cost: {}", program::cost_line(&compiled.program)));
    say(&program::security_line(&compiled.program));
    if compiled.program.reveal == "logits" {
        say(&saving(&model, &compiled.program));
    }
    Ok(0)
}

/// What it saves that the receiver finishes the softmax.
fn saving(model: &[u8], logits: &ir::Program) -> String {
    let Ok(whole) = build(model, Options::default()) else {
        return "logits: `--reveal=output` cannot be had for this model; `qnnc check` says why".into();
    };
    let bytes = |p: &ir::Program| p.predicted_bytes().iter().sum::<u64>();
    format!(
        "logits: saves {} rounds and {} payload bytes per inference against `--reveal=output`, and opens the operand of the softmax",
        whole.program.predicted_rounds().saturating_sub(logits.predicted_rounds()),
        bytes(&whole.program).saturating_sub(bytes(logits)),
    )
}
