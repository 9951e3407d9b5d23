//! DeepLabV3: "Rethinking Atrous Convolution for Semantic Image Segmentation", Chen et al. (arXiv 1706.05587), as CVNets builds it.
//!
//! Atrous spatial pyramid pooling: the last map through a 1x1, through 3x3 convolutions of several dilations and through its mean, all joined by a
//! 1x1. The checkpoint does not say the dilations, nor which activation was trained.

use super::cvnets::{SegmentationLayer, joined_scores};
use super::numbers::{count, part_error, rows};
use super::segmentation::{HEAD_ACTIVATION, numbers};
use crate::arch::choice::Choice;
use crate::arch::family::{ArchError, BuildOptions, MapHead, StageMap};
use crate::arch::layers::broadcast_like;
use crate::arch::prediction::Prediction;
use vitc_ir::{ConvSpec, Net, Value};

const NAME: &str = "DeepLabV3";

/// The head.
pub(super) static DEEPLAB_V3: MapHead = MapHead {
    name: NAME,
    scope: "seg_head",
    anchors: &["aspp.aspp_layer.project.block.conv.weight"],
    choices: &[&ATROUS_RATES, &HEAD_ACTIVATION],
    backbone_stride: Some(16),
    build,
};

/// Dilations of the 3x3 convolutions.
pub(super) static ATROUS_RATES: Choice = Choice {
    name: "atrous-rates",
    values: &["6,12,18"],
    help: "dilations of the head's 3x3 convolutions: recipes with output stride 16 use 6,12,18, those with 8 use 12,24,36",
};

fn build(net: &mut Net, options: &BuildOptions, maps: &[StageMap]) -> Result<Prediction, ArchError> {
    let layer = SegmentationLayer { options, part: NAME };
    let last = maps[maps.len() - 1];
    let mut aspp = net.at("aspp.aspp_layer");
    let joined = pyramid(&mut aspp, &layer, last.value)?;
    let width = rows(&aspp, options, NAME, "project.block.conv.weight")?;
    let x = layer.build(&mut aspp.at("project"), joined, ConvSpec::new(width, 1));
    joined_scores(net, &layer, x, last.stride)
}

/// The branches, joined.
fn pyramid(net: &mut Net, layer: &SegmentationLayer<'_>, x: Value) -> Result<Value, ArchError> {
    let options = layer.options;
    let convs = count(net, options, |i| format!("convs.{i}.block.conv.weight"));
    let text = options.choice(&ATROUS_RATES);
    let rates = numbers(text).filter(|rates| rates.len() + 1 == convs);
    let rates = rates.ok_or_else(|| {
        part_error(NAME, format!("it has {} dilated convolutions, and atrous-rates is {text}", convs.saturating_sub(1)))
    })?;
    let mut branches = Vec::new();
    for i in 0..convs {
        let width = rows(net, options, NAME, &format!("convs.{i}.block.conv.weight"))?;
        let spec = match i.checked_sub(1) {
            None => ConvSpec::new(width, 1),
            Some(dilated) => ConvSpec::new(width, 3).dilation(rates[dilated]),
        };
        branches.push(layer.build(&mut net.at(format!("convs.{i}")), x, spec));
    }
    let mut pool = net.at(format!("convs.{convs}.aspp_pool"));
    let width = rows(&pool, options, NAME, "conv_1x1.block.conv.weight")?;
    let mean = pool.mean(x, &[2, 3], true);
    let mean = layer.build(&mut pool.at("conv_1x1"), mean, ConvSpec::new(width, 1));
    branches.push(broadcast_like(&mut pool, "broadcast", mean, x));
    Ok(net.concat("concat", &branches, 1))
}
