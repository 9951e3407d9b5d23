//! What an artifact says about itself, the same in every format: where it comes from and how its input must be
//! prepared.
//!
//! Invariant: the text depends on nothing but the fields, so equal exports give equal bytes (no date, no host, no
//! path).

use std::collections::BTreeMap;
use vitc_ir::DType;

/// Version of vitc that this crate belongs to.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Key whose presence tells that vitc wrote the artifact.
pub const VERSION_KEY: &str = "vitc.version";

/// In front of the keys of [`Preprocessing`].
const ENTRY: &str = "preprocessing.";

/// Words of an input that lies otherwise than `[B,C,H,W]` in red, green and blue.
const CHANNELS_LAST: &str = "nhwc";
const BGR: &str = "bgr";

/// Who normalises.
const INSIDE: &str = "inside the model";
const OUTSIDE: &str = "by the caller";

/// Where the weights come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightSource {
    /// A trained checkpoint.
    Checkpoint {
        /// Name of the file or folder, without its directory.
        file: String,
        /// BLAKE3 of its bytes, in hexadecimal.
        blake3: String,
    },
    /// Generated from a seed: good for measuring latency only.
    Seeded {
        /// The seed.
        seed: u64,
    },
}

/// How a picture of any shape becomes one of the model's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fit {
    /// Resized in proportion, then the centre is cropped: what classifiers are evaluated with.
    #[default]
    Crop,
    /// Resized to the size, whatever becomes of its proportions.
    Stretch,
    /// Resized in proportion until it fits, the mean colour to the right of it and below.
    Pad,
}

impl Fit {
    /// Every form.
    pub const ALL: [Fit; 3] = [Fit::Crop, Fit::Stretch, Fit::Pad];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Fit::Crop => "crop",
            Fit::Stretch => "stretch",
            Fit::Pad => "pad",
        }
    }
}

/// How the numbers of a picture lie in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layout {
    /// `[B,H,W,C]` instead of `[B,C,H,W]`.
    pub channels_last: bool,
    /// Blue, green, red instead of red, green, blue.
    pub bgr: bool,
}

/// How a picture becomes the model's input.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocessing {
    /// Subtracted per channel (red, green, blue, or as the layout says; or grey; or as many as the input has), for pixels scaled to 0..1.
    pub mean: Vec<f64>,
    /// Divided by per channel, after the subtraction.
    pub std: Vec<f64>,
    /// How its numbers lie in the input.
    pub layout: Layout,
    /// What happens to its shape.
    pub fit: Fit,
    /// Fraction of the resized picture's side that the centre crop keeps, where there is one.
    pub crop: f64,
    /// Interpolation of the resize: `bicubic`, `bilinear`.
    pub interpolation: String,
    /// The artifact subtracts and divides itself, so it takes pixels in 0..255; else the caller scales them to 0..1, subtracts
    /// and divides.
    pub normalised_inside: bool,
}

impl Preprocessing {
    /// Smallest and largest value that a channel of the input can take.
    pub fn input_range(&self) -> [f64; 2] {
        if self.normalised_inside {
            return [0.0, 255.0];
        }
        let bound = |pixel: f64| self.mean.iter().zip(&self.std).map(move |(mean, std)| (pixel - mean) / std);
        [bound(0.0).fold(f64::INFINITY, f64::min), bound(1.0).fold(f64::NEG_INFINITY, f64::max)]
    }

    /// What the entries of an artifact say, if they say it all.
    pub fn read(entries: &BTreeMap<String, String>) -> Option<Preprocessing> {
        let entry = |key: &str| entries.get(&format!("{ENTRY}{key}")).map(String::as_str);
        let channels = |key: &str| {
            let numbers: Option<Vec<f64>> = entry(key)?.split(',').map(|x| x.parse().ok()).collect();
            numbers.filter(|v: &Vec<f64>| v.iter().all(|x| x.is_finite()))
        };
        let mean = channels("mean")?;
        Some(Preprocessing {
            std: channels("std").filter(|s| s.len() == mean.len() && s.iter().all(|x| *x > 0.0))?,
            mean,
            layout: Layout {
                channels_last: match entry("layout") {
                    None => false,
                    Some(word) => (word == CHANNELS_LAST).then_some(true)?,
                },
                bgr: match entry("order") {
                    None => false,
                    Some(word) => (word == BGR).then_some(true)?,
                },
            },
            // Files of before this entry were all for a centre crop.
            fit: match entry("fit") {
                None => Fit::Crop,
                Some(word) => Fit::ALL.into_iter().find(|fit| fit.word() == word)?,
            },
            crop: entry("crop")?.parse().ok().filter(|c| *c > 0.0 && *c <= 1.0)?,
            interpolation: entry("interpolation")?.to_string(),
            normalised_inside: match entry("normalisation")? {
                INSIDE => true,
                OUTSIDE => false,
                _ => return None,
            },
        })
    }

