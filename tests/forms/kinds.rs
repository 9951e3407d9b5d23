//! What people bring, kind by kind, and what they get: the kinds that no other test of this folder stands for. Heads are in `own`, settings in
//! `settings`, wrappings in `containers`, whole segmenters and detectors in `tests/dense`, channels in `tests/channels.rs`.

use super::common::command::{stderr, vitc};
use super::state::State;
use super::torch_file::{Tensor, safetensors_file};

const S0: &str = "efficientformerv2/efficientformerv2_s0_timm";

/// What the program says to a file of these tensors, and how it ends.
fn said(tensors: &[(String, Tensor)], options: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("w.safetensors"), safetensors_file(tensors)).unwrap();
    let command = format!("export --weights w.safetensors --target onnx --no-check {options}");
    let output = vitc(folder.path(), command.trim_end());
    (output.status.code(), stderr(&output))
}

/// The model with so many classes in its heads.
fn classes(n: &str) -> Vec<(String, Tensor)> {
    let mut state = State::load(S0, "efficientformerv2-s0");
    state.set_head(n);
    let mut tensors = state.tensors("", "f16", 0);
    // Variances of one: what is computed of them is a number.
    let variances = tensors.iter_mut().filter(|(name, _)| name.ends_with("running_var"));
    variances
        .for_each(|(_, tensor)| tensor.data.chunks_exact_mut(2).for_each(|one| one.copy_from_slice(&[0x00, 0x3c])));
    tensors
}

/// One score, which was trained with a sigmoid: softmax would always say 1.
#[test]
fn one_logit_has_a_sigmoid_and_no_softmax() {
    let tensors = classes("1");
    for (options, code, part) in
        [("", 0, ""), ("--sigmoid", 0, ""), ("--softmax", 2, "softmax over one class is always 1")]
    {
        let (ended, said) = said(&tensors, options);
        assert!(ended == Some(code) && said.contains(part), "{options}: {ended:?} {said}");
    }
}

/// Statistics that overflowed in half precision, and weights of a training that diverged.
#[test]
fn what_is_not_finite_is_named() {
    for (key, bits) in
        [("stem.conv1.bn.running_var", 0x7c00u16), ("stem.conv1.bn.running_var", 0xfc00), ("head.weight", 0x7e00)]
    {
        let mut tensors = classes("10");
        let tensor = tensors.iter_mut().find(|(name, _)| name == key).unwrap();
        tensor.1.data[6..8].copy_from_slice(&bits.to_le_bytes());
        let (ended, said) = said(&tensors, "");
        assert_eq!(ended, Some(1), "{key}: {said}");
        assert!(said.contains("is not finite") && said.contains("element 3 of"), "{key}: {said}");
    }
}

/// Networks that are close relatives of the built ones, by their names.
#[test]
fn relatives_are_told_apart() {
    let tensor = |name: &str| {
        (name.to_string(), Tensor { class: "HalfStorage", shape: vec![2, 2], elements: 4, data: vec![0; 8] })
    };
    for (names, network) in [
        (["stages.0.blocks.0.token_mixer.mixer.conv_kxk.0.conv.weight", "head.fc.weight"], "FastViT"),
        (["stages.1.blocks.1.xca.qkv.weight", "head.fc.weight"], "EdgeNeXt"),
        (["network.6.3.token_mixer.qkv.weight", "head.weight"], "EfficientFormer (the first version)"),
    ] {
        let mut tensors = names.map(tensor).to_vec();
        tensors.extend((0..8).map(|i| tensor(&format!("stages.{i}.norm.weight"))));
        let (ended, said) = said(&tensors, "");
        assert_eq!(ended, Some(1), "{said}");
        assert!(said.contains(network) && said.contains("export it to ONNX from its own code"), "{said}");
    }
}
