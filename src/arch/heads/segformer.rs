//! SegFormer's head: "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers", Xie et al., NeurIPS 2021 (arXiv 2105.15203), as
//! mmsegmentation builds it.
//!
//! Every map through a 1x1, enlarged to the finest, joined by another and classified.

use super::mmseg::{OF_ALL_MAPS, classified, layer};
use super::numbers::{count, part_error};
use super::segmentation::align_corners;
use crate::arch::family::{ArchError, BuildOptions, MapHead, StageMap};
use crate::arch::layers::like;
use crate::arch::prediction::Prediction;
use vitc_ir::Net;

const NAME: &str = "SegFormer's head";

/// The head.
pub(super) static SEGFORMER: MapHead = MapHead {
    name: NAME,
    scope: "decode_head",
    anchors: &["decode_head.convs.0.conv.weight", "decode_head.fusion_conv.conv.weight", "decode_head.conv_seg.weight"],
    choices: OF_ALL_MAPS,
    backbone_stride: None,
    build,
};

fn build(net: &mut Net, options: &BuildOptions, maps: &[StageMap]) -> Result<Prediction, ArchError> {
    let convs = count(net, options, |i| format!("convs.{i}.conv.weight"));
    let Some(maps) = maps.len().checked_sub(convs).map(|first| &maps[first..]).filter(|maps| !maps.is_empty()) else {
        return Err(part_error(NAME, format!("it reads {convs} maps, and there are {}", maps.len())));
    };
    let mut joined = Vec::new();
    for (i, map) in maps.iter().enumerate() {
        let mut place = net.at(format!("convs.{i}"));
        let x = layer(&mut place, options, NAME, map.value, 1)?;
        joined.push(match joined.first() {
            Some(&finest) => like(&mut place, "enlarged", x, finest, align_corners(options)),
            None => x,
        });
    }
    let x = net.concat("fusion_conv.concat", &joined, 1);
    let x = layer(&mut net.at("fusion_conv"), options, NAME, x, 1)?;
    classified(net, options, NAME, x, maps[0].stride)
}
