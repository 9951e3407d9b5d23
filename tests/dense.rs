//! Dense prediction against the authors' code: checkpoints in the authors' layouts, prefixes, wrappings and left-over heads included, with weights that a
//! rule makes (`golden/dense`), through the whole road to files, whose answers are compared with what the authors' PyTorch code answers in f64.

mod common;
mod torch_file;

use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use torch_file::dense::{self, sizes};
use vitc::arch::heads::{MAP_HEADS, NECKS};
use vitc::arch::{self, BuildOptions, Results, Shapes, StageSet, seeded};
use vitc::export::{self, RequestBuilder, TargetKind};
use vitc::model::ModelRequest;
use vitc::runner::{Named, Program, Request};
use vitc_ir::{DType, cost};

/// f32: largest error as a fraction of max(1, largest value); AFFNet, whose transforms sum over whole maps.
const F32: f64 = 1e-5;
const F32_AFFNET: f64 = 3e-5;
/// f16: as a fraction of the largest value.
const F16: f64 = 1e-2;

/// A case of `golden/dense`, and its checkpoint as a file.
struct Case {
    name: &'static str,
    manifest: Json,
    folder: tempfile::TempDir,
}

impl Case {
    fn load(name: &'static str) -> Case {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/dense").join(format!("{name}.json"));
        let manifest = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let case = Case { name, manifest, folder: tempfile::tempdir().unwrap() };
        case.write(&|_| true);
        case
    }

    fn weights(&self) -> PathBuf {
        self.folder.path().join("model.pth")
    }

    /// Write the tensors of these names, wrapped as the authors save them.
    fn write(&self, wanted: &dyn Fn(&str) -> bool) {
        std::fs::write(self.weights(), dense::checkpoint(&self.manifest, wanted)).unwrap();
    }

    fn input(&self) -> Vec<usize> {
        sizes(&self.manifest["input"])
    }

    /// The request for an artifact of the case, unchecked: the golden numbers check it.
    fn request(&self, results: Results, target: TargetKind, half: bool, name: &str) -> RequestBuilder {
        let shape = self.input();
        let model = ModelRequest {
            results,
            resolution: Some([shape[2], shape[3]]),
            ..ModelRequest::checkpoint(&self.weights())
        };
        let mut builder = RequestBuilder::new(model, target).output(&self.folder.path().join(name));
        builder.check.effort = None;
        builder.numbers.precision = Some(if half { DType::F16 } else { DType::F32 });
        builder.interface.dtype = (target == TargetKind::CoreAi).then_some(DType::F32);
        builder
    }

    /// What an artifact answers to the golden input.
    fn answers(&self, results: Results, target: TargetKind, half: bool) -> Vec<Named> {
        let name = match target {
            TargetKind::CoreMl => "out.mlpackage",
            TargetKind::CoreAi => "out.aimodel",
            TargetKind::Onnx | TargetKind::TensorRt => "out.onnx",
        };
        let said = |e: &dyn std::fmt::Display| format!("{}, {results:?}: {e}", self.name);
        let request = self.request(results, target, half, name).build().unwrap_or_else(|e| panic!("{}", said(&e)));
        export::export(&request, &|_| {}).unwrap_or_else(|e| panic!("{}", said(&e)));
        let program = Program::open(&self.folder.path().join(name)).unwrap_or_else(|e| panic!("{}", said(&e)));
        let session = program.load(Request::outputs(1)).unwrap_or_else(|e| panic!("{}", said(&e)));
        let image = seeded::noise("input", 0, self.input().iter().product());
        session.run_in_order(&[&image]).unwrap_or_else(|e| panic!("{}", said(&e)))
    }

    /// Panic unless these answers are the golden outputs of these names.
    fn hold(&self, answers: &[Named], names: &[String], half: bool) {
        assert_eq!(answers.len(), names.len(), "{}: {names:?}", self.name);
        for (answer, name) in answers.iter().zip(names) {
            let golden = &self.manifest["outputs"][name];
            if name == "classes" { self.classes(answer, golden, half) } else { self.values(answer, name, golden, half) }
        }
    }

