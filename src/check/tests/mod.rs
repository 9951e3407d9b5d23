//! The check on real models and on random graphs: what must pass passes, what is wrong is found and named.

mod free;
mod misspelled;
mod roles;

use super::*;
use crate::arch::seeded::SeededWeights;
use crate::arch::{self, BuildOptions, Built};
use crate::runner::{Program, Request};
use crate::signature::OutputRole;
use std::fs::File;
use tempfile::TempDir;
use vitc_exporters::metadata::{Fit, Layout, Metadata, Preprocessing, WeightSource};
use vitc_exporters::onnx;
use vitc_ir::target::AttentionForm;
use vitc_ir::testing::Rng;
use vitc_ir::{DType, Dim, Stored, Target, WeightError};
use vitc_passes::LowerOptions;

/// A model with seeded weights and a folder for its artifacts.
struct Fixture {
    paper: Graph,
    signature: Signature,
    weights: SeededWeights,
    folder: TempDir,
}

impl Fixture {
    fn new(model: &str, batch: Dim, resolution: usize) -> Fixture {
        let backbone = arch::find(model).expect("is a model");
        let options = BuildOptions { batch, resolution: [resolution; 2], classes: 10, ..BuildOptions::new(backbone) };
        let Built { graph: paper, roles, .. } = options.build().expect("builds");
        let signature = signature(&paper, roles);
        let weights = SeededWeights::new(&paper, 0);
        Fixture { paper, signature, weights, folder: tempfile::tempdir().expect("a folder") }
    }

    fn small() -> Fixture {
        Fixture::new("efficientformerv2-s0", Dim::Fixed(1), 64)
    }

    /// Write an artifact from `weights`, which need not be the model's own.
    fn export(&self, weights: &dyn Weights, precision: DType) -> std::path::PathBuf {
        self.export_as(weights, precision, Target::onnx(17))
    }

    fn export_as(&self, weights: &dyn Weights, precision: DType, target: Target) -> std::path::PathBuf {
        let (deploy, _) = vitc_passes::deploy(&self.paper).expect("passes run");
        let (graph, _) =
            vitc_passes::lower(&deploy, &target, &LowerOptions::new(precision, DType::F32)).expect("passes run");
        let metadata = Metadata::new("test", WeightSource::Seeded { seed: 0 }, precision);
        let path = self.folder.path().join("model.onnx");
        let mut file = File::create(&path).expect("creates");
        onnx::write(&graph, weights, &target, &metadata, &mut file).expect("exports");
        path
    }

    fn check(&self, artifact: &Path, options: &Options) -> CheckReport {
        check(self.reference(), artifact, options).expect("runs")
    }

    fn reference(&self) -> Reference<'_> {
        Reference { graph: &self.paper, signature: &self.signature, weights: &self.weights, file: None }
    }
}

/// Of a model that takes a picture, in any preparation: tests give pixels as they are.
fn signature(graph: &Graph, outputs: Vec<OutputRole>) -> Signature {
    let preprocessing = Preprocessing {
        mean: vec![0.0; 3],
        std: vec![1.0; 3],
        layout: Layout::default(),
        fit: Fit::Crop,
        crop: 1.0,
        interpolation: "bicubic".into(),
        normalised_inside: false,
    };
    Signature::of_picture(graph, preprocessing, outputs)
}

/// Weights of which one is wrong.
struct Wrong<'a> {
    right: &'a SeededWeights,
    key: &'static str,
    factor: f32,
}

impl Weights for Wrong<'_> {
    fn weight(&self, key: &str, elements: usize) -> Result<Stored<'_>, WeightError> {
        let stored = self.right.weight(key, elements)?;
        if key != self.key {
            return Ok(stored);
        }
        let scaled = stored.bytes.chunks_exact(4).flat_map(|b| {
            let value = f32::from_le_bytes(b.try_into().expect("four bytes")) * self.factor;
            value.to_le_bytes()
        });
        Ok(Stored { dtype: stored.dtype, bytes: scaled.collect::<Vec<u8>>().into() })
    }
}

#[test]
fn an_export_agrees_in_both_precisions() {
    let model = Fixture::small();
    let exact = model.check(&model.export(&model.weights, DType::F32), &Options::new(None));
    assert!(exact.passed && exact.precision == "f32", "{exact}");
    assert!(exact.worst_relative() < 1e-5, "{exact}");
    assert_eq!(exact.runs.len(), 3);

    let half = model.check(&model.export(&model.weights, DType::F16), &Options::new(None));
    assert!(half.passed && half.precision == "f16", "{half}");
    assert!(half.worst_relative() > 1e-5, "f16 values are rounded: {half}");
}

