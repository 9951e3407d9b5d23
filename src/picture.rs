//! A picture file as a model's input: decoded, resized, cropped and normalised as torchvision and timm do it for evaluation.
//!
//! Decoding gives 8-bit RGB: transparency is dropped, and an EXIF orientation is not applied, as in PIL's `convert("RGB")`. The resize is
//! antialiased, as PIL's. Its target is the model's size over the crop fraction, rounded down: the shorter side of the picture for a square
//! model, else the smallest size that covers both sides. The crop takes the centre.

mod decode;
pub mod draw;
mod indices;
mod prepare;
mod resample;
pub mod returned;

pub use decode::{DecodeError, Picture};
pub use indices::Indices;
pub use prepare::Preparation;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use vitc_exporters::metadata::{Fit, Preprocessing};

/// Why a picture is no input.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The file cannot be opened.
    #[error("{}: cannot be opened: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The bytes are no picture, or no mask, that is read here.
    #[error("{}: not a PNG or JPEG picture: {source}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: DecodeError,
    },
    /// An interpolation that is not known here.
    #[error("the artifact asks for {0} interpolation; bilinear, bicubic and lanczos are known")]
    Interpolation(String),
}

/// Read a picture.
///
/// # Errors
/// If the file cannot be opened, is neither PNG nor JPEG, is damaged, or would take too much memory.
pub fn read(path: &Path) -> Result<Picture, PictureError> {
    let bytes = std::fs::read(path).map_err(|source| PictureError::Io { path: path.into(), source })?;
    decode::decode(&bytes).map_err(|source| PictureError::Decode { path: path.into(), source })
}

/// Read a mask: a number of a class for each pixel, as it is stored.
///
/// # Errors
/// If the file cannot be opened, is no PNG of grey levels or a palette, is damaged, or would take too much memory.
pub fn indices(path: &Path) -> Result<Indices, PictureError> {
    let bytes = std::fs::read(path).map_err(|source| PictureError::Io { path: path.into(), source })?;
    indices::decode(&bytes).map_err(|source| PictureError::Decode { path: path.into(), source })
}

/// Resize and crop to `size` (height, width).
///
/// # Errors
/// If the interpolation is not known.
pub fn fit(picture: &Picture, size: [usize; 2], preprocessing: &Preprocessing) -> Result<Picture, PictureError> {
    let name = &preprocessing.interpolation;
    let kernel = resample::kernel(name).ok_or_else(|| PictureError::Interpolation(name.clone()))?;
    // Grey before it is resized, as in PIL's `convert("L")`.
    let grey = (preprocessing.mean.len() == 1).then(|| picture.grey());
    let picture = grey.as_ref().unwrap_or(picture);
    let own = [picture.height, picture.width];
    let [height, width] = match preprocessing.fit {
        Fit::Crop => resized(own, size, preprocessing.crop),
        Fit::Stretch => size,
        Fit::Pad => within(own, size),
    };
    let large = match [picture.height, picture.width] == [height, width] {
        true => Cow::Borrowed(picture),
        false => Cow::Owned(resample::resize(picture, width, height, kernel)),
    };
    if preprocessing.fit == Fit::Pad {
        let of = |c: usize| preprocessing.mean.get(c).or(preprocessing.mean.first()).copied().unwrap_or(0.0);
        let place = |c: usize| if preprocessing.layout.bgr { 2 - c } else { c };
        let mean = [0, 1, 2].map(place).map(|c| (255.0 * of(c)).round().clamp(0.0, 255.0) as u8);
        let padded = |x, y| if x < width && y < height { large.at(x, y) } else { mean };
        return Ok(Picture::new(size[1], size[0], padded));
    }
    let centre = |whole: usize, part: usize| ((whole as f64 - part as f64) / 2.0).round_ties_even().max(0.0) as usize;
    let (top, left) = (centre(height, size[0]), centre(width, size[1]));
    Ok(Picture::new(size[1], size[0], |x, y| large.at(left + x, top + y)))
}

/// The largest size in proportion that does not exceed `size`: at least one pixel, rounded as mmdetection rounds.
fn within(picture: [usize; 2], size: [usize; 2]) -> [usize; 2] {
    let scale = (0..2).map(|axis| size[axis] as f64 / picture[axis] as f64).fold(f64::INFINITY, f64::min);
    let side = |axis: usize| ((picture[axis] as f64 * scale + 0.5) as usize).clamp(1, size[axis]);
    [side(0), side(1)]
}

/// Size of the resized picture: torchvision's `Resize` of the shorter side for a square model, timm's `ResizeKeepRatio` else.
fn resized(picture: [usize; 2], size: [usize; 2], crop: f64) -> [usize; 2] {
    let target = size.map(|side| (side as f64 / crop).floor());
    let [h, w] = picture.map(|side| side as f64);
    let [height, width] = if target[0] == target[1] {
        let long = (target[0] * h.max(w) / h.min(w)).floor();
        if h <= w { [target[0], long] } else { [long, target[0]] }
    } else {
        let ratio = (h / target[0]).min(w / target[1]);
        [(h / ratio).round_ties_even(), (w / ratio).round_ties_even()]
    };
    [height.max(size[0] as f64) as usize, width.max(size[1] as f64) as usize]
}

