//! The ONNX exporter against a second reader, and the files that `tests/interop` shows to foreign readers.

mod samples;

use ndarray::ArrayD;
use onnx_protobuf::{Message, ModelProto};
use proptest::prelude::*;
use samples::{Hashed, Variant, dense, random};
use std::collections::{BTreeMap, HashSet};
use vitc_exporters::metadata::WeightSource;
use vitc_exporters::onnx::{DataFile, inspect, size_of, text, write, write_external};
use vitc_exporters::{ExportError, Metadata};
use vitc_ir::{DType, Dim, Graph, Op, Target};

fn metadata(dtype: DType) -> Metadata {
    Metadata::new("sample", WeightSource::Seeded { seed: 1 }, dtype)
}

/// All samples of a variant.
fn samples(v: Variant) -> Vec<(String, Graph)> {
    [samples::samples(v), dense(v)].concat()
}

fn variants() -> Vec<Variant> {
    let mut all = Vec::new();
    for opset in 11..=23 {
        for dtype in [DType::F32, DType::F16] {
            for batch in [Dim::Fixed(2), Dim::Batch(1)] {
                all.push(Variant { opset, dtype, batch });
            }
        }
    }
    all
}

fn emit(graph: &Graph, opset: u32) -> Vec<u8> {
    let mut file = Vec::new();

    let target = Target::onnx(opset);
    let summary = write(graph, &Hashed, &target, &metadata(graph.precision()), &mut file).expect("writes");
    assert_eq!(summary.bytes, file.len() as u64);
    assert_eq!(size_of(graph, &target, &metadata(graph.precision())).expect("sizes"), file.len() as u64);
    file
}

/// Elements of each constant by the name of its value, as the evaluator gives them, integers widened.
fn constants(graph: &Graph) -> BTreeMap<String, Vec<u8>> {
    let values = vitc_ir::cost::emitted_constants(graph);
    let mut all = BTreeMap::new();
    vitc_ir::eval::stream(graph, &Hashed, &values, &mut |i: usize, _: usize, bytes: &[u8]| {
        let widen = |c: &[u8]| i64::from(i32::from_le_bytes(c.try_into().expect("four bytes"))).to_le_bytes();
        let bytes = match graph.ty(values[i]).dtype {
            DType::I32 => bytes.chunks(4).flat_map(widen).collect::<Vec<u8>>(),
            _ => bytes.to_vec(),
        };
        all.entry(graph.value_name(values[i])).or_insert_with(Vec::new).extend(bytes);
        Ok::<(), std::convert::Infallible>(())
    })
    .expect("constants");
    all
}

/// The emitted file as a second reader sees it: names, operands in order, each initializer once, read, and with the
/// constant's bytes; types.
fn verify(graph: &Graph, opset: u32) {
    let name = &graph.name;
    let model = ModelProto::parse_from_bytes(&emit(graph, opset)).expect("decodes");
    assert_eq!(model.opset_import[0].version, i64::from(opset));
    let file = &model.graph;
    let nodes: Vec<&str> = file.node.iter().map(|n| n.name.as_str()).collect();
    let mut paths: Vec<&str> = graph.run_time_nodes().map(|(_, n)| n.path.as_str()).collect();
    if paths.is_empty() {
        paths.push("logits"); // the copy behind a result that is an input
    }
    assert_eq!(nodes, paths, "{name}");

    let wanted = constants(graph);
    let mut contents = HashSet::new();
    let reads: HashSet<&str> = file.node.iter().flat_map(|n| &n.input).map(String::as_str).collect();
    for t in &file.initializer {
        let content = (t.data_type, t.dims.clone(), t.raw_data.clone());
        assert!(contents.insert(content), "{name}: duplicate {}", t.name);
        assert!(reads.contains(t.name.as_str()), "{name}: unused {}", t.name);
        let size = match t.data_type {
            1 => 4,
            7 => 8,
            10 => 2,
            other => panic!("{name}: element type {other}"),
        };
        assert_eq!(t.raw_data.len() as i64, size * t.dims.iter().product::<i64>(), "{name}: {}", t.name);
        if let Some(bytes) = wanted.get(&t.name) {
            assert_eq!(&t.raw_data, bytes, "{name}: {}", t.name);
        }
    }
    let typed: HashSet<&str> = file.value_info.iter().chain(&file.output).map(|i| i.name.as_str()).collect();
    let leaves = file.input.iter().map(|i| i.name.as_str()).chain(file.initializer.iter().map(|t| t.name.as_str()));
    let mut known: HashSet<&str> = leaves.chain([""]).collect();
    for node in &file.node {
        assert!(node.input.iter().all(|i| known.contains(i.as_str())), "{name}: {} reads ahead", node.name);
        for output in &node.output {
            assert!(known.insert(output), "{name}: {output} is produced twice");
            assert!(typed.contains(output.as_str()), "{name}: {output} has no type");
        }
    }
}