#[test]
fn a_wrong_weight_is_found_and_its_layer_named() {
    let model = Fixture::small();
    let keys: Vec<String> = model.paper.weights().map(|(k, _)| k.to_string()).collect();
    let key = keys.iter().find(|k| k.contains("network.4") && k.ends_with("fc1.weight")).expect("an MLP").clone();
    let wrong = Wrong { right: &model.weights, key: Box::leak(key.clone().into_boxed_str()), factor: 1.05 };
    let report = model.check(&model.export(&wrong, DType::F32), &Options::new(None));
    assert!(!report.passed);
    let difference = report.first_difference.expect("both sides share names");
    let block = key.split('.').take(3).collect::<Vec<_>>().join(".");
    assert!(difference.at.starts_with(&block), "{difference:?} for {key}");
}

/// The check runs an operator that tract lacks by its definition, says so, and finds what is wrong in front of it.
#[test]
fn the_operator_for_attention_runs_by_its_definition() {
    let target = || Target { attention: AttentionForm::Operator, ..Target::onnx(23) };
    let model = Fixture::new("fmvit-t", Dim::Fixed(1), 64);
    for memory in [None, Some(0)] {
        for precision in [DType::F32, DType::F16] {
            let options = Options { memory, ..Options::new(None) };
            let report = model.check(&model.export_as(&model.weights, precision, target()), &options);
            assert!(report.passed, "{report}");
            assert!(report.notes.iter().any(|n| n.contains("know Attention: ")), "{report}");
        }
    }
    let keys: Vec<String> = model.paper.weights().map(|(k, _)| k.to_string()).collect();
    let key = keys.iter().find(|k| k.ends_with("v.weight")).expect("values").clone();
    let wrong = Wrong { right: &model.weights, key: Box::leak(key.into_boxed_str()), factor: 1.5 };
    assert!(!model.check(&model.export_as(&wrong, DType::F32, target()), &Options::new(None)).passed);
}

#[test]
fn a_symbolic_batch_is_checked_at_one_and_three() {
    let model = Fixture::new("efficientformerv2-s0", Dim::Batch(1), 64);
    let report = model.check(&model.export(&model.weights, DType::F32), &Options::new(None));
    assert!(report.passed, "{report}");
    let batches: Vec<usize> = report.runs.iter().map(|r| r.batch).collect();
    assert_eq!(batches, [1, 1, 1, 3, 3, 3]);
    assert_eq!(report.runs[3].comparison.rows, 3);
}

#[test]
fn without_memory_the_model_is_checked_in_pieces() {
    let model = Fixture::small();
    let options = Options { memory: Some(0), ..Options::new(None) };
    for precision in [DType::F32, DType::F16] {
        let report = model.check(&model.export(&model.weights, precision), &options);
        assert!(report.passed, "{report}");
        assert!(report.runs.len() > 3 * 5 && report.notes[0].contains("in pieces"), "{report}");
    }
    let wrong = Wrong { right: &model.weights, key: "head.bias", factor: 1.5 };
    let report = model.check(&model.export(&wrong, DType::F32), &options);
    assert!(!report.passed && report.runs[0].passed, "{report}");
}

#[test]
fn a_quick_check_takes_some_pieces() {
    let model = Fixture::small();
    let quick = Options { effort: Effort::Quick, ..Options::new(None) };
    let report = model.check(&model.export(&model.weights, DType::F16), &quick);
    assert!(report.passed && report.notes[0].starts_with("quick check"), "{report}");
}

#[test]
fn another_interface_is_an_error() {
    let model = Fixture::small();
    let artifact = model.export(&model.weights, DType::F32);
    let larger = Fixture::new("efficientformerv2-s0", Dim::Fixed(1), 96);
    let error = check(larger.reference(), &artifact, &Options::new(None)).expect_err("sizes differ");
    assert!(matches!(error, CheckError::Interface(_)), "{error}");
}

#[test]
fn values_from_outside_decide() {
    let model = Fixture::small();
    let artifact = model.export(&model.weights, DType::F32);
    let folder = model.folder.path().join("io");
    let options = Options { save_io: Some(folder.clone()), ..Options::new(None) };
    model.check(&artifact, &options);
    let input = npy::read(&folder.join("synthetic-gradient-b1.input.npy")).expect("was saved");
    let array = npy::read(&folder.join("synthetic-gradient-b1.logits.npy")).expect("was saved");
    let mut expected = [Expected { output: Some("logits".into()), array }];
    let tolerance = Tolerance { atol: Some(1e-5), rtol: 0.0, precision: DType::F32 };
    assert!(against(&artifact, &input, &expected, tolerance).expect("runs").passed);
    expected[0].array.data[3] += 0.01;
    let outside = against(&artifact, &input, &expected, tolerance).expect("runs");
    assert_eq!((outside.passed, outside.outside), (false, 1));
    let raw = std::fs::metadata(folder.join("synthetic-gradient-b1.input.raw")).expect("was saved");
    assert_eq!(raw.len() as usize, input.data.len() * 4);

    // The same input given by the user is compared beside the synthetic ones.
    let report = model.check(&artifact, &Options { input: Some(input), ..Options::new(None) });
    assert_eq!(report.runs.iter().filter(|r| !r.synthetic).count(), 1);
}

