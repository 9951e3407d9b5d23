//! Quantised exports: every form on every target that holds it, fitted to an array and by itself, and what is refused.

mod common;

use common::command::{json, stderr, vitc};
use std::path::Path;
use vitc::check::npy;
use vitc_ir::testing::Rng;

/// The smallest model and size: what is looked at is the road.
const MODEL: &str = "efficientformerv2-s0 --resolution 64 --num-classes 10";

/// Five normalised pictures, smooth as pictures are.
fn pictures(dir: &Path) {
    let mut rng = Rng::new(3);
    let mut data = Vec::new();
    for _ in 0..5 * 3 {
        let [a, b, c] = [(); 3].map(|()| rng.uniform(-1.5, 1.5));
        for y in 0..64 {
            for x in 0..64 {
                let (u, v) = (f64::from(x) / 10.0, f64::from(y) / 10.0);
                data.push((a * u.sin() + b * (v + c).cos() + 0.3 * rng.normal()) as f32);
            }
        }
    }
    npy::write(&dir.join("calib.npy"), &[5, 3, 64, 64], &data).unwrap();
}

#[test]
fn weights_by_themselves_are_checked_against_the_quantised_graph() {
    let dir = tempfile::tempdir().unwrap();
    let forms = [
        ("coreml", "w8", "16"),
        ("coreml", "w6", "16"),
        ("coreml", "w4", "16"),
        ("coreml", "w4 --palette-group 16", "18"),
        ("coreml", "w4-block32 --fp32", "18"),
        ("coreml", "w4 --ios 18 --input image", "18"),
        ("onnx", "w8", "17"),
    ];
    for (target, form, version) in forms {
        let name = if target == "coreml" { "a.mlpackage" } else { "a.onnx" };
        let exported =
            vitc(dir.path(), &format!("export {MODEL} --target {target} --quantize {form} --force --json -o {name}"));
        assert!(exported.status.success(), "{form}: {}", stderr(&exported));
        let report = json(&exported);
        assert!(report["format"].as_str().unwrap().ends_with(version), "{form}: {}", report["format"]);
        assert_eq!(report["check"]["passed"], true, "{form}");
        assert_eq!(report["quantisation"]["float"], 0, "{form}");
        assert!(report["quantisation"]["fidelity"].is_null(), "{form}: the loss was not measured");
    }
}

#[test]
fn pictures_fit_and_judge_a_quantised_model_and_equal_ones_give_equal_bytes() {
    let dir = tempfile::tempdir().unwrap();
    pictures(dir.path());
    for (target, form) in [("tensorrt-onnx --batch 2", "w8a8"), ("onnx", "w8a8"), ("coreml", "w4")] {
        let name = |n: usize| if target == "coreml" { format!("{n}.mlpackage") } else { format!("{n}.onnx") };
        let line = |n: usize| {
            format!(
                "export {MODEL} --target {target} --quantize {form} --calibrate calib.npy --force --json -o {}",
                name(n)
            )
        };
        let exported = vitc(dir.path(), &line(1));
        assert!(exported.status.success(), "{target}: {}", stderr(&exported));
        let quantisation = &json(&exported)["quantisation"];
        assert_eq!(quantisation["calibration"][0], 5, "{target}");
        assert!(quantisation["fidelity"]["snr"].as_f64().unwrap() > 20.0, "{target}: {quantisation}");
        let grouped = quantisation["layers"].as_array().unwrap().iter().filter(|l| l["why"].is_string()).count();
        assert_eq!(grouped > 0, target.starts_with("tensorrt"), "{target}");
        if target == "onnx" {
            assert!(vitc(dir.path(), &line(2)).status.success());
            let bytes = |n: usize| std::fs::read(dir.path().join(name(n))).unwrap();
            assert_eq!(bytes(1), bytes(2));
            for pictures in ["", "--calibrate calib.npy --samples 4"] {
                let checked = vitc(dir.path(), format!("check {} --json {pictures}", name(1)).trim());
                assert!(checked.status.success(), "{}", stderr(&checked));
                let fidelity = &json(&checked)["fidelity"];
                assert_eq!(fidelity["pictures"], if pictures.is_empty() { 0 } else { 4 });
                assert_eq!(fidelity["agreement"].is_null(), pictures.is_empty());
            }
            let other = vitc(dir.path(), &format!("check {} --seed 5", name(1)));
            assert_eq!(other.status.code(), Some(3), "{}", stderr(&other));
        }
    }
}

#[test]
fn what_a_target_does_not_hold_or_what_needs_pictures_is_wrong_use() {
    let dir = tempfile::tempdir().unwrap();
    pictures(dir.path());
    npy::write(&dir.path().join("small.npy"), &[2, 3, 32, 32], &[0.0; 2 * 3 * 32 * 32]).unwrap();
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    std::fs::create_dir(dir.path().join("broken")).unwrap();
    std::fs::write(dir.path().join("broken/cat.jpg"), b"words").unwrap();
    let refused = [
        ("coreml --quantize w8a8", "--calibrate FOLDER"),
        ("tensorrt-onnx --quantize w4", "one more kernel"),
        ("onnx --quantize w4", "w8a8 and w8"),
        ("coreai --quantize w8", "not written yet"),
        ("coreml --quantize w8 --samples 3", "--calibrate"),
        ("coreml --quantize w8 --palette-group 16", "--quantize w4"),
        ("coreml --quantize w8a8 --calibrate calib.npy --ios 16", "iOS 17"),
        ("tensorrt-onnx --quantize w8a8 --calibrate calib.npy --opset 17", "opset 19"),
        ("onnx --quantize w8a8 --calibrate small.npy", "[N, 3, 64, 64]"),
        ("onnx --quantize w8a8 --calibrate empty", "no pictures"),
        ("onnx --quantize w8a8 --calibrate broken", "cat.jpg"),
    ];
    for (form, said) in refused {
        let answer = vitc(dir.path(), &format!("export {MODEL} --target {form} --no-check"));
        assert_eq!(answer.status.code(), Some(2), "{form}: {}", stderr(&answer));
        assert!(stderr(&answer).contains(said), "{form}: {}", stderr(&answer));
    }
}
