//! Checkpoints as PyTorch writes them (`golden/checkpoints`, made by `make.py` there): every container, type and form reads to the same model.

mod torch_file;

use std::path::{Path, PathBuf};
use torch_file::{Item, archive, legacy, prefixes, safetensors};
use vitc::checkpoint::{self, Checkpoint, CheckpointError, NameTable, SelectOptions, Selected};
use vitc::checkpoint::{BoundPart, BoundWeights, ModelHints, Said, Shapes, StrictError};
use vitc::cli::{explained, words};
use vitc_ir::{Graph, Net, Stage, Stored, StoredType, Weights};

/// The model of `make.py`: key, shape, and which of its floating-point tensors it is.
const NET: [(&str, &[usize]); 8] = [
    ("patch_embed.0.weight", &[4, 3, 3, 3]),
    ("patch_embed.0.bias", &[4]),
    ("patch_embed.1.weight", &[4]),
    ("patch_embed.1.bias", &[4]),
    ("patch_embed.1.running_mean", &[4]),
    ("patch_embed.1.running_var", &[4]),
    ("head.weight", &[5, 4]),
    ("head.bias", &[5]),
];
const MODEL: ModelHints<'_> = ModelHints { name: "net", nearest: false };

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/checkpoints").join(name)
}

fn recognised(shapes: &Shapes) -> Vec<String> {
    prefixes(|s| s.contains_key("patch_embed.0.weight") && s.contains_key("patch_embed.1.running_mean"))(shapes)
}

/// Binds the tensors as the only part of a model.
fn bind<'r>(
    selected: &Selected,
    table: &NameTable,
    required: impl IntoIterator<Item = (&'r str, Vec<usize>)>,
) -> Result<BoundWeights, Box<StrictError>> {
    checkpoint::bind(&[BoundPart { selected, table, scope: "" }], required, &MODEL)
}

fn select(name: &str, options: &SelectOptions) -> Result<Selected, CheckpointError> {
    Checkpoint::open(&golden(name))?.select(&recognised, options)
}

fn required() -> impl Iterator<Item = (&'static str, Vec<usize>)> {
    NET.iter().map(|(key, shape)| (*key, shape.to_vec()))
}

fn widened(stored: &Stored<'_>) -> Vec<f64> {
    stored
        .bytes
        .chunks_exact(stored.dtype.bytes())
        .map(|b| match stored.dtype {
            StoredType::F16 => half::f16::from_le_bytes([b[0], b[1]]).to_f64(),
            StoredType::BF16 => half::bf16::from_le_bytes([b[0], b[1]]).to_f64(),
            StoredType::F32 => f64::from(f32::from_le_bytes(b.try_into().unwrap())),
            StoredType::F64 => f64::from_le_bytes(b.try_into().unwrap()),
            StoredType::I8 => f64::from(b[0] as i8),
            StoredType::U8 => f64::from(b[0]),
        })
        .collect()
}

/// Binds strictly and compares every element with the rule of `make.py`, plus `offset`.
fn assert_is_net(selected: &Selected, offset: f64) {
    let weights = bind(selected, &NameTable::IDENTITY, required()).unwrap_or_else(|e| panic!("{e}"));
    for (i, (key, shape)) in NET.iter().enumerate() {
        let n: usize = shape.iter().product();
        let expected: Vec<f64> = (0..n).map(|j| (j % 17 + i + 1) as f64 + offset).collect();
        assert_eq!(widened(&weights.weight(key, n).unwrap()), expected, "{key}");
    }
}

#[test]
fn every_container_and_type_reads_to_the_same_model() {
    for name in [
        "plain.pth",
        "wrapped.pth.tar",
        "legacy.pth",
        "protocol5.pth",
        "bfloat16.pth",
        "float64.pth",
        "parameters.pth",
        "strided.pth",
        "strided_legacy.pth",
    ] {
        assert_is_net(&select(name, &SelectOptions::default()).unwrap_or_else(|e| panic!("{name}: {e}")), 0.0);
    }
}