#[test]
fn every_value_has_its_size_and_its_distance() {
    let model = Fixture::small();
    let layers = |weights: &dyn Weights, precision| {
        let artifact = model.export(weights, precision);
        let report = model.check(&artifact, &Options { layers: true, ..Options::new(None) });
        (report.passed, report.layers.expect("was asked for"))
    };
    let (_, right) = layers(&model.weights, DType::F32);
    assert_eq!(right.inputs.len(), 3);
    let compared =
        |layers: &Layers| layers.values.iter().filter_map(|l| Some((l.name.clone(), l.error?))).collect::<Vec<_>>();
    assert!(compared(&right).len() > 20, "{}", compared(&right).len());
    assert!(compared(&right).iter().all(|(_, e)| e.max_error <= 1e-5 * e.max_reference.max(1.0)), "{right:?}");

    // The evaluator, which shares nothing with tract, finds the same sizes on the same inputs.
    let (deploy, _) = vitc_passes::deploy(&model.paper).expect("passes run");
    let options = LowerOptions::new(DType::F32, DType::F32);
    let (graph, _) = vitc_passes::lower(&deploy, &Target::onnx(17), &options).expect("passes run");
    let mut sizes: std::collections::HashMap<String, f64> = Default::default();
    for input in Synthetic::ALL {
        let pixels: Vec<f64> = input.pixels(&[1, 3, 64, 64]).into_iter().map(f64::from).collect();
        let image = ndarray::ArrayD::from_shape_vec(vec![1, 3, 64, 64], pixels).expect("fits");
        let mut observe = |v, values: ndarray::ArrayViewD<'_, f64>| {
            let size = sizes.entry(graph.value_name(v)).or_insert(0.0);
            *size = values.iter().fold(*size, |m, x| m.max(x.abs()));
        };
        vitc_ir::eval::run_observed(&graph, &model.weights, &[image], 1, &mut observe).expect("evaluates");
    }
    let seen = right.values.iter().filter_map(|l| Some((l, sizes.get(&l.name)?)));
    let seen: Vec<_> = seen.collect();
    assert!(seen.len() > 150, "{}", seen.len());
    assert!(seen.iter().all(|(l, size)| (l.max - **size).abs() <= 1e-4 * size.max(1.0)));

    // A fault shows from its layer on; an overflow is named as such.
    let key = model
        .paper
        .weights()
        .map(|(k, _)| k.to_string())
        .find(|k| k.contains("network.4") && k.ends_with("fc1.weight"));
    let key: &'static str = Box::leak(key.expect("an MLP").into_boxed_str());
    let (passed, wrong) = layers(&Wrong { right: &model.weights, key, factor: 1.5 }, DType::F32);
    let block = key.split('.').take(3).collect::<Vec<_>>().join(".");
    let errors = compared(&wrong);
    let first = errors.iter().position(|(name, _)| name.starts_with(&block)).expect("is compared");
    let bad = |e: &LayerError| e.max_error > 1e-4 * e.max_reference.max(1.0);
    assert!(!passed && !errors[..first].iter().any(|(_, e)| bad(e)) && errors.last().is_some_and(|(_, e)| bad(e)));
    let (passed, huge) = layers(&Wrong { right: &model.weights, key, factor: 60_000.0 }, DType::F16);
    assert!(!passed && huge.values.iter().any(|l| !l.max.is_finite()));
    let json = serde_json::to_value(&huge).expect("serialises").to_string();
    assert!(json.contains("\"max\":\"inf\"") && !json.contains("null"), "{json}");
}

#[test]
fn damaged_files_are_errors() {
    let model = Fixture::small();
    let bytes = std::fs::read(model.export(&model.weights, DType::F16)).expect("was written");
    let mut rng = Rng::new(7);
    for _ in 0..12 {
        let mut damaged = bytes.clone();
        // The graph's messages lie in the first part of the file.
        let at = rng.below(40_000.min(damaged.len()));
        damaged[at] ^= 1 << rng.below(8);
        if rng.chance(30) {
            damaged.truncate(rng.below(damaged.len()));
        }
        let path = model.folder.path().join("damaged.onnx");
        std::fs::write(&path, &damaged).expect("writes");
        // An error or a model that runs or does not; never a panic.
        if let Ok(session) = Program::open(&path).and_then(|p| p.load(Request::outputs(1))) {
            let arrays: Vec<Vec<f32>> = session.inputs().iter().map(|i| vec![0.5; i.shape.iter().product()]).collect();
            let _ = session.run_in_order(&arrays.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
    }
}
