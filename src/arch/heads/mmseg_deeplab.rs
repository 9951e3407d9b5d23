//! DeepLabV3: "Rethinking Atrous Convolution for Semantic Image Segmentation", Chen et al., 2017 (arXiv 1706.05587), as mmsegmentation builds it.
//!
//! The mean of one map and the map at several dilations, joined by a 3x3 and classified.

use super::mmseg::{DILATIONS, OF_DILATED_MAP, classified, layer, read_map};
use super::numbers::{count, part_error};
use super::segmentation::numbers;
use crate::arch::family::{ArchError, BuildOptions, MapHead, StageMap};
use crate::arch::layers::broadcast_like;
use crate::arch::prediction::Prediction;
use vitc_ir::Net;

const NAME: &str = "DeepLabV3 (mmsegmentation)";

/// The head.
pub(super) static MMSEG_DEEPLAB_V3: MapHead = MapHead {
    name: NAME,
    scope: "decode_head",
    anchors: &["decode_head.image_pool.1.conv.weight", "decode_head.aspp_modules.0.conv.weight"],
    choices: OF_DILATED_MAP,
    backbone_stride: None,
    build,
};

fn build(net: &mut Net, options: &BuildOptions, maps: &[StageMap]) -> Result<Prediction, ArchError> {
    let map = read_map(options, NAME, maps)?;
    let branches = count(net, options, |i| format!("aspp_modules.{i}.conv.weight"));
    let text = options.choice(&DILATIONS);
    let dilations = numbers(text).filter(|dilations| dilations.len() == branches);
    let dilations =
        dilations.ok_or_else(|| part_error(NAME, format!("it has {branches} branches, and dilations is {text}")))?;
    let mean = net.at("image_pool").mean(map.value, &[2, 3], true);
    let mean = layer(&mut net.at("image_pool.1"), options, NAME, mean, 1)?;
    let mut joined = vec![broadcast_like(&mut net.at("image_pool"), "broadcast", mean, map.value)];
    for (i, dilation) in dilations.into_iter().enumerate() {
        joined.push(layer(&mut net.at(format!("aspp_modules.{i}")), options, NAME, map.value, dilation)?);
    }
    let x = net.concat("bottleneck.concat", &joined, 1);
    let x = layer(&mut net.at("bottleneck"), options, NAME, x, 1)?;
    classified(net, options, NAME, x, map.stride)
}
