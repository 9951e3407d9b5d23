//! The command line as a person and a script meet it: transcripts under `golden/cli` and in the book, and exports that go wrong.
//!
//! Update the transcripts with `TRYCMD=overwrite cargo test --release --test cli`.

mod common;

use common::command::{json, names, stderr, vitc};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

#[test]
fn transcripts() {
    trycmd::TestCases::new().case("golden/cli/*.md").case("docs/src/errors.md");
}

/// An export of the smallest model without check, and further arguments.
fn export(dir: &Path, target: &str, more: &str) -> Output {
    vitc(dir, format!("export efficientformerv2-s0 --no-check --target {target} {more}").trim_end())
}

/// Every byte below a path, file by file.
fn content(path: &Path) -> Vec<(String, Vec<u8>)> {
    if path.is_file() {
        return vec![(String::new(), std::fs::read(path).unwrap())];
    }
    names(path)
        .iter()
        .flat_map(|n| content(&path.join(n)).into_iter().map(move |(p, b)| (format!("{n}/{p}"), b)))
        .collect()
}

#[test]
fn every_target_lands_under_its_default_name_with_equal_bytes() {
    let cases: [(&str, &str, &str); 6] = [
        ("onnx", "", "efficientformerv2-s0.onnx"),
        ("tensorrt-onnx", "--fp16", "efficientformerv2-s0-fp16.onnx"),
        ("tensorrt-onnx", "--batch dynamic --opset 20", "efficientformerv2-s0.onnx"),
        ("coreml", "", "efficientformerv2-s0.mlpackage"),
        ("coreml", "--fp32", "efficientformerv2-s0-fp32.mlpackage"),
        ("coreai", "", "efficientformerv2-s0.aimodel"),
    ];
    for (target, more, name) in cases {
        let dir = tempfile::tempdir().unwrap();
        let mut before = None;
        for _ in 0..2 {
            let output = export(dir.path(), target, more);
            assert!(output.status.success(), "{target} {more:?}: {}", stderr(&output));
            assert_eq!(names(dir.path()), [name]);
            let now = content(&dir.path().join(name));
            assert!(before.is_none_or(|b| b == now), "{target} {more:?}: equal exports give equal bytes");
            before = Some(now);
        }
    }
}

/// One asset for several sizes: the weights once, the position tables of each size, every function checked and found again.
#[test]
fn several_sizes_are_functions_on_the_same_weights() {
    let dir = tempfile::tempdir().unwrap();
    let model = "efficientformerv2-s0 --num-classes 10 --target coreai --fp32 --json";
    let made = |more: &str| {
        let output = vitc(dir.path(), &format!("export {model} {more}"));
        assert!(output.status.success(), "{}", stderr(&output));
        json(&output)
    };
    let one = made("--resolution 96 --no-check -o one.aimodel");
    let all = made("--resolution 96,128 --batch 1,2 -o all.aimodel");
    let names = [
        "batch_1_resolution_96x96",
        "batch_2_resolution_96x96",
        "batch_1_resolution_128x128",
        "batch_2_resolution_128x128",
    ];
    let found = |json: &Value| -> Vec<String> {
        let functions = json["functions"].as_array().cloned().unwrap_or_default();
        functions.iter().filter_map(|f| Some(f["name"].as_str()?.to_string())).collect()
    };
    assert_eq!(found(&all), names);
    assert_eq!(found(&one), [""; 0]);
    let checked = |json: &Value| -> Vec<String> {
        let runs = json["check"]["runs"].as_array().cloned().unwrap_or_default();
        let mut names: Vec<String> = runs.iter().filter_map(|r| Some(r["function"].as_str()?.to_string())).collect();
        names.dedup();
        names
    };
    assert_eq!(checked(&all), names);
    let bytes = |json: &Value| json["artifact"]["bytes"].as_f64().unwrap();
    assert!(bytes(&all) < 1.1 * bytes(&one), "{} and {}", bytes(&all), bytes(&one));
    assert_eq!(found(&json(&vitc(dir.path(), "inspect all.aimodel --json"))), names);
    let again = vitc(dir.path(), "check all.aimodel --json");
    assert!(again.status.success(), "{}", stderr(&again));
    assert_eq!(checked(&json(&again)), names);
}

