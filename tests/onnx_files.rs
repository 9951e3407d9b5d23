//! ONNX files of any origin through the whole road: every target, with its check.

use serde_json::Value as Json;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Files that stand for the kinds of trap: constants, functions, shape arithmetic, windows, convolutions, pools, resizes, products, norms, choices.
const FILES: [&str; 16] = [
    "form_external",
    "form_functions",
    "form_half",
    "form_many_ports",
    "form_uint8_image",
    "shape_class_token",
    "shape_windows",
    "shape_if",
    "conv_same_lower",
    "convt_groups",
    "pool_avg_ceil",
    "resize_linear_scale_kept",
    "norm_group_18",
    "mul_einsum",
    "move_pixel_shuffle",
    "block_swin",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/onnx")
}

fn vitc(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vitc")).args(args).output().expect("runs")
}

fn case(name: &str) -> Json {
    let text = std::fs::read_to_string(folder().join("cases.json")).expect("the cases");
    let cases: Vec<Json> = serde_json::from_str(&text).expect("a list");
    cases.into_iter().find(|c| c["name"] == name).unwrap_or_else(|| panic!("no case {name}"))
}

/// The command of a file: its batch stays open where the target allows.
fn exported(name: &str, target: &str, out: &str) -> Output {
    let file = folder().join(format!("{name}.onnx")).display().to_string();
    let mut args: Vec<String> =
        ["export", &file, "--target", target, "-o", out, "--json", "--force"].map(String::from).to_vec();
    for (symbol, size) in case(name)["dims"].as_object().expect("sizes") {
        match (symbol.as_str(), target) {
            ("batch", "onnx") => args.extend(["--batch".into(), "dynamic".into()]),
            ("batch", _) => args.extend(["--batch".into(), size.to_string()]),
            _ => args.extend(["--shape".into(), format!("{symbol}={size}")]),
        }
    }
    if matches!(target, "coreml" | "coreai") {
        args.push("--fp32".into());
    }
    vitc(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn files_pass_their_check_on_every_target() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = format!("{}/", dir.path().display());
    let mut wrong = Vec::new();
    for target in ["onnx", "tensorrt-onnx", "coreml", "coreai"] {
        for name in FILES {
            let output = exported(name, target, &out);
            if !output.status.success() {
                wrong.push(format!("{name} to {target}: {}", String::from_utf8_lossy(&output.stderr)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Operators that are written out, looked up or chosen when the model runs; whole numbers and truths at the interface.
#[test]
fn operators_pass_their_check_on_every_target() {
    const OPERATORS: [&str; 10] = [
        "lstm_both",
        "gru_after",
        "attention_tokens",
        "where_infinite",
        "topk",
        "gather_nd_computed",
        "ids",
        "truth_in",
        "qlinear_matmul",
        "grid_linear_reflection",
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/operators");
    let dir = tempfile::tempdir().expect("a folder");
    let out = format!("{}/", dir.path().display());
    let mut wrong = Vec::new();
    for target in ["onnx", "tensorrt-onnx", "coreml"] {
        for name in OPERATORS {
            let file = folder.join(format!("{name}.onnx")).display().to_string();
            let precision = if target == "coreml" { &["--fp32"][..] } else { &[] };
            let output = vitc(&[&["export", &file, "--target", target, "-o", &out, "--force"], precision].concat());
            if !output.status.success() {
                wrong.push(format!("{name} to {target}: {}", String::from_utf8_lossy(&output.stderr)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a check has to bring along: batches of several sizes, indices that are there, indices that are no halves, vectors in place of scalars.
#[test]
fn checks_run_in_every_form() {
    const FORMS: [(&str, &str, &[&str]); 60] = [
        ("lstm_open", "onnx", &["--batch", "dynamic"]),
        ("topk_shifted", "onnx", &["--fp16"]),
        ("topk_shifted", "coreml", &[]),
        ("gather_elements_in", "onnx", &[]),
        ("gather_nd_in", "onnx", &[]),
        ("gather_nd_in", "coreml", &["--fp32"]),
        ("matmul_integer", "coreml", &["--fp32"]),
        ("attention_mask_in", "onnx", &[]),
        ("queries_repeated", "onnx", &["--batch", "dynamic"]),
        ("queries_repeated", "tensorrt-onnx", &["--batch", "dynamic", "--fp16"]),
        ("mask_repeated_part", "onnx", &["--batch", "dynamic"]),
        ("read_by_strides", "onnx", &["--batch", "dynamic"]),
        ("gather_wide", "coreml", &[]),
        ("fold_over", "coreml", &[]),
        ("scalar_divisor", "coreml", &["--fp32"]),
        ("scalar_divisor", "coreml", &[]),
        ("scalar_place", "coreml", &["--fp32"]),
        ("slope_rows", "coreml", &[]),
        ("slope_given", "coreml", &[]),
        ("norm_given", "coreml", &[]),
        ("clip_far", "tensorrt-onnx", &["--fp16"]),
        // What lies beyond half precision, or far below it.
        ("squares_large", "coreml", &[]),
        ("squares_large", "coreai", &[]),
        ("squares_large", "onnx", &["--fp16"]),
        ("unlikely", "coreml", &[]),
        ("unlikely", "tensorrt-onnx", &["--fp16"]),
        ("search_whole", "coreml", &[]),
        ("search_whole", "coreai", &[]),
        ("choice_unsafe", "coreai", &["--fp32"]),
        ("truth_in", "coreai", &[]),
        ("compare", "coreai", &["--fp32"]),
        ("reduce_none", "onnx", &[]),
        ("codes_signed", "onnx", &[]),
        ("standardised", "onnx", &[]),
        ("topk", "coreai", &["--fp32"]),
        ("mask_taken_off", "coreml", &[]),
        ("bytes", "onnx", &["--fp16", "--check-passes"]),
        ("bytes", "tensorrt-onnx", &["--check-passes"]),
        ("bytes", "coreml", &[]),
        ("bytes_signed", "tensorrt-onnx", &[]),
        ("quotient_whole", "onnx", &[]),
        ("remainder_whole", "coreml", &[]),
        ("pool_gaps", "onnx", &["--batch", "dynamic"]),
        ("pool_gaps", "coreml", &[]),
        ("pad_whole", "coreml", &["--fp32"]),
        ("pad_whole_open", "onnx", &["--batch", "dynamic"]),
        ("running_whole_open", "onnx", &["--batch", "dynamic"]),
        ("topk_whole", "onnx", &[]),
        ("topk_whole", "coreml", &[]),
        ("if_computed", "coreml", &[]),
        ("put_open", "onnx", &["--batch", "dynamic"]),
        ("put_add", "coreml", &[]),
        ("put_slices", "tensorrt-onnx", &["--fp16"]),
        ("put_slices", "coreml", &[]),
        ("take_open", "onnx", &["--batch", "dynamic"]),
        ("volume_groups", "onnx", &["--batch", "dynamic"]),
        ("volume_tubes", "coreml", &[]),
        ("volume_max", "tensorrt-onnx", &[]),
        ("volume_mean", "coreml", &["--fp32"]),
        ("if_computed", "tensorrt-onnx", &["--fp16"]),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/operators");
    let dir = tempfile::tempdir().expect("a folder");
    let out = format!("{}/", dir.path().display());
    let mut wrong = Vec::new();
    for (name, target, more) in FORMS {
        let file = folder.join(format!("{name}.onnx")).display().to_string();
        let output = vitc(&[&["export", &file, "--target", target, "-o", &out, "--force"], more].concat());
        if !output.status.success() {
            wrong.push(format!("{name} to {target} {more:?}: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whole numbers at the interface are as wide as in the file.
#[test]
fn ports_keep_their_types() {
    use vitc_exporters::onnx::{Elem, ImportOptions, import};
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/operators");
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("m.onnx");
    let options = ImportOptions { name: "m".into(), batch: None, shapes: Vec::new(), outputs: Vec::new() };
    let kept = [
        ("ids32", "onnx", Elem::Int(32)),
        ("gather_nd_in", "onnx", Elem::Int(64)),
        ("bytes", "onnx", Elem::Uint(8)),
        ("bytes_signed", "onnx", Elem::Int(8)),
    ];
    for (name, target, width) in kept {
        let file = folder.join(format!("{name}.onnx")).display().to_string();
        let output = vitc(&["export", &file, "--target", target, "-o", &out.display().to_string(), "--force"]);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let [before, after] = [Path::new(&file), out.as_path()].map(|path| import(path, &options).expect("a file"));
        let of = |i: &vitc_exporters::onnx::Imported| i.inputs.iter().map(|p| p.elem).collect::<Vec<_>>();
        assert_eq!((of(&after), &after.outputs), (of(&before), &before.outputs), "{name}");
        assert!(of(&after).contains(&Some(width)), "{name}");
    }
    // TensorRT takes bytes without a sign only.
    let file = folder.join("bytes.onnx").display().to_string();
    let output = vitc(&["export", &file, "--target", "tensorrt-onnx", "-o", &out.display().to_string(), "--force"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let after = import(&out, &options).expect("a file");
    assert_eq!((after.inputs[0].elem, &after.outputs[..]), (Some(Elem::Uint(8)), &[Elem::Uint(8), Elem::F32][..]));
    assert!(String::from_utf8_lossy(&output.stderr).contains("output z of int8 is returned as a float"));
}

/// A file is written at its own opset, as far as vitc writes that one, and at another where that is asked for.
#[test]
fn files_keep_their_opset() {
    use vitc_exporters::onnx::{ImportOptions, import};
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/operators");
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("m.onnx");
    let options = ImportOptions { name: "m".into(), batch: None, shapes: Vec::new(), outputs: Vec::new() };
    let opset = |path: &Path| import(path, &options).expect("a file").opset;
    let mut seen = HashSet::new();
    let cases: [(&str, &[&str], Option<i64>); 5] = [
        ("hardmax_flat", &[], None),
        ("dft_back", &[], None),
        ("attention_causal", &[], None),
        ("attention_short_mask", &[], None),
        ("attention_causal", &["--opset", "17"], Some(17)),
    ];
    for (name, more, asked) in cases {
        let file = folder.join(format!("{name}.onnx"));
        let place = out.display().to_string();
        let export = ["export", &file.display().to_string(), "--target", "onnx", "-o", &place, "--force"];
        let output = vitc(&[&export[..], more].concat());
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let own = opset(&file);
        assert_eq!(opset(&out), asked.unwrap_or(own.clamp(17, 23)), "{name} of opset {own}");
        seen.insert(own);
    }
    assert!(seen.iter().any(|&o| o < 17) && seen.iter().any(|&o| o > 17), "{seen:?}");
}

/// A failed check in half precision says whether the type or the file is at fault, and its hint leads to right numbers.
#[test]
fn half_precision_that_is_too_coarse_is_told_from_a_wrong_file() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/operators/sine_fast.onnx").display().to_string();
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("m.mlpackage").display().to_string();
    let failed = vitc(&["export", &file, "--target", "coreml", "-o", &out]);
    assert_eq!(failed.status.code(), Some(3));
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(said.contains("in fp32 the same artifact agrees") && said.contains("use --fp32"), "{said}");
    assert!(vitc(&["export", &file, "--target", "coreml", "-o", &out, "--fp32"]).status.success());
}

/// Each target says whether it takes a file, and a refusal shows the way from an input to what needs a number.
#[test]
fn what_stands_in_the_way_is_said() {
    let inspected = |name: &str| -> Json {
        let file = folder().join(format!("{name}.onnx")).display().to_string();
        let output = vitc(&["inspect", &file, "--json"]);
        serde_json::from_slice(&output.stdout).expect("an object")
    };
    for name in ["move_topk", "form_constant_output", "../operators/ids"] {
        let answers = inspected(name)["exports"].as_array().expect("answers").clone();
        assert!(answers.len() == 4 && answers.iter().all(|a| a["ok"] == true), "{name}: {answers:?}");
    }
    let why = inspected("refuse_loop")["exports"][0]["why"].as_str().expect("a reason").to_string();
    assert!(why.contains("the image decides its ") && why.contains(" -> "), "{why}");
}

/// The reference is the file itself, or the report says that it is not; a check can be repeated with the file at hand.
#[test]
fn the_file_is_its_own_reference() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("a.onnx").display().to_string();
    for (name, word) in [("conv_same_lower", "the file itself"), ("shape_if", "not proven")] {
        let output = exported(name, "onnx", &out);
        let report: Json = serde_json::from_slice(&output.stdout).expect("an object");
        assert!(report["check"]["notes"].to_string().contains(word), "{name}: {}", report["check"]["notes"]);
        let source = folder().join(format!("{name}.onnx")).display().to_string();
        assert!(vitc(&["check", &out, &source]).status.success(), "{name}");
        assert_eq!(vitc(&["check", &out]).status.code(), Some(2), "{name}: the file is missing");
    }
}

/// What belongs to models by name is wrong use; a file's own name is never the artifact's.
#[test]
fn flags_of_other_models_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("m.onnx");
    std::fs::copy(folder().join("conv_same_lower.onnx"), &file).expect("copies");
    let file = file.display().to_string();
    let wrong: [&[&str]; 8] = [
        &["--input-layout", "nhwc"],
        &["--bgr"],
        &["--resolution", "64"],
        &["--num-classes", "3"],
        &["--seed", "1"],
        &["--output", "features"],
        &["--shape", "nothing=3"],
        &["-o", &file, "--force"],
    ];
    for more in wrong {
        let output = vitc(&[&["export", &file, "--target", "onnx"], more].concat());
        assert_eq!(output.status.code(), Some(2), "{more:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let output = Command::new(env!("CARGO_BIN_EXE_vitc"))
        .args(["export", "m.onnx", "--target", "onnx"])
        .current_dir(dir.path())
        .output()
        .expect("runs");
    assert!(output.status.success() && dir.path().join("m-vitc.onnx").is_file());
    assert_eq!(vitc(&["export", "fmvit-m", "--target", "onnx", "--shape", "1x3x64x64"]).status.code(), Some(2));
}

/// Everything that cannot be taken is said at once, with where the graph could be cut; and the cut goes.
#[test]
fn a_refusal_names_the_cut() {
    let file = folder().join("refuse_nms.onnx").display().to_string();
    let output = vitc(&["export", &file, "--target", "onnx"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let cut = said.split("--outputs ").nth(1).and_then(|s| s.lines().next()).expect("a cut").to_string();
    let dir = tempfile::tempdir().expect("a folder");
    let out = format!("{}/", dir.path().display());
    assert!(said.contains("NonMaxSuppression"), "{said}");
    let output = vitc(&["export", &file, "--target", "onnx", "-o", &out, "--outputs", &cut]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A picture is never prepared by a guess, and the hint is one that can be followed.
#[test]
fn pictures_are_not_guessed() {
    let file = folder().join("act_gelu_erf.onnx").display().to_string();
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/pictures/wide.png").display().to_string();
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("m.onnx").display().to_string();
    let shown = |more: &[&str]| {
        let output = vitc(&[&["export", &file, "--target", "onnx", "--force", "-o", &out][..], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&vitc(&["run", &out, &picture]).stderr).into_owned()
    };
    let said = shown(&[]);
    assert!(
        said.contains("does not say how a picture becomes them\n  export it again with --mean and --std"),
        "{said}"
    );
    let said = shown(&["--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"]);
    assert!(said.contains("not class scores"), "{said}");
    let missing = vitc(&["export", "nowhere/model.onnx", "--target", "onnx"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("there is no such file"));
}
