//! The Core AI exporter: what is written is read back as the same function. The vendor's own runtime reads and runs the same samples in
//! `tests/interop/coreai_run.py`.

#[path = "../coreml/few.rs"]
mod few;
mod hostile;
#[path = "../coreml/more.rs"]
mod more;
#[path = "../coreml/npy.rs"]
mod npy;
#[path = "../onnx/samples.rs"]
mod samples;

use proptest::prelude::*;
use samples::{Hashed, Variant};
use std::path::Path;
use vitc_exporters::coreai::{self, Function};
use vitc_exporters::metadata::WeightSource;
use vitc_exporters::{Metadata, Summary};
use vitc_ir::testing::random_input;
use vitc_ir::{DType, Dim, Graph, Stored, WeightError, Weights, eval};

fn metadata(dtype: DType) -> Metadata {
    Metadata::new("sample", WeightSource::Seeded { seed: 1 }, dtype)
}

/// Every graph that the exporter is tested on: norms over inner axes are a lowering's to turn, and some operators of dense models have no spelling.
fn all(dtype: DType) -> Vec<(String, Graph)> {
    let variant = Variant { opset: 20, dtype, batch: Dim::Fixed(2) };
    let refused = |name: &str| {
        ["resize", "select", "top_k", "gather_at", "grid_sample", "batch_norm", "reduce_l2"]
            .iter()
            .any(|word| name.starts_with(word))
    };
    let dense = samples::dense(variant).into_iter().map(|(name, _)| name);
    let unknown: Vec<String> = dense.filter(|name| refused(name)).collect();
    let shared = more::all(dtype).into_iter().chain(more::attention(dtype)).filter(|(name, _)| !unknown.contains(name));
    let shared = shared.filter(|(name, _)| !name.starts_with("layer_norm_channels") && !name.contains("inner"));
    let few = few::quantised(dtype).into_iter().map(|(_, graph)| (graph.name.clone(), graph));
    shared.chain(few).collect()
}

/// The samples whose batch is known when they run.
fn dynamic(dtype: DType) -> Vec<(String, Graph)> {
    let all = samples::samples(Variant { opset: 20, dtype, batch: Dim::Batch(1) });
    all.into_iter().filter(|(name, _)| !name.contains("inner")).collect()
}

/// An asset in a temporary folder.
struct Written {
    folder: tempfile::TempDir,
    summary: Summary,
}

