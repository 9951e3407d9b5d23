//! A picture file as a model's input: decoded, resized, cropped and normalised as torchvision and timm do it for evaluation.
//!
//! Decoding gives 8-bit RGB: transparency is dropped, and an EXIF orientation is not applied, as in PIL's `convert("RGB")`. The resize is
//! antialiased, as PIL's. Its target is the model's size over the crop fraction, rounded down: the shorter side of the picture for a square
//! model, else the smallest size that covers both sides. The crop takes the centre.

mod resample;

use image::imageops;
use image::{DynamicImage, ImageError, ImageReader, RgbImage};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use vitc_exporters::metadata::Preprocessing;

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
    /// The bytes are no picture that is read here.
    #[error("{}: not a PNG or JPEG picture: {source}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ImageError,
    },
    /// An interpolation that is not known here.
    #[error("the artifact asks for {0} interpolation; bilinear, bicubic and lanczos are known")]
    Interpolation(String),
}

/// Read a picture.
///
/// # Errors
/// If the file cannot be opened, or is neither PNG nor JPEG. The decoder's own limit on memory holds.
pub fn read(path: &Path) -> Result<DynamicImage, PictureError> {
    let io = |source| PictureError::Io { path: path.into(), source };
    // The bytes decide what it is, not the name.
    let bytes = std::fs::read(path).map_err(io)?;
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(io)?;
    reader.decode().map_err(|source| PictureError::Decode { path: path.into(), source })
}

/// Resize and crop to `size` (height, width).
///
/// # Errors
/// If the interpolation is not known.
pub fn fit(picture: &DynamicImage, size: [usize; 2], preprocessing: &Preprocessing) -> Result<RgbImage, PictureError> {
    let name = &preprocessing.interpolation;
    let kernel = resample::kernel(name).ok_or_else(|| PictureError::Interpolation(name.clone()))?;
    let rgb = picture.to_rgb8();
    let [height, width] = resized([rgb.height() as usize, rgb.width() as usize], size, preprocessing.crop);
    let rgb = match [rgb.height(), rgb.width()] == [height, width] {
        true => rgb,
        false => resample::resize(&rgb, width, height, kernel),
    };
    let centre = |whole: u32, part: usize| ((f64::from(whole) - part as f64) / 2.0).round_ties_even().max(0.0) as u32;
    let (top, left) = (centre(height, size[0]), centre(width, size[1]));
    Ok(imageops::crop_imm(&rgb, left, top, size[1] as u32, size[0] as u32).to_image())
}

/// Size of the resized picture: torchvision's `Resize` of the shorter side for a square model, timm's `ResizeKeepRatio` else.
fn resized(picture: [usize; 2], size: [usize; 2], crop: f64) -> [u32; 2] {
    let target = size.map(|side| (side as f64 / crop).floor());
    let [h, w] = picture.map(|side| side as f64);
    let [height, width] = if target[0] == target[1] {
        let long = (target[0] * h.max(w) / h.min(w)).floor();
        if h <= w { [target[0], long] } else { [long, target[0]] }
    } else {
        let ratio = (h / target[0]).min(w / target[1]);
        [(h / ratio).round_ties_even(), (w / ratio).round_ties_even()]
    };
    [height.max(size[0] as f64) as u32, width.max(size[1] as f64) as u32]
}

/// The artifact's input `[1,3,H,W]`: pixels in 0..255 where it normalises them itself, else `(p/255 − mean)/std`.
pub fn input(picture: &RgbImage, preprocessing: &Preprocessing) -> Vec<f32> {
    let Preprocessing { mean, std, normalised_inside, .. } = preprocessing;
    let value = |channel: usize, pixel: u8| match normalised_inside {
        true => f32::from(pixel),
        false => ((f64::from(pixel) / 255.0 - mean[channel]) / std[channel]) as f32,
    };
    (0..3).flat_map(|c| picture.pixels().map(move |p| value(c, p.0[c]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preprocessing(crop: f64, interpolation: &str) -> Preprocessing {
        let (mean, std) = ([0.5, 0.25, 0.0], [0.5, 0.25, 1.0]);
        Preprocessing { mean, std, crop, interpolation: interpolation.into(), normalised_inside: false }
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
            let wanted = read(&folder.join(expected)).unwrap().to_rgb8();
            assert_eq!(found.dimensions(), wanted.dimensions(), "{line}");
            let far = found.iter().zip(wanted.iter()).map(|(&a, &b)| a.abs_diff(b)).max();
            assert!(far <= Some(1), "{line}: {far:?}");
            seen += 1;
        }
        assert!(seen >= 8);
    }

    #[test]
    fn channels_are_planes() {
        let picture = RgbImage::from_raw(2, 1, vec![0, 51, 102, 255, 204, 153]).unwrap();
        let outside = input(&picture, &preprocessing(1.0, "bilinear"));
        let wanted = [-1.0, 1.0, -0.2, 2.2, 0.4, 0.6];
        assert!(outside.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{outside:?}");
        let inside = input(&picture, &Preprocessing { normalised_inside: true, ..preprocessing(1.0, "bilinear") });
        assert_eq!(inside, [0.0, 255.0, 51.0, 204.0, 102.0, 153.0]);
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
        assert!(read(&put("a.jpg", &png)).is_ok());
        let picture = read(&put("b.png", &png)).unwrap();
        assert!(matches!(fit(&picture, [4, 4], &preprocessing(1.0, "random")), Err(PictureError::Interpolation(_))));
    }
}
