//! Inputs are made and outputs compared by their roles.

use super::*;
use crate::signature::{InputPort, InputRole, OutputPort, Over};
use vitc_ir::testing::random_weights;

/// A picture and a tensor go in; a map of scores, scores of the picture, boxes and a vector come out.
const MODEL: &str = "graph g  stage=paper
%image: f32[B,3,8,8] = input
%hint: f32[B,4] = input
%map: f32[B,5,8,8] = conv(%image, weight\"c\":f32[5,3,3,3]){stride=1, pad=1}
%mean: f32[B,5] = reduce_mean(%map){axes=[2,3]}
%near: f32[B,5] = linear(%hint, weight\"h\":f32[5,4])
%scores: f32[B,5] = add(%mean, %near)
%boxes: f32[B,20] = linear(%scores, weight\"b\":f32[20,5])
%corners: f32[B,5,4] = reshape(%boxes)
outputs pixels=%map, scores=%scores, boxes=%corners, features=%mean";

fn signature_of(graph: &Graph) -> Signature {
    let picture = signature(graph, Vec::new()).inputs[0].role.clone();
    let inputs = [("image", picture), ("hint", InputRole::Tensor)];
    let outputs = [
        ("pixels", OutputRole::Scores { classes: 5, over: Over::Pixels }),
        ("scores", OutputRole::Scores { classes: 5, over: Over::Rows }),
        ("boxes", OutputRole::Boxes),
        ("features", OutputRole::Features),
    ];
    Signature {
        inputs: inputs.map(|(name, role)| InputPort { name: name.into(), role }).to_vec(),
        outputs: outputs.map(|(name, role)| OutputPort { name: name.into(), role }).to_vec(),
    }
}

/// Weights times a number.
#[derive(Debug)]
struct Scaled<W>(W, f32);

impl<W: Weights> Weights for Scaled<W> {
    fn weight(&self, key: &str, elements: usize) -> Result<Stored<'_>, WeightError> {
        let stored = self.0.weight(key, elements)?;
        let number = |b: &[u8]| self.1 * f32::from_le_bytes(b.try_into().expect("four bytes"));
        let bytes: Vec<u8> = stored.bytes.chunks_exact(4).flat_map(|b| number(b).to_le_bytes()).collect();
        Ok(Stored { dtype: stored.dtype, bytes: bytes.into() })
    }
}

/// Export one graph and check it against another of the same weights.
fn checked(model: &str, artifact: &str, precision: DType) -> CheckReport {
    checked_at(1.0, model, artifact, precision)
}

/// The same with weights times a number.
fn checked_at(scale: f32, model: &str, artifact: &str, precision: DType) -> CheckReport {
    let [model, artifact] = [model, artifact].map(|text| vitc_ir::parse(text).unwrap_or_else(|e| panic!("{e}")));
    let weights = Scaled(random_weights(3, &model), scale);
    let target = Target::onnx(17);
    let (lowered, _) =
        vitc_passes::lower(&artifact, &target, &LowerOptions::new(precision, DType::F32)).expect("lowers");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    let metadata = Metadata::new("test", WeightSource::Seeded { seed: 0 }, precision);
    onnx::write(&lowered, &weights, &target, &metadata, &mut File::create(&path).expect("creates")).expect("exports");
    let signature = signature_of(&model);
    let reference = Reference { graph: &model, signature: &signature, weights: &weights, file: None };
    check(reference, &path, &Options::new(None)).expect("runs")
}

#[test]
fn every_output_is_compared_as_what_it_holds() {
    for precision in [DType::F32, DType::F16] {
        let report = checked(MODEL, MODEL, precision);
        assert!(report.passed, "{report}");
        let rows: Vec<(usize, &str, usize)> =
            report.runs.iter().map(|r| (r.batch, r.output.as_str(), r.comparison.rows)).collect();
        assert_eq!(rows[..4], [(1, "pixels", 64), (1, "scores", 1), (1, "boxes", 0), (1, "features", 0)]);
        assert_eq!(rows[12..16], [(3, "pixels", 192), (3, "scores", 3), (3, "boxes", 0), (3, "features", 0)]);
    }
}

/// What is right, what is wrong, and the first output that shows it.
const FAULTS: [(&str, &str, &str); 4] = [
    ("pad=1}", "pad=[0,1,2,1]}", "pixels"),
    ("add(%mean, %near)", "sub(%mean, %near)", "scores"),
    ("linear(%scores", "linear(%near", "boxes"),
    ("features=%mean", "features=%near", "features"),
];

/// Where every value is far below the bound of f32, that bound would pass anything.
#[test]
fn a_fault_in_tiny_outputs_is_found() {
    for precision in [DType::F32, DType::F16] {
        // In f16 they must not fall below its smallest numbers.
        let scale = if precision == DType::F32 { 1e-6 } else { 1e-2 };
        let report = checked_at(scale, MODEL, MODEL, precision);
        let held = report.notes.iter().filter(|n| n.contains("too little for the usual bound")).count();
        assert_eq!((report.passed, held), (true, if precision == DType::F32 { 4 } else { 0 }), "{report}");
        for (right, wrong, found) in FAULTS {
            let report = checked_at(scale, MODEL, &MODEL.replace(right, wrong), precision);
            let failed = report.runs.iter().find(|r| !r.passed).map(|r| r.output.as_str());
            assert_eq!(failed, Some(found), "{report}");
        }
    }
}

/// The same of values from outside.
#[test]
fn tiny_values_from_outside_decide() {
    let graph = "graph g  stage=paper
%image: f32[1,3,4,4] = input
%map: f32[1,2,4,4] = conv(%image, weight\"c\":f32[2,3,3,3]){stride=1, pad=1}
outputs map=%map";
    let graph = vitc_ir::parse(graph).unwrap_or_else(|e| panic!("{e}"));
    let weights = Scaled(random_weights(3, &graph), 1e-6);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    let metadata = Metadata::new("test", WeightSource::Seeded { seed: 0 }, DType::F32);
    let mut file = File::create(&path).expect("creates");
    onnx::write(&graph, &weights, &Target::onnx(17), &metadata, &mut file).expect("exports");
    let input = npy::Array { shape: vec![1, 3, 4, 4], data: Synthetic::Noise { seed: 0 }.numbers(0, &[1, 3, 4, 4]) };
    let program = Program::open(&path).expect("opens");
    let session = program.load(Request::outputs(1)).expect("loads");
    let answer = session.run_in_order(&[&input.data]).expect("runs").swap_remove(0);
    let tolerance = Tolerance { atol: None, rtol: 0.0, precision: DType::F32 };
    for (factor, passed) in [(1.0, true), (1.01, true), (1.1, false), (0.0, false)] {
        let data = answer.data.iter().map(|v| v * factor).collect();
        let expected = [Expected { output: None, array: npy::Array { shape: vec![1, 2, 4, 4], data } }];
        assert_eq!(against(&path, &input, &expected, tolerance).expect("runs").passed, passed, "{factor}");
    }
}

#[test]
fn a_fault_in_any_output_and_behind_any_input_is_found() {
    for (right, wrong, found) in FAULTS {
        let artifact = MODEL.replace(right, wrong);
        assert_ne!(artifact, MODEL);
        let report = checked(MODEL, &artifact, DType::F32);
        let failed = report.runs.iter().find(|r| !r.passed).map(|r| r.output.as_str());
        assert_eq!(failed, Some(found), "{report}");
    }
}

#[test]
fn a_model_that_is_not_finite_is_not_the_artifacts_fault() {
    let infinite = MODEL
        .replace("%scores: ", "%zero: f32[B,5] = sub(%near, %near)\n%scores: ")
        .replace("add(%mean, %near)", "div(%mean, %zero)");
    let report = checked(MODEL, &infinite, DType::F32);
    assert!(!report.passed && report.runs.iter().all(|r| r.comparison.reference_finite), "{report}");
    assert!(report.runs.iter().any(|r| !r.comparison.finite) && report.first_difference.is_some(), "{report}");

    let report = checked(&infinite, &infinite, DType::F32);
    assert!(!report.passed && report.first_difference.is_none(), "{report}");
    assert!(report.to_string().contains("reference not finite"), "{report}");
    assert!(report.notes.iter().any(|n| n.starts_with("the model itself")), "{report}");
}
