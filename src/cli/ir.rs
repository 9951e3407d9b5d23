//! `vitc ir`: a graph as text, before or after any passes.

use super::{Answer, Failure, Outcome};
use crate::export::TargetKind;
use crate::message;
use crate::message::Setting;
use crate::model::{Model, ModelRequest};
use crate::nearest::edit_distance;
use clap::Parser;
use std::io::Read;
use std::path::Path;
use vitc_ir::{DType, Graph, Stage, Target, parse, validate};
use vitc_passes::{self as passes, Context, LowerOptions, Pass};

/// Print a graph in its text form, before or after any passes.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  vitc ir efficientformerv2-s0                              a model, as its paper has it
  vitc ir efficientformerv2-s0 --passes deploy --listing    what runs of it after the exact passes
  vitc ir fmvit-t --passes deploy,lower --target coreml     as a target has it
  vitc ir block.ir --passes fold_batch_norm,fold_scale      a graph from a file, after two passes
  vitc ir - --passes fold_batch_norm < block.ir             a graph from stdin

A graph is validated before the first pass and after the last.")]
pub(super) struct Args {
    /// A file of a graph in text form, `-` for stdin, a model's name, or a checkpoint.
    #[arg(value_name = "FILE.ir|MODEL|CHECKPOINT")]
    what: String,

    /// Passes to run, in this order, each once; `deploy` and `lower` are the whole lists of an export. A wrong name lists them.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    passes: Vec<String>,

    /// Target whose data the passes ask.
    #[arg(long, value_enum, default_value_t = TargetKind::Onnx)]
    target: TargetKind,

    /// Half precision, for `lower` and `precision`.
    #[arg(long)]
    fp16: bool,

    /// Input size for a model: a side, or HEIGHTxWIDTH.
    #[arg(long, value_name = "N|HxW", value_parser = super::text::resolution)]
    resolution: Option<[usize; 2]>,

    /// Leave the lines of constants out.
    #[arg(long)]
    listing: bool,

    /// One JSON object on stdout, with what each pass did.
    #[arg(long)]
    json: bool,
}

/// A pass, or the whole list of an export.
enum Step {
    Pass(&'static Pass),
    Deploy,
    Lower,
}

/// Run the command.
pub(super) fn run(args: Args) -> Outcome {
    let steps = args.passes.iter().map(|name| step(name)).collect::<Result<Vec<_>, _>>()?;
    let target = args.target.target(None);
    let mut graph = graph(&args)?;
    checked(&graph, &target)?;
    let precision = if args.fp16 { DType::F16 } else { DType::F32 };
    let options = LowerOptions::new(precision, DType::F32);
    let context = Context::new(&target, &options);
    let mut done = Vec::new();
    for step in &steps {
        let (next, reports) = match step {
            Step::Pass(pass) => passes::run(&graph, &[*pass], &context, &mut |_, _| ()),
            Step::Deploy => passes::deploy(&graph),
            Step::Lower => passes::lower(&graph, &target, &options),
        }
        .map_err(Failure::failed)?;
        graph = next;
        done.extend(reports.iter().map(|r| serde_json::json!({ "pass": r.pass, "count": r.count })));
    }
    checked(&graph, &target)?;
    let text = if args.listing { graph.listing().to_string() } else { graph.to_string() };
    let json = serde_json::json!({ "graph": text, "passes": done });
    Ok(Answer::new(text, json))
}

/// The graph that the arguments name.
fn graph(args: &Args) -> Result<Graph, Failure> {
    let path = Path::new(&args.what);
    let is_text = args.what == "-" || path.extension().is_some_and(|e| e == "ir");
    if !is_text {
        let looks_like_path = path.exists() || args.what.contains(['/', '\\']);
        let request = if looks_like_path { ModelRequest::checkpoint(path) } else { ModelRequest::named(&args.what) };
        return Ok(Model::load(&ModelRequest { resolution: args.resolution, ..request })?.graph);
    }
    if args.resolution.is_some() {
        let why = " is for models: a graph in text form has the sizes that it says";
        return Err(Failure::usage(message!(Setting::Resolution, why)));
    }
    let mut text = String::new();
    let (name, read) = match args.what.as_str() {
        "-" => ("stdin".to_string(), std::io::stdin().read_to_string(&mut text)),
        _ => (args.what.clone(), std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))),
    };
    read.map_err(|e| Failure::failed(format!("cannot read {name}: {e}")))?;
    parse(&text).map_err(|e| Failure::failed(format!("{name}: {e}")))
}

