//! Interface forms: pixels, labels, names, features. Each passes its check, and a later check builds the same from the file's metadata alone.

mod common;

use common::command::{json, stderr, vitc};
use safetensors::tensor::{Dtype, TensorView};
use std::path::Path;
use vitc::arch::{self, BuildOptions, seeded::SeededWeights};
use vitc::check::{self, bounds, compare::softmax};
use vitc::export::{self, Labels, Lowered, RequestBuilder, TargetKind};
use vitc::model::ModelRequest;
use vitc::runner::{Program, Request as Run, Session};
use vitc_exporters::coreml::InputForm;
use vitc_ir::{BinaryKind, DType, Op, Weights, testing::Rng};

/// Ten class names.
fn labels(dir: &Path) {
    let names: Vec<String> = (0..10).map(|i| format!("class {i}\n")).collect();
    std::fs::write(dir.join("labels.txt"), names.concat()).unwrap();
}

#[test]
fn every_form_passes_its_check_and_a_later_one() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    labels(d);
    let s0 = "efficientformerv2-s0 --resolution 96 --num-classes 10";
    let et = "affnet-et --resolution 128 --num-classes 10";
    let forms = [
        ("onnx", s0, "--input image"),
        ("onnx", s0, "--input image --fp16 --softmax"),
        ("onnx", s0, "--input image --fp16 --io fp16 --batch dynamic"),
        ("onnx", s0, "--io fp16 --head dist_head --output-name scores"),
        ("onnx", s0, "--input image --mean 0.5,0.4,0.3 --std 0.2,0.25,0.3 --head head --labels labels.txt"),
        ("onnx", s0, "--mean 0.5,0.4,0.3 --std 0.2,0.25,0.3"),
        ("onnx", s0, "--input image --output features --input-name pixels.1 --output-name vector"),
        ("onnx", s0, "--input image --output pyramid --output-name map"),
        ("onnx", et, "--input image --check quick"),
        ("tensorrt-onnx", s0, "--input image --fp16 --batch dynamic --input-name x"),
        ("coreml", s0, "--input image --labels labels.txt"),
        ("coreml", s0, "--input image --labels labels.txt --io fp16 --head dist_head"),
        ("coreml", s0, "--input image --fp32 --io fp16 --input-name picture --output-name scores"),
        ("coreml", s0, "--labels labels.txt --no-check"),
        ("coreml", s0, "--input image --output pyramid --output-name a,b,c,d"),
        ("coreml", et, "--input image --labels labels.txt --check quick"),
    ];
    for (target, model, form) in forms {
        let name = if target == "coreml" { "a.mlpackage" } else { "a.onnx" };
        let line = format!("export {model} --target {target} {form} --force -q -o {name}");
        let exported = vitc(d, &line);
        assert!(exported.status.success(), "{line}: {}", stderr(&exported));
        let quick = if model == et { " --check quick" } else { "" };
        let checked = vitc(d, &format!("check {name}{quick}"));
        assert!(checked.status.success(), "{line}: {}", stderr(&checked));
    }
}

/// A folder as Hugging Face lays it out, raw weights and an EMA copy in one file: labels, mean and deviation come from its config.json, and a later
/// check takes the same copy without being told.
#[test]
fn a_folder_becomes_a_classifier() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let backbone = arch::find("efficientformerv2-s0").unwrap();
    let options = BuildOptions { resolution: [96, 96], classes: 10, ..BuildOptions::new(backbone) };
    let graph = options.build().unwrap().graph;
    let mut tensors = Vec::new();
    for (prefix, seed) in [("model", 1), ("model_ema", 2)] {
        let weights = SeededWeights::new(&graph, seed);
        for (key, ty) in graph.weights() {
            let stored = weights.weight(key, ty.shape.elements()).unwrap();
            tensors.push((format!("{prefix}.{key}"), ty.shape.at(1), stored.bytes.into_owned()));
        }
    }
    let config = |labels: &[&str]| {
        serde_json::json!({
            "architecture": "efficientformerv2_s0", "num_classes": 10, "label_names": labels,
            "pretrained_cfg": { "mean": [0.1, 0.2, 0.3], "std": [0.2, 0.3, 0.4], "crop_pct": 0.75, "interpolation": "bilinear" }
        })
    };
    std::fs::create_dir(d.join("hub")).unwrap();
    let view = |shape: &Vec<usize>, bytes| TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
    let views = tensors.iter().map(|(key, shape, bytes)| (key, view(shape, bytes)));
    safetensors::serialize_to_file(views, None, &d.join("hub/model.safetensors")).unwrap();
    let names = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay"];
    std::fs::write(d.join("hub/config.json"), config(&names).to_string()).unwrap();
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/pictures/wide.png"), d.join("a.png")).unwrap();

    for (target, name) in [("coreml", "a.mlpackage"), ("onnx", "a.onnx")] {
        let line = format!("export --weights hub --ema --target {target} --input image --force -o {name} --json");
        let exported = vitc(d, &line);
        assert!(exported.status.success(), "{}", stderr(&exported));
        let report = json(&exported);
        let first = report.pointer("/outputs/0/name").unwrap();
        assert_eq!(first, if target == "coreml" { "classLabel" } else { "logits" });
        assert_eq!(
            report["preprocessing"],
            "RGB, bilinear resize, centre crop 0.75, pixels in 0..255; the model normalises them"
        );
        assert!(vitc(d, &format!("check {name} --weights hub")).status.success());
        assert_eq!(vitc(d, &format!("check {name} --weights hub --no-ema")).status.code(), Some(3));
        let seen = json(&vitc(d, &format!("run {name} a.png --json")));
        let best = seen.pointer("/pictures/0/top/0").unwrap();
        assert_eq!(best["label"], names[best["class"].as_u64().unwrap() as usize]);
    }
    let plain = "export --weights hub --target coreml --no-check --force -o a.mlpackage --json";
    let outputs = |line: &str| {
        let output = vitc(d, line);
        let report = json(&output);
        (report["outputs"][0]["name"].as_str().map(str::to_string), stderr(&output))
    };
    assert_eq!(outputs(&format!("{plain} --no-labels")).0.as_deref(), Some("logits"));
    // Labels that nobody asked for never stand in the way.
    assert_eq!(outputs(&format!("{plain} --batch 2")).0.as_deref(), Some("logits"));
    std::fs::write(d.join("hub/config.json"), config(&["crane"; 10]).to_string()).unwrap();
    let (name, said) = outputs(plain);
    assert_eq!(name.as_deref(), Some("logits"));
    assert!(said.contains("classes 0 and 1 are both named crane"), "{said}");
}