/// The tensors of `make.py`, each key behind `prefix`, each element plus `offset`.
fn net(prefix: &str, offset: f32) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let tensor = |(i, (key, shape)): (usize, &(&str, &[usize]))| {
        let n: usize = shape.iter().product();
        let values = (0..n).map(|j| (j % 17 + i + 1) as f32 + offset);
        (format!("{prefix}{key}"), shape.to_vec(), values.collect())
    };
    NET.iter().enumerate().map(tensor).collect()
}

fn item(prefix: &str, offset: f32) -> Item {
    Item::dict(net(prefix, offset).into_iter().map(|(key, shape, values)| (key, Item::f32(&shape, values))))
}

fn open(name: &str, bytes: &[u8]) -> Checkpoint {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    // The map outlives the name.
    Checkpoint::open(&path).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn every_wrapper_and_prefix_is_stripped_in_every_container() {
    let wrappers: [&[&str]; 6] = [&[], &["model"], &["state_dict"], &["model_state_dict"], &["a", "b", "c"], &["ema"]];
    let prefixes = ["", "module.", "_orig_mod.", "model.module.", "backbone.encoder.", "net._orig_mod.module."];
    for wrapper in wrappers {
        for prefix in prefixes {
            let inner = |keys: &[&str]| {
                let beside = [
                    ("epoch".to_string(), Item::Int(7)),
                    ("args".into(), Item::Namespace(vec![("lr".into(), Item::Text("1"))])),
                ];
                keys.iter().rev().fold(item(prefix, 0.0), |item, key| {
                    Item::dict(beside.iter().cloned().chain([(key.to_string(), item)]))
                })
            };
            let dotted = wrapper.iter().map(|w| format!("{w}.")).collect::<String>() + prefix;
            for bytes in [archive(&inner(wrapper)), legacy(&inner(wrapper)), safetensors(&net(&dotted, 0.0))] {
                let selected = open("w.pth", &bytes).select(&recognised, &SelectOptions::default()).unwrap();
                assert_eq!(selected.prefix, dotted.replace("_orig_mod.", "").trim_end_matches('.'));
                assert_is_net(&selected, 0.0);
                let silent = wrapper != ["ema"] && !dotted.contains("_orig_mod");
                assert_eq!(selected.notices.is_empty(), silent, "{:?}", selected.notices);
            }
        }
    }
}

#[test]
fn raw_weights_are_taken_unless_the_ema_copy_is_asked_for() {
    let ema = |ema| SelectOptions { ema, ..SelectOptions::default() };
    let raw = select("wrapped.pth.tar", &ema(None)).unwrap();
    assert_is_net(&raw, 0.0);
    assert!(words(&raw.notices[0]).contains("EMA copy under model_ema.module"), "{:?}", raw.notices);
    assert_is_net(&select("wrapped.pth.tar", &ema(Some(false))).unwrap(), 0.0);
    let copy = select("wrapped.pth.tar", &ema(Some(true))).unwrap();
    assert!(copy.ema);
    // make.py adds 1 to every element of the copy.
    assert_is_net(&copy, 1.0);
    let error = explained(&select("plain.pth", &ema(Some(true))).unwrap_err());
    assert!(error.contains("no EMA copy") && error.contains("leave --ema out"), "{error}");
}

/// mmengine swaps averaged and raw weights when it saves, Lightning keeps the raw ones aside: both load the averaged ones under the usual name.
#[test]
fn averages_that_a_tool_swapped_are_known_as_such() {
    let mut raw = net("module.", 3.0);
    raw.push(("steps".into(), vec![], vec![7.0]));
    let raw = Item::dict(raw.into_iter().map(|(key, shape, values)| (key, Item::f32(&shape, values))));
    let mmengine = [("state_dict", item("", 0.0)), ("ema_state_dict", raw)];
    let lightning = [("state_dict", item("model.", 0.0)), ("current_model_state", item("model.", 3.0))];
    for file in [mmengine, lightning] {
        let checkpoint = open("w.ckpt", &archive(&Item::dict(file)));
        for (ema, offset) in [(None, 0.0), (Some(true), 0.0), (Some(false), 3.0)] {
            let selected = checkpoint.select(&recognised, &SelectOptions { ema, ..SelectOptions::default() }).unwrap();
            assert_is_net(&selected, offset);
            assert_eq!(
                (selected.ema, selected.notices.is_empty()),
                (offset == 0.0, ema.is_some()),
                "{:?}",
                selected.notices
            );
        }
    }
}

#[test]
fn what_peft_trained_whole_takes_the_place_of_what_was() {
    let mut tensors = net("base_model.model.", 0.0);
    for (key, ..) in &mut tensors {
        *key = key.replace(".head.", ".head.modules_to_save.default.");
    }
    let old = net("base_model.model.", 9.0).into_iter().filter(|(key, ..)| key.contains(".head."));
    tensors.extend(old.map(|(key, shape, values)| (key.replace(".head.", ".head.original_module."), shape, values)));
    let selected =
        open("w.safetensors", &safetensors(&tensors)).select(&recognised, &SelectOptions::default()).unwrap();
    assert_is_net(&selected, 0.0);
    assert!(words(&selected.notices[0]).contains("before PEFT trained them"), "{:?}", selected.notices);
}

#[test]
fn of_two_models_the_user_chooses() {
    let both = Item::dict([("student", item("backbone.", 0.0)), ("teacher", item("backbone.", 5.0))]);
    let checkpoint = open("dino.pth", &archive(&both));
    let error = explained(&checkpoint.select(&recognised, &SelectOptions::default()).unwrap_err());
    assert!(error.contains("--strip-prefix student.backbone or --strip-prefix teacher.backbone"), "{error}");
    let options = SelectOptions { strip_prefix: Some("teacher.backbone.".into()), ..SelectOptions::default() };
    assert_is_net(&checkpoint.select(&recognised, &options).unwrap(), 5.0);
}

#[test]
fn renamed_and_ignored_tensors_fit() {
    let mut tensors = net("m.", 0.0);
    for (key, ..) in &mut tensors {
        *key = key.replace("head.", "classifier.1.");
    }
    tensors.push(("m.extra.scale".into(), vec![1], vec![1.0]));
    let checkpoint = open("fine-tuned.safetensors", &safetensors(&tensors));
    let options = SelectOptions {
        rename: vec![("classifier.1".into(), "head".into())],
        ignore: vec!["extra".into()],
        ..SelectOptions::default()
    };
    assert_is_net(&checkpoint.select(&recognised, &options).unwrap(), 0.0);
}

#[test]
fn tables_spell_and_unit_axes_do_not_matter() {
    let table = NameTable {
        code_base: "other",
        rules: &[("^stem.conv", "patch_embed.0"), ("^stem.bn", "patch_embed.1"), ("fc", "head")],
    };
    let mut tensors = net("", 0.0);
    for (key, shape, _) in &mut tensors {
        *key = key.replace("patch_embed.0", "stem.conv").replace("patch_embed.1", "stem.bn").replace("head", "fc");
        if shape.len() == 1 {
            shape.extend([1, 1]);
        }
    }
    let selected = open("other.safetensors", &safetensors(&tensors));
    let selected =
        selected.select(&prefixes(|s| s.contains_key("stem.conv.weight")), &SelectOptions::default()).unwrap();
    assert_eq!(selected.canonical_shapes(&table)["head.bias"], [5, 1, 1]);
    let bound = bind(&selected, &table, required()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(bound.tensors().len(), NET.len());
}

#[test]
fn rules_replace_runs_of_segments() {
    let table = |rules| NameTable { code_base: "t", rules };
    type Rules = &'static [(&'static str, &'static str)];
    let cases: [(Rules, &str, &str); 6] = [
        (&[("conv", "0")], "q.conv.weight", "q.0.weight"),
        (&[("conv", "0")], "q.conv1.conv.conv", "q.conv1.0.0"),
        (&[("^a.b", "c")], "a.b.a.b", "c.a.b"),
        (&[("stages.*.blocks.*", "network.*.x.*")], "stages.2.blocks.5.w", "network.2.x.5.w"),
        (&[("_orig_mod", "")], "a._orig_mod.w", "a.w"),
        (&[("a", "b"), ("b", "c")], "a.w", "c.w"),
    ];
    for (rules, key, expected) in cases {
        assert_eq!(table(rules).canonical(key), expected);
    }
}

/// The graph that asks for the head's weight, with its factors multiplied out as the checkpoint stores them, and the product.
fn multiplied_out(name: &str) -> (Graph, Vec<f64>) {
    let mut graph = Graph::new("net", Stage::Paper);
    let weight = Net::new(&mut graph).at("head").weight("weight", &[5, 4]);
    graph.outputs.push(vitc_ir::Output { name: "w".into(), value: weight });
    let selected = select(name, &SelectOptions::default()).unwrap();
    assert_eq!(selected.shapes()["head.weight"], [5, 4]);
    let forms = selected.forms(&NameTable::IDENTITY);
    assert_eq!(forms.count(&graph), 1);
    let graph = forms.multiplied_out(&graph);
    let asked: Vec<(String, Vec<usize>)> =
        graph.weights().map(|(key, ty)| (key.to_string(), ty.shape.as_fixed().unwrap())).collect();
    let others = NET.iter().filter(|(key, _)| *key != "head.weight").map(|(key, shape)| (*key, shape.to_vec()));
    let all = others.chain(asked.iter().map(|(key, shape)| (key.as_str(), shape.clone())));
    let bound = bind(&selected, &NameTable::IDENTITY, all).unwrap_or_else(|e| panic!("{e}"));
    let product = vitc_ir::eval::constant(&graph, &bound, graph.outputs[0].value).unwrap();
    (graph, product.iter().copied().collect())
}

#[test]
fn factors_are_multiplied_out_in_the_graph() {
    // make.py keeps every second element of the head's weight.
    let stored = |i: usize| (i % 17 + 7) as f64;
    let (graph, product) = multiplied_out("pruned.pth");
    insta::assert_snapshot!(graph.to_string(), @r#"
    graph net  stage=paper
    outputs w=mul(weight"head.weight_orig":f32[5,4], weight"head.weight_mask":f32[5,4])
    "#);
    assert!(product.iter().enumerate().all(|(i, w)| *w == if i % 2 == 1 { stored(i) } else { 0.0 }), "{product:?}");
    let (graph, product) = multiplied_out("weight_norm.pth");
    insta::assert_snapshot!(graph.to_string(), @r#"
    graph net  stage=paper
    outputs w=mul(weight"head.weight_v":f32[5,4], div(weight"head.weight_g":f32[5,1], sqrt(reduce_sum(mul(weight"head.weight_v":f32[5,4], weight"head.weight_v":f32[5,4])){axes=[1], keep})))
    "#);
    // A weight that is normalised as it is keeps its value, but for the rounding of the norms.
    assert!(product.iter().enumerate().all(|(i, w)| (w - stored(i)).abs() < 1e-5), "{product:?}");
    let (parametrized, same) = multiplied_out("weight_norm_parametrized.pth");
    assert_eq!((parametrized.to_string(), same), (graph.to_string(), product));
}

#[test]
fn the_training_scripts_arguments_are_read_as_data() {
    for name in ["wrapped.pth.tar", "protocol5.pth"] {
        let checkpoint = Checkpoint::open(&golden(name)).unwrap();
        let config = checkpoint.config().unwrap();
        assert_eq!(value(&config.architecture), Some("efficientformerv2_s0".into()));
        assert_eq!((value(&config.num_classes), value(&config.input_size)), (Some(5), Some([224, 224])));
    }
    assert_eq!(Checkpoint::open(&golden("plain.pth")).unwrap().config(), None);
}

fn value<T: Clone>(said: &Option<Said<T>>) -> Option<T> {
    said.as_ref().map(|s| s.value.clone())
}

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

const TIMM_CONFIG: &str = r#"{"architecture": "efficientformerv2_s0", "num_classes": 5, "label_names": ["a","b","c","d","e"],
    "pretrained_cfg": {"tag": "snap_dist_in1k", "input_size": [3, 224, 256], "interpolation": "bicubic", "crop_pct": 0.95,
    "crop_mode": "center", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "num_classes": 1000}}"#;

#[test]
fn folders_are_read_with_their_configuration() {
    let file = safetensors(&net("", 0.0));
    let here =
        folder(&[("model.safetensors", &file), ("config.json", TIMM_CONFIG.as_bytes()), ("pytorch_model.bin", b"")]);
    let checkpoint = Checkpoint::open(here.path()).unwrap();
    assert_is_net(&checkpoint.select(&recognised, &SelectOptions::default()).unwrap(), 0.0);
    let config = checkpoint.config().unwrap();
    assert_eq!(value(&config.architecture), Some("efficientformerv2_s0".into()));
    assert_eq!((value(&config.num_classes), value(&config.input_size)), (Some(5), Some([224, 256])));
    assert_eq!(value(&config.crop_pct), Some(0.95));
    let triples = [&config.mean, &config.std].map(|v| value(v).unwrap());
    assert_eq!(triples, [vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]]);
    assert_eq!(value(&config.labels).map(|l| l.len()), Some(5));
    assert_eq!(config.mean.as_ref().unwrap().from, "config.json: pretrained_cfg.mean");
    // The same settings hold for the file itself.
    let alone = Checkpoint::open(&here.path().join("model.safetensors")).unwrap();
    assert_eq!(alone.config().unwrap().mean.as_ref().unwrap().from, "config.json beside the file: pretrained_cfg.mean");
    assert_eq!(checkpoint.blake3(), blake3::hash(&file).to_hex().to_string());
    let transformers = r#"{"architectures": ["X"], "id2label": {"1": "dog", "0": "cat"}, "image_size": 192}"#;
    let preprocessor = r#"{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 3}"#;
    let json = [("config.json", transformers.as_bytes()), ("preprocessor_config.json", preprocessor.as_bytes())];
    let here = folder(&[("pytorch_model.bin", archive(&item("", 0.0)).as_slice()), json[0], json[1]]);
    let checkpoint = Checkpoint::open(here.path()).unwrap();
    let config = checkpoint.config().unwrap();
    assert_eq!(value(&config.labels), Some(vec!["cat".into(), "dog".into()]));
    assert_eq!((value(&config.input_size), value(&config.mean)), (Some([192, 192]), Some(vec![0.5; 3])));
    assert_eq!(value(&config.interpolation), Some("bicubic".into()));
}

#[test]
fn shards_are_read_as_one() {
    let tensors = net("model.", 0.0);
    let (a, b) = tensors.split_at(3);
    let map: Vec<String> = [(a, "model-00001-of-00002.safetensors"), (b, "model-00002-of-00002.safetensors")]
        .iter()
        .flat_map(|(part, file)| part.iter().map(move |(key, ..)| format!("\"{key}\": \"{file}\"")))
        .collect();
    let index = format!("{{\"metadata\": {{}}, \"weight_map\": {{{}}}}}", map.join(", "));
    let here = folder(&[
        ("model.safetensors.index.json", index.as_bytes()),
        ("model-00001-of-00002.safetensors", &safetensors(a)),
        ("model-00002-of-00002.safetensors", &safetensors(b)),
    ]);
    for path in [here.path().to_path_buf(), here.path().join("model.safetensors.index.json")] {
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert_is_net(&checkpoint.select(&recognised, &SelectOptions::default()).unwrap(), 0.0);
        assert_eq!(checkpoint.blake3().len(), 64);
    }
}