/// Rules of the Neural Engine that a spelling breaks are named, with the nodes; a target without that engine has none.
#[test]
fn what_leaves_the_neural_engine_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let rules = |target: &str, more: &str| -> Vec<(String, usize)> {
        let report = json(&export(dir.path(), target, &format!("--json --force {more}")));
        let rules = report["engine_rules"].as_array().cloned().unwrap_or_default();
        rules.iter().map(|r| (r["rule"].as_str().unwrap().into(), r["nodes"].as_array().unwrap().len())).collect()
    };
    let has = |rules: &[(String, usize)], rule: &str| rules.iter().find(|(r, _)| r == rule).map(|(_, n)| *n);
    let usual = rules("coreai", "");
    assert!(["fp32", "shapes", "rank", "strides", "softmax", "kernels"].iter().all(|r| has(&usual, r).is_none()));
    assert_eq!(has(&rules("coreai", "--io fp32"), "fp32"), Some(2), "{usual:?}");
    assert!(has(&rules("coreai", "--batch dynamic"), "shapes") > Some(100));
    assert_eq!(rules("onnx", "--fp16 --batch dynamic"), []);
}

#[test]
fn the_report_holds_what_the_summary_says() {
    let dir = tempfile::tempdir().unwrap();
    let output = export(dir.path(), "coreml", "--json --num-classes 10 -o a.mlpackage");
    let report = json(&output);
    assert!(output.status.success(), "{report}");
    let text = |pointer: &str| report.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_string();
    assert_eq!((text("/command"), text("/model")), ("export".into(), "efficientformerv2-s0".into()));
    assert_eq!((text("/precision/compute"), text("/precision/interface")), ("fp16".into(), "fp32".into()));
    assert_eq!(report["precision"]["default"], true);
    assert_eq!((text("/inputs/0/name"), text("/inputs/0/shape")), ("image".into(), "1x3x224x224".into()));
    assert_eq!((text("/outputs/0/name"), text("/outputs/0/shape")), ("logits".into(), "1x10".into()));
    assert_eq!(text("/weights/kind"), "seeded");
    let on_disk: usize = content(&dir.path().join("a.mlpackage")).iter().map(|(_, b)| b.len()).sum();
    assert_eq!(report["artifact"]["bytes"], on_disk);
    let ops = report["artifact"]["ops"].as_object().unwrap();
    assert_eq!(report["artifact"]["nodes"], ops.values().filter_map(Value::as_u64).sum::<u64>());
    assert!(stderr(&output).ends_with("give --weights for a real one\n"), "{}", stderr(&output));
    assert_eq!(json(&vitc(dir.path(), "inspect a.mlpackage --json"))["nodes"], report["artifact"]["nodes"]);
}

#[test]
fn a_place_is_taken_only_by_leave() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    std::fs::write(d.join("theirs.onnx"), "not ours").unwrap();
    std::fs::create_dir(d.join("folder")).unwrap();
    std::fs::create_dir(d.join("folder.onnx")).unwrap();
    let cases: [(&str, i32, &str); 7] = [
        ("-o missing/a.onnx", 1, "mkdir -p missing"),
        ("-o missing/", 1, "does not exist"),
        ("-o theirs.onnx", 1, "was not written by vitc"),
        ("-o a.mlpackage", 2, "ends in .onnx"),
        ("-o a", 2, "use a.onnx"),
        ("-o folder.onnx", 1, "is a folder"),
        ("-o folder", 0, ""),
    ];
    for (more, exit, said) in cases {
        let output = export(d, "onnx", more);
        assert_eq!(output.status.code(), Some(exit), "{more:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{more:?}: {}", stderr(&output));
    }
    assert_eq!(std::fs::read_to_string(d.join("theirs.onnx")).unwrap(), "not ours");
    assert_eq!(names(&d.join("folder")), ["efficientformerv2-s0.onnx"]);
    assert_eq!(names(d), ["folder", "folder.onnx", "theirs.onnx"]);
    assert!(export(d, "onnx", "-o theirs.onnx --force").status.success());
    assert!(export(d, "onnx", "-o theirs.onnx").status.success(), "ours by now");
}

/// A file size limit stands for a full disk: the write in the middle of the artifact fails.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_old_artifact() {
    full_disk("onnx", "a.onnx");
    full_disk("coreml", "a.mlpackage");
}

#[cfg(unix)]
fn full_disk(target: &str, name: &str) {
    let dir = tempfile::tempdir().unwrap();
    assert!(export(dir.path(), target, &format!("-o {name}")).status.success());
    let before = content(&dir.path().join(name));
    let line = format!(
        "trap '' XFSZ; ulimit -f 2000; exec \"$0\" export efficientformerv2-s1 --no-check --target {target} -o {name}"
    );
    let output =
        Command::new("bash").args(["-c", &line, env!("CARGO_BIN_EXE_vitc")]).current_dir(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).starts_with("error: cannot write the artifact"), "{}", stderr(&output));
    assert_eq!(content(&dir.path().join(name)), before);
    assert_eq!(names(dir.path()), [name]);
}