#[test]
fn a_second_reader_finds_names_operators_and_bytes() {
    for v in variants() {
        for (_, graph) in samples(v) {
            verify(&graph, v.opset);
        }
    }
}

#[test]
fn integers_are_written_as_64_bits() {
    let v = Variant { opset: 17, dtype: DType::F32, batch: Dim::Fixed(1) };
    let (_, graph) = samples(v).into_iter().find(|(name, _)| name == "gather").expect("there is one");
    let model = ModelProto::parse_from_bytes(&emit(&graph, 17)).expect("decodes");
    let index = model.graph.initializer.iter().find(|t| t.name == "index").expect("the index");
    assert_eq!((index.data_type, index.dims.as_slice()), (7, [4, 4].as_slice()));
    assert_eq!(index.raw_data, constants(&graph)["index"]);
}

/// A pair of which one half says nothing of its zero point is one of unsigned codes to runtimes that repeat it.
#[test]
fn both_halves_of_a_pair_say_their_zero_point() {
    let mut graph = Graph::new("pair", vitc_ir::Stage::Target);
    let mut net = vitc_ir::Net::new(&mut graph);
    let x = net.input("image", vitc_ir::Type::f32(&[1, 30]));
    let scale = net.scalar_of(0.125, DType::F32);
    let codes = net.push("q", Op::Quantize { to: DType::I8 }, &[x, scale]);
    let y = net.push("d", Op::Dequantize, &[codes, scale]);
    graph.outputs.push(vitc_ir::Output { name: "y".into(), value: y });
    let model = ModelProto::parse_from_bytes(&emit(&graph, 17)).expect("decodes");
    let zeros: Vec<&str> = model.graph.node.iter().map(|n| n.input[2].as_str()).collect();
    assert!(zeros.len() == 2 && zeros[0] == zeros[1], "{zeros:?}");
    let zero = model.graph.initializer.iter().find(|t| t.name == zeros[0]).expect("the zero point");
    assert_eq!((zero.data_type, zero.dims.len()), (3, 0), "one INT8");
}

#[test]
fn a_data_file_holds_what_the_model_file_says() {
    let mut graph = Graph::new("wide", vitc_ir::Stage::Target);
    let mut net = vitc_ir::Net::new(&mut graph);
    let x = net.input("image", vitc_ir::Type::f32(&[1, 30]));
    let a = net.at("a").linear(x, 50, true);
    let b = net.at("b").linear(a, 60, true);
    graph.outputs.push(vitc_ir::Output { name: "logits".into(), value: b });

    let inline = ModelProto::parse_from_bytes(&emit(&graph, 17)).expect("decodes");
    let (mut file, mut data) = (Vec::new(), Vec::new());
    let place = DataFile { location: "wide.onnx.data", out: &mut data };

    let target = Target::onnx(17);
    let summary = write_external(&graph, &Hashed, &target, &metadata(DType::F32), &mut file, place).expect("writes");
    assert_eq!(summary.bytes, (file.len() + data.len()) as u64);
    let model = ModelProto::parse_from_bytes(&file).expect("decodes");
    let folder = folder();
    std::fs::write(folder.join("wide.onnx"), &file).expect("written");
    std::fs::write(folder.join("wide.onnx.data"), &data).expect("written");
    let mut outside = 0;
    for (t, wanted) in model.graph.initializer.iter().zip(&inline.graph.initializer) {
        assert_eq!(t.name, wanted.name);
        let entry = |key: &str| t.external_data.iter().find(|e| e.key == key).map(|e| e.value.clone());
        let Some(location) = entry("location") else {
            assert!(t.raw_data.len() < 1024);
            assert_eq!(t.raw_data, wanted.raw_data);
            continue;
        };
        outside += 1;
        assert_eq!(location, "wide.onnx.data");
        let number = |key: &str| entry(key).and_then(|v| v.parse::<usize>().ok()).expect("a number");
        let (offset, length) = (number("offset"), number("length"));
        assert_eq!(offset % 64, 0);
        assert_eq!(&data[offset..offset + length], wanted.raw_data);
    }
    assert_eq!(outside, 2);
    let found = inspect(file.into()).expect("reads");
    assert_eq!(found.data_files.into_iter().collect::<Vec<_>>(), ["wide.onnx.data"]);
    assert_eq!(found.parameters, 30 * 50 + 50 + 50 * 60 + 60);
}

