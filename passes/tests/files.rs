//! Each pass on graphs in text form: `files/PASS.ir` holds what it is given and what it makes of it.
//!
//! A case begins with `passes NAMES` (and `target NAME`, `fp16` where they matter), then comes `given` with a graph, then `result` with the graph
//! that the passes make of it, or `unchanged`. Both must compute the same. Lines that begin with `#` say what a case is about.
//!
//! `INSTA_UPDATE=always cargo test --release -p vitc-passes --test files` writes the results anew: read what it wrote.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use vitc_ir::testing::assert_same_function;
use vitc_ir::{DType, Graph, Target, parse, validate};
use vitc_passes::{Context, LowerOptions};

/// Passes that change only what the text form does not show, by name.
const UNSEEN: [&str; 1] = ["name_constants"];

/// One case.
#[derive(Default)]
struct Case {
    /// Lines before the graph, as they are.
    head: Vec<String>,
    passes: Vec<String>,
    target: String,
    fp16: bool,
    given: String,
    /// What should come out: nothing says that the graph is unchanged.
    result: Option<String>,
}

impl Case {
    /// The graph given, and what the passes make of it.
    fn run(&self, place: &str) -> [Graph; 2] {
        let given = parse(&self.given).unwrap_or_else(|e| panic!("{place}: {e}\n{}", self.given));
        validate(&given, None).unwrap_or_else(|e| panic!("{place}: {e}"));
        let precision = if self.fp16 { DType::F16 } else { DType::F32 };
        let target = match self.target.as_str() {
            "tensorrt-onnx" => Target::tensorrt(17),
            "onnx-13" => Target::onnx(13),
            "coreml" => Target::coreml(15),
            "coreai" => Target::coreai(27),
            _ => Target::onnx(17),
        };
        let context = Context::new(&target, &LowerOptions::new(precision, DType::F32));
        let find = |name: &String| vitc_passes::find(name).unwrap_or_else(|| panic!("{place}: no pass {name}"));
        let passes: Vec<_> = self.passes.iter().map(find).collect();
        let run = vitc_passes::run(&given, &passes, &context, &mut |_, _| ());
        let (result, _) = run.unwrap_or_else(|e| panic!("{place}: {e}"));
        validate(&result, None).unwrap_or_else(|e| panic!("{place}: {e}\n{result}"));
        assert_same_function(&given, &result, 1, if self.fp16 { 1e-2 } else { 1e-9 });
        [given, result]
    }
}

/// The cases of a file.
fn cases(text: &str) -> Vec<Case> {
    let mut cases = vec![Case::default()];
    let mut part = "head";
    for line in text.lines() {
        let case = cases.last_mut().expect("one");
        match line {
            "given" | "result" | "unchanged" => {
                part = line;
                case.result = (line == "result").then(String::new);
            }
            _ if part != "head" && (line.starts_with('#') || line.starts_with("passes ") || line.is_empty()) => {
                part = "head";
                cases.push(Case { head: vec![line.into()], ..Case::default() });
            }
            _ if part == "given" => writeln!(case.given, "{line}").expect("a string"),
            _ if part == "result" => writeln!(case.result.get_or_insert_default(), "{line}").expect("a string"),
            _ => case.head.push(line.into()),
        }
    }
    for case in &mut cases {
        for line in &case.head {
            match line.split_once(' ') {
                Some(("passes", names)) => case.passes = names.split(',').map(|n| n.trim().into()).collect(),
                Some(("target", name)) => case.target = name.into(),
                _ => case.fp16 |= line == "fp16",
            }
        }
    }
    cases
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn passes_do_what_their_files_say() {
    let update = std::env::var("INSTA_UPDATE").is_ok_and(|v| v == "always");
    let mut wrong = Vec::new();
    for path in files() {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let (mut written, mut fires) = (String::new(), false);
        for (i, case) in cases(&text).iter().enumerate() {
            let place = format!("{name}.ir, case {}", i + 1);
            assert!(case.passes.iter().any(|p| p == name), "{place} is about another pass");
            let [given, result] = case.run(&place).map(|g| g.to_string());
            case.head.iter().for_each(|line| written += &format!("{line}\n"));
            fires |= given != result;
            let end = if given == result { "unchanged\n".into() } else { format!("result\n{result}") };
            write!(written, "given\n{given}{end}").expect("a string");
        }
        if !fires {
            wrong.push(format!("{name} finds nothing to do in its file"));
        }
        if written != text && update {
            std::fs::write(&path, written).unwrap();
        } else if written != text {
            wrong.push(format!("{}, where the passes give\n{written}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_pass_has_a_file() {
    let files = files();
    let has = |name: &str| files.iter().any(|f| f.file_stem().is_some_and(|s| s == name));
    let without: Vec<_> =
        vitc_passes::all().iter().map(|p| p.name).filter(|n| !has(n) && !UNSEEN.contains(n)).collect();
    assert!(without.is_empty(), "no file for {without:?}");
}
