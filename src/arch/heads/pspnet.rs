//! PSPNet: "Pyramid Scene Parsing Network", Zhao et al., CVPR 2017 (arXiv 1612.01105), as CVNets builds it.
//!
//! The last map beside what it holds pooled to a few sizes, joined by a 3x3 and classified.

use super::cvnets::{SegmentationLayer, joined_scores};
use super::numbers::{count, rows};
use super::segmentation::{HEAD_ACTIVATION, POOL_SCALES, pool_scales};
use crate::arch::family::{ArchError, BuildOptions, MapHead, StageMap};
use crate::arch::layers::like;
use crate::arch::prediction::Prediction;
use vitc_ir::{ConvSpec, Net};

const NAME: &str = "PSPNet";

/// The head.
pub(super) static PSPNET: MapHead = MapHead {
    name: NAME,
    scope: "seg_head",
    anchors: &["psp_layer.fusion.0.block.conv.weight"],
    choices: &[&POOL_SCALES, &HEAD_ACTIVATION],
    backbone_stride: Some(16),
    build,
};

fn build(net: &mut Net, options: &BuildOptions, maps: &[StageMap]) -> Result<Prediction, ArchError> {
    let layer = SegmentationLayer { options, part: NAME };
    let last = maps[maps.len() - 1];
    let mut psp = net.at("psp_layer");
    let branches = count(&psp, options, |i| format!("psp_branches.{i}.1.block.conv.weight"));
    let mut joined = vec![last.value];
    for (i, side) in pool_scales(options, NAME, branches)?.into_iter().enumerate() {
        let mut place = psp.at(format!("psp_branches.{i}"));
        let width = rows(&place, options, NAME, "1.block.conv.weight")?;
        let y = place.adaptive_avg_pool("0", last.value, [side; 2]);
        let y = layer.build(&mut place.at(1), y, ConvSpec::new(width, 1));
        joined.push(like(&mut place, "enlarged", y, last.value, true));
    }
    let x = psp.concat("concat", &joined, 1);
    let width = rows(&psp, options, NAME, "fusion.0.block.conv.weight")?;
    let x = layer.build(&mut psp.at("fusion.0"), x, ConvSpec::new(width, 3));
    joined_scores(net, &layer, x, last.stride)
}
