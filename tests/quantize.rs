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

/// A file of the target's kind.
fn named(name: &str, target: &str) -> String {
    let kinds = [("coreml", ".mlpackage"), ("coreai", ".aimodel")];
    let kind = kinds.iter().find(|(word, _)| target.starts_with(word)).map_or(".onnx", |(_, kind)| kind);
    format!("{name}{kind}")
}

#[test]
fn weights_by_themselves_are_checked_against_the_quantised_graph() {
    let dir = tempfile::tempdir().unwrap();
    let forms = [
        ("coreml", "w8", "16"),
        ("coreml", "w6", "16"),
        ("coreml", "w4", "16"),
        ("coreml", "w4 --palette-group 7", "18"),
        ("coreml", "w4-block32 --fp32", "18"),
        ("coreml", "w4 --ios 18 --input image", "18"),
        ("coreai", "w8", "27"),
        ("coreai", "w4 --palette-group 16", "27"),
        ("coreai", "w4-block32 --fp32", "27"),
        ("onnx", "w8", "17"),
    ];
    for (target, form, version) in forms {
        let name = named("a", target);
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
    for (target, form) in [
        ("tensorrt-onnx --batch 2", "w8a8"),
        ("onnx", "w8a8 --evaluate calib.npy"),
        ("coreml", "w4"),
        ("coreai", "w8a8"),
    ] {
        let name = |n: usize| named(&n.to_string(), target);
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
        let weights_only = quantisation["layers"].as_array().unwrap().iter().filter(|l| l["input_scale"].is_null());
        let apple = weights_only.filter(|l| l["form"].as_str().unwrap().ends_with("a convolution in groups")).count();
        assert_eq!(apple > 0, target == "coreai", "{target}");
        if target == "onnx" {
            assert_eq!(quantisation["evaluation"]["snr"], quantisation["fidelity"]["snr"]);
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
        ("coreai --quantize w8 --batch 1,8", "several sizes"),
        ("coreml --quantize mixed", "--calibrate FOLDER"),
        ("coreml --quantize w8 --min-snr 40", "--calibrate FOLDER"),
        ("coreml --quantize w8 --agreement 98%", "--calibrate FOLDER"),
        ("coreml --quantize w8 --keep patch_embad.0", "the nearest is patch_embed.0"),
        ("onnx --quantize w8 --keep patch_embed --keep network --keep head", "layers stay as they are"),
        ("coreml --quantize w8 --cpu arm", "--cpu"),
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

#[test]
fn layers_that_lose_most_get_more_bits_until_the_goal_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    pictures(dir.path());
    let exported = |options: &str| {
        let answer = vitc(dir.path(), &format!("export {MODEL} {options} --calibrate calib.npy --force --json"));
        assert!(answer.status.success(), "{options}: {}", stderr(&answer));
        json(&answer)["quantisation"].clone()
    };
    let count = |q: &serde_json::Value, form: &str| {
        q["layers"].as_array().unwrap().iter().filter(|l| l["form"].as_str().unwrap().starts_with(form)).count()
    };
    let plain = exported("--target onnx --quantize w8a8 --keep patch_embed --keep network.0.0");
    assert_eq!(plain["float"].as_u64().unwrap() as usize, count(&plain, "float"));
    let kept = plain["layers"].as_array().unwrap().iter().filter(|l| l["why"] == "kept, as asked");
    let kept: Vec<&str> = kept.map(|l| l["layer"].as_str().unwrap()).collect();
    assert!(
        kept.iter().all(|path| path.starts_with("patch_embed.") || path.starts_with("network.0.0."))
            && !kept.is_empty(),
        "{kept:?}"
    );
    assert!(plain["curve"].is_null());
    let least = plain["fidelity"]["snr"].as_f64().unwrap() + 3.0;
    let better = exported(&format!("--target onnx --quantize w8a8 --min-snr {least:.1}"));
    assert!(better["fidelity"]["snr"].as_f64().unwrap() >= least - 0.1, "{better}");
    assert!(better["curve"].as_array().unwrap().len() > 1 && better["quantised"].as_u64().unwrap() > 20, "{better}");
    let mixed = exported("--target coreml --fp32 --quantize mixed --min-snr 55");
    assert!(mixed["fidelity"]["snr"].as_f64().unwrap() >= 55.0, "{mixed}");
    let bytes: Vec<u64> = mixed["curve"].as_array().unwrap().iter().map(|p| p["bytes"].as_u64().unwrap()).collect();
    assert!(bytes.iter().any(|&b| b > bytes[0]), "{bytes:?}: more bits than the fewest were needed");
    assert!(count(&mixed, "4-bit") > 0, "some layers have the fewest bits: {mixed}");
}

#[test]
fn files_of_any_origin_are_quantised_once() {
    let dir = tempfile::tempdir().unwrap();
    pictures(dir.path());
    assert!(vitc(dir.path(), &format!("export {MODEL} --target onnx -o source.onnx")).status.success());
    let line = "export source.onnx --target tensorrt-onnx --quantize w8a8 --calibrate calib.npy --json -o few.onnx";
    let exported = vitc(dir.path(), line);
    assert!(exported.status.success(), "{}", stderr(&exported));
    let quantisation = &json(&exported)["quantisation"];
    assert!(quantisation["quantised"].as_u64().unwrap() > 20 && quantisation["fidelity"]["passed"] == true);
    assert!(quantisation["fidelity"]["notes"][0].as_str().unwrap().contains("the file itself"), "{quantisation}");
    let checked = vitc(dir.path(), "check few.onnx source.onnx --calibrate calib.npy");
    assert!(checked.status.success(), "{}", stderr(&checked));
    let twice = vitc(dir.path(), "export few.onnx --target onnx --quantize w8 --no-check");
    assert_eq!(twice.status.code(), Some(2), "{}", stderr(&twice));
    assert!(stderr(&twice).contains("is quantised already"), "{}", stderr(&twice));
}
