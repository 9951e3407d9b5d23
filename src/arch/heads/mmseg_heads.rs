//! Heads of mmsegmentation besides Semantic FPN and UPerNet: PSPNet, DeepLabV3 (arXiv 1706.05587), the plain convolutions of FCN (arXiv 1411.4038), and
//! SegFormer's (arXiv 2105.15203), which joins all maps at the finest one's size.

use super::mmseg::{
    DILATIONS, OF_ALL_MAPS, OF_DILATED_MAP, OF_ONE_MAP, OF_POOLED_MAP, classified, dilation, layer, read_map,
};
use super::numbers::{count, part_error, rows};
use super::pyramid_pooling::pyramid_pooling;
use super::segmentation::{align_corners, numbers};
use crate::arch::family::{ArchError, BuildOptions, MapHead, StageMap};
use crate::arch::layers::{broadcast_like, like};
use crate::arch::prediction::Prediction;
use vitc_ir::Net;

const SCOPE: &str = "decode_head";

/// PSPNet.
pub(super) static PSP_HEAD: MapHead = MapHead {
    name: "PSPNet (mmsegmentation)",
    scope: SCOPE,
    anchors: &["decode_head.psp_modules.0.1.conv.weight", "decode_head.bottleneck.conv.weight"],
    choices: OF_POOLED_MAP,
    backbone_stride: None,
    build: psp,
};

/// DeepLabV3.
pub(super) static ASPP_HEAD: MapHead = MapHead {
    name: "DeepLabV3 (mmsegmentation)",
    scope: SCOPE,
    anchors: &["decode_head.image_pool.1.conv.weight", "decode_head.aspp_modules.0.conv.weight"],
    choices: OF_DILATED_MAP,
    backbone_stride: None,
    build: aspp,
};

/// FCN.
pub(super) static FCN_HEAD: MapHead = MapHead {
    name: "FCN",
    scope: SCOPE,
    anchors: &["decode_head.convs.0.conv.weight", "decode_head.conv_seg.weight"],
    choices: OF_ONE_MAP,
    backbone_stride: None,
    build: fcn,
};

/// SegFormer's head.
pub(super) static SEGFORMER_HEAD: MapHead = MapHead {
    name: "SegFormer's head",
    scope: SCOPE,
    anchors: &["decode_head.convs.0.conv.weight", "decode_head.fusion_conv.conv.weight", "decode_head.conv_seg.weight"],
    choices: OF_ALL_MAPS,
    backbone_stride: None,
    build: segformer,
};

fn psp(net: &mut Net, options: &BuildOptions, maps: &[StageMap]) -> Result<Prediction, ArchError> {
    let part = PSP_HEAD.name;
    let map = read_map(options, part, maps)?;
    let width = rows(net, options, part, "bottleneck.conv.weight")?;
    let x = pyramid_pooling(net, options, part, map.value, width)?;
    classified(net, options, part, x, map.stride)
}

/// The map's mean and the map at several dilations, joined by a 3x3.
fn aspp(net: &mut Net, options: &BuildOptions, maps: &[StageMap]) -> Result<Prediction, ArchError> {
    let part = ASPP_HEAD.name;
    let map = read_map(options, part, maps)?;
    let branches = count(net, options, |i| format!("aspp_modules.{i}.conv.weight"));
    let text = options.choice(&DILATIONS);
    let dilations = numbers(text).filter(|dilations| dilations.len() == branches);
    let dilations =
        dilations.ok_or_else(|| part_error(part, format!("it has {branches} branches, and dilations is {text}")))?;
    let mean = net.at("image_pool").mean(map.value, &[2, 3], true);
    let mean = layer(&mut net.at("image_pool.1"), options, part, mean, 1)?;
    let mut joined = vec![broadcast_like(&mut net.at("image_pool"), "broadcast", mean, map.value)];
    for (i, dilation) in dilations.into_iter().enumerate() {
        joined.push(layer(&mut net.at(format!("aspp_modules.{i}")), options, part, map.value, dilation)?);
    }
    let x = net.concat("bottleneck.concat", &joined, 1);
    let x = layer(&mut net.at("bottleneck"), options, part, x, 1)?;
    classified(net, options, part, x, map.stride)
}

/// Convolutions in a row; their result beside the map that they read, joined by another, if it has that.
fn fcn(net: &mut Net, options: &BuildOptions, maps: &[StageMap]) -> Result<Prediction, ArchError> {
    let part = FCN_HEAD.name;
    let map = read_map(options, part, maps)?;
    let dilation = dilation(options, part)?;
    let mut x = map.value;
    for i in 0..count(net, options, |i| format!("convs.{i}.conv.weight")) {
        x = layer(&mut net.at(format!("convs.{i}")), options, part, x, dilation)?;
    }
    if options.holds(&net.path("conv_cat.conv.weight"), false) {
        let joined = net.concat("conv_cat.concat", &[map.value, x], 1);
        x = layer(&mut net.at("conv_cat"), options, part, joined, 1)?;
    }
    classified(net, options, part, x, map.stride)
}

/// Every map through a 1x1, enlarged to the finest, joined by another.
fn segformer(net: &mut Net, options: &BuildOptions, maps: &[StageMap]) -> Result<Prediction, ArchError> {
    let part = SEGFORMER_HEAD.name;
    let convs = count(net, options, |i| format!("convs.{i}.conv.weight"));
    let Some(maps) = maps.len().checked_sub(convs).map(|first| &maps[first..]).filter(|maps| !maps.is_empty()) else {
        return Err(part_error(part, format!("it reads {convs} maps, and there are {}", maps.len())));
    };
    let mut joined = Vec::new();
    for (i, map) in maps.iter().enumerate() {
        let mut place = net.at(format!("convs.{i}"));
        let x = layer(&mut place, options, part, map.value, 1)?;
        joined.push(match joined.first() {
            Some(&finest) => like(&mut place, "enlarged", x, finest, align_corners(options)),
            None => x,
        });
    }
    let x = net.concat("fusion_conv.concat", &joined, 1);
    let x = layer(&mut net.at("fusion_conv"), options, part, x, 1)?;
    classified(net, options, part, x, maps[0].stride)
}
