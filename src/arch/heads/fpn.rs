//! FPN: "Feature Pyramid Networks for Object Detection", Lin et al., CVPR 2017 (arXiv 1612.03144), as mmdetection and mmsegmentation build it.
//!
//! Each stage's map becomes one of a common width; from the top down the enlarged coarser map is added to the finer one; a 3x3 convolution
//! smooths each sum. Levels beyond the backbone's come from strided convolutions (RetinaNet) or from every second position of the last (two-stage
//! detectors).

use super::numbers::{count, part_error, rows};
use crate::arch::choice::Choice;
use crate::arch::conv_module::{NORM_GROUPS, conv_module};
use crate::arch::family::{ArchError, BuildOptions, Neck, StageMap};
use crate::arch::layers::nearest_like;
use vitc_ir::op::SliceAxis;
use vitc_ir::{ConvSpec, Net, Op, UnaryKind, Value};

const NAME: &str = "FPN";

/// The neck.
pub(super) static FPN: Neck = Neck {
    name: NAME,
    scope: "neck",
    anchors: &["lateral_convs.0.conv.weight", "fpn_convs.0.conv.weight"],
    choices: &[&LEVELS, &EXTRA_CONVS, &EXTRA_RELU, &NORM_GROUPS],
    build,
};

/// Number of levels; what goes beyond convolutions is taken from every second position.
pub(super) static LEVELS: Choice = Choice {
    name: "levels",
    values: &["auto", "1", "2", "3", "4", "5", "6", "7"],
    help: "maps that the FPN returns; those without a convolution are every second position of the one before. auto: one more than it has \
           convolutions where an RPN reads it, else as many",
};

/// What the first extra convolution reads.
pub(super) static EXTRA_CONVS: Choice = Choice {
    name: "extra-convs",
    values: &["auto", "on_input", "on_lateral", "on_output"],
    help: "what the FPN's first extra convolution reads: the backbone's last map, the last sum, or the last output. auto: the backbone's map \
           where the convolution has its width, else the last output",
};

/// Whether a ReLU stands between extra convolutions.
pub(super) static EXTRA_RELU: Choice = Choice {
    name: "extra-relu",
    values: &["false", "true"],
    help: "a ReLU stands in front of each of the FPN's extra convolutions but the first",
};

fn build(net: &mut Net, options: &BuildOptions, maps: &[StageMap]) -> Result<Vec<StageMap>, ArchError> {
    let laterals = count(net, options, |i| format!("lateral_convs.{i}.conv.weight"));
    let convs = count(net, options, |i| format!("fpn_convs.{i}.conv.weight"));
    let width = rows(net, options, NAME, "lateral_convs.0.conv.weight")?;
    if laterals > maps.len() || convs < laterals {
        let what = format!("it has {laterals} lateral and {convs} output convolutions for {} maps", maps.len());
        return Err(part_error(NAME, what));
    }
    let maps = &maps[maps.len() - laterals..];
    let mut sums: Vec<Value> = Vec::new();
    for (i, map) in maps.iter().enumerate() {
        let mut net = net.at(format!("lateral_convs.{i}"));
        sums.push(conv_module(&mut net, options, map.value, ConvSpec::new(width, 1), None)?);
    }
    for i in (1..sums.len()).rev() {
        let mut net = net.at(format!("levels.{}", i - 1));
        let above = nearest_like(&mut net, "enlarged", sums[i], sums[i - 1]);
        sums[i - 1] = net.add(sums[i - 1], above);
    }
    let output = |net: &mut Net, i: usize, x: Value, stride: usize| {
        conv_module(&mut net.at(format!("fpn_convs.{i}")), options, x, ConvSpec::new(width, 3).stride(stride), None)
    };
    let mut levels: Vec<StageMap> = Vec::new();
    for (i, (sum, map)) in sums.iter().zip(maps).enumerate() {
        levels.push(StageMap { value: output(net, i, *sum, 1)?, stride: map.stride });
    }
    let (last, input) = (levels[laterals - 1], maps[laterals - 1]);
    let mut source = match convs > laterals {
        true => extra_source(net, options, laterals, [input.value, sums[laterals - 1], last.value])?,
        false => last.value,
    };
    for i in laterals..convs {
        if i > laterals && options.choice(&EXTRA_RELU) == "true" {
            source = net.unary(format!("levels.{i}.relu"), UnaryKind::Relu, source);
        }
        source = output(net, i, source, 2)?;
        levels.push(StageMap { value: source, stride: last.stride << (i + 1 - laterals) });
    }
    for i in convs..wanted_levels(options, laterals, convs)? {
        source = every_second(&mut net.at(format!("levels.{i}")), source);
        levels.push(StageMap { value: source, stride: last.stride << (i + 1 - laterals) });
    }
    Ok(levels)
}

/// How many maps are returned. Levels beyond the backbone's are either all convolutions or none is.
fn wanted_levels(options: &BuildOptions, laterals: usize, convs: usize) -> Result<usize, ArchError> {
    let text = options.choice(&LEVELS);
    let Ok(levels) = text.parse::<usize>() else { return Ok(convs) };
    let convolved = convs > laterals || options.choice(&EXTRA_CONVS) != "auto";
    if levels < convs || (convolved && levels > convs) {
        let what = format!("it has {convs} output convolutions, and {levels} levels are asked for");
        return Err(part_error(NAME, what));
    }
    Ok(levels)
}

/// The first extra convolution reads the backbone's last map if it has its width. Where that is the neck's own width too, the keys do not tell.
fn extra_source(
    net: &mut Net,
    options: &BuildOptions,
    first: usize,
    [input, lateral, output]: [Value; 3],
) -> Result<Value, ArchError> {
    let key = net.path(format!("fpn_convs.{first}.conv.weight"));
    let columns = options.stored(&key).and_then(|shape| shape.get(1).copied()).unwrap_or_default();
    let source = match options.choice(&EXTRA_CONVS) {
        "on_input" => input,
        "on_lateral" => lateral,
        "on_output" => output,
        _ if columns == net.dim(input, 1) => input,
        _ => output,
    };
    match net.dim(source, 1) == columns {
        true => Ok(source),
        false => Err(part_error(
            NAME,
            format!("{key} reads {columns} channels, and what it should read has {}", net.dim(source, 1)),
        )),
    }
}

/// Max pooling with a window of 1 and a stride of 2.
fn every_second(net: &mut Net, x: Value) -> Value {
    let cuts = [2, 3].map(|axis| SliceAxis { axis, start: 0, stop: net.dim(x, axis), step: 2 });
    net.push("every_second", Op::Slice { cuts: cuts.to_vec() }, &[x])
}
