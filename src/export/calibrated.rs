//! Calibration pictures, read.

use crate::check::Pictures;

/// Calibration pictures.
#[derive(Debug, Clone)]
pub struct Calibration {
    /// How many there were.
    pub count: usize,
    /// BLAKE3 of all values.
    pub blake3: String,
    /// As the artifact takes them, pass by pass at its own batch.
    pub artifact: Vec<Vec<f32>>,
    /// As the model takes them.
    pub model: Vec<Vec<f32>>,
}

impl Calibration {
    /// As a check takes them.
    pub fn pictures(&self) -> Pictures<'_> {
        Pictures { model: &self.model, artifact: &self.artifact, count: self.count }
    }
}
