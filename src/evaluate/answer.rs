//! What an artifact answers to one picture.

use vitc_exporters::metadata::Fit;

/// What an output holds for one picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A number per class.
    Scores(usize),
    /// A number per class and position.
    ScoreMap { classes: usize, size: [usize; 2] },
    /// The class of each position.
    ClassMap { size: [usize; 2] },
}

impl Form {
    /// The form of an output of this shape; `None` for what is not judged.
    pub(super) fn of(shape: &[usize], batch: usize) -> Option<Form> {
        match *shape {
            [b, classes] if b == batch && classes > 0 => Some(Form::Scores(classes)),
            [b, h, w] if b == batch => Some(Form::ClassMap { size: [h, w] }),
            [b, 1, h, w] if b == batch => Some(Form::ClassMap { size: [h, w] }),
            [b, classes, h, w] if b == batch => Some(Form::ScoreMap { classes, size: [h, w] }),
            _ => None,
        }
    }

    pub(super) fn is_map(self) -> bool {
        !matches!(self, Form::Scores(_))
    }

    /// Number of classes, where the shape tells. One score alone tells two classes apart.
    pub(super) fn classes(self) -> Option<usize> {
        match self {
            Form::Scores(1) => Some(2),
            Form::Scores(classes) | Form::ScoreMap { classes, .. } => Some(classes),
            Form::ClassMap { .. } => None,
        }
    }
}

/// What an artifact answers to one picture.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) form: Form,
    pub(super) values: Vec<f32>,
}

impl Answer {
    /// The classes of the whole picture, the likeliest first. One score alone, or the probability behind it, says whether class 1 is likelier
    /// than class 0.
    pub(super) fn ranking(&self, probability: bool) -> Vec<usize> {
        if let [score] = self.values[..] {
            return if score > if probability { 0.5 } else { 0.0 } { vec![1, 0] } else { vec![0, 1] };
        }
        let mut order: Vec<usize> = (0..self.values.len()).collect();
        // Stable: of equal scores the first class is first, as in other tools.
        order.sort_by(|&a, &b| self.values[b].total_cmp(&self.values[a]));
        order
    }

    /// The class of each pixel of a picture of `to` (height, width) that was fitted so into an input of `input`.
    pub(super) fn pixels(&self, to: [usize; 2], input: [usize; 2], fit: Fit) -> Vec<u16> {
        // What of the input the picture covers.
        let covered = match fit {
            Fit::Pad => crate::picture::within(to, input),
            Fit::Stretch | Fit::Crop => input,
        };
        match self.form {
            Form::Scores(_) => Vec::new(),
            Form::ClassMap { size } => {
                let at = |axis: usize, i: usize| {
                    let place = (i as f64 + 0.5) * covered[axis] as f64 / to[axis] as f64 * size[axis] as f64
                        / input[axis] as f64;
                    (place as usize).min(size[axis] - 1)
                };
                let columns: Vec<usize> = (0..to[1]).map(|x| at(1, x)).collect();
                let row = |y: usize| {
                    let start = at(0, y) * size[1];
                    columns.iter().map(move |x| self.values[start + x].round() as u16)
                };
                (0..to[0]).flat_map(row).collect()
            }
            Form::ScoreMap { classes, size } => {
                let [rows, columns] = [0, 1].map(|axis| samples(to[axis], covered[axis], input[axis], size[axis]));
                let mut pixels = Vec::with_capacity(to[0] * to[1]);
                for &(top, bottom, down) in &rows {
                    // Enlarged in one axis, then in the other: each class by itself.
                    let mut best = vec![(f32::NEG_INFINITY, 0u16); to[1]];
                    let mut line = vec![0.0; size[1]];
                    for class in 0..classes {
                        let map = &self.values[class * size[0] * size[1]..][..size[0] * size[1]];
                        let [a, b] = [top, bottom].map(|y| &map[y * size[1]..][..size[1]]);
                        line.iter_mut().zip(a.iter().zip(b)).for_each(|(l, (a, b))| *l = a + (b - a) * down);
                        for (best, &(left, right, along)) in best.iter_mut().zip(&columns) {
                            let score = line[left] + (line[right] - line[left]) * along;
                            if score > best.0 {
                                *best = (score, class as u16);
                            }
                        }
                    }
                    pixels.extend(best.into_iter().map(|(_, class)| class));
                }
                pixels
            }
        }
    }
}

/// For each of `to` pixels, which cover `covered` of `input`: the two of `size` samples between which it lies, and how far from the first.
/// Samples lie at the middle of their part of the input.
fn samples(to: usize, covered: usize, input: usize, size: usize) -> Vec<(usize, usize, f32)> {
    let of = |i: usize| {
        let place = (i as f64 + 0.5) * covered as f64 / to as f64 * size as f64 / input as f64 - 0.5;
        let place = place.clamp(0.0, (size - 1) as f64);
        let first = place as usize;
        (first, (first + 1).min(size - 1), (place - first as f64) as f32)
    };
    (0..to).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(form: Form, values: &[f32]) -> Answer {
        Answer { form, values: values.to_vec() }
    }

    #[test]
    fn the_likeliest_class_is_first() {
        assert_eq!(answer(Form::Scores(4), &[0.0, 3.0, 1.0, 3.0]).ranking(false), [1, 3, 2, 0]);
        assert_eq!(answer(Form::Scores(1), &[0.3]).ranking(false), [1, 0]);
        assert_eq!(answer(Form::Scores(1), &[0.3]).ranking(true), [0, 1]);
    }

    #[test]
    fn scores_are_enlarged_before_the_best_is_taken() {
        // Along x class 0 falls from 3 to 0 and class 1 stays at 1: nearest would change in the middle, linear a sixth later.
        let form = Form::ScoreMap { classes: 2, size: [1, 2] };
        let map = answer(form, &[3.0, 0.0, 1.0, 1.0]);
        let pixels = map.pixels([1, 12], [8, 16], Fit::Stretch);
        let wanted: Vec<u16> =
            (0..12).map(|x| u16::from(3.0 - 3.0 * ((x as f64 + 0.5) / 6.0 - 0.5).clamp(0.0, 1.0) < 1.0)).collect();
        assert_eq!(pixels, wanted);
        assert_eq!(pixels.iter().filter(|&&c| c == 1).count(), 5);
    }

    #[test]
    fn a_padded_picture_lies_in_the_corner() {
        let form = Form::ClassMap { size: [2, 2] };
        let map = answer(form, &[4.0, 5.0, 6.0, 7.0]);
        assert_eq!(map.pixels([4, 4], [8, 8], Fit::Stretch), [4, 4, 5, 5, 4, 4, 5, 5, 6, 6, 7, 7, 6, 6, 7, 7]);
        // Half as high as wide: the lower half of the input is padding.
        assert_eq!(map.pixels([2, 4], [8, 8], Fit::Pad), [4, 4, 5, 5, 4, 4, 5, 5]);
    }
}
