//! What a checkpoint says about its model besides the tensors, each setting with the place where it was found.
//!
//! Everything is optional, and a value of an unexpected type or range counts as absent: a strange configuration never keeps weights from
//! loading. Of two places that disagree the first is taken, and that is said.

use std::fmt::Debug;

/// A setting and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said<T> {
    /// What is said.
    pub value: T,
    /// Where: `best.pt: mean`, `config.json beside the file: pretrained_cfg.mean`.
    pub from: String,
}

/// What is said about the model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelConfig {
    /// Name of the architecture in upstream's spelling (`efficientformerv2_s0`).
    pub architecture: Option<Said<String>>,
    /// Number of classes.
    pub num_classes: Option<Said<usize>>,
    /// Input height and width.
    pub input_size: Option<Said<[usize; 2]>>,
    /// Mean per channel of pixels in 0..1.
    pub mean: Option<Said<Vec<f64>>>,
    /// Standard deviation per channel of pixels in 0..1; positive.
    pub std: Option<Said<Vec<f64>>>,
    /// Side of the crop over side of the resized image, above 0 and at most 1.
    pub crop_pct: Option<Said<f64>>,
    /// `center`, `squash` or `border`, as timm calls it.
    pub crop_mode: Option<Said<String>>,
    /// `bicubic`, `bilinear` or `lanczos`.
    pub interpolation: Option<Said<String>>,
    /// Names of the classes, in order.
    pub labels: Option<Said<Vec<String>>>,
    /// Where two places disagree, a sentence each.
    pub conflicts: Vec<String>,
}

impl ModelConfig {
    /// What is said here, else there.
    pub fn or(mut self, other: ModelConfig) -> ModelConfig {
        let ModelConfig {
            architecture,
            num_classes,
            input_size,
            mean,
            std,
            crop_pct,
            crop_mode,
            interpolation,
            labels,
            conflicts,
        } = other;
        let mut all = std::mem::take(&mut self.conflicts);
        all.extend(conflicts);
        take("size", &mut self.input_size, input_size, &mut all);
        take("mean", &mut self.mean, mean, &mut all);
        take("std", &mut self.std, std, &mut all);
        take("crop", &mut self.crop_pct, crop_pct, &mut all);
        take("crop mode", &mut self.crop_mode, crop_mode, &mut all);
        take("interpolation", &mut self.interpolation, interpolation, &mut all);
        take("labels", &mut self.labels, labels, &mut all);
        // Scripts name the model and count its classes in several ways; the tensors decide both.
        take("architecture", &mut self.architecture, architecture, &mut Vec::new());
        take("classes", &mut self.num_classes, num_classes, &mut Vec::new());
        ModelConfig { conflicts: all, ..self }
    }

    /// True if nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == ModelConfig::default()
    }
}

/// Take what the other says where this says nothing; a sentence if they disagree.
fn take<T: PartialEq + Debug>(
    name: &str,
    this: &mut Option<Said<T>>,
    other: Option<Said<T>>,
    conflicts: &mut Vec<String>,
) {
    match (&this, other) {
        (None, other) => *this = other,
        (Some(first), Some(second)) if first.value != second.value => {
            let [a, b] = [&first.value, &second.value].map(|v| format!("{v:?}").chars().take(80).collect::<String>());
            conflicts.push(format!("{name}: {} says {a}, {} says {b}; the former is taken", first.from, second.from));
        }
        (Some(_), _) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_is_taken_and_a_conflict_said() {
        let said = |crop: f64, from: &str| ModelConfig {
            crop_pct: Some(Said { value: crop, from: from.into() }),
            ..ModelConfig::default()
        };
        let both = said(0.9, "a").or(said(1.0, "b")).or(said(0.9, "c"));
        assert_eq!(both.crop_pct, said(0.9, "a").crop_pct);
        assert_eq!(both.conflicts, ["crop: a says 0.9, b says 1.0; the former is taken"]);
        assert_eq!(ModelConfig::default().or(said(0.5, "b")), said(0.5, "b"));
    }
}
