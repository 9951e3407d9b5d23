//! Inputs of which nothing is known: numbers around 0, or where the model is defined.

use super::*;
use crate::signature::{InputPort, InputRole, OutputPort};

/// Check one function of a tensor against another.
fn checked(model: &str, artifact: &str) -> CheckReport {
    checked_in(DType::F32, model, artifact)
}

/// The same where the artifact computes in this type.
fn checked_in(precision: DType, model: &str, artifact: &str) -> CheckReport {
    let graph = |body: &str| {
        let text = format!("graph g  stage=paper\n%x: f32[2,6] = input\n{body}\noutputs y=%y");
        vitc_ir::parse(&text).unwrap_or_else(|e| panic!("{e}"))
    };
    let [model, artifact] = [model, artifact].map(graph);
    let weights = SeededWeights::new(&model, 0);
    let target = Target::onnx(17);
    let options = LowerOptions::new(precision, DType::F32);
    let (lowered, _) = vitc_passes::lower(&artifact, &target, &options).expect("lowers");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    let metadata = Metadata::new("test", WeightSource::Seeded { seed: 0 }, precision);
    onnx::write(&lowered, &weights, &target, &metadata, &mut File::create(&path).expect("creates")).expect("exports");
    let signature = Signature {
        inputs: vec![InputPort { name: "x".into(), role: InputRole::Tensor }],
        outputs: vec![OutputPort { name: "y".into(), role: OutputRole::Tensor }],
    };
    let reference = Reference { graph: &model, signature: &signature, weights: &weights, file: None };
    check(reference, &path, &Options::new(None)).expect("runs")
}

#[test]
fn a_model_is_checked_where_it_is_defined() {
    let (once, twice) = ("%y: f32[2,6] = log(%x)", "%l: f32[2,6] = log(%x)\n%y: f32[2,6] = log(%l)");
    for (model, wrong, range) in [(once, "%y: f32[2,6] = sqrt(%x)", "0.05..0.95"), (twice, once, "1.05..3.05")] {
        let report = checked(model, model);
        assert!(report.passed && report.runs.iter().all(|r| r.input.ends_with(range)), "{report}");
        assert!(report.notes.iter().any(|n| n.contains("narrower range")), "{report}");
        let report = checked(model, wrong);
        assert!(!report.passed && report.runs.iter().all(|r| r.comparison.reference_finite), "{report}");
    }
    // What differs on an input around 0 on which the model is defined is not looked away from, though a narrower range would not show it.
    let (model, wrong) = ("%y: f32[2,6] = sqrt(%a)", "%m: f32[2,6] = max(%a, 1.7)\n%y: f32[2,6] = sqrt(%m)");
    let [model, wrong] = [model, wrong].map(|body| format!("%a: f32[2,6] = add(%x, 1.7)\n{body}"));
    assert!(checked(&model, &model).passed);
    let report = checked(&model, &wrong);
    assert!(!report.passed, "{report}");
    let report = checked("%y: f32[2,6] = abs(%x)", "%y: f32[2,6] = abs(%x)");
    assert!(report.passed && report.runs.iter().all(|r| !r.input.contains("..")), "{report}");
}

/// A signal that is divided by its own deviation: of a constant one that is rounding noise, in either precision.
#[test]
fn what_noise_decides_is_undecided_and_nothing_else_is() {
    let normalised = |factor: f64| {
        let mean =
            "%m: f32[2,1] = reduce_mean(%x){axes=[1], keep}\n%d: f32[2,6] = sub(%x, %m)\n%q: f32[2,6] = mul(%d, %d)";
        let rest = "%v: f32[2,1] = reduce_mean(%q){axes=[1], keep}\n%e: f32[2,1] = add(%v, 0.000000000001)\n%s: f32[2,1] = sqrt(%e)";
        format!("{mean}\n{rest}\n%n: f32[2,6] = div(%d, %s)\n%y: f32[2,6] = mul(%n, {factor})")
    };
    let (model, wrong) = (normalised(1.0), normalised(1.1));
    let report = checked_in(DType::F16, &model, &model);
    assert!(report.passed && report.runs.iter().any(|run| run.undecided), "{report}");
    assert!(report.runs.iter().any(|run| !run.undecided), "{report}");
    let report = checked_in(DType::F16, &model, &wrong);
    assert!(!report.passed, "{report}");
}