fn lowered(model: &str, target: TargetKind, input: InputForm) -> Lowered {
    let mut builder = RequestBuilder::new(ModelRequest::named(model), target);
    builder.interface.input = input;
    let request = builder.build().unwrap_or_else(|e| panic!("{model}: {e}"));
    export::lower(&request, &|_| {}).unwrap_or_else(|e| panic!("{model}: {e}"))
}

/// One subtraction where there is a mean, no factor anywhere, in every family: 1/std and 1/255 are in the stem.
#[test]
fn the_stem_takes_the_deviation() {
    for variant in arch::FAMILIES.iter().map(|f| &f.variants[0]) {
        for kind in TargetKind::ALL {
            let form = |input| lowered(variant.name, kind, input);
            let (plain, image) = (form(InputForm::Tensor), form(InputForm::Image));
            let count = |l: &Lowered, kind| l.graph.run_time_nodes().filter(|(_, n)| n.op == Op::Binary(kind)).count();
            let wanted = usize::from(variant.transform.mean != [0.0; 3]);
            let more = |kind| count(&image, kind) - count(&plain, kind);
            assert_eq!((more(BinaryKind::Sub), more(BinaryKind::Mul)), (wanted, 0), "{} {kind:?}", variant.name);
            assert_eq!(image.graph.run_time_nodes().count(), plain.graph.run_time_nodes().count() + wanted);
            assert!(image.preprocessing.is_some_and(|p| p.normalised_inside));
        }
    }
    let means: Vec<bool> = arch::FAMILIES.iter().map(|f| f.variants[0].transform.mean == [0.0; 3]).collect();
    assert!(means.contains(&true) && means.contains(&false), "both cases are met");
}

/// The figure that the interface must reach: half-precision picture forms answer as the tensor form does to normalised pixels, borders included.
#[test]
fn pixels_answer_as_normalised_values_do() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..1000).map(|i| format!("class {i}\n")).collect();
    let labels = dir.path().join("labels.txt");
    std::fs::write(&labels, names.concat()).unwrap();
    let write = |name: &str, target: TargetKind, picture: bool| {
        let path = dir.path().join(name);
        let mut builder = RequestBuilder::new(ModelRequest::named("efficientformerv2-s0"), target).output(&path);
        builder.check.effort = None;
        if picture {
            builder.interface.input = InputForm::Image;
            builder.interface.labels = Labels::File(labels.clone());
            builder.numbers.precision = Some(DType::F16);
        }
        let request = builder.build().unwrap_or_else(|e| panic!("{name}: {e}"));
        export::export(&request, &|_| {}).unwrap_or_else(|e| panic!("{name}: {e}"));
        Program::open(&path).and_then(|p| p.load(Run::outputs(1))).unwrap_or_else(|e| panic!("{name}: {e}"))
    };
    let tensor = write("tensor.onnx", TargetKind::Onnx, false);
    let file = write("a.onnx", TargetKind::Onnx, true);
    let package = write("a.mlpackage", TargetKind::CoreMl, true);

    let model = arch::find("efficientformerv2-s0").unwrap().variant;
    let side = model.resolution[0];
    let mut rng = Rng::new(7);
    let mut noise = || rng.below(256) as f32;
    let plane = |pixel: &mut dyn FnMut(usize, usize) -> f32| -> Vec<f32> {
        (0..3 * side * side).map(|i| pixel(i / side % side, i % side)).collect()
    };
    let edge = |y: usize, x: usize| y.min(x) == 0 || y.max(x) == side - 1;
    // Noise; a bright frame on black, and a dark one on white: padding that stood for black and not for the mean (a mean folded into the stem's
    // bias) would move these by 2.1 % and 3.2 % of the largest logit, more than half precision may.
    let pictures = [
        plane(&mut |_, _| noise()),
        plane(&mut |y, x| if edge(y, x) { 255.0 } else { 0.0 }),
        plane(&mut |y, x| if edge(y, x) { 0.0 } else { 255.0 }),
    ];
    for pixels in pictures {
        let p = &model.transform;
        let channel = |i: usize| i / (side * side);
        let normal = |(i, v): (usize, &f32)| ((f64::from(*v) / 255.0 - p.mean[channel(i)]) / p.std[channel(i)]) as f32;
        let normalised: Vec<f32> = pixels.iter().enumerate().map(normal).collect();
        let answer = |session: &Session, x: &[f32]| session.run_in_order(&[x]).unwrap().swap_remove(0).data;
        let wanted = answer(&tensor, &normalised);
        for (got, wanted) in
            [(answer(&file, &pixels), wanted.clone()), (answer(&package, &pixels), softmax(&wanted, wanted.len()))]
        {
            let c = check::compare::compare(&wanted, &got, wanted.len());
            assert!(bounds::agrees(DType::F16, &c), "{c:?}");
        }
    }
}

