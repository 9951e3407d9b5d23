//! FasterViT: exact counts of all variants and their twins, and the options that a checkpoint does not decide.

mod common;

use common::command::{stderr, vitc};
use common::{paper, shapes};
use std::collections::BTreeMap;
use vitc::arch::{self, Backbone, BuildOptions};
use vitc::cli::explained;
use vitc::model::{Model, ModelRequest};
use vitc_ir::{Graph, Op, cost};

/// Trained parameters, multiply-accumulates and tensors at the native resolution. Parameters are those of the authors'
/// code; it has fewer than published for variant 4 (424.6M), and attention between all tokens of a large window makes
/// the 21k variants dearer than published.
#[rustfmt::skip]
const COUNTS: &[(&str, u64, u64, usize)] = &[
    ("fastervit-0", 31_404_840, 3_361_847_296, 393),
    ("fastervit-1", 53_366_696, 5_320_075_776, 453),
    ("fastervit-2", 75_923_816, 8_758_692_864, 477),
    ("fastervit-3", 159_547_944, 18_352_836_608, 679),
    ("fastervit-4", 365_555_712, 42_678_708_352, 679),
    ("fastervit-5", 957_520_552, 113_095_411_712, 679),
    ("fastervit-6", 1_360_328_872, 142_741_169_152, 899),
    ("fastervit-4-21k-224", 271_944_224, 40_351_592_512, 437),
    ("fastervit-4-21k-384", 271_944_224, 122_914_180_352, 437),
    ("fastervit-4-21k-512", 271_944_224, 227_594_333_440, 437),
    ("fastervit-4-21k-768", 271_944_224, 570_466_069_760, 437),
    // At 576x960 the grid of windows is rectangular and carriers have no position.
    ("fastervit-0-any-res", 30_609_192, 43_048_815_104, 375),
    ("fastervit-1-any-res", 52_043_688, 69_402_532_480, 429),
    ("fastervit-2-any-res", 74_338_664, 102_159_569_280, 453),
    ("fastervit-3-any-res", 156_383_784, 236_836_037_632, 643),
    ("fastervit-4-any-res", 360_720_384, 550_628_368_160, 643),
    ("fastervit-5-any-res", 949_637_800, 1_458_843_834_880, 643),
    ("fastervit-6-any-res", 1_349_818_536, 1_876_900_072_960, 851),
    ("fastervit-4-21k-224-any-res", 271_944_224, 545_505_782_720, 437),
    ("fastervit-4-21k-384-any-res", 271_944_224, 638_206_711_040, 437),
    ("fastervit-4-21k-512-any-res", 271_944_224, 762_079_614_208, 437),
    ("fastervit-4-21k-768-any-res", 271_944_224, 953_419_568_384, 437),
];

#[test]
fn counts_are_exact() {
    for &(name, parameters, macs, tensors) in COUNTS {
        let graph = paper(name, None);
        let counted = (cost::trained_parameters(&graph), cost::total_macs(&graph), graph.weights().count());
        assert_eq!(counted, (parameters, macs, tensors), "{name}");
    }
    let backbone = arch::find("fastervit-0").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(backbone.family.variants.len(), COUNTS.len());
}

fn build(name: &str, resolution: Option<[usize; 2]>, choices: &[(&str, &str)]) -> Result<Graph, String> {
    let backbone = arch::find(name).unwrap_or_else(|e| panic!("{e}"));
    let mut options = BuildOptions::new(backbone);
    options.resolution = resolution.unwrap_or(backbone.variant.resolution);
    options.choices = choices.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<BTreeMap<_, _>>();
    options.build().map(|built| built.graph).map_err(|e| explained(&e))
}

/// Sides of the windows that the levels cut, in order.
fn windows(graph: &Graph) -> Vec<[usize; 2]> {
    let cuts = graph.nodes().filter(|(_, n)| n.path.ends_with(".partition"));
    cuts.filter_map(|(_, n)| if let Op::WindowPartition { window } = n.op { Some(window) } else { None }).collect()
}

#[test]
fn upstream_spellings_name_the_same_variant() {
    for (upstream, name) in [
        ("faster_vit_0_224", "fastervit-0"),
        ("faster_vit_0_any_res", "fastervit-0-any-res"),
        ("faster_vit_4_21k_768", "fastervit-4-21k-768"),
        ("faster_vit_4_21k_224_any_res", "fastervit-4-21k-224-any-res"),
    ] {
        assert_eq!(arch::find(upstream).map(|b| b.variant.name), Ok(name));
    }
}

