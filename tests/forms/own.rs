//! Heads that people wrote, and what else lies beside a trunk: what becomes of every tensor.

use super::state::{Entry, State};
use super::torch_file::{Item, archive, safetensors_file};
use vitc::arch::Results;
use vitc::arch::heads::HeadName;
use vitc::model::{Model, ModelRequest};

const S0: &str = "efficientformerv2/efficientformerv2_s0_timm";

/// The trunk under a prefix, with the classifiers that `head` says, and these tensors (`NAME [SHAPE]`) beside it.
fn state(prefix: &str, head: &str, beside: &str) -> State {
    let mut state = State::load(S0, "efficientformerv2-s0");
    state.set_head(head);
    state.entries.iter_mut().for_each(|entry| entry.key.insert_str(0, prefix));
    for tensor in beside.split(", ").filter(|t| !t.is_empty()) {
        let (key, shape) = tensor.split_once(' ').unwrap();
        let shape = shape.split('x').filter_map(|d| d.parse().ok()).collect();
        state.entries.push(Entry { key: key.into(), canonical: String::new(), shape, float: true });
    }
    state
}

/// The model of such a file.
fn load(state: &State, change: impl Fn(&mut ModelRequest)) -> Result<Model, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, safetensors_file(&state.tensors("", "f16", 0))).unwrap();
    let mut request = ModelRequest::checkpoint(&path);
    change(&mut request);
    Model::load(&request).map_err(|e| vitc::cli::explained(&e))
}

/// Names and widths of its outputs.
fn outputs(model: &Model) -> String {
    let one =
        |o: &vitc_ir::Output| format!("{} {}", o.name, model.graph.shape(o.value).at(1)[1..].iter().product::<usize>());
    model.graph.outputs.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn named(heads: &'static [&'static str]) -> impl Fn(&mut ModelRequest) {
    move |request| request.heads = heads.iter().map(|name| HeadName::read(name)).collect()
}

#[test]
fn heads_beside_a_trunk_are_its_outputs() {
    let linear =
        |name: &str, rows: usize, columns: usize| format!("{name}.weight {rows}x{columns}, {name}.bias {rows}");
    let fastai = |width: usize| {
        let norm = |name: &str, width: usize| {
            ["weight", "bias", "running_mean", "running_var"].map(|leaf| format!("{name}.{leaf} {width}")).join(", ")
        };
        let (first, second) = (norm("1.2", width), norm("1.6", 64));
        format!("{first}, 1.4.weight 64x{width}, {second}, 1.8.weight 5x64")
    };
    for (prefix, head, beside, wanted) in [
        ("", "none", linear("head.1", 7, 176), "logits 7"),
        ("", "none", linear("head.0", 256, 176) + ", " + &linear("head.3", 7, 256), "logits 7"),
        ("backbone.", "none", linear("classifier.1", 256, 176) + ", " + &linear("classifier.4", 7, 256), "logits 7"),
        (
            "backbone.",
            "none",
            linear("age_head", 1, 176) + ", " + &linear("gender.head", 2, 176),
            "age_head 1, gender_head 2",
        ),
        ("model.", "1000", linear("fc", 7, 1000), "logits 7"),
        // The graph keeps two heads of one name apart.
        ("model.", "1000", linear("head", 7, 1000), "logits 7"),
        ("net.", "none", linear("fc", 7, 176 * 49), "logits 7"),
        ("net.", "none", "fc.weight 7x176".into(), "logits 7"),
        // fastai's: one sequence of trunk and head, both kinds of pooling or one.
        ("0.model.", "none", fastai(352), "logits 5"),
        ("0.", "none", fastai(176), "logits 5"),
        // Convolutions without anything between them commute with the pooling.
        ("cnn.", "none", "head.0.weight 8x176x1x1, head.1.weight 5x8x1x1".into(), "logits 5"),
        // A weight norm under both of its spellings, a PReLU between.
        (
            "net.",
            "none",
            "head.0.weight_g 32x1, head.0.weight_v 32x176, head.0.bias 32, head.1.weight 1, head.3.parametrizations.weight.original0 7x1, \
             head.3.parametrizations.weight.original1 7x32, head.3.bias 7"
                .into(),
            "logits 7",
        ),
        // One of the authors' two classifiers is a sequence now: its mean with the other is still the result.
        ("", "10/first", linear("head_dist.1", 10, 176), "logits 10"),
    ] {
        let model = load(&state(prefix, head, &beside), |_| ()).unwrap_or_else(|e| panic!("{beside}: {e}"));
        assert_eq!(outputs(&model), wanted, "{beside}");
    }
}

