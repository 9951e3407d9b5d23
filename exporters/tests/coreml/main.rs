//! The CoreML exporter: what is written is read back as the same function, by our reader and a second one.

mod codes;
mod errors;
mod few;
mod hostile;
mod interface;
mod more;
mod npy;
#[path = "../onnx/samples.rs"]
mod samples;

use coreml_proto::proto as foreign;
use proptest::prelude::*;
use prost::Message;
use samples::Hashed;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use vitc_exporters::coreml::{self, Interface, messages};
use vitc_exporters::metadata::WeightSource;
use vitc_exporters::{Metadata, Summary};
use vitc_ir::testing::random_input;
use vitc_ir::{DType, Graph, Target, eval};

const IOS: [u32; 5] = [15, 16, 17, 18, 26];

fn metadata(dtype: DType) -> Metadata {
    Metadata::new("sample", WeightSource::Seeded { seed: 1 }, dtype)
}

/// A package in a temporary folder.
struct Written {
    folder: tempfile::TempDir,
    summary: Summary,
}

impl Written {
    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join("Data/com.apple.CoreML").join(name)
    }

    fn model(&self) -> Vec<u8> {
        std::fs::read(self.file("model.mlmodel")).expect("there is a model")
    }

    /// The weight file; empty if there is none.
    fn weights(&self) -> Vec<u8> {
        std::fs::read(self.file("weights/weight.bin")).unwrap_or_default()
    }
}

fn emit_as(graph: &Graph, ios: u32, interface: &Interface) -> Written {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let metadata = metadata(graph.precision());
    let summary = coreml::write(graph, &Hashed, &Target::coreml(ios), interface, &metadata, folder.path());
    Written { summary: summary.unwrap_or_else(|e| panic!("{}: {e}", graph.name)), folder }
}

fn emit(graph: &Graph, ios: u32) -> Written {
    emit_as(graph, ios, &Interface::default())
}

/// The package computes what the graph computes. Numbers that half or single precision rounds on the way (an epsilon)
/// may move the last place.
fn same_function(graph: &Graph, written: &Written) {
    let package = coreml::read(written.path()).unwrap_or_else(|e| panic!("{}: {e}", graph.name));
    let input = random_input(7, graph, 1);
    let wanted = eval::run(graph, &Hashed, &input, 1).expect("the graph runs");
    let found = eval::run(&package.graph, &package.weights, &input, 1).expect("the package runs");
    let names = |g: &Graph| g.outputs.iter().map(|o| (o.name.clone(), g.ty(o.value).clone())).collect::<Vec<_>>();
    assert_eq!(names(graph), names(&package.graph), "{}", graph.name);
    let rounds = graph.nodes().any(|(_, n)| matches!(n.op, vitc_ir::Op::LayerNorm { .. }));
    let place = if graph.precision() == DType::F16 { 2e-3 } else { 1e-6 };
    for (a, b) in wanted.iter().zip(&found) {
        let largest = a.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
        let tolerance = if rounds { place * largest } else { 0.0 };
        for (x, y) in a.iter().zip(b) {
            assert!((x - y).abs() <= tolerance, "{}: {x} became {y}\n{}", graph.name, package.graph);
        }
    }
    assert_eq!(package.op_counts, written.summary.op_counts);
    assert_eq!(package.bytes, written.summary.bytes);
}