#[test]
fn inspection_tells_what_was_written() {
    let v = Variant { opset: 20, dtype: DType::F16, batch: Dim::Batch(1) };
    let (_, graph) = samples(v).into_iter().find(|(name, _)| name == "conv").expect("there is one");
    let found = inspect(emit(&graph, 20).into()).expect("reads");
    assert!(found.is_from_vitc());
    assert_eq!((found.opset, found.ir_version, found.nodes), (20, 9, 3));
    assert_eq!(found.op_counts, [("Cast".to_string(), 2), ("Conv".to_string(), 1)]);
    assert_eq!(found.inputs[0].ty, "f32[batch,8,6,6]");
    assert_eq!(found.outputs[0].name, "logits");
    assert_eq!(found.parameters, 12 * 4 * 3 * 2 + 12);
    assert_eq!(found.weight_bytes, 2 * found.parameters);
    assert!(found.metadata.contains(&("vitc.weights".into(), "seeded, untrained".into())));
}

#[test]
fn what_has_no_spelling_names_the_node() {
    let mut graph = Graph::new("late", vitc_ir::Stage::Target);
    let mut net = vitc_ir::Net::new(&mut graph);
    let x = net.input("image", vitc_ir::Type::f32(&[1, 4]));
    let y = net.at("blocks.3").gelu(x);
    graph.outputs.push(vitc_ir::Output { name: "logits".into(), value: y });
    let error = text(&graph, &Target::onnx(17), &metadata(DType::F32)).expect_err("no Gelu in 17");
    assert!(matches!(&error, ExportError::NotLowered { path, .. } if path == "blocks.3.act"), "{error}");
    // What an older opset cannot say names the first that can.
    for (op, opset, first) in [
        (Op::Softmax { axis: 1 }, 12, "opset 13"),
        (Op::LayerNorm { axes: vec![3], eps: vitc_ir::Real(1e-5) }, 16, "opset 17"),
        (Op::Unary(vitc_ir::UnaryKind::Gelu), 19, "opset 20"),
    ] {
        let mut graph = Graph::new("newer", vitc_ir::Stage::Target);
        let mut net = vitc_ir::Net::new(&mut graph);
        let x = net.input("image", vitc_ir::Type::f32(&[1, 4, 4, 4]));
        let y = net.push("y", op, &[x]);
        graph.outputs.push(vitc_ir::Output { name: "logits".into(), value: y });
        let error = text(&graph, &Target::onnx(opset), &metadata(DType::F32)).expect_err("is newer").to_string();
        assert!(error.contains(first), "{error}");
        assert!(text(&graph, &Target::onnx(opset + 1), &metadata(DType::F32)).is_ok());
    }
    assert!(text(&graph, &Target::onnx(10), &metadata(DType::F32)).is_err());
    let mut graph = Graph::new("rounded", vitc_ir::Stage::Target);
    let mut net = vitc_ir::Net::new(&mut graph);
    let x = net.input("image", vitc_ir::Type::f32(&[1, 1, 14, 14]));
    let sampling = vitc_ir::op::Sampling::NEAREST;
    let y = net.push("less", Op::Resize { sampling, size: [2, 2], scale: None }, &[x]);
    graph.outputs.push(vitc_ir::Output { name: "logits".into(), value: y });
    let error = text(&graph, &Target::onnx(18), &metadata(DType::F32)).expect_err("1/7 is not an f32");
    assert!(matches!(error, ExportError::NotLowered { .. }), "{error}");
    let error = text(&graph, &Target::onnx(24), &metadata(DType::F32)).expect_err("no opset 24");
    assert!(matches!(error, ExportError::Target { .. }), "{error}");
    let error = text(&graph, &Target::coreml(17), &metadata(DType::F32)).expect_err("not ONNX");
    assert!(matches!(error, ExportError::Target { .. }), "{error}");
}

