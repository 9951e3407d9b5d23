//! PSPNet: "Pyramid Scene Parsing Network", Zhao et al., CVPR 2017 (arXiv 1612.01105), as mmsegmentation builds it.
//!
//! One map beside what it holds pooled to a few sizes, joined by a 3x3 and classified.

use super::mmseg::{OF_POOLED_MAP, classified, read_map};
use super::numbers::rows;
use super::pyramid_pooling::pyramid_pooling;
use crate::arch::family::{ArchError, BuildOptions, MapHead, StageMap};
use crate::arch::prediction::Prediction;
use vitc_ir::Net;

const NAME: &str = "PSPNet (mmsegmentation)";

/// The head.
pub(super) static MMSEG_PSPNET: MapHead = MapHead {
    name: NAME,
    scope: "decode_head",
    anchors: &["decode_head.psp_modules.0.1.conv.weight", "decode_head.bottleneck.conv.weight"],
    choices: OF_POOLED_MAP,
    backbone_stride: None,
    build,
};

fn build(net: &mut Net, options: &BuildOptions, maps: &[StageMap]) -> Result<Prediction, ArchError> {
    let map = read_map(options, NAME, maps)?;
    let width = rows(net, options, NAME, "bottleneck.conv.weight")?;
    let x = pyramid_pooling(net, options, NAME, map.value, width)?;
    classified(net, options, NAME, x, map.stride)
}
