//! FCN: "Fully Convolutional Networks for Semantic Segmentation", Long et al., CVPR 2015 (arXiv 1411.4038), as mmsegmentation builds it.
//!
//! Convolutions in a row on one map; their result beside the map that they read, joined by another, if it has that; classified.

use super::mmseg::{OF_ONE_MAP, classified, dilation, layer, read_map};
use super::numbers::count;
use crate::arch::family::{ArchError, BuildOptions, MapHead, StageMap};
use crate::arch::prediction::Prediction;
use vitc_ir::Net;

const NAME: &str = "FCN";

/// The head.
pub(super) static FCN: MapHead = MapHead {
    name: NAME,
    scope: "decode_head",
    anchors: &["decode_head.convs.0.conv.weight", "decode_head.conv_seg.weight"],
    choices: OF_ONE_MAP,
    backbone_stride: None,
    build,
};

fn build(net: &mut Net, options: &BuildOptions, maps: &[StageMap]) -> Result<Prediction, ArchError> {
    let map = read_map(options, NAME, maps)?;
    let dilation = dilation(options, NAME)?;
    let mut x = map.value;
    for i in 0..count(net, options, |i| format!("convs.{i}.conv.weight")) {
        x = layer(&mut net.at(format!("convs.{i}")), options, NAME, x, dilation)?;
    }
    if options.holds(&net.path("conv_cat.conv.weight"), false) {
        let joined = net.concat("conv_cat.concat", &[map.value, x], 1);
        x = layer(&mut net.at("conv_cat"), options, NAME, joined, 1)?;
    }
    classified(net, options, NAME, x, map.stride)
}
