//! What mmsegmentation's heads over maps share: which map one reads, how a layer's kernel and dilation are known, how they end.

use super::numbers::{axis, part_error, rows};
use super::segmentation::{ALIGN_CORNERS, POOL_SCALES, align_corners};
use crate::arch::choice::Choice;
use crate::arch::conv_module::{NORM_GROUPS, conv_module};
use crate::arch::family::{ArchError, BuildOptions, StageMap};
use crate::arch::prediction::{PixelScores, Prediction};
use vitc_ir::{ConvSpec, Net, UnaryKind, Value};

/// Choices of a head that enlarges maps and classifies.
pub(super) static OF_ALL_MAPS: &[&Choice] = &[&ALIGN_CORNERS, &NORM_GROUPS];
/// Of one that reads one map.
pub(super) static OF_ONE_MAP: &[&Choice] = &[&ALIGN_CORNERS, &NORM_GROUPS, &IN_INDEX, &DILATION];
/// Of one that pools it.
pub(super) static OF_POOLED_MAP: &[&Choice] = &[&ALIGN_CORNERS, &NORM_GROUPS, &IN_INDEX, &POOL_SCALES];
/// Of one that reads it at several dilations.
pub(super) static OF_DILATED_MAP: &[&Choice] = &[&ALIGN_CORNERS, &NORM_GROUPS, &IN_INDEX, &DILATIONS];

/// Which map a head reads.
static IN_INDEX: Choice = Choice {
    name: "in-index",
    values: &["-1"],
    help: "which of the maps the head reads, counted from 0; -1 is the coarsest",
};

/// The dilation of a head's convolutions.
static DILATION: Choice = Choice { name: "dilation", values: &["1"], help: "dilation of the head's convolutions" };

/// The dilations of a head's branches.
pub(super) static DILATIONS: Choice = Choice {
    name: "dilations",
    values: &["1,12,24,36"],
    help: "dilations of the head's branches, as its configurations have them; a 1x1 has 1",
};

/// The map that the head reads.
pub(super) fn read_map(options: &BuildOptions, part: &'static str, maps: &[StageMap]) -> Result<StageMap, ArchError> {
    let text = options.choice(&IN_INDEX);
    let index: Option<usize> = match text.trim().parse::<isize>() {
        Ok(index) if index < 0 => maps.len().checked_sub(index.unsigned_abs()),
        Ok(index) => usize::try_from(index).ok(),
        Err(_) => None,
    };
    let map = index.and_then(|index| maps.get(index)).copied();
    map.ok_or_else(|| part_error(part, format!("there are {} maps, and in-index is {text}", maps.len())))
}

/// The dilation that all convolutions have.
pub(super) fn dilation(options: &BuildOptions, part: &'static str) -> Result<usize, ArchError> {
    let text = options.choice(&DILATION);
    let number = text.trim().parse().ok().filter(|n| (1..=4096).contains(n));
    number.ok_or_else(|| part_error(part, format!("dilation takes a number, found {text}")))
}

/// A `ConvModule` here whose width and kernel are the stored tensor's, activated.
pub(super) fn layer(
    net: &mut Net,
    options: &BuildOptions,
    part: &'static str,
    x: Value,
    dilation: usize,
) -> Result<Value, ArchError> {
    let (width, kernel) = (rows(net, options, part, "conv.weight")?, axis(net, options, part, "conv.weight", 2)?);
    if kernel.is_multiple_of(2) || kernel != axis(net, options, part, "conv.weight", 3)? {
        return Err(part_error(part, format!("{} has a kernel whose sides are even or differ", net.path("conv"))));
    }
    let spec = ConvSpec::new(width, kernel).dilation(dilation).no_bias();
    conv_module(net, options, x, spec, Some(UnaryKind::Relu))
}

/// The 1x1 `conv_seg` classifies.
pub(super) fn classified(
    net: &mut Net,
    options: &BuildOptions,
    part: &'static str,
    x: Value,
    stride: usize,
) -> Result<Prediction, ArchError> {
    let classes = rows(net, options, part, "conv_seg.weight")?;
    let value = net.at("conv_seg").conv(x, ConvSpec::new(classes, 1));
    Ok(Prediction::Pixels(PixelScores { value, classes, stride, corners: align_corners(options) }))
}
