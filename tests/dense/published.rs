//! The layouts that the authors published, whole: which parts are found in each, and that nothing is left over.

use vitc::arch::heads::{MAP_HEADS, NECKS};
use vitc::arch::{self, BuildOptions, Results, Shapes};
use vitc_ir::cost;

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
