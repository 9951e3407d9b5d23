//! UPerNet: "Unified Perceptual Parsing for Scene Understanding", Xiao et al., ECCV 2018 (arXiv 1807.10221), as mmsegmentation's UPerHead builds it.
//!
//! The coarsest map is joined with what it holds pooled to a few sizes; from there a feature pyramid leads down to the finest map, and all levels,
//! enlarged to it, are joined and classified.

use super::numbers::{count, part_error, rows};
use super::pyramid_pooling::pyramid_pooling;
use super::segmentation::{ALIGN_CORNERS, POOL_SCALES, align_corners};
use crate::arch::conv_module::{NORM_GROUPS, conv_module};
use crate::arch::family::{ArchError, BuildOptions, MapHead, StageMap};
use crate::arch::layers::like;
use crate::arch::prediction::{PixelScores, Prediction};
use vitc_ir::{ConvSpec, Net, UnaryKind, Value};

const NAME: &str = "UPerNet";

/// The head.
pub(super) static UPERNET: MapHead = MapHead {
    name: NAME,
    scope: "decode_head",
    anchors: &["psp_modules.0.1.conv.weight", "fpn_bottleneck.conv.weight", "bottleneck.conv.weight"],
    choices: &[&ALIGN_CORNERS, &POOL_SCALES, &NORM_GROUPS],
    backbone_stride: None,
    build,
};

fn build(net: &mut Net, options: &BuildOptions, maps: &[StageMap]) -> Result<Prediction, ArchError> {
    let width = rows(net, options, NAME, "fpn_bottleneck.conv.weight")?;
    let classes = rows(net, options, NAME, "conv_seg.weight")?;
    let laterals = count(net, options, |i| format!("lateral_convs.{i}.conv.weight"));
    // One that reads fewer maps reads the coarsest: the widths of its convolutions say no to others.
    let Some(maps) = maps.len().checked_sub(laterals + 1).map(|first| &maps[first..]) else {
        return Err(part_error(NAME, format!("it reads {} maps, and there are {}", laterals + 1, maps.len())));
    };
    let corners = align_corners(options);
    let conv = |net: &mut Net, place: String, x: Value, kernel: usize| {
        let spec = ConvSpec::new(width, kernel).no_bias();
        conv_module(&mut net.at(place), options, x, spec, Some(UnaryKind::Relu))
    };

    let mut sums = Vec::new();
    for (i, map) in maps[..laterals].iter().enumerate() {
        sums.push(conv(net, format!("lateral_convs.{i}"), map.value, 1)?);
    }
    sums.push(pyramid_pooling(net, options, NAME, maps[laterals].value, width)?);
    for i in (1..sums.len()).rev() {
        let mut place = net.at(format!("levels.{}", i - 1));
        let above = like(&mut place, "enlarged", sums[i], sums[i - 1], corners);
        sums[i - 1] = place.add(sums[i - 1], above);
    }
    let mut levels = Vec::new();
    for (i, &sum) in sums.iter().enumerate() {
        let level = if i < laterals { conv(net, format!("fpn_convs.{i}"), sum, 3)? } else { sum };
        levels.push(match levels.first() {
            Some(&finest) => like(&mut net.at(format!("fpn_bottleneck.{i}")), "enlarged", level, finest, corners),
            None => level,
        });
    }
    let joined = net.concat("fpn_bottleneck.concat", &levels, 1);
    let x = conv(net, "fpn_bottleneck".into(), joined, 3)?;
    let value = net.at("conv_seg").conv(x, ConvSpec::new(classes, 1));
    Ok(Prediction::Pixels(PixelScores { value, classes, stride: maps[0].stride, corners }))
}
