//! What a head makes of maps, before it takes the form that is asked for.

use vitc_ir::Value;

/// What a head predicts.
#[derive(Debug, Clone)]
pub enum Prediction {
    /// Scores of each class at each position.
    Pixels(PixelScores),
    /// Scores and offsets of boxes around anchors.
    Anchored(AnchoredBoxes),
    /// A picture `[B,3,H·scale,W·scale]`.
    Picture {
        /// The picture, values in 0..1.
        value: Value,
        /// How many times the sides of the input.
        scale: usize,
    },
}

impl Prediction {
    /// Number of classes, if it tells any apart.
    pub fn classes(&self) -> Option<usize> {
        match self {
            Prediction::Pixels(scores) => Some(scores.classes),
            Prediction::Anchored(boxes) => Some(boxes.classes),
            Prediction::Picture { .. } => None,
        }
    }

    /// What the metadata say of it.
    pub fn facts(&self) -> Vec<(String, String)> {
        let entry = |key: &str, value: String| (format!("vitc.{key}"), value);
        let list =
            |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x.to_string()).collect::<Vec<_>>().join(",");
        match self {
            Prediction::Pixels(PixelScores { stride, corners, .. }) => vec![
                entry("task", "segmentation".into()),
                entry("output_stride", stride.to_string()),
                entry("align_corners", corners.to_string()),
            ],
            Prediction::Anchored(boxes) => vec![
                entry("task", "detection".into()),
                entry("anchors.strides", list(&mut boxes.levels.iter().map(|level| level.stride as f64))),
                entry("anchors.ratios", list(&mut boxes.anchors.ratios.iter().copied())),
                entry("anchors.sizes", list(&mut boxes.anchors.sizes.iter().copied())),
                entry("anchors.centre_offset", boxes.anchors.centre.to_string()),
                entry("boxes.means", list(&mut boxes.coder.means.iter().copied())),
                entry("boxes.stds", list(&mut boxes.coder.stds.iter().copied())),
                entry("boxes.clip", "4.135166556742356".into()),
                entry("nms", "per level the 1000 best above 0.05, by class at IoU 0.5, 100 boxes".into()),
            ],
            Prediction::Picture { scale, .. } => {
                vec![entry("task", "super-resolution".into()), entry("scale", scale.to_string())]
            }
        }
    }
}

/// Class scores over a map.
#[derive(Debug, Clone, Copy)]
pub struct PixelScores {
    /// `[B,classes,H/stride,W/stride]`.
    pub value: Value,
    /// Number of classes.
    pub classes: usize,
    /// Pixels of the image per position.
    pub stride: usize,
    /// Enlarged to the image, corners lie on corners.
    pub corners: bool,
}

/// What a one-stage detector says of boxes, level by level.
#[derive(Debug, Clone)]
pub struct AnchoredBoxes {
    /// Maps, the finest first.
    pub levels: Vec<BoxLevel>,
    /// The anchors of every position.
    pub anchors: Anchors,
    /// How offsets are normalised.
    pub coder: BoxCoder,
    /// Number of classes, without a background.
    pub classes: usize,
}

/// One map of boxes.
#[derive(Debug, Clone, Copy)]
pub struct BoxLevel {
    /// `[B,anchors·classes,h,w]`, before the sigmoid; channel anchor·classes + class.
    pub scores: Value,
    /// `[B,anchors·4,h,w]`: offsets dx, dy, dw, dh of each anchor.
    pub offsets: Value,
    /// Pixels of the image per position.
    pub stride: usize,
}

/// Offsets dx, dy, dw, dh are what the maps hold, times the deviations, plus the means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxCoder {
    /// Added.
    pub means: [f64; 4],
    /// Multiplied by.
    pub stds: [f64; 4],
}

/// Anchors centred on ((x + centre)·stride, (y + centre)·stride): for each ratio (height over width) and each size, `stride·size` by area.
#[derive(Debug, Clone, PartialEq)]
pub struct Anchors {
    /// Height over width.
    pub ratios: Vec<f64>,
    /// Sides of the square of the same area, in strides.
    pub sizes: Vec<f64>,
    /// Where in its cell, in strides.
    pub centre: f64,
}

impl Anchors {
    /// Width and height of every anchor at this stride, in the order of the channels.
    pub fn sides(&self, stride: usize) -> Vec<[f64; 2]> {
        let side = |ratio: &f64, size: &f64| {
            let (root, side) = (ratio.sqrt(), size * stride as f64);
            [side / root, side * root]
        };
        self.ratios.iter().flat_map(|ratio| self.sizes.iter().map(move |size| side(ratio, size))).collect()
    }
}
