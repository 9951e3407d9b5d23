//! Calibration pictures, read.

use crate::check::Pictures;

/// Calibration pictures.
#[derive(Debug, Clone)]
pub struct Calibration {
    /// How many there were.
    pub count: usize,
    /// How many different ones.
    pub distinct: usize,
    /// All values are whole numbers from 0 to 255, some of them large: pixels, by the look of them.
    pub pixels: bool,
    /// BLAKE3 of all values.
    pub blake3: String,
    /// As the artifact takes them, pass by pass at its own batch.
    pub artifact: Vec<Vec<f32>>,
    /// As the model takes them.
    pub model: Vec<Vec<f32>>,
}

/// Fewer different pictures than this say little about others.
const FEW: usize = 16;

impl Calibration {
    /// What the user should know.
    pub fn notices(&self) -> Vec<String> {
        let few = (self.distinct < FEW).then(|| {
            let n = self.distinct;
            let noun = if n == 1 { "picture" } else { "different pictures" };
            format!("the model was fitted to {n} {noun}: what is measured on so few says little about others; take some hundred")
        });
        let pixels = self.pixels.then(|| {
            "the calibration values are whole numbers from 0 to 255 and are taken as the model takes them, neither divided nor normalised".into()
        });
        few.into_iter().chain(pixels).collect()
    }

    /// As a check takes them.
    pub fn pictures(&self) -> Pictures<'_> {
        Pictures { model: &self.model, artifact: &self.artifact, count: self.count }
    }
}