/// Weight norm, in any module and under either of PyTorch's spellings, and pruning masks.
#[test]
fn factors_of_any_layer_are_multiplied_out() {
    let mut state = state("model.", "10", "");
    for (layer, from, to) in [
        ("stem.conv1.conv", "weight_v", "weight_g"),
        ("stages.2.blocks.0.mlp.fc1.conv", "parametrizations.weight.original1", "parametrizations.weight.original0"),
        ("head", "parametrizations.weight.original1", "parametrizations.weight.original0"),
        ("head_dist", "weight_orig", "weight_mask"),
    ] {
        let place = format!("model.{layer}");
        let entry = state.entries.iter_mut().find(|entry| entry.key == format!("{place}.weight")).unwrap();
        entry.key = format!("{place}.{from}");
        let mut shape = entry.shape.clone();
        if to != "weight_mask" {
            shape[1..].fill(1);
        }
        state.entries.push(Entry { key: format!("{place}.{to}"), canonical: String::new(), shape, float: true });
    }
    let model = load(&state, |_| ()).unwrap_or_else(|e| panic!("{e}"));
    let said: Vec<String> = model.notices.iter().map(vitc::cli::words).collect();
    assert!(said.iter().any(|n| n == "4 weights were stored as factors and multiplied out"), "{said:?}");
    let lines = model.weights.found().join("\n");
    assert!(!lines.contains("not asked for") && outputs(&model) == "logits 10", "{lines}");
}

#[test]
fn heads_can_be_named() {
    let state = state("model.", "1000", "fc.weight 7x176, fc.bias 7, old.weight 3x176, old.bias 3");
    let error = load(&state, |_| ()).err().unwrap();
    assert!(error.contains("the trunk keeps its own classifier") && error.contains("--head fc"), "{error}");
    for (heads, wanted) in [
        (&["fc"] as &[_], Ok("logits 7")),
        (&["head", "fc", "old"], Ok("logits 1000, fc 7, old 3")),
        (&["average"], Ok("logits 1000")),
        (&["fc=scores"], Err("1000 scores")),
        (&["no"], Err("no layers of this name")),
    ] {
        let found = load(&state, named(heads)).map(|model| outputs(&model));
        match wanted {
            Ok(wanted) => assert_eq!(found.as_deref(), Ok(wanted), "{heads:?}"),
            Err(part) => assert!(found.as_ref().is_err_and(|e| e.contains(part)), "{heads:?}: {found:?}"),
        }
    }
    let model = load(&state, named(&["fc"])).unwrap();
    let lines = model.weights.found().join("\n");
    assert!(
        lines.contains("old (2 tensors)") && lines.contains("not asked for: dist_head (2 tensors), head (2 tensors)"),
        "{lines}"
    );
}

/// A head whose reading keys and widths do not tell is no output until it is said what it reads.
#[test]
fn what_a_head_reads_is_never_guessed() {
    let conv = "head.0.weight 8x176x1x1, head.0.bias 8, head.2.weight 5x8x1x1, head.2.bias 5";
    let norm = "head.0.weight 8x176x1x1, head.1.weight 8, head.1.bias 8, head.2.weight 5x8";
    let double = "fc.weight 5x352, fc.bias 5";
    for (beside, heads, wanted) in [
        (conv, &[] as &[_], Err("does not commute with a mean")),
        (conv, &["head"], Err("does not commute with a mean")),
        (norm, &[], Err("does not commute with a mean")),
        (conv, &["head=features"], Ok("logits 5")),
        // Twice the width is two images, or two poolings in an order that is in no file.
        (double, &[], Err("a head")),
        (double, &["fc"], Err("do not fit")),
        (double, &["fc=max-mean"], Ok("logits 5")),
        (double, &["fc=mean-max"], Ok("logits 5")),
        // Parts of a distributed checkpoint keep empty tensors.
        ("cnn.head.weight 0x176, cnn.head.bias 0", &[], Err("cnn.head.bias is f16[0]: no weight is without elements")),
        ("head.weight 0x176, head.bias 0", &[], Err("a head")),
        ("head.weight 0x176, head.bias 0", &["head"], Err("head is empty")),
    ] {
        let found = load(&state("cnn.", "none", beside), named(heads)).map(|model| outputs(&model));
        match wanted {
            Ok(wanted) => assert_eq!(found.as_deref(), Ok(wanted), "{heads:?}"),
            Err(part) => assert!(found.as_ref().is_err_and(|e| e.contains(part)), "{beside}, {heads:?}: {found:?}"),
        }
    }
}

