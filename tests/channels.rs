//! Inputs of other than three channels: a stem's stored weight says how many.

mod common;

use common::command::{json, stderr, vitc};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use std::path::Path;
use vitc::cli::explained;
use vitc::model::{Model, ModelRequest};

/// A checkpoint of a model that takes so many channels, with five classes.
fn checkpoint(path: &Path, model: &str, channels: usize) {
    let request = ModelRequest { channels: Some(channels), classes: Some(5), ..ModelRequest::named(model) };
    let model = Model::load(&request).unwrap_or_else(|e| panic!("{}", explained(&e)));
    let weights = model.weights.weights();
    let stored: Vec<(String, Vec<usize>, Vec<u8>)> = model
        .graph
        .weights()
        .map(|(key, ty)| {
            let bytes = weights.weight(key, ty.shape.elements()).expect("seeded").bytes.into_owned();
            (key.to_string(), ty.shape.at(1), bytes)
        })
        .collect();
    let views = stored.iter().map(|(key, shape, bytes)| {
        (key.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("as many bytes as elements"))
    });
    std::fs::write(path, safetensors::serialize(views, None).expect("serialises")).expect("written");
}

#[test]
fn every_family_is_recognised_with_any_number_of_channels() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["fmvit-t", "affnet-et", "efficientformerv2-s0", "cas-vit-xs", "ffnet-1", "dsm-t"] {
        for channels in [1, 2, 6] {
            let path = dir.path().join("a.safetensors");
            checkpoint(&path, name, channels);
            let model =
                Model::load(&ModelRequest::checkpoint(&path)).unwrap_or_else(|e| panic!("{name}: {}", explained(&e)));
            assert_eq!((model.name.as_str(), model.channels()), (name, channels));
            let preprocessing = model.signature.preprocessing().expect("takes pictures");
            assert_eq!([preprocessing.mean.len(), preprocessing.std.len()], [channels; 2]);
            assert!(model.notices.iter().any(|n| n.to_string().contains("are assumed")), "{name}");
        }
    }
}

#[test]
fn four_channels_are_a_tensor() {
    let dir = tempfile::tempdir().unwrap();
    let run = |words: &str| vitc(dir.path(), words);
    checkpoint(&dir.path().join("a.safetensors"), "cas-vit-xs", 4);
    let base = "export --weights a.safetensors --resolution 64 --force --json";
    for target in ["onnx", "onnx --mean 0.1,0.2,0.3,0.4 --std 1,1,1,1", "tensorrt-onnx --fp16", "coreml", "coreai"] {
        let output = run(&format!("{base} --target {target}"));
        assert!(output.status.success(), "{target}: {}", stderr(&output));
        assert_eq!(json(&output)["inputs"][0]["shape"], "1x4x64x64", "{target}");
    }
    assert_eq!(run("check cas-vit-xs.onnx --weights a.safetensors").status.code(), Some(0));
    for (wrong, exit, what) in [
        ("--mean 0.1,0.2,0.3", 2, "3 numbers are given for the 4 channels"),
        ("--input image", 2, "a picture has 1 or 3 channels, and the model takes 4"),
        ("--channels 3", 1, "takes 4 channels"),
    ] {
        let output = run(&format!("{base} --target onnx {wrong}"));
        assert_eq!(output.status.code(), Some(exit), "{wrong}");
        assert!(stderr(&output).contains(what), "{wrong}: {}", stderr(&output));
    }
}

