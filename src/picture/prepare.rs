//! The one way from a picture to a model's input: fitted to the size and normalised, as the artifact's metadata say.

use super::{Picture, PictureError, fit, input};
use vitc_exporters::metadata::Preprocessing;

/// How pictures become the input `[B,3,H,W]` of one artifact, `[B,1,H,W]` of one for grey pictures.
#[derive(Debug, Clone)]
pub struct Preparation {
    /// Height and width of the input.
    pub size: [usize; 2],
    /// What happens to a picture.
    pub preprocessing: Preprocessing,
}

impl Preparation {
    /// For an input of this shape; `None` if it is no picture, or one of other channels than the mean has.
    pub fn new(shape: &[usize], preprocessing: Preprocessing) -> Option<Preparation> {
        let (channels, size) = match *shape {
            [_, height, width, c] if preprocessing.layout.channels_last => (c, [height, width]),
            [_, c, height, width] => (c, [height, width]),
            _ => return None,
        };
        ([1, 3].contains(&channels) && channels == preprocessing.mean.len())
            .then_some(Preparation { size, preprocessing })
    }

    /// One picture's `[C,H,W]`.
    ///
    /// # Errors
    /// If the interpolation is not known.
    pub fn input(&self, picture: &Picture) -> Result<Vec<f32>, PictureError> {
        Ok(input(&fit(picture, self.size, &self.preprocessing)?, &self.preprocessing))
    }
}