/// What stands behind the output is named, what computes in front of it stops the export, whatever its shape.
#[test]
fn nothing_is_left_out_in_silence() {
    let behind = "neck.conv.weight 8x176x1x1, decode_head.conv_seg.weight 5x8x1x1, bottleneck.weight 176, bottleneck.bias 176, \
                  bottleneck.running_mean 176, bottleneck.running_var 176";
    let features = |request: &mut ModelRequest| request.results = Results::Features;
    let model = load(&state("backbone.", "1000", behind), features).unwrap();
    let lines = model.weights.found().join("\n");
    for part in ["bottleneck (4 tensors)", "neck (1 tensor)", "decode_head (1 tensor)", "head (2 tensors)"] {
        assert!(lines.contains(part), "{lines}");
    }
    for (beside, wanted) in [
        ("backbone.norm3.weight 176, backbone.norm3.bias 176", "a norm on a stage's output"),
        (
            "backbone.stages.3.blocks.0.adapter.down.weight 16x176, backbone.stages.3.blocks.0.adapter.up.weight 176x16",
            "an adapter",
        ),
        ("backbone.stages.3.gate.weight 7x176, backbone.stages.3.gate.bias 7", "does not know"),
        ("backbone.stages.0.blocks.0.mlp.fc1.conv.weight_quantizer._amax 1", "'*._amax'"),
        ("input_stem.weight 3x3x1x1", "does not know"),
    ] {
        for results in [Results::Logits, Results::Features] {
            let error = match load(&state("backbone.", "none", beside), |r| r.results = results) {
                Ok(model) => panic!("{beside} was accepted: {}", outputs(&model)),
                Err(error) => error,
            };
            assert!(error.contains(wanted), "{beside}: {error}");
            assert!(
                !error.contains("--rename") && (!error.contains("--ignore ") || wanted.contains("_amax")),
                "{error}"
            );
        }
    }
    let known = "n_averaged 1, criterion.pos_weight 7, aux_head.0.weight 5x64, train_acc.total 1, log_vars 2, step 1";
    let lines = load(&state("backbone.", "10", known), |_| ()).unwrap().weights.found().join("\n");
    for part in [
        "n_averaged (1 tensor), a counter",
        "criterion (1 tensor), log_vars (1 tensor), part of a loss",
        "auxiliary head",
        "a metric's state",
        "the training script's state",
    ] {
        assert!(lines.contains(part), "{lines}");
    }
}

#[test]
fn what_is_ignored_is_said() {
    let state = state("backbone.", "10", "a.lens.weight 3, b.lens.weight 3, c.weight 4");
    let ignore = |names: &'static [&'static str]| {
        move |r: &mut ModelRequest| r.select.ignore = names.iter().map(|n| n.to_string()).collect()
    };
    let model = load(&state, ignore(&["*.lens", "c", "nothing"])).unwrap();
    let said = model.notices.iter().map(vitc::cli::words).chain(model.weights.found().iter().cloned());
    let said = said.collect::<Vec<_>>().join("\n");
    for part in [
        "--ignore *.lens leaves out 2 tensors",
        "--ignore nothing: no tensor has this name",
        "left out on request: *.lens (2 tensors)",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(load(&state, ignore(&["*.lens"])).is_err());
}

/// Other dicts of the file: another copy, an optimizer, and a head that was saved on its own.
#[test]
fn dicts_beside_the_models_are_told_apart() {
    let item = |state: &State, copy| {
        Item::dict(state.tensors("", "f16", copy).into_iter().map(|(key, tensor)| (key, Item::Tensor(tensor))))
    };
    let trunk = state("", "none", "");
    let moments = Item::dict([("exp_avg", Item::f32(&[2], [0.0, 1.0]))]);
    let head = Item::dict([("weight", Item::f32(&[7, 176], vec![0.5; 1232])), ("bias", Item::f32(&[7], [0.0; 7]))]);
    let file = Item::dict([
        ("encoder", item(&trunk, 0)),
        ("classifier", head),
        ("optimizer", Item::dict([("state", Item::dict([("0", moments)]))])),
        ("ema", item(&trunk, 1)),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.pth");
    std::fs::write(&path, archive(&file)).unwrap();
    let model =
        Model::load(&ModelRequest::checkpoint(&path)).unwrap_or_else(|e| panic!("{}", vitc::cli::explained(&e)));
    assert_eq!(outputs(&model), "logits 7");
    let lines = model.weights.found().join("\n");
    assert!(lines.contains("the optimizer's state") && lines.contains("a copy of this one"), "{lines}");
}