/// An error if a graph is not valid; of a target's graph also if the target cannot say it.
fn checked(graph: &Graph, target: &Target) -> Result<(), Failure> {
    let target = Some(target).filter(|_| graph.stage == Stage::Target);
    validate(graph, target).map_err(|e| Failure::failed(format!("the {} graph is not valid: {e}", graph.stage.word())))
}

fn step(name: &str) -> Result<Step, Failure> {
    match name {
        "deploy" => return Ok(Step::Deploy),
        "lower" => return Ok(Step::Lower),
        _ => {}
    }
    passes::find(name).map(Step::Pass).ok_or_else(|| {
        let names: Vec<&str> = ["deploy", "lower"].into_iter().chain(passes::all().iter().map(|p| p.name)).collect();
        let nearest = names.iter().min_by_key(|n| edit_distance(n, name)).copied().unwrap_or_default();
        Failure::usage(format!("there is no pass `{name}`; the nearest is {nearest}\npasses: {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "\
graph block  stage=paper
%x: f32[1,3,4,4] = input
%c: f32[1,2,4,4] = conv(%x, weight\"w\":f32[2,3,1,1]){stride=1, pad=0}
%n: f32[1,2,4,4] = batch_norm(%c, bn\"n\":f32[2]){eps=1e-5}
outputs y=%n
";

    fn ran(text: &str, args: &[&str]) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("block.ir");
        std::fs::write(&path, text).unwrap();
        let args = [&["ir", path.to_str().unwrap()], args].concat();
        run(Args::try_parse_from(args).unwrap())
    }

    #[test]
    fn passes_run_by_name_and_the_result_reads_back() {
        assert_eq!(ran(BLOCK, &[]).unwrap().text, BLOCK);
        let answer = ran(BLOCK, &["--passes", "fold_batch_norm"]).unwrap();
        assert!(answer.text.contains("@bias: f32[2] = bn_shift(bn\"n\":f32[2]){eps=1e-5}"), "{}", answer.text);
        assert_eq!(answer.json["passes"][0]["count"], 1);
        assert_eq!(ran(&answer.text, &[]).unwrap().text, answer.text);
        let listing = ran(BLOCK, &["--passes", "deploy,lower", "--target", "coreml", "--fp16", "--listing"]).unwrap();
        assert!(listing.text.contains("stage=target") && !listing.text.contains("bn_shift"), "{}", listing.text);
    }

    #[test]
    fn what_is_wrong_is_said_where() {
        let failure = ran(BLOCK, &["--passes", "fold_batchnorm"]).unwrap_err();
        assert_eq!(failure.exit, super::super::Exit::Usage);
        assert!(
            failure
                .message
                .to_string()
                .contains("there is no pass `fold_batchnorm`; the nearest is fold_batch_norm\npasses: deploy")
        );
        let failure = ran(&BLOCK.replace("conv(", "cov("), &[]).unwrap_err();
        assert_eq!(failure.exit, super::super::Exit::Failed);
        assert!(
            failure.message.to_string().ends_with("block.ir: line 3: expected an operator, found `cov`"),
            "{}",
            failure.message
        );
        let failure = ran(&BLOCK.replace("y=%n", "y=%c"), &[]).unwrap_err();
        assert!(failure.message.to_string().starts_with("the paper graph is not valid: "), "{}", failure.message);
        assert!(
            ran(BLOCK, &["--resolution", "64"])
                .unwrap_err()
                .message
                .to_string()
                .starts_with("resolution is for models")
        );
    }
}