/// Bytes, channels last and blue first: the same picture gives the same answer, and the file passes its check.
#[test]
fn pictures_lie_in_the_input_as_a_camera_delivers_them() {
    let dir = tempfile::tempdir().unwrap();
    let run = |words: &str| vitc(dir.path(), words);
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/pictures/wide.png"), dir.path().join("x.png"))
        .unwrap();
    let base = "export cas-vit-xs --num-classes 5 --resolution 64x96 --input image --force --json";
    let best = |target: &str, more: &str| {
        let name = if target == "coreml" { "a.mlpackage" } else { "a.onnx" };
        let output = run(format!("{base} --target {target} -o {name} {more}").trim_end());
        assert!(output.status.success(), "{target} {more}: {}", stderr(&output));
        assert_eq!(run(&format!("check {name}")).status.code(), Some(0), "{target} {more}");
        let seen = run(&format!("run {name} x.png --json"));
        assert!(seen.status.success(), "{target} {more}: {}", stderr(&seen));
        let top = json(&seen)["pictures"][0]["top"][0].clone();
        let input = json(&output)["inputs"][0].clone();
        (top["probability"].as_f64().unwrap(), format!("{} {}", input["dtype"], input["shape"]).replace('"', ""))
    };
    let near = |a: f64, b: f64, far: f64| assert!((a - b).abs() < far, "{a} {b}");
    let (plain, input) = best("onnx", "");
    assert_eq!(input, "fp32 1x3x64x96");
    for (target, more, wanted, far) in [
        ("onnx", "--input-layout nhwc", "fp32 1x64x96x3", 1e-5),
        ("onnx", "--input-type uint8 --opset 13", "uint8 1x3x64x96", 1e-5),
        ("onnx", "--input-layout nhwc --input-type uint8 --batch dynamic", "uint8 batchx64x96x3", 1e-5),
        ("tensorrt-onnx", "--input-layout nhwc --input-type uint8 --fp16", "uint8 1x64x96x3", 1e-2),
    ] {
        let (probability, input) = best(target, more);
        assert_eq!(input, wanted, "{target} {more}");
        near(probability, plain, far);
    }
    // Blue first is another function of the picture, and the same in every format.
    let (bgr, _) = best("onnx", "--bgr");
    assert!((bgr - plain).abs() > 1e-6, "{bgr} {plain}");
    near(best("onnx", "--bgr --input-layout nhwc --input-type uint8").0, bgr, 1e-5);
    near(best("coreml", "--bgr --fp32").0, bgr, 1e-4);
    for (wrong, what) in [
        ("--target coreml --input-layout nhwc", "--input-layout is for"),
        ("--target coreai --bgr", "red, green and blue"),
    ] {
        let output = run(&format!("{base} {wrong}"));
        assert_eq!(output.status.code(), Some(2), "{wrong}: {}", stderr(&output));
        assert!(stderr(&output).contains(what), "{wrong}: {}", stderr(&output));
    }
    let bytes = run("export cas-vit-xs --target onnx --input-type uint8");
    assert_eq!(bytes.status.code(), Some(2));
    assert!(stderr(&bytes).contains("use it with --input image"), "{}", stderr(&bytes));
}

#[test]
fn one_channel_is_a_grey_picture() {
    let dir = tempfile::tempdir().unwrap();
    let run = |words: &str| vitc(dir.path(), words);
    checkpoint(&dir.path().join("a.safetensors"), "cas-vit-xs", 1);
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/pictures/wide.png"), dir.path().join("x.png"))
        .unwrap();
    let base = "export --weights a.safetensors --resolution 64 --mean 0.4 --std 0.25 --force --json";
    let mut answers = Vec::new();
    for (target, file, more) in
        [("onnx", "t.onnx", ""), ("onnx", "p.onnx", "--input image"), ("coreml", "p.mlpackage", "--input image --fp32")]
    {
        let output = run(format!("{base} --target {target} -o {file} {more}").trim_end());
        assert!(output.status.success(), "{file}: {}", stderr(&output));
        let seen = run(&format!("run {file} x.png --json"));
        assert!(seen.status.success(), "{file}: {}", stderr(&seen));
        answers.push(json(&seen)["pictures"][0]["top"].clone());
        assert_eq!(run(&format!("check {file} --weights a.safetensors")).status.code(), Some(0), "{file}");
    }
    let probabilities = |answer: &serde_json::Value| {
        answer.as_array().unwrap().iter().map(|c| c["probability"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    for answer in &answers[1..] {
        let pairs = probabilities(&answers[0]).into_iter().zip(probabilities(answer));
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-4), "{answers:?}");
    }
    let asset = run(&format!("{base} --target coreai --input image"));
    assert_eq!(asset.status.code(), Some(2));
    assert_eq!(json(&asset)["ok"], json!(false));
}
