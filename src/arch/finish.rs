//! A prediction in the form that is asked for: as the head makes it, at the size of the picture, the class of each pixel, boxes.

use super::family::{ArchError, BuildOptions};
use super::layers::enlarge;
use super::prediction::{AnchoredBoxes, PixelScores, Prediction};
use super::results::Results;
use crate::message;
use crate::message::Setting;
use crate::signature::{OutputRole, Over};
use vitc_ir::{BinaryKind, Generator, Net, Op, Real, Shape, Type, UnaryKind, Value};

/// An output: its name, its value, what it holds.
pub(super) type Named = (String, Value, OutputRole);

/// Offsets of a box's sides are clipped to ±|ln(16/1000)| before they are exponentiated.
const LARGEST_OFFSET: f64 = 4.135_166_556_742_356;

/// The outputs of a head.
pub(super) fn finish(net: &mut Net, options: &BuildOptions, found: Prediction) -> Result<Vec<Named>, ArchError> {
    match (found, options.results) {
        (Prediction::Pixels(scores), Results::Enlarged | Results::ClassMap | Results::Logits) => {
            pixels(net, options, scores)
        }
        (Prediction::Anchored(boxes), Results::Logits) => Ok(raw(&boxes)),
        (Prediction::Anchored(boxes), Results::Boxes) => Ok(decoded(net, options, &boxes)),
        (Prediction::Picture { value, scale }, Results::Logits) => {
            Ok(vec![("picture".into(), value, OutputRole::Picture { scale })])
        }
        (found, _) => {
            let (what, setting) = match options.results {
                Results::Boxes => ("the model finds no boxes\n  leave out ", Setting::Decode),
                Results::ClassMap => ("the model does not classify pixels\n  leave out ", Setting::Argmax),
                _ => ("the model does not classify pixels\n  leave out ", Setting::Upsample),
            };
            drop(found);
            Err(ArchError::Results { model: options.backbone.variant.name, what: message!(what, setting) })
        }
    }
}

/// Scores of pixels, at the size and in the form that is asked for.
fn pixels(net: &mut Net, options: &BuildOptions, scores: PixelScores) -> Result<Vec<Named>, ArchError> {
    let classes = scores.classes;
    let role = OutputRole::Scores { classes, over: Over::Pixels };
    if options.results == Results::Logits {
        return Ok(vec![("logits".into(), scores.value, role)]);
    }
    let whole = options.resolution.iter().all(|side| side.is_multiple_of(scores.stride));
    if scores.corners && !whole {
        let advice = format!("use multiples of {}", scores.stride);
        return Err(options.misfit("corners are aligned with those of whole positions", advice));
    }
    let mut net = net.at("enlarged");
    let large = enlarge(&mut net, "", scores.value, options.resolution, scores.corners);
    Ok(match options.results {
        Results::ClassMap => {
            let map = net.push("classes", Op::ArgMax { axis: 1, keep: false }, &[large]);
            vec![("classes".into(), map, OutputRole::Classes { classes })]
        }
        _ => vec![("logits".into(), large, role)],
    })
}

/// Scores and offsets of each level.
fn raw(boxes: &AnchoredBoxes) -> Vec<Named> {
    let maps = |name: &'static str, of: fn(&super::prediction::BoxLevel) -> Value| {
        let map = move |(i, level): (usize, &super::prediction::BoxLevel)| {
            (format!("{name}{}", i + 1), of(level), OutputRole::Map { stride: level.stride })
        };
        boxes.levels.iter().enumerate().map(map)
    };
    maps("cls", |level| level.scores).chain(maps("box", |level| level.offsets)).collect()
}