#[test]
fn a_constant_that_overflows_half_precision_is_named() {
    let mut graph = Graph::new("large", vitc_ir::Stage::Target);
    let mut net = vitc_ir::Net::new(&mut graph);
    let x = net.input("image", vitc_ir::Type::new(DType::F16, vitc_ir::Shape::fixed(&[1, 100])));
    let (w, factor) = (net.weight("fc.weight", &[100]), net.scalar(1e6));
    let w = net.push("fc.scaled", Op::Binary(vitc_ir::BinaryKind::Mul), &[w, factor]);
    let w = net.push("fc.half", Op::Cast { to: DType::F16 }, &[w]);
    let y = net.push("fc", Op::Binary(vitc_ir::BinaryKind::Mul), &[x, w]);
    graph.outputs.push(vitc_ir::Output { name: "logits".into(), value: y });
    let target = Target::onnx(17);
    let mut file = Vec::new();
    let error = write(&graph, &Hashed, &target, &metadata(DType::F16), &mut file).expect_err("1e6 > 65504");
    assert!(matches!(&error, ExportError::Constant(_)) && error.to_string().contains("fc.half"), "{error}");
}

#[test]
fn text_shows_one_line_per_constant_and_node() {
    let v = Variant { opset: 17, dtype: DType::F32, batch: Dim::Batch(1) };
    let all = samples(v);
    let shown = |wanted: &str| {
        let (_, graph) = all.iter().find(|(name, _)| name == wanted).expect("there is one");
        text(graph, &Target::onnx(17), &metadata(DType::F32)).expect("prints")
    };
    assert_eq!(
        shown("reshape"),
        "onnx reshape opset=17 ir=8\n\
         input image: f32[batch,8,6,6]\n\
         const shape_Bx8x9: i64[3] = [-1,8,9]\n\
         const shape_Bx8x36: i64[3] = [-1,8,36]\n\
         windows: f32[4*batch,8,9] = Reshape(image, shape_Bx8x9)\n\
         act: f32[4*batch,8,9] = Tanh(windows)\n\
         logits: f32[batch,8,36] = Reshape(act, shape_Bx8x36) @op\n\
         output logits: f32[batch,8,36]\n"
    );
    assert_eq!(
        shown("prelu_shared"),
        "onnx prelu_shared opset=17 ir=8\n\
         input image: f32[batch,8,6,6]\n\
         const slope_as_8x1x1: f32[8,1,1]\n\
         const slope: f32[8]\n\
         const one_as_1x1x1: f32[1,1,1]\n\
         const kernel: f32[8,8,1,1]\n\
         first: f32[batch,8,6,6] = PRelu(image, slope_as_8x1x1)\n\
         second: f32[batch,8,6,6] = PRelu(first, one_as_1x1x1)\n\
         logits: f32[batch,8,6,6] = Conv(second, kernel, slope) \
         {group=1, kernel_shape=[1,1], pads=[0,0,0,0], strides=[1,1]} @op\n\
         output logits: f32[batch,8,6,6]\n"
    );
}