impl Written {
    fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn emit(graph: &Graph) -> Written {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let functions = [Function { name: "main", graph, numbers: (&Hashed).into(), picture: false }];
    let summary = coreai::write(&functions, &metadata(graph.precision()), folder.path());
    Written { summary: summary.unwrap_or_else(|e| panic!("{}: {e}", graph.name)), folder }
}

/// The asset computes what the graph computes. Numbers that half or single precision rounds on the way (an epsilon, a factor) may move the last
/// place, and so does a sum that is divided instead of an average.
fn same_function(graph: &Graph, written: &Written) {
    let asset = coreai::read(written.path()).unwrap_or_else(|e| panic!("{}: {e}\n{graph}", graph.name));
    let [(name, found_graph)] = &asset.functions[..] else { panic!("not one function") };
    assert_eq!(name, "main");
    let batch = 2;
    let input = random_input(7, graph, batch);
    let wanted = eval::run(graph, &Hashed, &input, batch).expect("the graph runs");
    let found = eval::run(found_graph, &asset.weights, &input, batch).expect("the asset runs");
    let names = |g: &Graph| g.outputs.iter().map(|o| (o.name.clone(), g.ty(o.value).clone())).collect::<Vec<_>>();
    assert_eq!(names(graph), names(found_graph), "{}", graph.name);
    let place = if graph.precision() == DType::F16 { 3e-3 } else { 1e-6 };
    for (a, b) in wanted.iter().zip(&found) {
        let tolerance = place * a.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
        for (x, y) in a.iter().zip(b) {
            assert!((x - y).abs() <= tolerance, "{}: {x} became {y}\n{found_graph}", graph.name);
        }
    }
    assert_eq!(asset.op_counts, written.summary.op_counts, "{}", graph.name);
    assert_eq!(asset.bytes, written.summary.bytes);
}

#[test]
fn every_operator_survives() {
    for dtype in [DType::F32, DType::F16] {
        for (_, graph) in all(dtype).into_iter().chain(dynamic(dtype)) {
            same_function(&graph, &emit(&graph));
        }
    }
}

#[test]
fn equal_exports_are_equal_bytes() {
    for (_, graph) in all(DType::F16) {
        let (a, b) = (emit(&graph), emit(&graph));
        for file in ["main.mlirb", "main.hash", "metadata.json"] {
            let bytes = |w: &Written| std::fs::read(w.path().join(file)).expect("there is one");
            assert_eq!(bytes(&a), bytes(&b), "{file}");
        }
    }
}

#[test]
fn functions_share_their_constants() {
    let at = |batch| {
        let graphs = samples::samples(Variant { opset: 20, dtype: DType::F32, batch: Dim::Fixed(batch) });
        graphs.into_iter().map(|(_, graph)| graph).find(|g| g.name == "conv").expect("there is one")
    };
    let graphs = [at(1), at(8)];
    let functions = [
        Function { name: "batch_1", graph: &graphs[0], numbers: (&Hashed).into(), picture: false },
        Function { name: "batch_8", graph: &graphs[1], numbers: (&Hashed).into(), picture: false },
    ];
    let folder = tempfile::tempdir().expect("a temporary folder");
    let both = coreai::write(&functions, &metadata(DType::F32), folder.path()).expect("writes");
    let one = emit(&graphs[0]).summary.bytes;
    assert!(both.bytes < one + 1500, "{} and {one}", both.bytes);
    let asset = coreai::read(folder.path()).expect("reads");
    for (graph, (_, found)) in graphs.iter().zip(&asset.functions) {
        let input = random_input(7, graph, 1);
        let wanted = eval::run(graph, &Hashed, &input, 1).expect("the graph runs");
        let found = eval::run(found, &asset.weights, &input, 1).expect("the asset runs");
        assert_eq!(wanted, found);
    }
}

/// Weights that hold other numbers under the same names.
struct Doubled;

impl Weights for Doubled {
    fn weight(&self, key: &str, elements: usize) -> Result<Stored<'_>, WeightError> {
        let own = Hashed.weight(key, elements)?;
        let twice =
            own.bytes.chunks(4).flat_map(|c| (2.0 * f32::from_le_bytes([c[0], c[1], c[2], c[3]])).to_le_bytes());
        Ok(Stored { dtype: own.dtype, bytes: twice.collect() })
    }
}

/// A table that depends on the size has one name and other numbers in each function; small and large ones, in three functions.
#[test]
fn a_constant_is_shared_only_where_its_numbers_are_equal() {
    for (size, tables) in [(8, 3), (400, 3)] {
        let text = format!(
            "graph g  stage=target\n%x: f32[1,{size}] = input\n%y: f32[1,{size}] = mul(%x, weight\"table\":f32[1,{size}])\noutputs y=%y"
        );
        let graph = vitc_ir::parse(&text).unwrap_or_else(|e| panic!("{e}"));
        let sources: [&dyn Weights; 3] = [&Hashed, &Doubled, &Hashed];
        let names = ["batch_1", "batch_2", "batch_3"];
        let functions: Vec<Function<'_>> = (0..tables)
            .map(|i| Function { name: names[i], graph: &graph, numbers: sources[i].into(), picture: false })
            .collect();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let summary = coreai::write(&functions, &metadata(DType::F32), folder.path()).expect("writes");
        assert_eq!(summary.constants.len(), 2, "the third has the numbers of the first");
        let asset = coreai::read(folder.path()).expect("reads");
        let input = random_input(7, &graph, 1);
        for (weights, (name, found)) in sources.iter().zip(&asset.functions) {
            let wanted = eval::run(&graph, *weights, &input, 1).expect("the graph runs");
            let found = eval::run(found, &asset.weights, &input, 1).expect("the asset runs");
            assert_eq!(wanted, found, "{name} of {size}");
        }
    }
}