#[test]
fn windows_follow_the_option_then_the_checkpoint_then_the_variant() {
    let standard = build("fastervit-0", None, &[]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(windows(&standard), [[7, 7], [7, 7]]);
    let given = build("fastervit-0", Some([256, 256]), &[("windows", "7,7,8,4")]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(windows(&given), [[8, 8], [4, 4]]);
    let choices = BTreeMap::from([("windows".to_string(), "7,7,14,7".to_string())]);
    let asked = Model::load(&ModelRequest { choices, ..ModelRequest::named("fastervit-0") });
    assert_eq!(windows(&asked.unwrap_or_else(|e| panic!("{e}")).graph), [[14, 14], [7, 7]]);
    let choices = BTreeMap::from([("windows".to_string(), "7,7".to_string())]);
    let wrong = Model::load(&ModelRequest { choices, ..ModelRequest::named("fastervit-0") });
    assert!(wrong.is_err_and(|e| e.is_usage()));

    let backbone = arch::find("fastervit-0-any-res").unwrap_or_else(|e| panic!("{e}"));
    let mut tensors = shapes(&standard);
    tensors.insert("levels.2.blocks.0.attn.pos_emb_funct.relative_coords_table".into(), vec![1, 9, 9, 2]);
    let mut options = BuildOptions::new(backbone);
    (options.tensors, options.resolution) = (Some(&tensors), [160, 160]);
    let stored = options.build().unwrap_or_else(|e| panic!("{e}")).graph;
    assert_eq!(windows(&stored), [[5, 5], [7, 7]]);
}

/// Position tables come from small networks whose weights do not depend on the window, so a 224 checkpoint serves every
/// resolution.
#[test]
fn a_checkpoint_of_one_resolution_serves_another() {
    let stored = shapes(&paper("fastervit-0", None));
    for resolution in [[224, 224], [320, 320], [541, 960]] {
        let graph = build("fastervit-0-any-res", Some(resolution), &[]).unwrap_or_else(|e| panic!("{e}"));
        for (key, shape) in shapes(&graph) {
            assert_eq!(stored.get(&key), Some(&shape), "{key}");
        }
    }
}

/// A variant and its twin share checkpoints; a deeper one's is not a shallower one's, though it holds all of that one's tensors.
#[test]
fn twins_share_checkpoints() {
    let find = |name: &str| arch::find(name).unwrap_or_else(|e| panic!("{e}"));
    let serves = |held: &str, asked: &str| {
        let Backbone { family, variant } = find(held);
        family.serves(variant, find(asked).variant, &shapes(&paper(variant.name, None)))
    };
    assert!(
        serves("fastervit-0", "fastervit-0-any-res") && serves("fastervit-4-21k-224", "fastervit-4-21k-224-any-res")
    );
    assert!(serves("fastervit-6", "fastervit-6-any-res"));
    assert!(!serves("fastervit-6", "fastervit-5") && !serves("fastervit-5", "fastervit-6"));
    assert!(!serves("fastervit-1", "fastervit-0-any-res") && !serves("fastervit-4-21k-224", "fastervit-4"));
}

#[test]
fn carriers_per_window_follow_the_option() {
    for side in 1..=3 {
        let graph = build("fastervit-0", None, &[("ct-size", &side.to_string())]).unwrap_or_else(|e| panic!("{e}"));
        let joined = graph.find("levels.2.blocks.0.concat").expect("carriers join their window");
        assert_eq!(graph.shape(joined.into()).dim(1), side * side + 49);
    }
}

#[test]
fn wrong_options_say_what_would_do() {
    let said = |name: &str, resolution: Option<[usize; 2]>, choices: &[(&str, &str)]| {
        build(name, resolution, choices).expect_err("a wrong option")
    };
    for text in ["7,7,7", "7,7,7,7,7", "7,7,0,7", "a,b,c,d", "", "-1,7,7,7"] {
        let message = said("fastervit-0", None, &[("windows", text)]);
        assert_eq!(message, format!("fastervit-0: --choice windows= takes four sides like 7,7,7,7, found `{text}`"));
    }
    for text in ["0", "8", "two", ""] {
        let message = said("fastervit-0", None, &[("ct-size", text)]);
        assert_eq!(
            message,
            format!("fastervit-0: --choice ct-size= takes a number from 1 to the window's side, found `{text}`")
        );
    }
    assert_eq!(
        said("fastervit-0", Some([256, 224]), &[]),
        "fastervit-0 cannot take 256x224 images: level 2 cuts its 16x14 map into 7x7 windows; \
         use a multiple of 224, or `fastervit-0-any-res`, which pads"
    );
    assert_eq!(
        said("fastervit-0-any-res", Some([16, 320]), &[]),
        "fastervit-0-any-res cannot take 16x320 images: the last map would have less than one position; use 32x32 or more"
    );
    assert!(said("fastervit-0", None, &[("windows", "7,7,5,7")]).contains("5x5 windows"));
}

/// A check in pieces starts them from values of the reference: tokens whose axes and position sums the passes have moved.
#[test]
fn pieces_of_windows_and_carriers_are_checked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (target, file) in [("onnx", "a.onnx"), ("tensorrt-onnx", "b.onnx"), ("coreml", "c.mlpackage")] {
        let model = "fastervit-0-any-res --resolution 256x320";
        let done = vitc(folder.path(), &format!("export {model} --target {target} --check quick -o {file}"));
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "{target}: {}", stderr(&done));
        assert!(
            said.contains("pieces") && said.contains("levels.2.blocks.0") || target == "coreml",
            "{target}: {said}"
        );
    }
}
