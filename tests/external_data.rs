//! Weights in a data file beside an ONNX file: checked, replaced and missed as one artifact.

mod common;

use common::command::{json, names, stderr, vitc};

#[test]
fn a_data_file_comes_and_goes_with_its_model() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let export = |more: &str| {
        let line = format!("export efficientformerv2-s0 --resolution 64 --target onnx --fp16 --json{more} -o a.onnx");
        let output = vitc(d, &line);
        assert!(output.status.success(), "{line}: {}", stderr(&output));
        let artifact = &json(&output)["artifact"];
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
    assert!(checked.status.success(), "{}", stderr(&checked));

    // Other weights are another file, and the one that nothing refers to any more is gone.
    let (second, _) = export(" --external-data --seed 1");
    assert_ne!(second.as_deref(), Some(first.as_str()));
    assert_eq!(names(d), [second.as_deref().unwrap(), "a.onnx"]);

    // A model without its data is no model, and says what it misses.
    std::fs::rename(d.join(second.as_deref().unwrap()), d.join("moved")).unwrap();
    let missed = vitc(d, "check a.onnx");
    assert_eq!(missed.status.code(), Some(1));
    let said = format!("a.onnx: its weights are in {}, which is not beside it", second.as_deref().unwrap());
    assert!(stderr(&missed).contains(&said), "{}", stderr(&missed));
    let shown = vitc(d, "inspect a.onnx").stdout;
    assert!(String::from_utf8_lossy(&shown).contains("beside it, which is missing"));
    std::fs::rename(d.join("moved"), d.join(second.as_deref().unwrap())).unwrap();

    assert_eq!(export("").0, None);
    assert_eq!(names(d), ["a.onnx"]);
}