    fn values(&self, answer: &Named, name: &str, golden: &Json, half: bool) {
        assert_eq!(answer.shape, sizes(&golden["shape"]), "{} {name}", self.name);
        let largest = golden["absmax"].as_f64().unwrap();
        let share = if self.name.starts_with("affnet") { F32_AFFNET } else { F32 };
        let bound = if half { F16 * largest } else { share * largest.max(1.0) };
        let places = golden["at"].as_array().unwrap().iter().map(|p| p.as_u64().unwrap() as usize);
        let values = golden["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap());
        let mut error = places.zip(values).map(|(p, v)| (f64::from(answer.data[p]) - v).abs()).fold(0.0, f64::max);
        let means = golden["channel_mean"].as_array().unwrap();
        let last = answer.shape.len() == 3;
        let channels = if last { answer.shape[2] } else { answer.shape[1] };
        let each = answer.data.len() / channels;
        for (c, mean) in means.iter().enumerate() {
            let sum: f64 = match last {
                true => answer.data.iter().skip(c).step_by(channels).map(|&x| f64::from(x)).sum(),
                false => answer.data[c * each..(c + 1) * each].iter().map(|&x| f64::from(x)).sum(),
            };
            error = error.max((sum / each as f64 - mean.as_f64().unwrap()).abs());
        }
        assert!(error <= bound, "{} {name}: {error:e}, allowed {bound:e}", self.name);
    }

    fn classes(&self, answer: &Named, golden: &Json, half: bool) {
        let (step, shape) = (golden["step"].as_u64().unwrap() as usize, sizes(&golden["shape"]));
        let text = golden["classes"].as_str().unwrap();
        let wanted: Vec<usize> =
            (0..text.len() / 2).map(|i| usize::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect();
        let width = shape[1];
        let places = (0..shape[0]).step_by(step).flat_map(|y| (0..width).step_by(step).map(move |x| y * width + x));
        let wrong = places.zip(&wanted).filter(|&(p, &w)| answer.data[p] as usize != w).count();
        let near = golden["near_ties"].as_u64().unwrap() as usize + if half { wanted.len() / 50 } else { 0 };
        assert!(wrong <= near, "{}: {wrong} of {} classes differ", self.name, wanted.len());
    }

    /// Names of the golden outputs that begin so, in their order.
    fn named(&self, prefix: &str) -> Vec<String> {
        let outputs = self.manifest["outputs"].as_object().unwrap();
        (0..).map(|i| format!("{prefix}.{i}")).take_while(|name| outputs.contains_key(name)).collect()
    }
}

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

/// Keys and shapes of a convolution in mm's module, with a bias or a BatchNorm.
fn module(all: &mut Shapes, key: &str, [out, input, kernel]: [usize; 3], normed: bool) {
    all.insert(format!("{key}.conv.weight"), vec![out, input, kernel, kernel]);
    if normed {
        norm(all, &format!("{key}.bn"), out, true)
    } else {
        drop(all.insert(format!("{key}.conv.bias"), vec![out]))
    }
}

fn norm(all: &mut Shapes, key: &str, width: usize, batch: bool) {
    let leaves = ["weight", "bias", "running_mean", "running_var"];
    leaves[..if batch { 4 } else { 2 }].iter().for_each(|leaf| drop(all.insert(format!("{key}.{leaf}"), vec![width])));
}

fn biased(all: &mut Shapes, key: &str, shape: [usize; 4]) {
    all.insert(format!("{key}.weight"), shape.to_vec());
    all.insert(format!("{key}.bias"), vec![shape[0]]);
}

/// FPN: a lateral convolution for each of these widths, output convolutions, and strided ones on the last map.
fn fpn(all: &mut Shapes, widths: &[usize], extra: usize) {
    for (i, &width) in widths.iter().enumerate() {
        module(all, &format!("neck.lateral_convs.{i}"), [256, width, 1], false);
    }
    for i in 0..widths.len() + extra {
        let input = if i == widths.len() { widths[i - 1] } else { 256 };
        module(all, &format!("neck.fpn_convs.{i}"), [256, input, 3], false);
    }
}

fn semantic_fpn(all: &mut Shapes, widths: &[usize]) {
    fpn(all, widths, 0);
    for (i, convs) in [1, 1, 2, 3].into_iter().enumerate() {
        for j in 0..convs {
            let input = if j == 0 { 256 } else { 128 };
            module(all, &format!("decode_head.scale_heads.{i}.{}", 2 * j), [128, input, 3], true);
        }
    }
    biased(all, "decode_head.conv_seg", [150, 128, 1, 1]);
}

fn upernet(all: &mut Shapes, widths: &[usize]) {
    let head = |key: &str| format!("decode_head.{key}");
    for i in 0..4 {
        module(all, &head(&format!("psp_modules.{i}.1")), [512, widths[3], 1], true);
    }
    module(all, &head("bottleneck"), [512, widths[3] + 4 * 512, 3], true);
    for (i, &width) in widths[..3].iter().enumerate() {
        module(all, &head(&format!("lateral_convs.{i}")), [512, width, 1], true);
        module(all, &head(&format!("fpn_convs.{i}")), [512, 512, 3], true);
    }
    module(all, &head("fpn_bottleneck"), [512, 4 * 512, 3], true);
    biased(all, &head("conv_seg"), [150, 512, 1, 1]);
}

fn retinanet(all: &mut Shapes, widths: &[usize]) {
    fpn(all, &widths[1..], 2);
    for i in 0..4 {
        module(all, &format!("bbox_head.cls_convs.{i}"), [256, 256, 3], false);
        module(all, &format!("bbox_head.reg_convs.{i}"), [256, 256, 3], false);
    }
    biased(all, "bbox_head.retina_cls", [720, 256, 3, 3]);
    biased(all, "bbox_head.retina_reg", [36, 256, 3, 3]);
}

fn deeplab(all: &mut Shapes, width: usize, classes: usize) {
    let mut layer = |key: &str, input: usize, kernel: usize| {
        let key = format!("seg_head.aspp.aspp_layer.{key}.block");
        all.insert(format!("{key}.conv.weight"), vec![256, input, kernel, kernel]);
        norm(all, &format!("{key}.norm"), 256, true);
    };
    layer("convs.0", width, 1);
    (1..4).for_each(|i| layer(&format!("convs.{i}"), width, 3));
    layer("convs.4.aspp_pool.conv_1x1", width, 1);
    layer("project", 5 * 256, 1);
    biased(all, "seg_head.classifier.block.conv", [classes, 256, 1, 1]);
}

/// FFNet's own head: a token and a channel mixer per block, each kernel beside a smaller one and two strips.
fn ffnet_head(all: &mut Shapes, classes: usize, blocks: usize, expansion: usize) {
    let mut conv = |key: &str, shape: [usize; 4]| {
        all.insert(format!("decode_head.{key}.c.weight"), shape.to_vec());
        norm(all, &format!("decode_head.{key}.bn"), shape[0], true);
    };
    let joined = 192 + 384 + 768;
    conv("squeeze.0", [joined, joined, 1, 1]);
    conv("squeeze.2", [256, joined, 1, 1]);
    conv("align.0", [1024, 256, 1, 1]);
    for j in 0..blocks {
        conv(&format!("head_blocks.{j}.token_mixer.main.fc"), [256, 256, 1, 1]);
        for place in ["token_mixer.main.conv1", "token_mixer.main.conv2", "channel_mixer.main.conv"] {
            for (name, [h, w]) in
                [("conv1", [9, 9]), ("conv2", [5, 5]), ("strip_conv1", [1, 9]), ("strip_conv2", [9, 1])]
            {
                conv(&format!("head_blocks.{j}.{place}.{name}"), [256, 1, h, w]);
            }
        }
    }
    for j in 0..blocks {
        let mixer = format!("decode_head.head_blocks.{j}.channel_mixer.main");
        biased(all, &format!("{mixer}.fc1"), [expansion * 256, 256, 1, 1]);
        biased(all, &format!("{mixer}.fc2"), [256, expansion * 256, 1, 1]);
    }
    biased(all, "decode_head.conv_seg", [classes, 1024, 1, 1]);
}

/// Adds keys and shapes of parts to a backbone whose maps have these widths.
type Add = Box<dyn Fn(&mut Shapes, &[usize])>;

/// A published model: its backbone, its neck if it has one, its head, and parameters of backbone, neck and head in millions where they are published.
struct Published {
    variant: &'static str,
    neck: Option<&'static str>,
    head: &'static str,
    add: Add,
    parameters: Option<f64>,
}

/// The 25 checkpoints that the authors publish.
fn published() -> Vec<Published> {
    let model = |variant, neck, head, add: Add, parameters| Published { variant, neck, head, add, parameters };
    let mut all = Vec::new();
    for variant in ["cas-vit-xs", "cas-vit-s", "cas-vit-m", "cas-vit-t"] {
        all.push(model(variant, Some("FPN"), "Semantic FPN", Box::new(semantic_fpn), None));
        all.push(model(variant, Some("FPN"), "RetinaNet", Box::new(retinanet), None));
    }
    for variant in ["efficientformerv2-s0", "efficientformerv2-s1", "efficientformerv2-s2", "efficientformerv2-l"] {
        all.push(model(variant, Some("FPN"), "Semantic FPN", Box::new(semantic_fpn), None));
    }
    for variant in ["ffnet-2", "ffnet-3", "ffnet-4"] {
        all.push(model(variant, None, "UPerNet", Box::new(upernet), None));
    }
    all.push(model(
        "ffnet-seg",
        None,
        "FFNet's head",
        Box::new(|all, _| ffnet_head(all, 150, 3, 4)),
        Some(63.8 + 4.65),
    ));
    all.push(model("ffnet-seg", None, "FFNet's head", Box::new(|all, _| ffnet_head(all, 19, 5, 1)), Some(63.8 + 3.93)));
    for (variant, parameters) in [("affnet-et", 2.21), ("affnet-t", 3.53), ("affnet", 7.04)] {
        all.push(model(
            variant,
            None,
            "DeepLabV3",
            Box::new(|all, widths| deeplab(all, widths[3], 150)),
            Some(parameters),
        ));
        all.push(model(variant, None, "DeepLabV3", Box::new(|all, widths| deeplab(all, widths[3], 21)), None));
    }
    for (variant, parameters) in [("ffnet-sr-light", 1.79), ("ffnet-sr", 2.38)] {
        let add = |all: &mut Shapes, _: &[usize]| biased(all, "conv_bef_up", [12, 96, 3, 3]);
        all.push(model(variant, None, "super-resolution", Box::new(add), Some(parameters)));
    }
    all
}

/// The published layouts build whole: every tensor of the layout is asked for, and nothing else.
#[test]
fn the_published_layouts_are_whole() {
    let all = published();
    assert_eq!(all.len(), 25);
    for Published { variant, neck, head, add, parameters } in all {
        let backbone = arch::find(variant).unwrap();
        let side = if variant.starts_with("ffnet-sr") { 32 } else { 512 };
        let plain = BuildOptions { resolution: [side; 2], results: Results::Pyramid, ..BuildOptions::new(backbone) };
        let maps = plain.build().unwrap().graph;
        let widths: Vec<usize> = maps.outputs.iter().map(|o| maps.shape(o.value).dim(1)).collect();
        let mut tensors: Shapes = maps.weights().map(|(key, ty)| (key.to_string(), ty.shape.at(1))).collect();
        if variant.starts_with("efficientformerv2") {
            // Built for 512x512: a table for each place that attends, on maps of 16x16 and 32x32.
            let dense =
                |(key, shape): (String, Vec<usize>)| (key.replace("attention_biases", "attention_biases_seg"), shape);
            tensors = tensors.into_iter().map(dense).collect();
        } else if variant.starts_with("cas-vit") || neck.is_none() && head == "UPerNet" {
            let batch = variant.starts_with("cas-vit");
            let norms = backbone.family.outputs.norms.iter().zip(&widths);
            norms.for_each(|(key, &width)| norm(&mut tensors, key, width, batch));
        }
        add(&mut tensors, &widths);
        let options = BuildOptions {
            tensors: Some(&tensors),
            results: Results::Logits,
            neck: neck.map(|name| *NECKS.iter().find(|n| n.name == name).unwrap()),
            map_head: MAP_HEADS.iter().find(|h| h.name == head).copied(),
            ..plain.clone()
        };
        let graph = options.build().unwrap_or_else(|e| panic!("{variant}, {head}: {e}")).graph;
        let asked: Shapes = graph.weights().map(|(key, ty)| (key.to_string(), ty.shape.at(1))).collect();
        assert_eq!(asked, tensors, "{variant}, {head}");
        if let Some(millions) = parameters {
            let counted = cost::trained_parameters(&graph) as f64 / 1e6;
            assert!(
                (counted - millions).abs() <= 0.02 * millions,
                "{variant}, {head}: {counted}M, published {millions}M"
            );
        }
    }
}