/// Names that a reader makes up for constants without one are unique over all functions.
#[test]
fn small_constants_of_many_functions_stay_apart() {
    let graph = |n: usize| {
        let text = format!(
            "graph g  stage=target\n%x: f32[1,90] = input\n%y: f32[1,90] = mul(%x, weight\"table{n}\":f32[1,90])\noutputs y=%y"
        );
        vitc_ir::parse(&text).unwrap_or_else(|e| panic!("{e}"))
    };
    let graphs: Vec<Graph> = (5..10).map(graph).collect();
    let names: Vec<String> = (0..5).map(|i| format!("f{i}")).collect();
    let functions: Vec<Function<'_>> = graphs
        .iter()
        .zip(&names)
        .map(|(graph, name)| Function { name, graph, numbers: (&Hashed).into(), picture: false })
        .collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    coreai::write(&functions, &metadata(DType::F32), folder.path()).expect("writes");
    let asset = coreai::read(folder.path()).expect("reads");
    for (graph, (name, found)) in graphs.iter().zip(&asset.functions) {
        let input = random_input(7, graph, 1);
        let wanted = eval::run(graph, &Hashed, &input, 1).expect("the graph runs");
        assert_eq!(wanted, eval::run(found, &asset.weights, &input, 1).expect("the asset runs"), "{name}");
    }
}

#[test]
fn names_are_unique_and_not_empty() {
    let (_, mut graph) = all(DType::F32).swap_remove(0);
    let refused = |graph: &Graph| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let functions = [Function { name: "main", graph, numbers: (&Hashed).into(), picture: false }];
        coreai::write(&functions, &metadata(DType::F32), folder.path()).expect_err("refused").to_string()
    };
    graph.outputs[0].name = "image".into();
    assert!(refused(&graph).contains("\"image\""));
    graph.outputs[0].name = String::new();
    assert!(refused(&graph).contains("is empty or taken"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn random_graphs_survive(seed: u64, half: bool) {
        let graph = more::chain(if half { DType::F16 } else { DType::F32 }, seed);
        same_function(&graph, &emit(&graph));
    }
}

/// Writes every sample below the target folder, with an input and what the evaluator makes of it, for `tests/interop/coreai_run.py`.
#[test]
fn samples_are_written_for_the_vendors_runtime() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("coreai");
    let put = |stem: &str, graph: &Graph| {
        let asset = folder.join(format!("{stem}.aimodel"));
        if asset.exists() {
            std::fs::remove_dir_all(&asset).expect("an older one goes");
        }
        std::fs::create_dir_all(&asset).expect("a folder below target");
        let functions = [Function { name: "main", graph, numbers: (&Hashed).into(), picture: false }];
        coreai::write(&functions, &metadata(graph.precision()), &asset).expect("writes");
        let x = random_input(3, graph, 2);
        let y = eval::run(graph, &Hashed, &x, 2).expect("runs").swap_remove(0);
        for (suffix, array) in [("input", &x[0]), ("expect", &y)] {
            let file = npy::npy(array.shape(), array.iter().copied());
            std::fs::write(folder.join(format!("{stem}.{suffix}.npy")), file).expect("written");
        }
    };
    for dtype in [DType::F32, DType::F16] {
        let chains = (0..6).map(|seed| (format!("random_{seed}"), more::chain(dtype, seed)));
        for (name, graph) in all(dtype).into_iter().chain(chains) {
            put(&format!("{name}-{dtype}"), &graph);
        }
        for (name, graph) in dynamic(dtype) {
            put(&format!("{name}-dynamic-{dtype}"), &graph);
        }
    }
}