#[test]
fn a_killed_export_leaves_the_old_artifact_and_the_next_one_cleans_up() {
    let dir = tempfile::tempdir().unwrap();
    assert!(export(dir.path(), "coreml", "-o a.mlpackage").status.success());
    let before = content(&dir.path().join("a.mlpackage"));
    // The largest model, so that there is time to kill it while it writes.
    let mut child = Command::new(env!("CARGO_BIN_EXE_vitc"))
        .args(["export", "efficientformerv2-l", "--target", "coreml", "--no-check", "-o", "a.mlpackage"])
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while names(dir.path()).len() < 2 && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(content(&dir.path().join("a.mlpackage")), before);
    assert_eq!(names(dir.path()).len(), 2, "the dead run's folder is there: {:?}", names(dir.path()));
    assert!(export(dir.path(), "coreml", "-o a.mlpackage").status.success());
    assert_eq!(names(dir.path()), ["a.mlpackage"]);
}

#[test]
fn wrong_artifacts_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("empty.onnx"), "").unwrap();
    std::fs::write(dir.path().join("noise.onnx"), [0xff; 4096]).unwrap();
    std::fs::create_dir(dir.path().join("empty.mlpackage")).unwrap();
    for name in ["empty.onnx", "noise.onnx", "empty.mlpackage", "absent.onnx"] {
        let output = vitc(dir.path(), &format!("inspect {name}"));
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(stderr(&output).starts_with(&format!("error: {name}: ")), "{}", stderr(&output));
    }
    assert!(export(dir.path(), "onnx", "").status.success());
    let whole = std::fs::read(dir.path().join("efficientformerv2-s0.onnx")).unwrap();
    std::fs::write(dir.path().join("cut.onnx"), &whole[..whole.len() / 2]).unwrap();
    assert_eq!(vitc(dir.path(), "inspect cut.onnx").status.code(), Some(1));
}

#[test]
fn a_report_is_one_page_and_an_export_can_have_one() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    std::fs::write(d.join("theirs.html"), "<html>").unwrap();
    let run = |words: &str| vitc(d, words);
    let model = "efficientformerv2-s0 --target coreml --resolution 64";
    let first = run(&format!("report {model}"));
    assert!(first.status.success(), "{}", stderr(&first));
    assert_eq!(names(d), ["efficientformerv2-s0-report.html", "theirs.html"]);
    let page = content(&d.join("efficientformerv2-s0-report.html"));
    let again = json(&run(&format!("report {model} --json")));
    assert_eq!(
        (again["page"].as_str(), &again["artifact"]["kept"]),
        (Some("efficientformerv2-s0-report.html"), &Value::Bool(false))
    );
    assert!(again["check"]["layers"]["values"].as_array().is_some_and(|v| v.len() > 100));
    assert_eq!(content(&d.join("efficientformerv2-s0-report.html")), page, "ours is replaced, by the same bytes");

    let foreign = run(&format!("report {model} -o theirs.html"));
    assert_eq!(foreign.status.code(), Some(1), "{}", stderr(&foreign));
    let wrong = run(&format!("report {model} -o page.txt"));
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("use page.html"), "{}", stderr(&wrong));
    let both = run(&format!("export {model} --no-check --report page.html -o a.mlpackage"));
    assert!(both.status.success(), "{}", stderr(&both));
    assert_eq!(names(d), ["a.mlpackage", "efficientformerv2-s0-report.html", "page.html", "theirs.html"]);
    assert!(std::fs::read_to_string(d.join("page.html")).unwrap().contains("not checked"));
}

#[test]
fn completions_and_manual_know_every_command() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = String::from_utf8(vitc(dir.path(), &format!("completions {shell}")).stdout).unwrap();
        for word in ["export", "report", "target", "tensorrt-onnx", "keep-failed"] {
            assert!(script.contains(word), "{shell} {word}");
        }
    }
    let page = String::from_utf8(vitc(dir.path(), "man").stdout).unwrap();
    let pages = ["export", "report", "check", "inspect", "list"];
    for command in pages {
        assert!(page.contains(&format!("vitc\\-{command}")), "{command}: {page}");
        let page = String::from_utf8(vitc(dir.path(), &format!("man {command}")).stdout).unwrap();
        assert!(page.starts_with(".ie") && page.contains(&format!(".TH vitc-{command}")), "{command}: {page}");
    }
    assert_eq!(vitc(dir.path(), "man nothing").status.code(), Some(2));
}