#[test]
fn results_that_no_node_produces_are_copied() {
    let mut graph = Graph::new("copies", vitc_ir::Stage::Target);
    let mut net = vitc_ir::Net::new(&mut graph);
    let x = net.input("image", vitc_ir::Type::f32(&[1, 4]));
    let w = net.weight("table", &[3]);
    let y = net.relu(x);
    for (name, value) in [("a", y), ("b", y), ("c", x), ("d", w)] {
        graph.outputs.push(vitc_ir::Output { name: name.into(), value });
    }
    let model = ModelProto::parse_from_bytes(&emit(&graph, 17)).expect("decodes");
    let found: Vec<(&str, &str, &str)> =
        model.graph.node.iter().map(|n| (n.op_type.as_str(), n.input[0].as_str(), n.output[0].as_str())).collect();
    let copies =
        [("Relu", "image", "a"), ("Identity", "a", "b"), ("Identity", "image", "c"), ("Identity", "table", "d")];
    assert_eq!(found, copies);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn random_graphs_survive_a_second_reader(seed: u64, variant in 0usize..28) {
        let v = variants()[variant];
        verify(&random(v, seed), v.opset);
    }

    /// Inspection of damaged files ends, without a panic.
    #[test]
    fn damaged_files_are_errors_or_descriptions(at in 0usize..10_000, byte: u8, cut in 0usize..10_000) {
        let v = Variant { opset: 17, dtype: DType::F16, batch: Dim::Fixed(1) };
        let (_, graph) = samples(v).into_iter().find(|(name, _)| name == "linear").expect("there is one");
        let mut file = emit(&graph, 17);
        let length = file.len();
        file[at % length] = byte;
        let _ = inspect(file.clone().into());
        file.truncate(cut % length);
        let _ = inspect(file.into());
    }

    #[test]
    fn noise_is_no_model(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = inspect(noise.into());
    }
}

/// Where files for `tests/interop/onnx_check.py` go.
fn folder() -> std::path::PathBuf {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("onnx");
    std::fs::create_dir_all(&folder).expect("a folder below target");
    folder
}

/// An f32 array as a `.npy` file.
fn npy(dims: &[usize], values: impl Iterator<Item = f64>) -> Vec<u8> {
    let shape: String = dims.iter().map(|d| format!("{d},")).collect();
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}");
    let length = (header.len() + 11).next_multiple_of(64) - 10;
    header = format!("{header:<width$}\n", width = length - 1);
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(values.flat_map(|v| (v as f32).to_le_bytes()));
    bytes
}

/// Writes every sample below the target folder, with an input and what the evaluator makes of it, for
/// `tests/interop/onnx_check.py`.
#[test]
fn samples_are_written_for_foreign_readers() {
    let folder = folder();
    // The opsets at which the exporter says something else.
    for v in variants().into_iter().filter(|v| matches!(v.opset, 11 | 12 | 13 | 17 | 18 | 20 | 23)) {
        let (word, batch) = if v.batch.fixed().is_some() { ("static", 2) } else { ("dynamic", 3) };
        let chains = (0..8).map(|seed| (format!("random_{seed}"), random(v, seed)));
        for (name, graph) in samples(v).into_iter().chain(chains) {
            let (_, input) = graph.inputs().next().expect("every sample has an input");
            let dims = input.types[0].shape.at(batch);
            let place = |i: usize| (i as f64 * 12.9898).sin();
            let element = |i: usize| f64::from((place(i).signum() * (0.25 + 0.75 * place(i).abs())) as f32);
            let x = (0..dims.iter().product()).map(element).collect();
            let x = ArrayD::from_shape_vec(dims.clone(), x).expect("as many elements as the shape has");
            let y = vitc_ir::eval::run(&graph, &Hashed, std::slice::from_ref(&x), batch).expect("runs");
            let file = |suffix: &str| folder.join(format!("{name}-{}-{}-{word}.{suffix}", v.opset, v.dtype));
            std::fs::write(file("onnx"), emit(&graph, v.opset)).expect("written");
            std::fs::write(file("input.npy"), npy(&dims, x.iter().copied())).expect("written");
            std::fs::write(file("expect.npy"), npy(y[0].shape(), y[0].iter().copied())).expect("written");
        }
    }
}
