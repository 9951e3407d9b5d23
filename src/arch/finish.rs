//! A prediction in the form that is asked for: as the head makes it, at the size of the picture, the class of each pixel, boxes.

use super::family::{ArchError, BuildOptions};
use super::layers::enlarge;
use super::prediction::{AnchoredBoxes, BoxCoder, PixelScores, Prediction};
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
    if classes == 1 && options.results == Results::ClassMap {
        let what = message!(
            Setting::Argmax,
            ": the model has one score for each pixel, of which the largest is always the first\n  use ",
            Setting::Sigmoid.on(),
            " for its probability, and compare it with the threshold that it was trained for"
        );
        return Err(ArchError::Results { model: options.backbone.variant.name, what });
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
        let offsets = denormalised(&mut net.at("offsets"), offsets, &boxes.coder);
        let grid = Grid { map, stride: level.stride, centre: boxes.anchors.centre };
        all_boxes.push(level_boxes(&mut net, offsets, grid, &sides));
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

/// Offsets as the anchors take them.
fn denormalised(net: &mut Net, offsets: Value, coder: &BoxCoder) -> Value {
    let mut x = offsets;
    for (name, kind, numbers, idle) in
        [("stds", BinaryKind::Mul, coder.stds, 1.0), ("means", BinaryKind::Add, coder.means, 0.0)]
    {
        if numbers.iter().any(|&number| number != idle) {
            let numbers = net.literal(name, &[1, 1, 4], &numbers);
            x = net.binary(format!("by_{name}"), kind, x, numbers);
        }
    }
    x
}

/// Where a level's anchors stand.
#[derive(Clone, Copy)]
struct Grid {
    /// Rows and columns of the level.
    map: [usize; 2],
    /// Pixels of the image per position.
    stride: usize,
    /// Where in its cell an anchor is centred, in strides.
    centre: f64,
}

/// Corners `[B,N,4]` of a level's boxes: the centre moves by the offset times the anchor's sides, sides grow by its exponential.
fn level_boxes(net: &mut Net, offsets: Value, grid: Grid, sides: &[[f64; 2]]) -> Value {
    let (centres, sizes) = anchors(&mut net.at("anchors"), grid, sides);
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
fn anchors(net: &mut Net, Grid { map: [height, width], stride, centre }: Grid, sides: &[[f64; 2]]) -> (Value, Value) {
    let grid = [height, width, sides.len(), 1];
    let count = height * width * sides.len();
    let step = net.scalar(stride as f64);
    let coordinate = |net: &mut Net, name: &str, axis: usize| {
        let mut index = net.generate(format!("{name}_index"), Generator::Iota { axis }, Type::f32(&grid));
        if centre != 0.0 {
            let centre = net.scalar(centre);
            index = net.binary(format!("{name}_centre"), BinaryKind::Add, index, centre);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use vitc_ir::{Stored, WeightError, Weights, eval};

    struct NoWeights;

    impl Weights for NoWeights {
        fn weight(&self, _: &str, _: usize) -> Result<Stored<'_>, WeightError> {
            unreachable!("no weight is asked for")
        }
    }

    /// The formula by hand: anchors 8 wide and 4 high in the middle of cells of 10, offsets times (0.1, 0.1, 0.2, 0.2) plus (1, 0, 0, 0).
    #[test]
    fn boxes_move_by_normalised_offsets_from_where_anchors_are_centred() {
        let mut graph = vitc_ir::net::paper("boxes");
        let mut net = Net::new(&mut graph);
        let offsets = net.literal("offsets", &[1, 2, 4], &[0.0, 0.0, 0.0, 0.0, 5.0, -10.0, 1.0, 100.0]);
        let coder = BoxCoder { means: [1.0, 0.0, 0.0, 0.0], stds: [0.1, 0.1, 0.2, 0.2] };
        let offsets = denormalised(&mut net, offsets, &coder);
        let grid = Grid { map: [1, 2], stride: 10, centre: 0.5 };
        let boxes = level_boxes(&mut net, offsets, grid, &[[8.0, 4.0]]);
        let found: Vec<f64> = eval::constant(&graph, &NoWeights, boxes).unwrap().into_iter().collect();
        let half = [4.0 * 0.2f64.exp(), 2.0 * LARGEST_OFFSET.exp()];
        let [x, y] = [15.0 + 8.0 * 1.5, 5.0 - 4.0];
        let wanted = [9.0, 3.0, 17.0, 7.0, x - half[0], y - half[1], x + half[0], y + half[1]];
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-4, "{found} for {wanted}");
        }
    }
}
