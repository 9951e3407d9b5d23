//! Inputs that a model is checked on. All but the user's are synthetic and are called so in reports.
//!
//! Pixels are made in 0..1 per channel and prepared as the model asks for, so that activations have the size that they have in use.

use vitc_exporters::metadata::Preprocessing;

/// `(pixel − mean) / std` of pixels in 0..1 laid out `[B,C,…]`; tables repeat where there are more channels than they have.
pub(super) fn normalise(pixels: &[f32], shape: &[usize], preprocessing: Option<&Preprocessing>) -> Vec<f32> {
    let Some(p) = preprocessing else { return pixels.to_vec() };
    let channels = shape.get(1).copied().unwrap_or(1).max(1);
    let plane: usize = shape.iter().skip(2).product::<usize>().max(1);
    let prepared = pixels.iter().enumerate().map(|(i, &pixel)| {
        let c = i / plane % channels % p.mean.len().max(1);
        ((f64::from(pixel) - p.mean[c]) / p.std[c]) as f32
    });
    prepared.collect()
}

/// An input that vitc makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synthetic {
    /// Independent uniform pixels.
    Noise {
        /// Equal seeds give equal images.
        seed: u64,
    },
    /// One colour all over, another in each channel and image.
    Constant,
    /// Brightness that rises smoothly across the image, another direction in each channel and image.
    Gradient,
}

impl Synthetic {
    /// What the full check runs on.
    pub const ALL: [Synthetic; 3] = [Synthetic::Noise { seed: 0 }, Synthetic::Constant, Synthetic::Gradient];

    /// Name in reports.
    pub fn name(self) -> String {
        match self {
            Synthetic::Noise { seed } => format!("synthetic noise, seed {seed}"),
            Synthetic::Constant => "synthetic constant".into(),
            Synthetic::Gradient => "synthetic gradient".into(),
        }
    }

    /// Pixels in 0..1 of shape `[B,C,H,W]` (any other rank counts as planes of one row).
    pub(super) fn pixels(self, shape: &[usize]) -> Vec<f32> {
        let count: usize = shape.iter().product();
        let width = shape.last().copied().unwrap_or(1).max(1);
        let height = if shape.len() > 2 { shape[shape.len() - 2].max(1) } else { 1 };
        let mut state = match self {
            Synthetic::Noise { seed } => seed,
            _ => 0,
        };
        let pixel = |i: usize| match self {
            Synthetic::Noise { .. } => {
                // SplitMix64, the top 24 bits.
                state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32
            }
            Synthetic::Constant => [0.8, 0.5, 0.2, 0.65, 0.35][i / (width * height) % 5],
            Synthetic::Gradient => {
                let (plane, y, x) = (i / (width * height), i / width % height, i % width);
                let (u, v) = (x as f32 / width as f32, y as f32 / height as f32);
                match plane % 4 {
                    0 => u,
                    1 => v,
                    2 => (u + v) / 2.0,
                    _ => 1.0 - (u + v) / 2.0,
                }
            }
        };
        (0..count).map(pixel).collect()
    }

    /// Numbers around 0 with a variance of about 1, for inputs that are no pictures and values inside a model. Noise differs by `index`.
    pub(super) fn numbers(self, index: u64, shape: &[usize]) -> Vec<f32> {
        self.at(index).pixels(shape).iter().map(|p| (p - 0.5) * 12f32.sqrt()).collect()
    }

    /// Another noise for each index.
    fn at(self, index: u64) -> Synthetic {
        match self {
            Synthetic::Noise { seed } => Synthetic::Noise { seed: seed ^ index },
            other => other,
        }
    }
}

/// What stands for an input of which nothing is known. A model may not be defined on all numbers: a logarithm is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    /// Around 0.
    Around,
    /// Positive, below 1.
    Fractions,
    /// Above 1.
    Above,
}

impl Numbers {
    /// What is tried after another where the model's own answers are not finite.
    pub(super) const NARROWER: [Numbers; 2] = [Numbers::Fractions, Numbers::Above];

    /// Bounds, where they are not those of every input.
    pub(super) fn bounds(self) -> Option<[f32; 2]> {
        match self {
            Numbers::Around => None,
            Numbers::Fractions => Some([0.05, 0.95]),
            Numbers::Above => Some([1.05, 3.05]),
        }
    }

    /// The values of an input; noise differs by `index`.
    pub(super) fn of(self, kind: Synthetic, index: u64, shape: &[usize]) -> Vec<f32> {
        let Some([low, high]) = self.bounds() else { return kind.numbers(index, shape) };
        kind.at(index).pixels(shape).iter().map(|p| low + p * (high - low)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitc_exporters::metadata::{Fit, Layout};

    #[test]
    fn pixels_fill_the_range_and_repeat() {
        let shape = [2, 3, 8, 8];
        for input in Synthetic::ALL {
            let pixels = input.pixels(&shape);
            assert_eq!(pixels.len(), 384);
            assert!(pixels.iter().all(|p| (0.0..=1.0).contains(p)));
            assert_eq!(pixels, input.pixels(&shape));
            assert_ne!(pixels[..192], pixels[192..], "the images of a batch differ");
        }
        assert_ne!(Synthetic::Noise { seed: 1 }.pixels(&shape), Synthetic::Noise { seed: 2 }.pixels(&shape));
    }

    #[test]
    fn normalising_is_per_channel() {
        let p = Preprocessing {
            mean: vec![0.5, 0.0, 0.0],
            std: vec![0.25, 2.0, 1.0],
            layout: Layout::default(),
            fit: Fit::Crop,
            crop: 1.0,
            interpolation: "bicubic".into(),
            normalised_inside: false,
        };
        assert_eq!(normalise(&[1.0, 0.5, 1.0, 0.5], &[1, 2, 1, 2], Some(&p)), [2.0, 0.0, 0.5, 0.25]);
    }
}