/// The artifact's input `[1,3,H,W]`, `[1,1,H,W]` of a grey picture: pixels in 0..255 where it normalises them itself, else `(p/255 − mean)/std`.
pub fn input(picture: &Picture, preprocessing: &Preprocessing) -> Vec<f32> {
    let Preprocessing { mean, std, normalised_inside, layout, .. } = preprocessing;
    let value = |channel: usize, pixel: u8| match normalised_inside {
        true => f32::from(pixel),
        false => ((f64::from(pixel) / 255.0 - mean[channel]) / std[channel]) as f32,
    };
    let channels = mean.len().min(3);
    let colour = |c: usize| if layout.bgr { channels - 1 - c } else { c };
    if layout.channels_last {
        return picture.pixels.iter().flat_map(|p| (0..channels).map(|c| value(c, p[colour(c)]))).collect();
    }
    (0..channels).flat_map(|c| picture.pixels.iter().map(move |p| value(c, p[colour(c)]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitc_exporters::metadata::Layout;

    fn preprocessing(crop: f64, interpolation: &str) -> Preprocessing {
        let (mean, std) = (vec![0.5, 0.25, 0.0], vec![0.5, 0.25, 1.0]);
        Preprocessing {
            mean,
            std,
            layout: Layout::default(),
            fit: Fit::Crop,
            crop,
            interpolation: interpolation.into(),
            normalised_inside: false,
        }
    }

    /// Pictures of `golden/pictures` as timm's transforms on PIL leave them: at most one level apart, for sums that end near ½ and for JPEG, whose
    /// decoders may round differently.
    #[test]
    fn pictures_are_fitted_as_pil_and_timm_do_it() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/pictures");
        let cases = std::fs::read_to_string(folder.join("expected.txt")).unwrap();
        let mut seen = 0;
        for line in cases.lines() {
            let [name, expected, height, width, crop, interpolation] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let size = [height, width].map(|n| n.parse().unwrap());
            let picture = read(&folder.join(name)).unwrap();
            let found = fit(&picture, size, &preprocessing(crop.parse().unwrap(), interpolation)).unwrap();
            let wanted = read(&folder.join(expected)).unwrap();
            assert_eq!([found.height, found.width], [wanted.height, wanted.width], "{line}");
            let far =
                found.pixels.iter().flatten().zip(wanted.pixels.iter().flatten()).map(|(&a, &b)| a.abs_diff(b)).max();
            assert!(far <= Some(1), "{line}: {far:?}");
            seen += 1;
        }
        assert!(seen >= 8);
    }

    #[test]
    fn a_whole_picture_is_stretched_or_padded() {
        let wide = Picture::new(8, 4, |_, _| [200, 100, 0]);
        let shaped = |fit| fit_as(&wide, Preprocessing { fit, ..preprocessing(0.5, "bilinear") });
        assert!(shaped(Fit::Stretch).pixels.iter().all(|&p| p == [200, 100, 0]));
        let padded = shaped(Fit::Pad);
        let mean = [128, 64, 0];
        for (y, wanted) in [(0, [200, 100, 0]), (7, [200, 100, 0]), (8, mean), (15, mean)] {
            assert_eq!(padded.at(15, y), wanted, "row {y} of 16");
        }
    }

    fn fit_as(picture: &Picture, preprocessing: Preprocessing) -> Picture {
        fit(picture, [16, 16], &preprocessing).unwrap()
    }

    #[test]
    fn channels_are_planes() {
        let picture = Picture { width: 2, height: 1, pixels: vec![[0, 51, 102], [255, 204, 153]] };
        let outside = input(&picture, &preprocessing(1.0, "bilinear"));
        let wanted = [-1.0, 1.0, -0.2, 2.2, 0.4, 0.6];
        assert!(outside.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{outside:?}");
        let inside = input(&picture, &Preprocessing { normalised_inside: true, ..preprocessing(1.0, "bilinear") });
        assert_eq!(inside, [0.0, 255.0, 51.0, 204.0, 102.0, 153.0]);
        let laid = |channels_last, bgr| {
            let layout = Layout { channels_last, bgr };
            input(&picture, &Preprocessing { normalised_inside: true, layout, ..preprocessing(1.0, "bilinear") })
        };
        assert_eq!(laid(true, false), [0.0, 51.0, 102.0, 255.0, 204.0, 153.0]);
        assert_eq!(laid(false, true), [102.0, 153.0, 51.0, 204.0, 0.0, 255.0]);
        assert_eq!(laid(true, true), [102.0, 51.0, 0.0, 153.0, 204.0, 255.0]);
    }

    #[test]
    fn what_is_no_picture_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let png = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/pictures/wide.png")).unwrap();
        for path in [put("a.txt", b"words"), put("a.png", &png[..png.len() / 2]), put("empty.jpg", b"")] {
            assert!(matches!(read(&path), Err(PictureError::Decode { .. })), "{}", path.display());
        }
        assert!(matches!(read(&dir.path().join("absent.png")), Err(PictureError::Io { .. })));
        let mut promises = png.clone();
        promises[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
        promises[29..33].copy_from_slice(&[0x0f, 0xb0, 0xe2, 0x15]); // the header's checksum
        let large = read(&put("large.png", &promises)).unwrap_err().to_string();
        assert!(large.contains("large.png") && large.contains("60000x60000 pixels"), "{large}");
        assert!(read(&put("a.jpg", &png)).is_ok());
        let picture = read(&put("b.png", &png)).unwrap();
        assert!(matches!(fit(&picture, [4, 4], &preprocessing(1.0, "random")), Err(PictureError::Interpolation(_))));
    }
}
