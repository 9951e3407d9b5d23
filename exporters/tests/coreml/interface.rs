//! Forms of the interface: half precision arrays, pictures, classifiers, copies, metadata.

use super::{emit, emit_as, entries, more, same_function, samples::Hashed};
use coreml_proto::proto as foreign;
use prost::Message;
use vitc_exporters::Metadata;
use vitc_exporters::coreml::{self, CLASS_LABEL, CLASS_PROBABILITIES, InputForm, Interface};
use vitc_exporters::metadata::WeightSource;
use vitc_ir::testing::random_input;
use vitc_ir::{DType, Graph, Net, Op, Output, Stage, Target, Type, eval};

/// A picture of 6 by 4 to two scores, or to their probabilities in f32.
pub(super) fn scores(dtype: DType, probabilities: bool) -> Graph {
    more::model("scores", dtype, &[1, 3, 6, 4], |net, x, weight| {
        let x = net.mean(x, &[2, 3], false);
        let (w, b) = (weight(net, "w", &[2, 3]), weight(net, "b", &[2]));
        let y = net.push("head", Op::Linear, &[x, w, b]);
        if probabilities { net.push("probabilities", Op::Softmax { axis: 1 }, &[y]) } else { y }
    })
}

/// Picture in, label out.
pub(super) fn classifier() -> Interface {
    Interface {
        bgr: false,
        input: InputForm::Image,
        input_description: "A picture".into(),
        output_description: "Probability of each animal".into(),
        labels: Some(vec!["cat".into(), "dog, \"a\" naïve one".into()]),
    }
}

#[test]
fn a_picture_becomes_a_label() {
    for dtype in [DType::F32, DType::F16] {
        let graph = scores(dtype, true);
        let written = emit_as(&graph, 15, &classifier());
        let package = coreml::read(written.path()).expect("readable");
        assert_eq!(package.interface, classifier());
        assert_eq!(package.graph.outputs.len(), 1);
        assert_eq!(package.graph.outputs[0].name, CLASS_PROBABILITIES);
        let x = random_input(1, &graph, 1);
        let found = eval::run(&package.graph, &package.weights, &x, 1).expect("runs");
        let wanted = &eval::run(&graph, &Hashed, &x, 1).expect("runs")[0];
        assert!(found[0].iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6));
        let kinds: Vec<&str> = package.op_counts.iter().map(|(k, _)| k.as_str()).collect();
        assert!(kinds.contains(&"classify") && kinds.contains(&"softmax"));

        let model = foreign::Model::decode(written.model().as_slice()).expect("decodes");
        let description = model.description.expect("a description");
        assert_eq!(description.predicted_feature_name, CLASS_LABEL);
        assert_eq!(description.predicted_probabilities_name, CLASS_PROBABILITIES);
        let kinds: Vec<_> = description.output.iter().map(|o| o.r#type.clone().unwrap().r#type.unwrap()).collect();
        use foreign::feature_type::Type as Kind;
        assert!(matches!(&kinds[..], [Kind::StringType(_), Kind::DictionaryType(_)]));
        let Some(Kind::ImageType(image)) = description.input[0].r#type.clone().unwrap().r#type else {
            panic!("not an image")
        };
        assert_eq!((image.width, image.height, image.color_space), (4, 6, 20));
        assert_eq!(entries(&written)["com.apple.coreml.model.preview.type"], "imageClassifier");
    }
}

#[test]
fn half_precision_arrays_need_ios_16() {
    let mut graph = Graph::new("half", Stage::Target);
    let mut net = Net::new(&mut graph);
    let x = net.input("image", Type::new(DType::F16, vitc_ir::Shape::fixed(&[1, 4])));
    let y = net.relu(x);
    graph.outputs.push(Output { name: "logits".into(), value: y });
    let (ios, why) = coreml::minimum_ios(&graph, &Interface::default()).expect("lowered");
    assert_eq!((ios, why.as_str()), (16, "the fp16 input image"));
    let error = coreml::write(
        &graph,
        &Hashed,
        &Target::coreml(15),
        &Interface::default(),
        &super::metadata(DType::F16),
        tempfile::tempdir().expect("a folder").path(),
    );
    let error = error.expect_err("15 has no fp16 arrays").to_string();
    assert_eq!(error, "target coreml: iOS 15 cannot hold this: iOS 16 is needed for the fp16 input image");
    same_function(&graph, &emit(&graph, 16));
}

#[test]
fn an_epsilon_that_fp16_loses_needs_ios_17() {
    let graph = more::model("norm", DType::F16, &[1, 4, 8], |net, x, _| {
        net.push("norm", Op::LayerNorm { axes: vec![2], eps: vitc_ir::Real(1e-12) }, &[x])
    });
    let (ios, why) = coreml::minimum_ios(&graph, &Interface::default()).expect("lowered");
    assert_eq!(ios, 17);
    assert!(why.starts_with("layer_norm at norm: "), "{why}");
    same_function(&graph, &emit(&graph, 17));
}

#[test]
fn results_that_no_operation_produces_are_copied() {
    let mut graph = Graph::new("copies", Stage::Target);
    let mut net = Net::new(&mut graph);
    let x = net.input("image", Type::f32(&[1, 4]));
    let w = net.weight("table", &[3]);
    let y = net.relu(x);
    for (name, value) in [("a", y), ("b", y), ("c", x), ("d", w)] {
        graph.outputs.push(Output { name: name.into(), value });
    }
    let written = emit(&graph, 15);
    same_function(&graph, &written);
    assert_eq!(written.summary.op_counts, [("identity".to_string(), 3), ("relu".to_string(), 1)]);
}

#[test]
fn metadata_is_found_again() {
    let graph = scores(DType::F16, false);
    let metadata = Metadata {
        author: Some("A. Author".into()),
        license: Some("MIT".into()),
        description: Some("Tells animals".into()),
        extra: vec![("team".into(), "vision".into()), ("version".into(), "2.1".into())],
        ..Metadata::new("scores", WeightSource::Seeded { seed: 3 }, DType::F16)
    };
    let folder = tempfile::tempdir().expect("a folder");
    coreml::write(&graph, &Hashed, &Target::coreml(15), &Interface::default(), &metadata, folder.path())
        .expect("writes");
    let found = coreml::read(folder.path()).expect("readable");
    for (key, value) in metadata.entries() {
        let expected = if key == "description" { metadata.summary() } else { value };
        assert_eq!(found.metadata.get(&key), Some(&expected), "{key}");
    }
    let model = std::fs::read(folder.path().join("Data/com.apple.CoreML/model.mlmodel")).expect("a model");
    let theirs = foreign::Model::decode(model.as_slice()).expect("decodes");
    let theirs = theirs.description.and_then(|d| d.metadata).expect("metadata");
    assert_eq!((theirs.author.as_str(), theirs.license.as_str()), ("A. Author", "MIT"));
    assert_eq!((theirs.version_string.as_str(), theirs.short_description), ("2.1", metadata.summary()));
}
