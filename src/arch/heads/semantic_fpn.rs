//! Semantic FPN: "Panoptic Feature Pyramid Networks", Kirillov et al., CVPR 2019 (arXiv 1901.02446), as mmsegmentation's FPNHead builds it.
//!
//! Each level is brought to the finest one's stride by 3x3 convolutions, each followed by a bilinear x2; the levels are added and classified by a 1x1.

use super::numbers::{count, part_error, rows};
use super::segmentation::{ALIGN_CORNERS, align_corners};
use crate::arch::conv_module::{NORM_GROUPS, conv_module};
use crate::arch::family::{ArchError, BuildOptions, MapHead, StageMap};
use crate::arch::layers::{enlarge, like};
use crate::arch::prediction::{PixelScores, Prediction};
use vitc_ir::{ConvSpec, Net, UnaryKind, Value};

const NAME: &str = "Semantic FPN";

/// The head.
pub(super) static SEMANTIC_FPN: MapHead = MapHead {
    name: NAME,
    scope: "decode_head",
    anchors: &["scale_heads.0.0.conv.weight"],
    choices: &[&ALIGN_CORNERS, &NORM_GROUPS],
    backbone_stride: None,
    build,
};

fn build(net: &mut Net, options: &BuildOptions, maps: &[StageMap]) -> Result<Prediction, ArchError> {
    let width = rows(net, options, NAME, "scale_heads.0.0.conv.weight")?;
    let classes = rows(net, options, NAME, "conv_seg.weight")?;
    let branches = count(net, options, |i| format!("scale_heads.{i}.0.conv.weight"));
    if branches != maps.len() {
        return Err(part_error(NAME, format!("it reads {branches} maps, and there are {}", maps.len())));
    }
    let corners = align_corners(options);
    let mut sum: Option<Value> = None;
    for (i, map) in maps.iter().take(branches).enumerate() {
        let mut place = net.at(format!("scale_heads.{i}"));
        let branch = branch(&mut place, options, map.value, [width, (map.stride / maps[0].stride).max(1)], corners)?;
        sum = Some(match sum {
            None => branch,
            Some(so_far) => {
                let branch = like(&mut place, "resized", branch, so_far, corners);
                place.add(so_far, branch)
            }
        });
    }
    let sum = sum.ok_or_else(|| part_error(NAME, "it has no branch"))?;
    let value = net.at("conv_seg").conv(sum, ConvSpec::new(classes, 1));
    Ok(Prediction::Pixels(PixelScores { value, classes, stride: maps[0].stride, corners }))
}

/// A convolution per halving between the branch's stride and the finest one, which lies `factor` times finer.
fn branch(
    net: &mut Net,
    options: &BuildOptions,
    x: Value,
    [width, factor]: [usize; 2],
    corners: bool,
) -> Result<Value, ArchError> {
    let conv = |net: &mut Net, i: usize, x: Value| {
        let spec = ConvSpec::new(width, 3).no_bias();
        conv_module(&mut net.at(2 * i), options, x, spec, Some(UnaryKind::Relu))
    };
    let halvings = factor.ilog2() as usize;
    if halvings == 0 {
        return conv(net, 0, x);
    }
    (0..halvings).try_fold(x, |x, i| {
        let x = conv(net, i, x)?;
        let size = [2, 3].map(|axis| 2 * net.dim(x, axis));
        Ok(enlarge(net, 2 * i + 1, x, size, corners))
    })
}
