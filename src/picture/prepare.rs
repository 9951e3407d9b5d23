//! The one way from a picture to a model's input: fitted to the size and normalised, as the artifact's metadata say.

use super::{Picture, PictureError, fit, input};
use vitc_exporters::metadata::Preprocessing;

/// How pictures become the input `[B,3,H,W]` of one artifact.
#[derive(Debug, Clone)]
pub struct Preparation {
    /// Height and width of the input.
    pub size: [usize; 2],
    /// What happens to a picture.
    pub preprocessing: Preprocessing,
}

impl Preparation {
    /// For an input of this shape; `None` if it is no picture of three channels.
    pub fn new(shape: &[usize], preprocessing: Preprocessing) -> Option<Preparation> {
        match *shape {
            [_, 3, height, width] => Some(Preparation { size: [height, width], preprocessing }),
            _ => None,
        }
    }

    /// One picture's `[3,H,W]`.
    ///
    /// # Errors
    /// If the interpolation is not known.
    pub fn input(&self, picture: &Picture) -> Result<Vec<f32>, PictureError> {
        Ok(input(&fit(picture, self.size, &self.preprocessing)?, &self.preprocessing))
    }
}
