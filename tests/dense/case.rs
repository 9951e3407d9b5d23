//! A case of `golden/dense`: its checkpoint as a file, and its answers beside those of the authors' code.

use super::torch_file::dense::{checkpoint, manifest, sizes};
use serde_json::Value as Json;
use std::path::PathBuf;
use vitc::arch::{Results, seeded};
use vitc::export::{self, RequestBuilder, TargetKind};
use vitc::model::ModelRequest;
use vitc::runner::{Named, Program, Request};
use vitc_ir::DType;

/// f32: largest error as a fraction of max(1, largest value); AFFNet, whose transforms sum over whole maps.
const F32: f64 = 1e-5;
const F32_AFFNET: f64 = 3e-5;
/// f16: as a fraction of the largest value.
const F16: f64 = 1e-2;

/// A case of `golden/dense`, and its checkpoint as a file.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) manifest: Json,
    pub(crate) folder: tempfile::TempDir,
}

impl Case {
    pub(crate) fn load(name: &'static str) -> Case {
        let case = Case { name, manifest: manifest(name), folder: tempfile::tempdir().unwrap() };
        case.write(&|_| true);
        case
    }

    pub(crate) fn weights(&self) -> PathBuf {
        self.folder.path().join("model.pth")
    }

    /// Write the tensors of these names, wrapped as the authors save them.
    pub(crate) fn write(&self, wanted: &dyn Fn(&str) -> bool) {
        std::fs::write(self.weights(), checkpoint(&self.manifest, wanted)).unwrap();
    }

    pub(crate) fn input(&self) -> Vec<usize> {
        sizes(&self.manifest["input"])
    }

    /// The request for an artifact of the case, unchecked: the golden numbers check it.
    pub(crate) fn request(&self, results: Results, target: TargetKind, half: bool, name: &str) -> RequestBuilder {
        let shape = self.input();
        let model = ModelRequest {
            results,
            resolution: Some([shape[2], shape[3]]),
            ..ModelRequest::checkpoint(&self.weights())
        };
        let mut builder = RequestBuilder::new(model, target).output(&self.folder.path().join(name));
        builder.check.effort = None;
        builder.numbers.precision = Some(if half { DType::F16 } else { DType::F32 });
        builder.interface.dtype = (target == TargetKind::CoreAi).then_some(DType::F32);
        builder
    }

    /// What an artifact answers to the golden input.
    pub(crate) fn answers(&self, results: Results, target: TargetKind, half: bool) -> Vec<Named> {
        let name = match target {
            TargetKind::CoreMl => "out.mlpackage",
            TargetKind::CoreAi => "out.aimodel",
            TargetKind::Onnx | TargetKind::TensorRt => "out.onnx",
        };
        let said = |e: &dyn std::fmt::Display| format!("{}, {results:?}: {e}", self.name);
        let request = self.request(results, target, half, name).build().unwrap_or_else(|e| panic!("{}", said(&e)));
        export::export(&request, &|_| {}).unwrap_or_else(|e| panic!("{}", said(&e)));
        let program = Program::open(&self.folder.path().join(name)).unwrap_or_else(|e| panic!("{}", said(&e)));
        let session = program.load(Request::outputs(1)).unwrap_or_else(|e| panic!("{}", said(&e)));
        let image = seeded::noise("input", 0, self.input().iter().product());
        session.run_in_order(&[&image]).unwrap_or_else(|e| panic!("{}", said(&e)))
    }

    /// Panic unless these answers are the golden outputs of these names.
    pub(crate) fn hold(&self, answers: &[Named], names: &[String], half: bool) {
        assert_eq!(answers.len(), names.len(), "{}: {names:?}", self.name);
        for (answer, name) in answers.iter().zip(names) {
            let golden = &self.manifest["outputs"][name];
            if name == "classes" { self.classes(answer, golden, half) } else { self.values(answer, name, golden, half) }
        }
    }

    fn values(&self, answer: &Named, name: &str, golden: &Json, half: bool) {
        assert_eq!(answer.shape, sizes(&golden["shape"]), "{} {name}", self.name);
        let largest = golden["absmax"].as_f64().unwrap();
        let share = if self.name.starts_with("affnet") { F32_AFFNET } else { F32 };
        let bound = if half { F16 * largest } else { share * largest.max(1.0) };
        let places = golden["at"].as_array().unwrap().iter().map(|p| p.as_u64().unwrap() as usize);
        let values = golden["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap());
        let mut error = places.zip(values).map(|(p, v)| (f64::from(answer.data[p]) - v).abs()).fold(0.0, f64::max);
        let means = golden["channel_mean"].as_array().unwrap();
        let last = answer.shape.len() == 3;
        let channels = if last { answer.shape[2] } else { answer.shape[1] };
        let each = answer.data.len() / channels;
        for (c, mean) in means.iter().enumerate() {
            let sum: f64 = match last {
                true => answer.data.iter().skip(c).step_by(channels).map(|&x| f64::from(x)).sum(),
                false => answer.data[c * each..(c + 1) * each].iter().map(|&x| f64::from(x)).sum(),
            };
            error = error.max((sum / each as f64 - mean.as_f64().unwrap()).abs());
        }
        assert!(error <= bound, "{} {name}: {error:e}, allowed {bound:e}", self.name);
    }

    fn classes(&self, answer: &Named, golden: &Json, half: bool) {
        let (step, shape) = (golden["step"].as_u64().unwrap() as usize, sizes(&golden["shape"]));
        let text = golden["classes"].as_str().unwrap();
        let wanted: Vec<usize> =
            (0..text.len() / 2).map(|i| usize::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect();
        let width = shape[1];
        let places = (0..shape[0]).step_by(step).flat_map(|y| (0..width).step_by(step).map(move |x| y * width + x));
        let wrong = places.zip(&wanted).filter(|&(p, &w)| answer.data[p] as usize != w).count();
        let near = golden["near_ties"].as_u64().unwrap() as usize + if half { wanted.len() / 50 } else { 0 };
        assert!(wrong <= near, "{}: {wrong} of {} classes differ", self.name, wanted.len());
    }

    /// Names of the golden outputs that begin so, in their order.
    pub(crate) fn named(&self, prefix: &str) -> Vec<String> {
        let outputs = self.manifest["outputs"].as_object().unwrap();
        (0..).map(|i| format!("{prefix}.{i}")).take_while(|name| outputs.contains_key(name)).collect()
    }
}
