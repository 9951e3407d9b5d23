//! What an artifact answers to one picture.

use crate::picture::returned::{Frame, classes_of_pixels, classes_of_scores};

/// What an output holds for one picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A number per class.
    Scores(usize),
    /// A number per class and position; `corners` of the input lie on those of the map.
    ScoreMap { classes: usize, size: [usize; 2], corners: bool },
    /// The class of each pixel of the input.
    ClassMap,
}

impl Form {
    /// The form of an output of this shape, for so many pictures of this size; `None` for what is not judged. An artifact that answers with classes
    /// says so, and whether corners lie on each other.
    pub(super) fn of(
        shape: &[usize],
        batch: usize,
        input: [usize; 2],
        [classified, corners]: [bool; 2],
    ) -> Option<Form> {
        let pixels = batch * input[0] * input[1];
        match *shape {
            _ if classified => (shape.iter().product::<usize>() == pixels).then_some(Form::ClassMap),
            [b, classes] if b == batch && classes > 0 => Some(Form::Scores(classes)),
            [b, classes, h, w] if b == batch && classes > 1 => Some(Form::ScoreMap { classes, size: [h, w], corners }),
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
            Form::ClassMap => None,
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

    /// The class of each pixel of a picture that lies so in the input; of scores, read off between positions.
    pub(super) fn pixels(&self, frame: Frame) -> Vec<usize> {
        match self.form {
            Form::Scores(_) => Vec::new(),
            Form::ClassMap => classes_of_pixels(&self.values, frame).classes,
            Form::ScoreMap { classes, size: [height, width], corners } => {
                classes_of_scores(&self.values, [classes, height, width], corners, frame).classes
            }
        }
    }
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
}
