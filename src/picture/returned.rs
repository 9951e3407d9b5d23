//! What a dense model answers, back on the picture that it was shown: maps of classes in the picture's own size, boxes in its own pixels.
//!
//! Scores are read off where a pixel of the picture lies in their map, linearly between positions, so that no map of the picture's size is kept for each
//! class.

use super::decode::Picture;
use vitc_exporters::metadata::Fit;

/// Where a picture lies in the model's input.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    /// Height and width of the picture.
    pub picture: [usize; 2],
    /// Height and width of what of the input is the picture: from the top left corner on.
    pub inside: [usize; 2],
    /// Height and width of the input.
    pub input: [usize; 2],
}

impl Frame {
    /// Of a picture that was fitted so; `None` for a crop, from which nothing leads back.
    pub fn of(picture: &Picture, input: [usize; 2], fit: Fit) -> Option<Frame> {
        let own = [picture.height, picture.width];
        let inside = match fit {
            Fit::Crop => return None,
            Fit::Stretch => input,
            Fit::Pad => super::within(own, input),
        };
        Some(Frame { picture: own, inside, input })
    }

    /// A box in pixels of the input, in pixels of the picture.
    pub fn back(&self, [left, top, right, bottom]: [f32; 4]) -> [f32; 4] {
        let scale = |axis: usize| self.picture[axis] as f32 / self.inside[axis] as f32;
        let clipped = |x: f32, axis: usize| (x * scale(axis)).clamp(0.0, self.picture[axis] as f32);
        [clipped(left, 1), clipped(top, 0), clipped(right, 1), clipped(bottom, 0)]
    }
}

/// The class of every pixel of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassMap {
    /// Height and width.
    pub size: [usize; 2],
    /// Row by row.
    pub classes: Vec<usize>,
}

/// Of scores `[classes,h,w]` of the whole input; `corners` of the input lie on those of the map.
pub fn classes_of_scores(scores: &[f32], [count, height, width]: [usize; 3], corners: bool, frame: Frame) -> ClassMap {
    let side = |axis: usize, of: usize| (0..frame.picture[axis]).map(move |i| place(i, axis, of, corners, frame));
    let columns: Vec<(usize, usize, f32)> = side(1, width).collect();
    let mut classes = Vec::with_capacity(frame.picture[0] * frame.picture[1]);
    for (top, bottom, down) in side(0, height) {
        for &(left, right, across) in &columns {
            let mut best = (0, f32::NEG_INFINITY);
            for class in 0..count {
                let at = |y: usize, x: usize| scores[(class * height + y) * width + x];
                let row = |y: usize| at(y, left) * (1.0 - across) + at(y, right) * across;
                let score = row(top) * (1.0 - down) + row(bottom) * down;
                if score > best.1 {
                    best = (class, score);
                }
            }
            classes.push(best.0);
        }
    }
    ClassMap { size: frame.picture, classes }
}

/// The positions around pixel `i` of the picture along an axis of a map of `of` positions, and how far it lies from the first to the second.
fn place(i: usize, axis: usize, of: usize, corners: bool, frame: Frame) -> (usize, usize, f32) {
    let scale = frame.inside[axis] as f64 / frame.picture[axis] as f64;
    let pixel = (i as f64 + 0.5) * scale - 0.5;
    let input = frame.input[axis];
    let at = match corners {
        true => pixel * (of - 1) as f64 / (input.max(2) - 1) as f64,
        false => (pixel + 0.5) * of as f64 / input as f64 - 0.5,
    };
    let at = at.clamp(0.0, (of - 1) as f64);
    let first = at.floor() as usize;
    (first, (first + 1).min(of - 1), (at - first as f64) as f32)
}

/// Of the classes `[H,W]` of the input's own pixels: each pixel of the picture has that of the nearest.
pub fn classes_of_pixels(map: &[f32], frame: Frame) -> ClassMap {
    let near = |i: usize, axis: usize| {
        let at = (i as f64 + 0.5) * frame.inside[axis] as f64 / frame.picture[axis] as f64;
        (at as usize).min(frame.input[axis] - 1)
    };
    let [height, width] = frame.picture;
    let class = |(y, x): (usize, usize)| map[near(y, 0) * frame.input[1] + near(x, 1)].max(0.0) as usize;
    let classes = (0..height).flat_map(|y| (0..width).map(move |x| (y, x))).map(class).collect();
    ClassMap { size: frame.picture, classes }
}

