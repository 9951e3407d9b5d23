//! What an exporter could spell wrongly without a change of shape: the check finds it, because its reference was not spelled by an exporter.

use super::*;
use crate::runner::pb;
use prost::Message;
use vitc_ir::testing::random_weights;

/// Every attribute that is misspelled below, on shapes that fit either spelling.
const MODEL: &str = "graph g  stage=paper
%image: f32[1,3,8,8] = input
%conv: f32[1,4,8,8] = conv(%image, weight\"c\":f32[4,3,3,3]){stride=1, pad=[2,0,0,2]}
%gelu: f32[1,4,8,8] = gelu(%conv)
%pool: f32[1,4,8,8] = avg_pool(%gelu){kernel=3, stride=1, pad=1}
%large: f32[1,4,16,16] = resize(%pool){kernel=linear, coordinates=half_pixel, size=16}
%near: f32[1,4,32,32] = resize(%large){kernel=nearest, rounding=floor, coordinates=asymmetric, size=32}
%rows: f32[1,4,32,32] = softmax(%near){axis=3}
%columns: f32[1,4,32,32] = transpose(%near){perm=[0,1,3,2]}
%turned: f32[1,4,32,32] = matmul(%rows, %columns)
%norm: f32[1,4,32,32] = layer_norm(%turned){axes=[3], eps=0.001}
%mean: f32[1,4] = reduce_mean(%norm){axes=[2,3]}
%max: f32[1,4] = reduce_max(%turned){axes=[2,3]}
%logits: f32[1,4] = linear(%max, weight\"w\":f32[4,4])
outputs map=%turned, normal=%norm, logits=%logits";

/// Operator, attribute, and the wrong value put there: integers or a word.
const WRONG: &[(&str, &str, &[i64], &str)] = &[
    ("Conv", "pads", &[0, 2, 2, 0], ""),
    ("Conv", "pads", &[2, 2, 0, 0], ""),
    ("Gelu", "approximate", &[], "tanh"),
    ("AveragePool", "count_include_pad", &[1], ""),
    ("Resize", "mode", &[], "nearest"),
    ("Resize", "coordinate_transformation_mode", &[], "asymmetric"),
    ("Resize", "coordinate_transformation_mode", &[], "align_corners"),
    ("Softmax", "axis", &[2], ""),
    ("Transpose", "perm", &[0, 1, 2, 3], ""),
    ("LayerNormalization", "axis", &[2], ""),
    ("Gemm", "transB", &[0], ""),
];

/// Put a value into the first node of an operator.
fn misspell(model: &mut pb::ModelProto, (op, name, ints, word): (&str, &str, &[i64], &str)) {
    let graph = model.graph.as_mut().expect("a graph");
    let node = graph.node.iter_mut().find(|n| n.op_type == op).unwrap_or_else(|| panic!("no {op}"));
    if !node.attribute.iter().any(|a| a.name == name) {
        let r#type = pb::attribute_proto::AttributeType::String as i32;
        node.attribute.push(pb::AttributeProto { name: name.into(), r#type, ..Default::default() });
    }
    let attribute = node.attribute.iter_mut().find(|a| a.name == name).expect("is there");
    match ints {
        [] => attribute.s = word.into(),
        &[one] => attribute.i = one,
        many => attribute.ints = many.to_vec(),
    }
}

#[test]
fn a_wrong_spelling_does_not_cancel() {
    let paper = vitc_ir::parse(MODEL).unwrap_or_else(|e| panic!("{e}"));
    let weights = random_weights(5, &paper);
    let target = Target::onnx(20);
    let (graph, _) =
        vitc_passes::lower(&paper, &target, &LowerOptions::new(DType::F32, DType::F32)).expect("passes run");
    let metadata = Metadata::new("test", WeightSource::Seeded { seed: 0 }, DType::F32);
    let mut bytes = Vec::new();
    onnx::write(&graph, &weights, &target, &metadata, &mut bytes).expect("exports");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    let signature = signature(&paper, vec![OutputRole::Tensor; 3]);
    let reference = Reference { graph: &paper, signature: &signature, weights: &weights, file: None };
    let checked = |model: &pb::ModelProto| {
        std::fs::write(&path, model.encode_to_vec()).expect("writes");
        check(reference, &path, &Options::new(None)).expect("runs")
    };
    let right = pb::ModelProto::decode(&bytes[..]).expect("decodes");
    let report = checked(&right);
    assert!(report.passed, "{report}");
    for &wrong in WRONG {
        let mut model = right.clone();
        misspell(&mut model, wrong);
        let report = checked(&model);
        assert!(!report.passed, "{wrong:?}\n{report}");
    }
}