/// `boxes [B,N,4]`, corners in pixels of the input, and `scores [B,N,classes]`: levels from the finest on, in them rows, columns, anchors.
fn decoded(net: &mut Net, options: &BuildOptions, boxes: &AnchoredBoxes) -> Vec<Named> {
    let mut net = net.at("decode");
    let (mut all_scores, mut all_boxes) = (Vec::new(), Vec::new());
    for (i, level) in boxes.levels.iter().enumerate() {
        let mut net = net.at(i);
        let map = [net.dim(level.scores, 2), net.dim(level.scores, 3)];
        let sides = boxes.anchors.sides(level.stride);
        all_scores.push(by_anchor(&mut net.at("scores"), level.scores, boxes.classes));
        let offsets = by_anchor(&mut net.at("offsets"), level.offsets, 4);
        all_boxes.push(level_boxes(&mut net, offsets, map, level.stride, &sides));
    }
    let scores = net.concat("scores", &all_scores, 1);
    let scores = net.unary("probabilities", UnaryKind::Sigmoid, scores);
    let corners = net.concat("corners", &all_boxes, 1);
    let [height, width] = options.resolution.map(|side| side as f64);
    let zero = net.scalar(0.0);
    let corners = net.binary("from_zero", BinaryKind::Max, corners, zero);
    let limits = net.literal("limits", &[1, 1, 4], &[width, height, width, height]);
    let corners = net.binary("boxes", BinaryKind::Min, corners, limits);
    let role = OutputRole::Probabilities { classes: boxes.classes, over: Over::Boxes };
    vec![("boxes".into(), corners, OutputRole::Boxes), ("scores".into(), scores, role)]
}

/// `[B,anchors·n,h,w]` as `[B,h·w·anchors,n]`.
fn by_anchor(net: &mut Net, x: Value, n: usize) -> Value {
    let positions = net.dim(x, 1) / n * net.dim(x, 2) * net.dim(x, 3);
    let batch = net.batch(x);
    let x = net.transpose("last", x, &[0, 2, 3, 1]);
    net.reshape("rows", x, Shape::batched(batch, &[positions, n]))
}

/// Corners `[B,N,4]` of a level's boxes: the centre moves by the offset times the anchor's sides, sides grow by its exponential.
fn level_boxes(net: &mut Net, offsets: Value, map: [usize; 2], stride: usize, sides: &[[f64; 2]]) -> Value {
    let (centres, sizes) = anchors(&mut net.at("anchors"), map, stride, sides);
    let parts = net.split("parts", offsets, 2, &[2, 2]);
    let moved = net.binary("moved", BinaryKind::Mul, parts[0], sizes);
    let centre = net.binary("centre", BinaryKind::Add, moved, centres);
    let clip = Op::Clip { lo: Real(-LARGEST_OFFSET), hi: Real(LARGEST_OFFSET) };
    let grown = net.push("clip", clip, &[parts[1]]);
    let grown = net.unary("exp", UnaryKind::Exp, grown);
    let half = net.scalar(0.5);
    let half_sizes = net.binary("half_sizes", BinaryKind::Mul, sizes, half);
    let reach = net.binary("reach", BinaryKind::Mul, grown, half_sizes);
    let first = net.binary("first", BinaryKind::Sub, centre, reach);
    let last = net.binary("last", BinaryKind::Add, centre, reach);
    net.concat("corners", &[first, last], 2)
}

/// Constants `[1,N,2]` of a level: centres (x, y) and sides (width, height) of all anchors.
fn anchors(net: &mut Net, [height, width]: [usize; 2], stride: usize, sides: &[[f64; 2]]) -> (Value, Value) {
    let grid = [height, width, sides.len(), 1];
    let count = height * width * sides.len();
    let step = net.scalar(stride as f64);
    let coordinate = |net: &mut Net, name: &str, axis: usize| {
        let index = net.generate(format!("{name}_index"), Generator::Iota { axis }, Type::f32(&grid));
        net.binary(name, BinaryKind::Mul, index, step)
    };
    let (y, x) = (coordinate(net, "y", 0), coordinate(net, "x", 1));
    let centres = net.concat("grid", &[x, y], 3);
    let centres = net.reshape("centres", centres, Shape::fixed(&[1, count, 2]));
    let flat: Vec<f64> = sides.concat();
    let sizes = net.literal("sides", &[1, 1, sides.len(), 2], &flat);
    let shape = Shape::fixed(&[height, width, sides.len(), 2]);
    let sizes = net.push("all_sides", Op::Expand { shape }, &[sizes]);
    let sizes = net.reshape("sizes", sizes, Shape::fixed(&[1, count, 2]));
    (centres, sizes)
}
