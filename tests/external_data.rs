//! Weights in a data file beside an ONNX file: checked, replaced and missed as one artifact.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn vitc(dir: &Path, line: &str) -> Output {
    let words = line.split(' ');
    Command::new(env!("CARGO_BIN_EXE_vitc")).args(words).current_dir(dir).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Names in a folder, sorted.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_data_file_comes_and_goes_with_its_model() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let export = |more: &str| {
        let line = format!("export efficientformerv2-s0 --resolution 64 --target onnx --fp16 --json{more} -o a.onnx");
        let output = vitc(d, &line);
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let artifact = &report["artifact"];
        (artifact["data_file"].as_str().map(str::to_string), artifact["bytes"].as_u64().unwrap())
    };
    let (first, bytes) = export(" --external-data");
    let first = first.expect("a data file");
    assert!(first.starts_with("a-") && first.ends_with(".data"), "{first}");
    assert_eq!(names(d), [first.as_str(), "a.onnx"]);
    let length = |name: &str| d.join(name).metadata().unwrap().len();
    assert_eq!(bytes, length(&first) + length("a.onnx"));
    assert!(length("a.onnx") < bytes / 10, "the weights are outside");
    let checked = vitc(d, "check a.onnx");
    assert!(checked.status.success(), "{}", text(&checked.stderr));

    // Other weights are another file, and the one that nothing refers to any more is gone.
    let (second, _) = export(" --external-data --seed 1");
    assert_ne!(second.as_deref(), Some(first.as_str()));
    assert_eq!(names(d), [second.as_deref().unwrap(), "a.onnx"]);

    // A model without its data is no model, and says what it misses.
    std::fs::rename(d.join(second.as_deref().unwrap()), d.join("moved")).unwrap();
    let missed = vitc(d, "check a.onnx");
    assert_eq!(missed.status.code(), Some(1));
    let said = format!("a.onnx: its weights are in {}, which is not beside it", second.as_deref().unwrap());
    assert!(text(&missed.stderr).contains(&said), "{}", text(&missed.stderr));
    assert!(text(&vitc(d, "inspect a.onnx").stdout).contains("beside it, which is missing"));
    std::fs::rename(d.join("moved"), d.join(second.as_deref().unwrap())).unwrap();

    assert_eq!(export("").0, None);
    assert_eq!(names(d), ["a.onnx"]);
}