#[test]
fn values_from_outside_decide_like_the_check() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let run = |words: &str| vitc(d, words);
    let base = "export efficientformerv2-s0 --target onnx -o a.onnx";
    let output = run(&format!("{base} --save-io io"));
    assert!(output.status.success(), "{}", stderr(&output));
    let file = |what: &str, value: &str| {
        let stem = names(&d.join("io")).into_iter().find(|n| n.contains(what) && n.ends_with(&format!(".{value}.npy")));
        format!("io/{}", stem.unwrap_or_else(|| panic!("{what} {value} in {:?}", names(&d.join("io")))))
    };
    let (input, right, wrong) = (file("noise", "input"), file("noise", "logits"), file("gradient", "logits"));
    let agreeing = run(&format!("check a.onnx --input {input} --expect {right} --json"));
    assert_eq!(json(&agreeing)["expect"]["passed"], true);
    let differing = run(&format!("check a.onnx --input {input} --expect {wrong} --json"));
    assert_eq!((differing.status.code(), &json(&differing)["expect"]["passed"]), (Some(3), &Value::Bool(false)));

    let before = content(&d.join("a.onnx"));
    let failing = format!("{base} --fp16 --input {input} --expect {wrong}");
    let failed = run(&format!("{failing} --report why.html"));
    assert_eq!(failed.status.code(), Some(3));
    assert!(stderr(&failed).contains("the report why.html shows where"), "{}", stderr(&failed));
    let page = std::fs::read_to_string(d.join("why.html")).unwrap();
    assert!(page.contains("differs from the expected values"));
    std::fs::remove_file(d.join("why.html")).unwrap();
    assert_eq!(content(&d.join("a.onnx")), before);
    let kept = run(&format!("{failing} --keep-failed"));
    assert_eq!(kept.status.code(), Some(3));
    assert!(stderr(&kept).contains("the failed artifact is a.onnx.failed"), "{}", stderr(&kept));
    assert_eq!(content(&d.join("a.onnx")), before);
    assert_eq!(names(d), ["a.onnx", "a.onnx.failed", "io"]);
    assert_eq!(run("check a.onnx").status.code(), Some(0), "the model and its seed are in the metadata");
}

/// One wrong map of four is a difference, and a map that nobody gave is an error.
#[test]
fn values_from_outside_are_compared_with_every_output() {
    let dir = tempfile::tempdir().unwrap();
    let run = |words: &str| vitc(dir.path(), words);
    let output = run("export cas-vit-xs --target onnx --resolution 64 --output pyramid -o a.onnx --save-io io --json");
    assert!(output.status.success(), "{}", stderr(&output));
    let stem = |what: &str| {
        let found = names(&dir.path().join("io")).into_iter().find(|n| n.contains(what) && n.ends_with(".stage1.npy"));
        format!("io/{}", found.expect("was saved").trim_end_matches(".stage1.npy"))
    };
    let (noise, gradient) = (stem("noise"), stem("gradient"));
    let check = |expect: &[String]| {
        let expect: String = expect.iter().map(|e| format!(" --expect {e}")).collect();
        run(&format!("check a.onnx --input {noise}.input.npy --json{expect}"))
    };
    let stage = |n: usize| format!("stage{n}={noise}.stage{n}.npy");
    let right = check(&[stage(3), stage(1), stage(4), stage(2)]);
    let outputs = json(&right)["expect"]["outputs"].as_array().unwrap().clone();
    let order: Vec<&str> = outputs.iter().map(|o| o["output"].as_str().unwrap()).collect();
    assert_eq!((right.status.code(), &order[..]), (Some(0), &["stage1", "stage2", "stage3", "stage4"][..]));

    let wrong = check(&[stage(1), stage(2), stage(3), format!("stage4={gradient}.stage4.npy")]);
    let outputs = json(&wrong)["expect"]["outputs"].clone();
    let passed: Vec<&Value> = (0..4).map(|i| &outputs[i]["passed"]).collect();
    assert_eq!((wrong.status.code(), passed), (Some(3), [true, true, true, false].map(Value::Bool).iter().collect()));
    for few in [vec![format!("{noise}.stage1.npy")], vec![stage(1)], vec!["neck=a.npy".into()]] {
        assert_eq!(check(&few).status.code(), Some(1), "{few:?}");
    }
    let one = check(&[format!("{noise}.stage1.npy")]);
    assert!(stderr(&one).contains("for 1 of 4 outputs") && stderr(&one).contains("stage4 [1,"), "{}", stderr(&one));
}

#[test]
fn the_tensors_of_any_checkpoint_are_listed() {
    let checkpoints = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/checkpoints");
    // A small network of no family.
    let listed = vitc(&checkpoints, "inspect plain.pth --tensors");
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.status.success() && text.contains("head.weight") && text.contains("f32[5,4]"), "{text}");
    let object = json(&vitc(&checkpoints, "inspect plain.pth --tensors --json"));
    let head = object["tensors"].as_array().unwrap().iter().find(|t| t["name"] == "head.weight").unwrap();
    assert_eq!((&head["type"], &head["shape"]), (&"f32".into(), &serde_json::json!([5, 4])));
    // What is no checkpoint stays an error.
    assert_eq!(vitc(&checkpoints, "inspect make.py --tensors").status.code(), Some(1));
}