    /// One sentence for a person: what the input holds.
    pub fn describe(&self) -> String {
        let Preprocessing { fit, crop, interpolation, .. } = self;
        let colours = match self.mean.len() {
            1 => "grey".to_string(),
            3 if self.layout.bgr => "BGR".to_string(),
            3 => "RGB".to_string(),
            n => format!("{n} channels"),
        };
        let colours = if self.layout.channels_last { format!("{colours}, channels last") } else { colours };
        let frame = match fit {
            Fit::Crop => format!("{colours}, {interpolation} resize, centre crop {crop}"),
            Fit::Stretch => format!("{colours}, stretched to the size, {interpolation}"),
            Fit::Pad => format!("{colours}, {interpolation} resize in proportion, padded to the right and below"),
        };
        if self.normalised_inside {
            format!("{frame}, pixels in 0..255; the model normalises them")
        } else {
            format!("{frame}, pixels scaled to 0..1, minus mean [{}], over std [{}]", list(&self.mean), list(&self.std))
        }
    }
}

/// What an artifact says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// Name of the model (`efficientformerv2-s0`).
    pub architecture: String,
    /// Where the weights come from.
    pub weights: WeightSource,
    /// How a picture becomes the input, if the model takes one.
    pub preprocessing: Option<Preprocessing>,
    /// Element type that the artifact computes in.
    pub precision: DType,
    /// Decisions that depended on the weights' or activations' values (an f32 island, a rescale), one sentence each.
    pub decisions: Vec<String>,
    /// Who trained or published the model.
    pub author: Option<String>,
    /// Licence of the weights.
    pub license: Option<String>,
    /// What the model is for, in the user's words.
    pub description: Option<String>,
    /// Further entries, in order.
    pub extra: Vec<(String, String)>,
    /// No entry: names of inputs and outputs whose whole numbers have 32 bits. In formats that have several widths all others have 64.
    pub int32: Vec<String>,
}

impl Metadata {
    /// Metadata of a model that nothing else is known about.
    pub fn new(architecture: impl Into<String>, weights: WeightSource, precision: DType) -> Self {
        Metadata {
            architecture: architecture.into(),
            weights,
            preprocessing: None,
            precision,
            decisions: Vec::new(),
            author: None,
            license: None,
            description: None,
            extra: Vec::new(),
            int32: Vec::new(),
        }
    }

    /// All entries as keys and values, in a fixed order; each key once (an extra entry does not replace one of vitc's
    /// own).
    pub fn entries(&self) -> Vec<(String, String)> {
        let mut entries: Vec<(String, String)> = Vec::new();
        let mut put = |key: &str, value: String| {
            if entries.iter().all(|(k, _)| k != key) {
                entries.push((key.to_string(), value));
            }
        };
        put(VERSION_KEY, VERSION.to_string());
        put("vitc.architecture", self.architecture.clone());
        match &self.weights {
            WeightSource::Checkpoint { file, blake3 } => {
                put("vitc.weights", "trained".into());
                put("vitc.source", file.clone());
                put("vitc.source.blake3", blake3.clone());
            }
            WeightSource::Seeded { seed } => {
                put("vitc.weights", "seeded, untrained".into());
                put("vitc.seed", seed.to_string());
            }
        }
        put("vitc.precision", self.precision.to_string());
        if let Some(p) = &self.preprocessing {
            let mut put = |key: &str, value: String| put(&format!("{ENTRY}{key}"), value);
            put("mean", list(&p.mean));
            put("std", list(&p.std));
            if p.layout.channels_last {
                put("layout", CHANNELS_LAST.into());
            }
            if p.layout.bgr {
                put("order", BGR.into());
            }
            put("fit", p.fit.word().into());
            put("crop", p.crop.to_string());
            put("interpolation", p.interpolation.clone());
            put("normalisation", if p.normalised_inside { INSIDE } else { OUTSIDE }.into());
            let [lo, hi] = p.input_range();
            put("input_range", format!("{lo:.4},{hi:.4}"));
        }
        for (i, decision) in self.decisions.iter().enumerate() {
            put(&format!("vitc.decision.{}", i + 1), decision.clone());
        }
        let free = [("author", &self.author), ("license", &self.license), ("description", &self.description)];
        for (key, value) in free {
            if let Some(value) = value {
                put(key, value.clone());
            }
        }
        for (key, value) in &self.extra {
            put(key, value.clone());
        }
        entries
    }

