//! Files that hold one trap each, with ONNX Runtime's answers beside them: `golden/onnx`, which nobody here made, and `golden/operators`.

mod arrays;
mod hostile;

use arrays::Array;
use ndarray::ArrayD;
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use vitc_exporters::onnx::{ImportError, ImportOptions, Imported, import};
use vitc_ir::Dim;

/// A file's folder and its description.
struct Case {
    folder: PathBuf,
    json: Json,
}

impl Case {
    fn file(&self) -> PathBuf {
        self.folder.join(format!("{}.onnx", text(&self.json, "name")))
    }
}

fn cases() -> Vec<Case> {
    let of = |name: &str| -> Vec<Case> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden").join(name);
        let text = std::fs::read_to_string(folder.join("cases.json")).expect("the cases");
        let all: Vec<Json> = serde_json::from_str(&text).expect("a list");
        all.into_iter().map(|json| Case { folder: folder.clone(), json }).collect()
    };
    ["onnx", "operators"].into_iter().flat_map(of).collect()
}

/// The request that a case describes. Where the batch is symbolic it stays so, or is the number that the answers were made with.
fn options(case: &Json, symbolic: bool) -> (ImportOptions, usize) {
    let mut options = ImportOptions { name: "file".into(), batch: None, shapes: Vec::new(), outputs: Vec::new() };
    let mut batch = 1;
    for (symbol, size) in case["dims"].as_object().expect("sizes") {
        let size = size.as_u64().expect("a size") as usize;
        if symbol == "batch" {
            batch = size;
            options.batch = Some(if symbolic { Dim::Batch(1) } else { Dim::Fixed(size) });
        } else {
            options.shapes.push((Some(symbol.clone()), vec![Some(size)]));
        }
    }
    let outputs = case["outputs_option"].as_array().into_iter().flatten();
    options.outputs = outputs.filter_map(|o| o.as_str().map(str::to_string)).collect();
    (options, batch)
}

fn text<'a>(case: &'a Json, key: &str) -> &'a str {
    case[key].as_str().expect("a text")
}

/// What the evaluator makes of the imported graph differs from the answers in what.
fn compare(Case { folder, json: case }: &Case, imported: &Imported, batch: usize) -> Result<(), String> {
    let read = |list: &Json| -> Vec<Array> {
        let files = list.as_array().expect("a list");
        files.iter().map(|f| arrays::read(&folder.join(text(f, "file")))).collect()
    };
    let inputs = read(&case["inputs"]);
    let inputs: Vec<ArrayD<f64>> =
        inputs.into_iter().map(|a| ArrayD::from_shape_vec(a.shape, a.data).expect("an array")).collect();
    let answers = read(&case["answers"]);
    let results = vitc_ir::eval::run(&imported.graph, &imported.weights, &inputs, batch).map_err(|e| e.to_string())?;
    if results.len() != answers.len() {
        return Err(format!("{} results for {} answers", results.len(), answers.len()));
    }
    let tolerance = case["tolerance"].as_f64().unwrap_or(1e-5);
    for (got, wanted) in results.iter().zip(&answers) {
        if got.shape() != wanted.shape {
            return Err(format!("shape {:?} for {:?}", got.shape(), wanted.shape));
        }
        let largest = wanted.data.iter().fold(1.0f64, |m, x| m.max(x.abs()));
        let error = got.iter().zip(&wanted.data).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        if error.is_nan() || error > tolerance * largest {
            return Err(format!("differs by {error:.2e} of {largest:.2e}"));
        }
    }
    Ok(())
}

/// Why one case is not as specified, if it is not.
fn judge(whole: &Case, symbolic: bool) -> Result<(), String> {
    let case = &whole.json;
    let (options, batch) = options(case, symbolic);
    let tier = case["tier"].as_u64().expect("a tier");
    let result = import(&whole.file(), &options);
    match (result, tier) {
        (Ok(imported), 1 | 2) => compare(whole, &imported, batch),
        (Ok(_), _) => Err("is taken and should be refused".into()),
        (Err(error), 1) if !symbolic => Err(error.to_string()),
        // A batch that is left open may be refused where the file multiplies or cuts it: with that reason.
        (Err(error), 1) if error.to_string().contains("batch") => Ok(()),
        (Err(error), 1) => Err(error.to_string()),
        (Err(error), 2) => match error {
            ImportError::Refused { .. } => Ok(()),
            other => Err(other.to_string()),
        },
        (Err(error), _) => {
            let (said, words) = (error.to_string(), case["contains"].as_array().expect("words"));
            let lacks: Vec<&Json> = words.iter().filter(|w| !said.contains(w.as_str().unwrap_or(""))).collect();
            if lacks.is_empty() { Ok(()) } else { Err(format!("lacks {lacks:?}: {said}")) }
        }
    }
}

fn all(symbolic: bool) {
    let mut wrong = Vec::new();
    for whole in cases() {
        let case = &whole.json;
        if symbolic && case["dims"].get("batch").is_none() {
            continue;
        }
        if let Err(what) = judge(&whole, symbolic) {
            wrong.push(format!("{} (tier {}): {what}", text(case, "name"), case["tier"]));
        }
    }
    assert!(wrong.is_empty(), "{} files:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn files_answer_what_their_authors_computed() {
    all(false);
}

#[test]
fn a_batch_may_stay_open() {
    all(true);
}

/// Outputs that are sound, or what first meets what is refused; an input is no way out.
#[test]
fn where_a_file_can_be_cut_is_said() {
    let options = ImportOptions { name: "file".into(), batch: None, shapes: Vec::new(), outputs: Vec::new() };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/operators");
    for (file, due) in [("numbers_raised", &["y"][..]), ("numbers_met", &["r"]), ("axes_in", &[])] {
        match import(&folder.join(format!("{file}.onnx")), &options) {
            Err(ImportError::Refused { cut, .. }) => assert_eq!(cut, due, "{file}"),
            other => panic!("{file}: {other:?}"),
        }
    }
}

/// Constants that are repeated for each item of an open batch and computed with: nothing runs once for each item before something of the input meets it.
#[test]
fn repeated_constants_are_computed_with_once() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/operators");
    let options =
        ImportOptions { batch: Some(Dim::Batch(1)), name: "file".into(), shapes: Vec::new(), outputs: Vec::new() };
    let imported = import(&folder.join("queries_repeated.onnx"), &options).expect("a graph");
    let run_time: Vec<&str> = imported.graph.run_time_nodes().map(|(_, node)| node.op.word()).collect();
    assert_eq!(run_time, ["expand", "transpose", "matmul"]);
}
