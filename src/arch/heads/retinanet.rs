//! RetinaNet: "Focal Loss for Dense Object Detection", Lin et al., ICCV 2017 (arXiv 1708.02002), as mmdetection builds it.
//!
//! Two towers of 3x3 convolutions, the same for every level of the pyramid: one ends in a score per anchor and class, the other in four offsets per
//! anchor.

use super::numbers::{axis, count, part_error, rows};
use super::segmentation::numbers;
use crate::arch::choice::Choice;
use crate::arch::conv_module::{NORM_GROUPS, conv_module};
use crate::arch::family::{ArchError, BuildOptions, MapHead, StageMap};
use crate::arch::prediction::{AnchoredBoxes, Anchors, BoxCoder, BoxLevel, Prediction};
use vitc_ir::{ConvSpec, Net, UnaryKind, Value};

const NAME: &str = "RetinaNet";

/// The head.
pub(super) static RETINANET: MapHead = MapHead {
    name: NAME,
    scope: "bbox_head",
    anchors: &["retina_cls.weight", "retina_reg.weight"],
    choices: &[
        &ANCHOR_SCALE,
        &ANCHOR_OCTAVES,
        &ANCHOR_SCALES,
        &ANCHOR_RATIOS,
        &ANCHOR_STRIDES,
        &ANCHOR_CENTRE,
        &BOX_MEANS,
        &BOX_STDS,
        &NORM_GROUPS,
    ],
    backbone_stride: None,
    build,
};

/// Sides of the smallest anchor.
pub(super) static ANCHOR_SCALE: Choice =
    Choice { name: "anchor-scale", values: &["4"], help: "side of the smallest anchor of a level, in strides" };

/// Anchors per octave.
pub(super) static ANCHOR_OCTAVES: Choice =
    Choice { name: "anchor-octaves", values: &["3"], help: "anchors between one size and its double" };

/// All sizes of anchors, where they are no parts of an octave.
pub(super) static ANCHOR_SCALES: Choice = Choice {
    name: "anchor-scales",
    values: &["auto"],
    help: "sides of the anchors of a level, in strides, instead of anchor-scale and anchor-octaves",
};

/// Steps of anchors.
pub(super) static ANCHOR_STRIDES: Choice = Choice {
    name: "anchor-strides",
    values: &["auto"],
    help: "pixels between the anchors of each level, finest first. auto: those of the levels",
};

/// Shapes of anchors.
pub(super) static ANCHOR_RATIOS: Choice =
    Choice { name: "anchor-ratios", values: &["0.5,1,2"], help: "heights of anchors over their widths" };

/// Centres of anchors.
pub(super) static ANCHOR_CENTRE: Choice = Choice {
    name: "anchor-centre",
    values: &["0"],
    help: "where in its cell an anchor is centred: 0 in the corner, 0.5 in the middle",
};

/// What offsets are normalised by.
pub(super) static BOX_MEANS: Choice =
    Choice { name: "box-means", values: &["0,0,0,0"], help: "what is added to the offsets of a box" };

/// The other half of it.
pub(super) static BOX_STDS: Choice =
    Choice { name: "box-stds", values: &["1,1,1,1"], help: "what the offsets of a box are multiplied by" };

fn build(net: &mut Net, options: &BuildOptions, maps: &[StageMap]) -> Result<Prediction, ArchError> {
    let anchors = anchors(options)?;
    let each = anchors.sides(1).len();
    let (scores, offsets) =
        (rows(net, options, NAME, "retina_cls.weight")?, rows(net, options, NAME, "retina_reg.weight")?);
    if offsets != 4 * each || !scores.is_multiple_of(each) {
        let what = format!(
            "it has {offsets} offsets and {scores} scores per position, and {each} anchors make {}: the anchors are others",
            4 * each
        );
        return Err(part_error(NAME, what));
    }
    let depth = |tower: &str| count(net, options, |i| format!("{tower}.{i}.conv.weight"));
    let depths = ["cls_convs", "reg_convs"].map(depth);
    if depths[0] != depths[1] {
        let what = format!("one tower has {} convolutions and the other {}: some are missing", depths[0], depths[1]);
        return Err(part_error(NAME, what));
    }
    let scored = tower(net, options, maps, ["cls_convs", "retina_cls"], scores)?;
    let moved = tower(net, options, maps, ["reg_convs", "retina_reg"], offsets)?;
    let level = |((scores, offsets), stride): ((Value, Value), usize)| BoxLevel { scores, offsets, stride };
    let levels = scored.into_iter().zip(moved).zip(strides(options, maps)?).map(level).collect();
    let coder = BoxCoder { means: four(options, &BOX_MEANS)?, stds: four(options, &BOX_STDS)? };
    Ok(Prediction::Anchored(AnchoredBoxes { levels, anchors, coder, classes: scores / each }))
}

