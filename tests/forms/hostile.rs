//! Checkpoints of real models in which a shape or a name is not what it should be: whatever it says, the answer is a model or an error, never a panic.

use super::common;
use super::torch_file::dense::sizes;
use serde_json::Value as Json;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use vitc::arch::heads::HeadName;
use vitc::arch::{Results, Shapes};
use vitc::checkpoint::{Checkpoint, ElementType, HeldTensor};
use vitc::model::{Model, ModelRequest, TrainedWeights};
use vitc_ir::testing::Rng;

/// State dicts: published names of architectures, or cases of `golden/dense`.
const MODELS: &[&str] = &[
    "efficientformerv2-s0",
    "cas-vit-xs",
    "fastervit-0",
    "affnet-et",
    "fmvit-t",
    "ffnet-2",
    "dsm-t",
    "dense/affnet_et_deeplabv3_os16_128x160",
    "dense/affnet_et_pspnet_os16_160x128",
    "dense/casvit_xs_maskrcnn_128x160",
    "dense/casvit_xs_retinanet_128x160",
    "dense/casvit_xs_semfpn_128x160",
    "dense/ffnet_2_upernet_128x160",
    "dense/ffnet_seg_ade20k_128x160",
    "dense/ffnet_sr_light_x2_24x40",
    "dense/fastervit_0_dino_256x320",
];

/// Names and shapes of a state dict.
fn state(name: &str) -> Shapes {
    if !name.contains('/') {
        return common::shapes(&common::paper(name, None));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{name}.json"));
    let json: Json = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let shape = |entry: &Json| sizes(if entry[0].is_array() { &entry[0] } else { entry });
    json["tensors"].as_object().unwrap().iter().map(|(key, entry)| (key.clone(), shape(entry))).collect()
}

/// What is asked of zeros in these shapes; the message of a panic.
fn panicked(shapes: &Shapes, zeros: &Arc<Vec<u8>>, change: &dyn Fn(&mut ModelRequest)) -> Option<String> {
    let room = zeros.len() / 4;
    let tensors = shapes.iter().filter(|(_, shape)| shape.iter().product::<usize>() <= room);
    let tensor = |(name, shape): (&String, &Vec<usize>)| HeldTensor {
        dict: String::new(),
        name: name.clone(),
        dtype: ElementType::F32,
        shape: shape.clone(),
        strides: None,
        bytes: zeros.clone(),
    };
    let checkpoint = Checkpoint::of_tensors("state_dict", tensors.map(tensor).collect(), None).ok()?;
    let mut request =
        ModelRequest { weights: Some(TrainedWeights::Held(Box::new(checkpoint))), ..ModelRequest::named("") };
    request.name = None;
    change(&mut request);
    let loaded = catch_unwind(AssertUnwindSafe(|| drop(Model::load(&request))));
    loaded.err().map(|what| what.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".into()))
}

/// Change one tensor's shape or name; what was done.
fn spoil(shapes: &mut Shapes, rng: &mut Rng) -> String {
    let keys: Vec<String> = shapes.keys().cloned().collect();
    // Heads and stems are rare among the names, and say most.
    let telling = |key: &&String| {
        ["head", "fc", "stem", "patch_embed", "classifier", "norm", "neck", "conv_seg"].iter().any(|w| key.contains(w))
    };
    let few: Vec<&String> = keys.iter().filter(telling).collect();
    let key = if rng.chance(50) && !few.is_empty() { few[rng.below(few.len())] } else { &keys[rng.below(keys.len())] }
        .clone();
    let mut shape = shapes[&key].clone();
    match rng.below(6) {
        0 if !shape.is_empty() => {
            let axis = rng.below(shape.len());
            shape[axis] = 0;
        }
        1 | 2 if !shape.is_empty() => {
            let axis = rng.below(shape.len());
            shape[axis] = [1, 2, 3, 7, 8, 64, 4097][rng.below(7)];
        }
        3 => drop(shape.pop()),
        4 => shape.push([0, 1, 3][rng.below(3)]),
        _ => {
            // Another number in the name, which counts blocks or says where a layer stands.
            let number = ["0", "1", "9", "63", "4294967296", "99999999999999999999"][rng.below(6)];
            let segments: Vec<&str> =
                key.split('.').map(|s| if s.bytes().all(|b| b.is_ascii_digit()) { number } else { s }).collect();
            let other = segments.join(".");
            let done = format!("{key} also as {other}");
            shapes.insert(other, shape);
            return done;
        }
    }
    let done = format!("{key} {shape:?}");
    shapes.insert(key, shape);
    done
}

/// What is asked of a model.
const ASKED: [Results; 7] = [
    Results::Logits,
    Results::Features,
    Results::Pyramid,
    Results::Neck,
    Results::ClassMap,
    Results::Enlarged,
    Results::Boxes,
];

/// Any few changes to the state dicts, and heads by any name.
#[test]
fn no_shape_and_no_name_is_a_panic() {
    let zeros = Arc::new(vec![0u8; 32 << 20]);
    let mut found = Vec::new();
    for (i, name) in MODELS.iter().enumerate() {
        let whole = state(name);
        let mut rng = Rng::new(i as u64);
        for _ in 0..CASES {
            let mut shapes = whole.clone();
            let done: Vec<String> = (0..1 + rng.below(3)).map(|_| spoil(&mut shapes, &mut rng)).collect();
            let asked = ASKED[rng.below(ASKED.len())];
            let any = shapes.keys().nth(rng.below(shapes.len())).and_then(|key| key.rsplit_once('.'));
            let head = any.map(|(layer, _)| layer.to_string()).filter(|_| rng.chance(20));
            let change = |request: &mut ModelRequest| {
                request.results = asked;
                request.heads = head.iter().map(|head| HeadName::read(head)).collect();
            };
            if let Some(what) = panicked(&shapes, &zeros, &change) {
                found.push(format!("{name}, {asked:?}, {head:?}: {}: {what}", done.join(", ")));
            }
        }
    }
    assert!(found.is_empty(), "{} panics:\n{}", found.len(), found.join("\n"));
}

/// A layer without rows, as parts of a distributed checkpoint have them: named, and nothing is built.
#[test]
fn a_layer_without_elements_is_named() {
    let zeros = Arc::new(vec![0u8; 32 << 20]);
    let mut layers = 0;
    for name in MODELS {
        let whole = state(name);
        for layer in [
            "head",
            "dist_head",
            "classifier.fc",
            "decode_head.conv_seg",
            "bbox_head.retina_cls",
            "seg_head.classifier.block.conv",
        ] {
            let mut shapes = whole.clone();
            let mut rows: Vec<&mut Vec<usize>> =
                shapes.iter_mut().filter(|(key, _)| key.starts_with(&format!("{layer}."))).map(|(_, s)| s).collect();
            rows.iter_mut().for_each(|shape| shape[0] = 0);
            if rows.is_empty() {
                continue;
            }
            layers += 1;
            for asked in ASKED {
                let change = |request: &mut ModelRequest| request.results = asked;
                assert_eq!(panicked(&shapes, &zeros, &change), None, "{name}, {asked:?}: {layer}");
            }
        }
    }
    assert!(layers >= 15, "{layers}");
}

/// Spoiled state dicts of each model.
const CASES: usize = 20;