/// The bytes as a second reader sees them.
fn second_reader(graph: &Graph, written: &Written) {
    let name = &graph.name;
    let bytes = written.model();
    let theirs = foreign::Model::decode(bytes.as_slice()).expect("a second reader decodes it");
    let ours = messages::Model::decode(bytes.as_slice()).expect("decodes");
    assert_eq!(ours.encode_to_vec(), bytes, "{name}: equal messages have equal bytes");
    // Their schema is complete: what it does not know or reads as another type is lost or refused on this way.
    let through = messages::Model::decode(theirs.encode_to_vec().as_slice()).expect("decodes");
    assert_eq!(through, ours, "{name}");

    let Some(foreign::model::Type::MlProgram(program)) = &theirs.r#type else { panic!("{name}: not an ML Program") };
    let (main, function) = program.functions.iter().next().expect("one function");
    assert_eq!((program.version, main.as_str(), program.functions.len()), (1, "main", 1));
    assert_eq!(function.block_specializations.keys().collect::<Vec<_>>(), [&function.opset]);
    let block = &function.block_specializations[&function.opset];
    assert!(block.inputs.is_empty() && block.attributes.is_empty() && function.attributes.is_empty());

    let mut known: HashSet<&str> = function.inputs.iter().map(|i| i.name.as_str()).collect();
    let mut operations = HashSet::new();
    let mut read = HashSet::new();
    let mut results = HashSet::new();
    let mut offsets = HashMap::new();
    for operation in &block.operations {
        let Some(label) = operation.attributes.get("name").and_then(text) else { panic!("{name}: unnamed") };
        assert!(operations.insert(label.clone()), "{name}: two operations are named {label}");
        let constant = operation.r#type == "const";
        let attributes: HashSet<&str> = operation.attributes.keys().map(String::as_str).collect();
        assert_eq!(attributes, HashSet::from_iter(if constant { vec!["name", "val"] } else { vec!["name"] }));
        for binding in operation.inputs.values().flat_map(|a| &a.arguments) {
            let Some(foreign::mil_spec::argument::binding::Binding::Name(input)) = &binding.binding else {
                panic!("{name}: {label} has a value in place");
            };
            assert!(known.contains(input.as_str()), "{name}: {label} reads {input} ahead");
            read.insert(input.as_str());
        }
        for output in &operation.outputs {
            assert!(known.insert(&output.name), "{name}: {} is defined twice", output.name);
            identifier(&output.name);
            tensor(output.r#type.as_ref());
            if !constant {
                results.insert(output.name.as_str());
            }
        }
        if constant {
            let val = &operation.attributes["val"];
            assert_eq!(val.r#type, operation.outputs[0].r#type);
            value(val, &mut offsets);
        }
    }
    for operation in block.operations.iter().filter(|o| o.r#type == "const") {
        let constant = &operation.outputs[0].name;
        assert!(read.contains(constant.as_str()), "{name}: nothing reads {constant}");
    }
    assert!(block.outputs.iter().all(|o| results.contains(o.as_str())), "{name}: an output is no result");
    let description = theirs.description.expect("a description");
    let names = |f: &[foreign::FeatureDescription]| f.iter().map(|f| f.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&description.output), block.outputs);
    assert_eq!(names(&description.input), function.inputs.iter().map(|i| i.name.clone()).collect::<Vec<_>>());
    walk(&written.weights(), &offsets);
}

fn identifier(name: &str) {
    let mut chars = name.chars();
    assert!(chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_'), "{name}");
    assert!(chars.all(|c| c.is_ascii_alphanumeric() || c == '_'), "{name}");
}

fn text(value: &foreign::mil_spec::Value) -> Option<String> {
    use foreign::mil_spec::value::{Value, immediate_value};
    let Some(Value::ImmediateValue(i)) = &value.value else { return None };
    let Some(immediate_value::Value::Tensor(t)) = &i.value else { return None };
    assert_eq!(tensor(value.r#type.as_ref()), (foreign::mil_spec::DataType::String, vec![]));
    match &t.value {
        Some(foreign::mil_spec::tensor_value::Value::Strings(s)) => s.values.first().cloned(),
        _ => None,
    }
}

fn tensor(ty: Option<&foreign::mil_spec::ValueType>) -> (foreign::mil_spec::DataType, Vec<u64>) {
    use foreign::mil_spec::{dimension, value_type};
    let Some(value_type::Type::TensorType(t)) = ty.and_then(|t| t.r#type.as_ref()) else { panic!("not a tensor") };
    let size = |d: &foreign::mil_spec::Dimension| match &d.dimension {
        Some(dimension::Dimension::Constant(c)) if c.size > 0 => c.size,
        other => panic!("dimension {other:?}"),
    };
    let dims: Vec<u64> = t.dimensions.iter().map(size).collect();
    assert!(t.rank == dims.len() as i64 && dims.len() <= 5);
    (t.data_type(), dims)
}

/// A constant's elements are in the member that its type asks for, as many as its shape says; those in the weight file
/// are noted by offset.
fn value(value: &foreign::mil_spec::Value, offsets: &mut HashMap<u64, (u32, u64)>) {
    use foreign::mil_spec::{DataType, tensor_value, value};
    let (data_type, dims) = tensor(value.r#type.as_ref());
    let count = dims.iter().product::<u64>();
    match value.value.as_ref().expect("a value") {
        value::Value::BlobFileValue(blob) => {
            assert_eq!(blob.file_name, "@model_path/weights/weight.bin");
            assert!(count >= 10);
            let (code, size) = match data_type {
                DataType::Float16 => (1, 2),
                DataType::Float32 => (2, 4),
                DataType::Int32 => (14, 4),
                other => panic!("{other:?} in the weight file"),
            };
            assert!(offsets.insert(blob.offset, (code, count * size)).is_none());
        }
        value::Value::ImmediateValue(i) => {
            let Some(value::immediate_value::Value::Tensor(t)) = &i.value else { panic!("not a tensor") };
            let found = match (data_type, t.value.as_ref().expect("elements")) {
                (DataType::Bool, tensor_value::Value::Bools(v)) => v.values.len(),
                (DataType::String, tensor_value::Value::Strings(v)) => v.values.len(),
                (DataType::Int32, tensor_value::Value::Ints(v)) => v.values.len(),
                (DataType::Float32, tensor_value::Value::Floats(v)) => v.values.len(),
                (DataType::Float16, tensor_value::Value::Bytes(v)) => v.values.len() / 2,
                (ty, other) => panic!("{ty:?} in {other:?}"),
            };
            assert_eq!(found as u64, count);
            // Of the long ones, only indices and the zeros of a missing bias stand here.
            let zero = match t.value.as_ref().expect("elements") {
                tensor_value::Value::Floats(v) => v.values.iter().all(|&x| x == 0.0),
                tensor_value::Value::Bytes(v) => v.values.iter().all(|&b| b == 0),
                _ => data_type == DataType::Int32,
            };
            assert!(count < 10 || zero, "{count} elements in place");
        }
    }
}

/// The records form a chain without holes; each is the one that some constant refers to.
fn walk(file: &[u8], offsets: &HashMap<u64, (u32, u64)>) {
    if offsets.is_empty() {
        assert!(file.is_empty());
        return;
    }
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"));
    let long = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().expect("eight bytes"));
    assert_eq!((word(0) as usize, word(4)), (offsets.len(), 2));
    assert!(file[8..64].iter().all(|&b| b == 0));
    let mut at = 64;
    for record in 0..offsets.len() {
        let (code, len) = offsets[&(at as u64)];
        assert_eq!((word(at), word(at + 4), long(at + 8)), (0xDEAD_BEEF, code, len));
        assert_eq!((long(at + 16), long(at + 24)), (at as u64 + 64, 0));
        assert!(file[at + 32..at + 64].iter().all(|&b| b == 0));
        let end = at + 64 + len as usize;
        at = end.next_multiple_of(64);
        if record + 1 == offsets.len() {
            assert_eq!(file.len(), end);
        } else {
            assert!(file[end..at].iter().all(|&b| b == 0));
        }
    }
}

fn check(graph: &Graph, ios: u32) {
    let written = emit(graph, ios);
    same_function(graph, &written);
    second_reader(graph, &written);
}

#[test]
fn every_operator_survives() {
    for dtype in [DType::F32, DType::F16] {
        for (name, graph) in more::all(dtype) {
            for ios in IOS {
                assert_eq!(coreml::minimum_ios(&graph, &Interface::default()).expect("lowered").0, 15, "{name}");
                check(&graph, ios);
            }
        }
        for (name, graph) in more::attention(dtype) {
            assert_eq!(coreml::minimum_ios(&graph, &Interface::default()).expect("lowered").0, 18, "{name}");
            [18, 26].into_iter().for_each(|ios| check(&graph, ios));
        }
    }
}

#[test]
fn equal_exports_are_equal_bytes() {
    for (_, graph) in more::all(DType::F16) {
        let (a, b) = (emit(&graph, 15), emit(&graph, 15));
        assert_eq!(a.model(), b.model());
        assert_eq!(a.weights(), b.weights());
        let manifest = |w: &Written| std::fs::read(w.path().join("Manifest.json")).expect("a manifest");
        assert_eq!(manifest(&a), manifest(&b));
    }
}

#[test]
fn indices_move_to_the_weight_file_with_ios_18() {
    let (_, graph) = more::all(DType::F32).into_iter().find(|(name, _)| name == "gather").expect("there is one");
    assert!(emit(&graph, 17).weights().is_empty());
    assert!(!emit(&graph, 18).weights().is_empty());
}

#[test]
fn one_node_is_one_operation() {
    for (name, graph) in more::all(DType::F32) {
        let copies = graph.outputs.iter().filter(|o| *graph.op(o.value) == vitc_ir::Op::Input).count();
        let raised = graph.run_time_nodes().filter(|(_, n)| match &n.op {
            vitc_ir::Op::Expand { shape } => shape.rank() != graph.shape(n.inputs[0]).rank(),
            _ => false,
        });
        assert_eq!(emit(&graph, 15).summary.nodes, graph.run_time_nodes().count() + copies + raised.count(), "{name}");
    }
}

#[test]
fn text_shows_operations_with_their_parameters() {
    let (_, graph) = more::all(DType::F16).into_iter().find(|(name, _)| name == "conv").expect("there is one");
    assert_eq!(
        coreml::text(emit(&graph, 15).path()).expect("readable"),
        "main(image: fp32[2,8,6,6]) CoreML5\n\
         image_half: fp16[2,8,6,6] = cast(x=image, dtype=\"fp16\")\n\
         op: fp16[2,12,4,6] = conv(x=image_half, bias=bias_half:fp16[12], weight=weight_half:fp16[12,4,3,2], \
         dilations=[1,1], groups=2, pad=[1,2,0,1], pad_type=\"custom\", strides=[2,1])\n\
         logits: fp32[2,12,4,6] = cast(x=op, dtype=\"fp32\")\n\
         return logits\n"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn random_graphs_survive(seed: u64, release in 0usize..5, half: bool) {
        check(&more::chain(if half { DType::F16 } else { DType::F32 }, seed), IOS[release]);
    }
}

/// Writes every sample below the target folder, with an input and what the evaluator makes of it, for
/// `tests/interop/mil_run.py`.
#[test]
fn samples_are_written_for_foreign_readers() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("coreml");
    let put = |stem: &str, graph: &Graph, ios: u32, interface: &Interface| {
        let package = folder.join(format!("{stem}.mlpackage"));
        if package.exists() {
            std::fs::remove_dir_all(&package).expect("an older one goes");
        }
        std::fs::create_dir_all(&package).expect("a folder below target");
        let metadata = metadata(graph.precision());
        coreml::write(graph, &Hashed, &Target::coreml(ios), interface, &metadata, &package).expect("writes");
        let x = random_input(3, graph, 1);
        let y = eval::run(graph, &Hashed, &x, 1).expect("runs").swap_remove(0);
        for (suffix, array) in [("input", &x[0]), ("expect", &y)] {
            let file = npy::npy(array.shape(), array.iter().copied());
            std::fs::write(folder.join(format!("{stem}.{suffix}.npy")), file).expect("written");
        }
    };
    for (ios, dtype) in [15, 18].into_iter().flat_map(|ios| [DType::F32, DType::F16].map(|dtype| (ios, dtype))) {
        let chains = (0..6).map(|seed| (format!("random_{seed}"), more::chain(dtype, seed)));
        for (name, graph) in more::all(dtype).into_iter().chain(chains) {
            put(&format!("{name}-{ios}-{dtype}"), &graph, ios, &Interface::default());
        }
        if ios == 18 {
            for (name, graph) in more::attention(dtype) {
                put(&format!("{name}-{ios}-{dtype}"), &graph, ios, &Interface::default());
            }
        }
        let scores = interface::scores(dtype, true);
        put(&format!("classifier-{ios}-{dtype}"), &scores, ios, &interface::classifier());
    }
}

/// The metadata of a package as pairs.
fn entries(written: &Written) -> BTreeMap<String, String> {
    coreml::read(written.path()).expect("readable").metadata
}