    /// The description that a viewer shows: the user's words if there are any, and always whether the weights are
    /// trained.
    pub fn summary(&self) -> String {
        let mut text = self.description.clone().unwrap_or_else(|| self.architecture.clone());
        match &self.weights {
            WeightSource::Checkpoint { file, .. } => text.push_str(&format!(" (weights: {file})")),
            WeightSource::Seeded { .. } => text.push_str(" (seeded, untrained weights: for latency only)"),
        }
        if let Some(p) = &self.preprocessing {
            text.push_str(&format!(". Input: {}", p.describe()));
        }
        text
    }
}

fn list(values: &[f64]) -> String {
    values.iter().map(f64::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Metadata {
        let weights = WeightSource::Seeded { seed: 7 };
        Metadata {
            preprocessing: Some(Preprocessing {
                mean: vec![0.485, 0.456, 0.406],
                std: vec![0.229, 0.224, 0.225],
                layout: Layout { channels_last: true, bgr: true },
                fit: Fit::Pad,
                crop: 0.9,
                interpolation: "bicubic".into(),
                normalised_inside: false,
            }),
            extra: vec![("vitc.version".into(), "forged".into()), ("team".into(), "vision".into())],
            int32: Vec::new(),
            ..Metadata::new("tiny", weights, DType::F32)
        }
    }

    #[test]
    fn every_key_stands_once_and_untrained_weights_say_so() {
        let metadata = sample();
        let entries = metadata.entries();
        let mut keys: Vec<&str> = entries.iter().map(|(k, _)| k.as_str()).collect();
        keys.sort_unstable();
        let all = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), all);
        assert_eq!(entries[0], (VERSION_KEY.to_string(), VERSION.to_string()));
        assert!(entries.contains(&("vitc.weights".into(), "seeded, untrained".into())));
        assert!(metadata.summary().contains("untrained"));
    }

    #[test]
    fn preprocessing_is_read_back() {
        for inside in [false, true] {
            let mut metadata = sample();
            metadata.preprocessing.as_mut().expect("sample has preprocessing").normalised_inside = inside;
            let entries: BTreeMap<String, String> = metadata.entries().into_iter().collect();
            assert_eq!(Preprocessing::read(&entries), metadata.preprocessing);
            for (key, bad) in [
                ("mean", "1,2"),
                ("mean", "1,2,NaN"),
                ("std", "1,0,1"),
                ("layout", "?"),
                ("order", "rgb"),
                ("fit", "?"),
                ("crop", "2"),
                ("normalisation", "?"),
            ] {
                let mut entries = entries.clone();
                entries.insert(format!("preprocessing.{key}"), bad.into());
                assert_eq!(Preprocessing::read(&entries), None, "{key} {bad}");
            }
        }
    }

    #[test]
    fn input_range_follows_the_normalisation() {
        let mut p = sample().preprocessing.expect("sample has preprocessing");
        let [lo, hi] = p.input_range();
        assert!((lo + 2.117_904).abs() < 1e-5 && (hi - 2.64).abs() < 1e-5);
        p.normalised_inside = true;
        assert_eq!(p.input_range(), [0.0, 255.0]);
    }
}