/// A box that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// Its class.
    pub class: usize,
    /// How probable.
    pub probability: f32,
    /// Left, top, right, bottom in pixels of the picture.
    pub corners: [f32; 4],
}

/// Most boxes of a picture, and most that are compared.
const MOST: usize = 100;
const COMPARED: usize = 1000;
/// Boxes below are not looked at.
const LEAST: f32 = 0.05;
/// Of two boxes of a class that overlap by more the less probable is dropped.
const OVERLAP: f32 = 0.5;

/// The boxes of boxes `[N,4]` and probabilities `[N,classes]` that stand for objects of their own, the most probable first.
pub fn detections(boxes: &[f32], probabilities: &[f32], classes: usize, frame: Frame) -> Vec<Detection> {
    let mut found: Vec<(usize, usize, f32)> = Vec::new();
    for (i, row) in probabilities.chunks_exact(classes.max(1)).enumerate() {
        found.extend(row.iter().enumerate().filter(|(_, p)| **p > LEAST).map(|(class, &p)| (i, class, p)));
    }
    found.sort_by(|a, b| b.2.total_cmp(&a.2));
    let mut kept: Vec<Detection> = Vec::new();
    for (i, class, probability) in found.into_iter().take(COMPARED) {
        let Some(&[left, top, right, bottom]) = boxes.get(4 * i..4 * i + 4) else { continue };
        let corners = frame.back([left, top, right, bottom]);
        if kept.iter().all(|other| other.class != class || overlap(other.corners, corners) <= OVERLAP) {
            kept.push(Detection { class, probability, corners });
        }
        if kept.len() == MOST {
            break;
        }
    }
    kept
}

/// Common area over joint area.
fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    let area = |[left, top, right, bottom]: [f32; 4]| (right - left).max(0.0) * (bottom - top).max(0.0);
    let common = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    let joint = area(a) + area(b) - common;
    if joint > 0.0 { common / joint } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(picture: [usize; 2], inside: [usize; 2], input: [usize; 2]) -> Frame {
        Frame { picture, inside, input }
    }

    #[test]
    fn classes_return_to_the_pictures_pixels() {
        // Two positions: the left one of class 1, the right one of class 0.
        let scores = [0.0, 1.0, 1.0, 0.0];
        let map = classes_of_scores(&scores, [2, 1, 2], false, frame([2, 8], [4, 8], [4, 8]));
        assert_eq!(map.classes, [[1, 1, 1, 1, 0, 0, 0, 0]; 2].concat());
        // Of a padded input only the left half is the picture.
        let map = classes_of_scores(&scores, [2, 1, 2], true, frame([1, 4], [4, 4], [4, 8]));
        assert_eq!(map.classes, [1, 1, 1, 1]);
        let map = classes_of_pixels(&[0.0, 1.0, 2.0, 3.0], frame([4, 2], [2, 2], [2, 2]));
        assert_eq!(map.classes, [0, 1, 0, 1, 2, 3, 2, 3]);
    }

    #[test]
    fn of_boxes_of_one_class_that_overlap_the_best_stays() {
        let boxes = [[0.0, 0.0, 8.0, 8.0], [0.0, 0.0, 8.0, 7.0], [4.0, 4.0, 99.0, 8.0]].concat();
        let probabilities = [[0.9, 0.1], [0.8, 0.7], [0.3, 0.01]].concat();
        let found = detections(&boxes, &probabilities, 2, frame([16, 16], [8, 8], [8, 8]));
        let seen: Vec<_> = found.iter().map(|d| (d.class, d.probability)).collect();
        assert_eq!(seen, [(0, 0.9), (1, 0.7), (0, 0.3)]);
        assert_eq!(found[2].corners, [8.0, 8.0, 16.0, 16.0], "in the picture's own pixels, within it");
    }
}
