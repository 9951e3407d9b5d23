//! Damaged packages are errors, never panics.

use super::{Written, emit, emit_as, more};
use proptest::prelude::*;
use prost::Message;
use std::sync::LazyLock;
use vitc_exporters::coreml::{self, Interface, messages, messages::model::Kind};
use vitc_ir::{DType, Weights};

/// The files of some packages that together hold every operation: model, weights, manifest.
static PACKAGES: LazyLock<Vec<[Vec<u8>; 3]>> = LazyLock::new(|| {
    let files =
        |w: &Written| [w.model(), w.weights(), std::fs::read(w.path().join("Manifest.json")).expect("a manifest")];
    let graphs = more::all(DType::F16).into_iter().chain(more::attention(DType::F16));
    let mut all: Vec<[Vec<u8>; 3]> = graphs.map(|(_, graph)| files(&emit(&graph, 18))).collect();
    let scores = more::model("scores", DType::F32, &[1, 12], |net, x, _| net.relu(x));
    let labels = Some((0..12).map(|i| i.to_string()).collect());
    all.push(files(&emit_as(&scores, 15, &Interface { labels, ..Interface::default() })));
    all
});

thread_local! {
    /// Where a thread puts one package after the other.
    static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a folder");
}

/// Read a package of these files and ask for all of its constants.
fn read([model, weights, manifest]: &[Vec<u8>; 3]) -> Result<(), coreml::ReadError> {
    FOLDER.with(|folder| {
        let data = folder.path().join("Data/com.apple.CoreML");
        std::fs::create_dir_all(data.join("weights")).expect("a folder");
        std::fs::write(data.join("model.mlmodel"), model).expect("written");
        std::fs::write(data.join("weights/weight.bin"), weights).expect("written");
        std::fs::write(folder.path().join("Manifest.json"), manifest).expect("written");
        let package = coreml::read(folder.path())?;
        for (key, ty) in package.graph.weights() {
            package.weights.weight(key, ty.shape.elements()).expect("what was read is there");
        }
        Ok(())
    })
}

/// One number of a program's parameters or types is changed.
fn twist(model: &[u8], at: usize, to: i64) -> Vec<u8> {
    let mut model = messages::Model::decode(model).expect("decodes");
    let Some(Kind::Program(program)) = &mut model.kind else { panic!("not a program") };
    let block = program.functions.values_mut().flat_map(|f| f.block_specializations.values_mut()).next();
    let operations = &mut block.expect("a block").operations;
    let count = operations.len();
    let operation = &mut operations[at % count];
    if let Some(value) = operation.attributes.get_mut("val")
        && let Some(messages::value::Kind::Immediate(immediate)) = &mut value.kind
        && let Some(messages::value::immediate::Kind::Tensor(tensor)) = &mut immediate.kind
        && let Some(messages::tensor_value::Kind::Ints(ints)) = &mut tensor.kind
    {
        let place = at / count % ints.values.len();
        ints.values[place] = to as i32;
    } else if let Some(ty) = operation.outputs.first_mut().and_then(|o| o.r#type.as_mut())
        && let Some(messages::value_type::Kind::Tensor(tensor)) = &mut ty.kind
        && let Some(dimension) = tensor.dimensions.first_mut()
    {
        let constant = messages::dimension::Constant { size: to as u64 };
        dimension.kind = Some(messages::dimension::Kind::Constant(constant));
    }
    model.encode_to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn damage_is_an_error_or_another_package(which: usize, file in 0usize..3, at: usize, bit in 0u8..8, cut: bool) {
        let mut files = PACKAGES[which % PACKAGES.len()].clone();
        let bytes = &mut files[file];
        if !bytes.is_empty() {
            let at = at % bytes.len();
            if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
        }
        let _ = read(&files);
    }

    #[test]
    fn wrong_numbers_are_errors_or_another_program(
        which: usize,
        at: usize,
        to in prop_oneof![
            Just(0), Just(-1), Just(1), 2i64..9, Just(i64::from(i32::MAX)), Just(i64::from(i32::MIN)), Just(i64::MAX),
        ],
    ) {
        let mut files = PACKAGES[which % PACKAGES.len()].clone();
        files[0] = twist(&files[0], at, to);
        let _ = read(&files);
    }
}

#[test]
fn what_is_missing_or_foreign_is_said() {
    let [model, weights, manifest] = PACKAGES.iter().find(|p| !p[1].is_empty()).expect("one has weights").clone();
    read(&[model.clone(), weights.clone(), manifest.clone()]).expect("intact");
    let error = |files: [Vec<u8>; 3]| read(&files).expect_err("must be refused").to_string();
    assert!(error([model.clone(), vec![], manifest.clone()]).contains("weight.bin"));
    assert!(error([vec![], weights.clone(), manifest.clone()]).contains("specification version 0"));
    assert!(error([model.clone(), weights.clone(), b"{}".to_vec()]).contains("rootModelIdentifier"));
    let escaping = String::from_utf8(manifest.clone()).expect("text").replace("com.apple.CoreML/model", "../../model");
    assert!(error([model.clone(), weights.clone(), escaping.into_bytes()]).contains("leaves the package"));
    let mut foreign = messages::Model::decode(model.as_slice()).expect("decodes");
    foreign.kind = Some(Kind::NeuralNetwork(vec![]));
    assert!(error([foreign.encode_to_vec(), weights, manifest]).contains("older format"));
    assert!(coreml::read(std::path::Path::new("nowhere.mlpackage")).is_err());
}