/// One tower and its last convolution on every level.
fn tower(
    net: &mut Net,
    options: &BuildOptions,
    maps: &[StageMap],
    [tower, last]: [&str; 2],
    out: usize,
) -> Result<Vec<Value>, ArchError> {
    let depth = count(net, options, |i| format!("{tower}.{i}.conv.weight"));
    let width = axis(net, options, NAME, &format!("{last}.weight"), 1)?;
    let mut found = Vec::new();
    for map in maps {
        let mut x = map.value;
        for i in 0..depth {
            let spec = ConvSpec::new(width, 3);
            x = conv_module(&mut net.at(format!("{tower}.{i}")), options, x, spec, Some(UnaryKind::Relu))?;
        }
        found.push(net.at(last).conv(x, ConvSpec::new(out, 3)));
    }
    Ok(found)
}

/// A choice's value that is none of its kind.
fn wrong(options: &BuildOptions, choice: &'static Choice, takes: &str) -> ArchError {
    part_error(NAME, format!("{} takes {takes}, found {}", choice.name, options.choice(choice)))
}

/// The four numbers of a choice.
fn four(options: &BuildOptions, choice: &'static Choice) -> Result<[f64; 4], ArchError> {
    let number = |text: &str| text.trim().parse().ok().filter(|x: &f64| x.is_finite());
    let numbers: Option<Vec<f64>> = options.choice(choice).split(',').map(number).collect();
    numbers.and_then(|n| n.try_into().ok()).ok_or_else(|| wrong(options, choice, "four numbers"))
}

/// Pixels between the anchors of each level.
fn strides(options: &BuildOptions, maps: &[StageMap]) -> Result<Vec<usize>, ArchError> {
    let own = || maps.iter().map(|map| map.stride).collect();
    let text = options.choice(&ANCHOR_STRIDES);
    if text == "auto" {
        return Ok(own());
    }
    let given = numbers(text).filter(|given| given.len() == maps.len());
    given.ok_or_else(|| {
        part_error(NAME, format!("it reads {} levels, and {} is {text}", maps.len(), ANCHOR_STRIDES.name))
    })
}

/// The anchors of one position, as the choices have them.
fn anchors(options: &BuildOptions) -> Result<Anchors, ArchError> {
    let wrong = |choice: &'static Choice| wrong(options, choice, "positive numbers");
    let positive = |text: &str| text.trim().parse().ok().filter(|x: &f64| *x > 0.0 && x.is_finite());
    let scale = positive(options.choice(&ANCHOR_SCALE)).ok_or_else(|| wrong(&ANCHOR_SCALE))?;
    let octaves: u32 = options.choice(&ANCHOR_OCTAVES).trim().parse().unwrap_or(0);
    if !(1..=16).contains(&octaves) {
        return Err(wrong(&ANCHOR_OCTAVES));
    }
    let ratios: Option<Vec<f64>> = options.choice(&ANCHOR_RATIOS).split(',').map(positive).collect();
    let ratios = ratios.ok_or_else(|| wrong(&ANCHOR_RATIOS))?;
    let sizes = match options.choice(&ANCHOR_SCALES) {
        "auto" => (0..octaves).map(|i| scale * (f64::from(i) / f64::from(octaves)).exp2()).collect(),
        sizes => sizes.split(',').map(positive).collect::<Option<_>>().ok_or_else(|| wrong(&ANCHOR_SCALES))?,
    };
    let centre = options.choice(&ANCHOR_CENTRE).trim().parse().ok().filter(|x: &f64| (0.0..=1.0).contains(x));
    let centre = centre.ok_or_else(|| self::wrong(options, &ANCHOR_CENTRE, "a number from 0 to 1"))?;
    Ok(Anchors { ratios, sizes, centre })
}
