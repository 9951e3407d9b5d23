//! What a user reads whose checkpoint is almost a model: every message is a snapshot in `golden/errors`.

use super::state::{Entry, State};
use super::torch_file::{Item, archive, safetensors_file};
use vitc::arch::heads::HeadName;
use vitc::model::{Model, ModelRequest};

const S0: &str = "efficientformerv2/efficientformerv2_s0_timm";

fn s0() -> State {
    State::load(S0, "efficientformerv2-s0")
}

fn item(state: &State, prefix: &str) -> Item {
    Item::dict(state.tensors(prefix, "f16", 0).into_iter().map(|(key, tensor)| (key, Item::Tensor(tensor))))
}

/// The message for a file of these bytes, with a request that `change` changes.
fn refused(case: &str, name: &str, bytes: &[u8], change: impl Fn(&mut ModelRequest)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let mut request = ModelRequest::checkpoint(&path);
    change(&mut request);
    let message = match Model::load(&request) {
        Ok(model) => panic!("{case} was accepted as {}", model.name),
        Err(error) => vitc::cli::explained(&error),
    };
    assert!(message.contains("\n  ") || message.contains("; use "), "{message}: says not what to do");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../golden/errors");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let message = message.replace(folder.path().to_str().unwrap(), "…");
    settings.bind(|| insta::assert_snapshot!(format!("model-{case}"), message));
}

/// The same for a state dict on its own.
fn unfit(case: &str, state: &State, change: impl Fn(&mut ModelRequest)) {
    refused(case, "model.safetensors", &safetensors_file(&state.tensors("", "f16", 0)), change);
}

fn as_it_is(_: &mut ModelRequest) {}

fn named(name: &str) -> impl Fn(&mut ModelRequest) {
    move |request| request.name = Some(name.into())
}

/// Every width, of inputs and outputs alike, times `share`; images keep their channels.
fn pruned(state: &mut State, share: f64) {
    for entry in state.entries.iter_mut().filter(|e| e.float && !e.key.contains("attention_biases")) {
        for width in entry.shape.iter_mut().take(2).filter(|width| **width > 8) {
            *width = (*width as f64 * share) as usize;
        }
    }
}

#[test]
fn pruned_models() {
    let mut state = State::load("casvit/rcvit_xs", "cas-vit-xs");
    pruned(&mut state, 0.75);
    unfit("channel-pruned", &state, as_it_is);
    unfit("channel-pruned-named", &state, named("cas-vit-xs"));
    let mut state = State::load("ffnet/ffnet_1", "ffnet-1");
    pruned(&mut state, 0.9);
    unfit("channel-pruned-ffnet", &state, as_it_is);
    // Hidden widths alone.
    let mut state = s0();
    for part in [".mlp.fc1.", ".mlp.mid."] {
        state.named(part).into_iter().filter(|e| e.float).for_each(|entry| entry.shape[0] /= 2);
    }
    state.named(".mlp.fc2.conv.weight").into_iter().for_each(|entry| entry.shape[1] /= 2);
    unfit("hidden-channels-pruned", &state, as_it_is);
}

#[test]
fn heads_that_do_not_fit() {
    let mut state = s0();
    for leaf in ["head.weight", "head.bias"] {
        state.named(leaf).into_iter().for_each(|entry| entry.shape[0] = 10);
    }
    unfit("one-head-retrained", &state, as_it_is);
    let mut state = s0();
    state.set_head("10");
    unfit("other-number-of-classes", &state, |request| request.classes = Some(1000));
    state.set_head("none");
    unfit("no-such-head", &state, |request| request.heads = vec![HeadName::read("dist_head")]);
}

#[test]
fn other_models() {
    let casvit = State::load("casvit/rcvit_xs", "cas-vit-xs");
    unfit("other-variant", &casvit, named("cas-vit-m"));
    unfit("other-family", &casvit, named("efficientformerv2-s0"));
    unfit("other-resolution", &s0(), |request| request.resolution = Some([256, 256]));
    let mut state = s0();
    state.set_map([7, 9]);
    unfit("tables-not-square", &state, as_it_is);
    let fastervit = State::load("fastervit/faster_vit_0_224", "fastervit-0");
    unfit("windows-do-not-fit", &fastervit, |request| {
        request.name = Some("fastervit-0".into());
        request.resolution = Some([256, 256]);
    });
}

#[test]
fn parts_of_models() {
    let mut state = State::load("affnet/affnet_et", "affnet-et");
    state.entries.truncate(200);
    unfit("half-is-missing", &state, as_it_is);
    let mut state = State::load("fmvit/fmvit_t", "fmvit-t");
    state.entries.retain(|entry| !entry.key.starts_with("stages.1.0.patch_embed."));
    unfit("module-is-missing", &state, as_it_is);
    let mut state = State::load("dsm/dsm_t", "dsm-t");
    let unknown =
        |i| Entry { key: format!("gate.{i}.scale"), canonical: String::new(), shape: vec![5, 64], float: true };
    state.entries.extend([unknown(0), unknown(1)]);
    unfit("unknown-module", &state, as_it_is);
    let mut state = s0();
    state.named("head.weight")[0].float = false;
    unfit("integer-weights", &state, as_it_is);
    let mut state = s0();
    state.named("head.weight")[0].key = "head.parametrizations.weight.original".into();
    unfit("spectral-norm", &state, as_it_is);
}

#[test]
fn what_training_leaves() {
    let moments: Vec<(String, Item)> = (0..4)
        .map(|i| {
            (
                i.to_string(),
                Item::dict([("exp_avg", Item::f32(&[2], [0.0, 1.0])), ("exp_avg_sq", Item::f32(&[2], [0.0, 1.0]))]),
            )
        })
        .collect();
    let optimizer = Item::dict([("state", Item::Dict(moments)), ("param_groups", Item::dict([("lr", Item::Int(0))]))]);
    refused("optimizer-only", "optimizer.pth", &archive(&optimizer), as_it_is);
    let mut state = s0();
    let query = "stages.2.blocks.5.token_mixer.q.conv";
    state.named(&format!("{query}.weight"))[0].key = format!("{query}.base_layer.weight");
    for (part, shape) in [("A", vec![4, 96, 1, 1]), ("B", vec![256, 4, 1, 1])] {
        let key = format!("{query}.lora_{part}.default.weight");
        state.entries.push(Entry { canonical: key.clone(), key, shape, float: true });
    }
    unfit("lora-beside-its-base", &state, as_it_is);
    state.entries.retain(|entry| entry.key.contains("lora_"));
    unfit("lora-alone", &state, as_it_is);
    let state = s0();
    let Item::Dict(mut tensors) = item(&state, "") else { panic!("a dict") };
    tensors.retain(|(key, _)| key != "head.weight");
    tensors.push(("head._packed_params".into(), Item::Call("_rebuild_qtensor")));
    refused("quantized", "model.pth", &archive(&Item::Dict(tensors)), as_it_is);
    let both = Item::dict([
        ("student", item(&state, "")),
        ("teacher", item(&State::load("casvit/rcvit_xs", "cas-vit-xs"), "")),
    ]);
    let both = archive(&both);
    refused("student-and-teacher", "distilled.pth", &both, as_it_is);
    refused("no-such-prefix", "distilled.pth", &both, |request| request.select.strip_prefix = Some("model.".into()));
    let one = archive(&Item::dict([("model", item(&state, ""))]));
    refused("no-ema-copy", "model.pth", &one, |request| request.select.ema = Some(true));
    refused("colliding-renames", "model.pth", &one, |request| {
        request.select.rename = vec![("head_dist".into(), "head".into())];
    });
}
