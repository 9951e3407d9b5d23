//! Dense prediction against the authors' code: checkpoints in the authors' layouts, prefixes, wrappings and left-over heads included, with weights that a
//! rule makes (`golden/dense`), through the whole road to files, whose answers are compared with what the authors' PyTorch code answers in f64.

mod case;
#[path = "../common/mod.rs"]
mod common;
mod hints;
mod published;
#[path = "../torch_file/mod.rs"]
mod torch_file;

use case::Case;
use vitc::arch::{Results, StageSet};
use vitc::export::{self, TargetKind};

/// A part of a model that is cut off never gives a file.
#[test]
fn what_is_cut_short_is_refused() {
    for (name, cuts) in [
        (
            "casvit_xs_semfpn_128x160",
            &[
                "decode_head.scale_heads.",
                "decode_head.scale_heads.3.",
                "decode_head.scale_heads.2.2.bn.running_mean",
                "decode_head.conv_seg.",
                "decode_head.",
                "neck.",
                "neck.lateral_convs.2.conv.bias",
                "neck.fpn_convs.3.",
                "backbone.norm2.",
                "backbone.norm6.",
                "backbone.norm4.running_mean",
            ][..],
        ),
        ("casvit_xs_retinanet_128x160", &["bbox_head.reg_convs.3.", "bbox_head.retina_reg.", "neck.fpn_convs.4."][..]),
        (
            "affnet_et_deeplabv3_os16_128x160",
            &["seg_head.aspp.aspp_layer.convs.3.", "seg_head.aspp.", "seg_head.classifier."][..],
        ),
    ] {
        let case = Case::load(name);
        for cut in cuts {
            case.write(&|key| !key.starts_with(cut));
            let request = case.request(Results::Logits, TargetKind::Onnx, false, "cut.onnx").build().unwrap();
            let error = export::export(&request, &|_| {}).err().map(|e| e.to_string());
            // Fewer levels than RetinaNet is published with are a model too: nothing tells of the fifth.
            assert_eq!(error.is_none(), *cut == "neck.fpn_convs.4.", "{name} without {cut}: {error:?}");
        }
    }
}

fn one(name: &str) -> Vec<String> {
    vec![name.to_string()]
}

/// Everything that a segmenter of this case answers, for each target.
fn segmenter(name: &'static str, neck: bool) {
    let case = Case::load(name);
    let onnx = TargetKind::Onnx;
    case.hold(&case.answers(Results::Pyramid, onnx, false), &case.named("features"), false);
    if neck {
        case.hold(&case.answers(Results::Neck, onnx, false), &case.named("neck"), false);
    }
    case.hold(&case.answers(Results::Enlarged, onnx, false), &one("logits_full"), false);
    case.hold(&case.answers(Results::ClassMap, onnx, false), &one("classes"), false);
    everywhere(&case, Results::Logits, &one("logits"));
}

/// One form of output for every target, in f32 and f16.
fn everywhere(case: &Case, results: Results, names: &[String]) {
    for target in [TargetKind::Onnx, TargetKind::TensorRt, TargetKind::CoreMl] {
        for half in [false, true] {
            case.hold(&case.answers(results, target, half), names, half);
        }
    }
}

#[test]
fn semantic_fpn_on_cas_vit() {
    segmenter("casvit_xs_semfpn_128x160", true);
}

#[test]
fn semantic_fpn_on_efficientformer() {
    segmenter("efficientformerv2_s0_semfpn_256x320", true);
}

#[test]
fn upernet_on_ffnet() {
    segmenter("ffnet_2_upernet_128x160", false);
}

#[test]
fn ffnets_own_head() {
    segmenter("ffnet_seg_ade20k_128x160", false);
}

#[test]
fn deeplab_on_affnet() {
    segmenter("affnet_et_deeplabv3_os16_128x160", false);
}

#[test]
fn pspnet_on_affnet() {
    segmenter("affnet_et_pspnet_os16_160x128", false);
}

/// mmsegmentation's other heads, each with the backbone in a file of its own.
#[test]
fn other_heads_of_mmsegmentation() {
    let case = Case::load("casvit_xs_mmseg_heads_128x160");
    for head in ["psp", "aspp", "fcn", "segformer", "groups"] {
        case.write(&|key| key.starts_with("backbone.") || key.starts_with(&format!("{head}.")));
        for half in [false, true] {
            case.hold(&case.answers(Results::Logits, TargetKind::Onnx, half), &one(head), half);
        }
    }
}

#[test]
fn retinanet_on_cas_vit() {
    let case = Case::load("casvit_xs_retinanet_128x160");
    everywhere(&case, Results::Neck, &case.named("neck"));
    let raw: Vec<String> = case.named("cls").into_iter().chain(case.named("box")).collect();
    case.hold(&case.answers(Results::Logits, TargetKind::Onnx, false), &raw, false);
    everywhere(&case, Results::Boxes, &["boxes", "scores"].map(String::from));
}

#[test]
fn the_neck_of_a_two_stage_detector() {
    let case = Case::load("casvit_xs_maskrcnn_128x160");
    everywhere(&case, Results::Neck, &case.named("neck"));
    let asked = StageSet::of([1, 3]).unwrap();
    let all = case.named("features");
    let some = [all[1].clone(), all[3].clone()];
    case.hold(&case.answers(Results::Stages(asked), TargetKind::Onnx, false), &some, false);
}

#[test]
fn the_neck_of_dino_on_fastervit() {
    let case = Case::load("fastervit_0_dino_256x320");
    case.hold(&case.answers(Results::Pyramid, TargetKind::Onnx, false), &case.named("features"), false);
    everywhere(&case, Results::Neck, &case.named("neck"));
}

#[test]
fn super_resolution() {
    let case = Case::load("ffnet_sr_light_x2_24x40");
    everywhere(&case, Results::Logits, &one("picture"));
}

#[test]
#[ignore = "takes minutes"]
fn larger_cases() {
    let case = Case::load("casvit_s_semfpn_512");
    case.hold(&case.answers(Results::Logits, TargetKind::Onnx, false), &one("logits"), false);
    case.hold(&case.answers(Results::ClassMap, TargetKind::Onnx, false), &one("classes"), false);
    let case = Case::load("fastervit_4_21k_dino_224");
    case.hold(&case.answers(Results::Neck, TargetKind::Onnx, false), &case.named("neck"), false);
}
