//! What other tools wrap around tensors and their names: each is read, and said where it changes names.

use super::state::{Entry, State};
use super::torch_file::{Item, archive_members, safetensors_file};
use std::path::Path;
use vitc::arch::Results;
use vitc::model::{Model, ModelRequest};

const S0: &str = "efficientformerv2/efficientformerv2_s0_timm";

fn s0() -> State {
    State::load(S0, "efficientformerv2-s0")
}

/// What is said of the model at this path, for these results: its name, its notices, its lines in the summary.
fn said(path: &Path, results: Results) -> Result<String, String> {
    let request = ModelRequest { results, ..ModelRequest::checkpoint(path) };
    let model = Model::load(&request).map_err(|e| vitc::cli::explained(&e))?;
    let notices = model.notices.iter().map(vitc::cli::words);
    let outputs = model.graph.outputs.iter().map(|o| o.name.clone()).collect::<Vec<_>>().join(" ");
    Ok([model.name.clone(), outputs]
        .into_iter()
        .chain(notices)
        .chain(model.weights.found().to_vec())
        .collect::<Vec<_>>()
        .join("\n"))
}

/// The same of a state dict whose names `change` changes.
fn renamed(mut state: State, results: Results, change: impl Fn(&str) -> String) -> Result<String, String> {
    state.entries.iter_mut().for_each(|entry| entry.key = change(&entry.key));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, safetensors_file(&state.tensors("", "f16", 0))).unwrap();
    said(&path, results)
}

#[test]
fn wrapped_modules_are_unwrapped_wherever_they_stand() {
    let wrap = |key: &str| match key.split_once('.') {
        // The trunk is compiled, its classifiers are not; a block is wrapped once more.
        Some((head, _)) if head.starts_with("head") => format!("model.{key}"),
        Some(("stages", rest)) => {
            format!("model._orig_mod.stages.{}", rest.replacen(".blocks.", ".blocks._checkpoint_wrapped_module.", 1))
        }
        _ => format!("model._orig_mod.{key}"),
    };
    let said = renamed(s0(), Results::Logits, wrap).unwrap();
    assert!(said.starts_with("efficientformerv2-s0\nlogits\ntools wrapped modules"), "{said}");
    assert!(said.contains("under model"), "{said}");
}

#[test]
fn flat_names_get_their_dots_back() {
    let flat = |key: &str| key.replacen("stages.", "stages_", 1).replacen("stem.", "stem_", 1);
    let mut state = s0();
    state.entries.retain(|e| !e.key.starts_with("norm.") && !e.key.starts_with("head"));
    let said = renamed(state, Results::Pyramid, flat).unwrap();
    assert!(
        said.starts_with("efficientformerv2-s0\nstage1 stage2 stage3 stage4\n") && said.contains("features_only"),
        "{said}"
    );
}

#[test]
fn norms_that_were_folded_are_not_missed() {
    let mut state = s0();
    state.entries.retain(|e| !e.key.contains(".bn."));
    let said = renamed(state, Results::Logits, str::to_string).unwrap();
    assert!(said.contains("norms behind convolutions are folded"), "{said}");
    // One norm that is gone is missing.
    let mut state = s0();
    state.entries.retain(|e| !e.key.starts_with("stem.conv1.bn."));
    let error = renamed(state, Results::Logits, str::to_string).unwrap_err();
    assert!(error.contains("4 tensors missing"), "{error}");
}

#[test]
fn copies_in_mmcvs_spelling_are_known() {
    let mut state = s0();
    let copies: Vec<Entry> = state.entries.iter().take(40).cloned().collect();
    state.entries.extend(copies.into_iter().map(|e| Entry { key: format!("ema_{}", e.key.replace('.', "_")), ..e }));
    let said = renamed(state, Results::Logits, str::to_string).unwrap();
    assert!(said.contains("a copy of this one"), "{said}");
}

#[test]
fn unpacked_archives_and_caches_are_read() {
    let state = s0().tensors("", "f16", 0);
    let item = Item::dict(state.iter().map(|(key, tensor)| (key.clone(), Item::Tensor(tensor.clone()))));
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    archive_members(&item).iter().for_each(|(name, bytes)| put(&format!("unzipped/{name}"), bytes));
    for path in ["unzipped", "unzipped/x", "unzipped/x/data.pkl"] {
        let said = said(&folder.path().join(path), Results::Logits).unwrap();
        assert!(said.starts_with("efficientformerv2-s0\nlogits"), "{path}: {said}");
    }
    put("models--o--n/blobs/5f3c", &safetensors_file(&state));
    put("models--o--n/refs/main", b"a1b2\n");
    std::fs::create_dir_all(folder.path().join("models--o--n/snapshots/a1b2")).unwrap();
    std::fs::create_dir_all(folder.path().join("models--o--n/snapshots/old")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("../../blobs/5f3c", folder.path().join("models--o--n/snapshots/a1b2/model.safetensors"))
        .unwrap();
    #[cfg(unix)]
    for path in ["models--o--n", "models--o--n/snapshots/a1b2", "models--o--n/snapshots/a1b2/model.safetensors"] {
        let said = said(&folder.path().join(path), Results::Logits).unwrap();
        assert!(said.starts_with("efficientformerv2-s0\nlogits"), "{path}: {said}");
    }
}

/// `{"model": {name: ndarray}}` as detectron2's model zoo pickles it.
fn arrays(state: &State) -> Vec<u8> {
    let text = |t: &str| [b"X".as_slice(), &(t.len() as u32).to_le_bytes(), t.as_bytes()].concat();
    let number = |n: usize| [b"J".as_slice(), &(n as u32).to_le_bytes()].concat();
    let mut bytes = b"\x80\x03}".to_vec();
    bytes.extend([text("model"), b"}(".to_vec()].concat());
    for (key, tensor) in state.tensors("", "f32", 0) {
        let name = if tensor.class == "LongStorage" { "i8" } else { "f4" };
        let shape: Vec<u8> = tensor.shape.iter().flat_map(|&d| number(d)).collect();
        bytes.extend(text(&key));
        bytes.extend(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01(");
        bytes.extend(shape);
        bytes.extend(
            [
                b"tcnumpy\ndtype\n".as_slice(),
                &text(name),
                b"K\x00K\x01\x87R(K\x03",
                &text("<"),
                b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89B",
            ]
            .concat(),
        );
        bytes.extend((tensor.data.len() as u32).to_le_bytes());
        bytes.extend(&tensor.data);
        bytes.extend(b"tb");
    }
    bytes.extend(b"us.");
    bytes
}

#[test]
fn pickled_arrays_are_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model_final.pkl");
    std::fs::write(&path, arrays(&s0())).unwrap();
    let said = said(&path, Results::Logits).unwrap();
    assert!(said.starts_with("efficientformerv2-s0\nlogits"), "{said}");
}

#[test]
fn what_is_not_here_and_not_ours_is_named() {
    let hub = said(Path::new("hf_hub:timm/efficientformerv2_s0"), Results::Logits).unwrap_err();
    assert!(hub.contains("hf download timm/efficientformerv2_s0"), "{hub}");
    let layers = |key: &str| key.replacen("stages.", "layer1.0.conv", 1).replacen("stem.", "layer1.0.bn1.", 1);
    let resnet = renamed(s0(), Results::Logits, layers).unwrap_err();
    assert!(resnet.contains("names of ResNet") && resnet.contains("export it to ONNX"), "{resnet}");
}
