//! `qnnc MODEL.tflite -o MODEL.mpcb`: writes the program and the private weights.
use super::check::{MAX_MODEL, build, refusal};
use super::failure::Failure;
use super::files::{self, Access};
use super::instruments::Watch;
use super::{CompileArgs, PUBLIC, Rounding, Scales, print, print_json, program, remarks, say};
use compiler::passes::Unit;
use compiler::passes::text::Shown;
use compiler::pipeline::{Aim, Options, Owners, PASSES, Protocol, Reveal, finish, run};
use ir::Modes;
use std::path::{Path, PathBuf};

/// A protocol for as many parties as were asked for.
pub fn among(protocol: Protocol, parties: Option<u8>) -> Result<Protocol, Failure> {
    let Some(n) = parties else { return Ok(protocol) };
    protocol.with_parties(n).ok_or_else(|| {
        let what = format!("protocol {} does not run among {n} parties", protocol.facts().name);
        Failure::usage(&what, "`semi` has 2 to 10, `rep4` has 4, the others have 3")
    })
}

/// Compiles and writes both files, or neither; without an output only shows what was asked for.
pub fn compile(args: &CompileArgs) -> Result<u8, Failure> {
    let public = args.weights.as_deref() == Some(Path::new(PUBLIC));
    if args.output.is_none() && args.weights.is_some() && !public {
        return Err(Failure::usage("a file for the weights and none for the program", "name it with `-o`"));
    }
    let beside = |o: &PathBuf| args.weights.clone().unwrap_or_else(|| o.with_extension("mpcw"));
    let weights_path = args.output.as_ref().filter(|_| !public).map(beside);
    if let (Some(output), Some(weights)) = (&args.output, &weights_path) {
        for (a, b) in [(output, weights), (output, &args.model), (weights, &args.model)] {
            if a == b || files::same(a, b) {
                let what = format!("`{}` is named for two of model, program and weights", a.display());
                return Err(Failure::usage(&what, "name a separate file for each"));
            }
        }
    }
    let model = files::read(&args.model, MAX_MODEL)?;
    let owners = Owners { inputs: args.input_owner.clone(), receiver: args.receiver, weights: args.model_owner };
    let aim = args.net.map_or(Aim::Bits, Aim::Seconds);
    let protocol = among(args.protocol, args.parties)?;
    let facts = protocol.facts();
    if args.route.is_some() && !facts.scheme.roles {
        let what = format!("`--route`: protocol {} has one way to requantize", facts.name);
        return Err(Failure::usage(&what, "leave `--route` out"));
    }
    let route = args.route.unwrap_or_default();
    let modes = Modes {
        public_weights: public,
        probabilistic: args.rounding == Rounding::Probabilistic,
        private_scales: args.scales == Scales::Private,
    };
    let options = Options { protocol, route, reveal: args.reveal, aim, modes, ..Options::default() };
    let mut watch = Watch::new(&args.instruments);
    let ran =
        run(Unit { owners, ..Unit::new(&model, options) }, PASSES, |pass, unit, took| watch.seen(pass, unit, took));
    let unit = match ran {
        Ok(unit) => unit,
        Err(e) => {
            watch.done()?;
            let refusal = refusal(&model, e);
            if args.json {
                print_json(&refusal.json())?;
            }
            return Err(refusal.failure());
        }
    };
    watch.done()?;
    if args.instruments.stop_after.is_some() {
        return Ok(0);
    }
    if !args.remarks.is_empty() {
        let shown = Shown { elide: true, layers: args.instruments.filter.clone() };
        let list = remarks::remarks(&unit, &args.remarks, &shown);
        print(&list.iter().map(|r| format!("{r}\n")).collect::<String>())?;
    }
    let compiled = finish(unit).map_err(|e| refusal(&model, e).failure())?;
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).map_err(|e| Failure::write("random numbers", &std::io::Error::other(e)))?;
    let weights = ir::weights::encode(&compiled.weights, &salt);
    if let Some(output) = &args.output {
        let program_file = files::stage(output, &compiled.bytes, Access::Ordinary)?;
        let weights_file =
            weights_path.as_ref().map(|path| files::stage(path, &weights, Access::Private)).transpose()?;
        weights_file.map(|file| file.place()).transpose()?;
        program_file.place()?;
    }

    let name = |path: &Option<PathBuf>| path.as_deref().map(Path::display).map(|d| d.to_string());
    if args.json {
        let mut object = program::summary_json(&compiled.program, &compiled.bytes);
        object["program_file"] = name(&args.output).into();
        object["weights_file"] = name(&weights_path).into();
        object["weights_bytes"] = if public { 0 } else { weights.len() }.into();
        return print_json(&object).map(|()| 0);
    }
    if let Some(output) = name(&args.output) {
        let holds = if public { "weights inside, for everybody who has it" } else { "no weights" };
        say(&format!("program: {output}, {} bytes, {holds}", compiled.bytes.len()));
    }
    if let Some(path) = name(&weights_path) {
        say(&format!("weights: {path}, {} bytes, private to party 0", weights.len()));
    }
    say(&format!("cost: {}", program::cost_line(&compiled.program)));
    say(&program::security_line(&compiled.program));
    if compiled.program.reveal == "logits" {
        say(&saving(&model, options, &compiled.program));
    }
    Ok(0)
}

/// What it saves that the receiver finishes the softmax.
fn saving(model: &[u8], options: Options, logits: &ir::Program) -> String {
    let Ok(whole) = build(model, Options { reveal: Reveal::Output, ..options }) else {
        return "logits: `--reveal=output` cannot be had for this model; `qnnc check` says why".into();
    };
    let bytes = |p: &ir::Program| p.predicted_bytes().iter().sum::<u64>();
    format!(
        "logits: saves {} rounds and {} payload bytes per inference against `--reveal=output`, and opens the operand of the softmax",
        whole.program.predicted_rounds().saturating_sub(logits.predicted_rounds()),
        bytes(&whole.program).saturating_sub(bytes(logits)),
    )
}