#[test]
fn a_run_is_one_object_for_a_program() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    labels(d);
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/pictures/wide.png"), d.join("a.png")).unwrap();
    let line =
        "export efficientformerv2-s0 --resolution 96 --num-classes 10 --no-check -q -o a.mlpackage --target coreml";
    let exported = vitc(d, &format!("{line} --input image --labels labels.txt"));
    assert!(exported.status.success(), "{}", stderr(&exported));
    let output = vitc(d, "run a.mlpackage a.png a.png --json");
    let object = json(&output);
    assert_eq!((&object["ok"], &object["command"]), (&true.into(), &"run".into()));
    for picture in object["pictures"].as_array().unwrap() {
        assert_eq!(picture["file"], "a.png");
        let top = picture["top"].as_array().unwrap();
        let chances: Vec<f64> = top.iter().map(|c| c["probability"].as_f64().unwrap()).collect();
        assert!(chances.len() == 5 && chances.is_sorted_by(|a, b| a >= b) && chances.iter().sum::<f64>() <= 1.001);
        assert!(top.iter().all(|c| c["label"] == format!("class {}", c["class"])));
    }
    assert_eq!(object["pictures"].as_array().unwrap().len(), 2);
}

#[test]
fn wrong_interfaces_are_usage_errors() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    labels(d);
    std::fs::write(d.join("few.txt"), "a\nb\n").unwrap();
    std::fs::write(d.join("twice.txt"), "a\ncrane\nb\nc\ncrane\nd\ne\nf\ng\nh\n").unwrap();
    let cases = [
        ("onnx --input picture", 2, "expected tensor, image"),
        ("onnx --input tensor --input image", 2, "give one form"),
        ("onnx --input x.npy", 2, "--expect is missing"),
        ("onnx --std 0.2,0,0.2", 2, "a number above 0 and up to 1 for each channel"),
        ("onnx --mean 0.5,0.5", 2, "2 numbers are given for the 3 channels"),
        ("onnx --mean NaN,0,0", 2, "a number from 0 to 1 for each channel"),
        ("onnx --mean 123.7,116.3,103.5", 2, "divide them by 255"),
        ("onnx --input-name 9x", 2, "no digit first"),
        ("onnx --input-name a:b", 2, "is no name"),
        ("onnx --input-name=", 2, "is no name"),
        ("onnx --output-name a,b", 2, "2 names for logits"),
        ("onnx --output-name a,", 2, "is no name"),
        ("onnx --output-name image", 2, "two inputs or outputs are named image"),
        ("onnx --output pyramid --output-name a,b", 2, "give one name, which is numbered, or 4"),
        ("onnx --output pyramid --input-name m1 --output-name m", 2, "are named m1"),
        ("coreml --input-name input.1", 2, "is no name"),
        ("coreml --input-name fp16", 2, "CoreML's own language"),
        ("coreml --labels labels.txt --output-name y", 2, "--no-labels"),
        ("coreml --labels labels.txt --batch 2", 2, "takes one picture"),
        ("coreml --labels twice.txt", 2, "classes 1 and 4 are both named crane"),
        ("coreml --input image --batch 2", 2, "--input image"),
        ("onnx --labels labels.txt --no-labels", 2, "cannot be used with"),
        ("onnx --output features --labels labels.txt", 2, "--labels"),
        ("onnx --labels few.txt", 1, "has 2 names, and the model has 10 classes"),
    ];
    for (form, exit, said) in cases {
        let line = format!("export efficientformerv2-s0 --num-classes 10 --no-check --target {form}");
        let output = vitc(d, &line);
        assert_eq!(output.status.code(), Some(exit), "{line}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{line}: {}", stderr(&output));
    }
}
