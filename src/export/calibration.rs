//! Calibration pictures: what a quantised model is fitted to and judged by.
//!
//! A folder is read with its subfolders, its pictures sorted by path; a `.npy` file holds values as the model takes them, normalised, any number of them. What
//! is left over when they are cut into batches is filled up with the first again.

use super::calibrated::Calibration;
use super::error::Error;
use crate::check::npy;
use crate::message;
use crate::message::Setting;
use crate::picture;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use vitc_exporters::metadata::Preprocessing;
use vitc_ir::Graph;

/// Suffixes of pictures.
const PICTURES: [&str; 3] = ["png", "jpg", "jpeg"];

/// Normalised values are smaller.
const PIXEL: f32 = 16.0;

/// Read the pictures for a model whose graph has one input; `samples` of them, evenly spread.
///
/// # Errors
/// If the model has other inputs, nothing is there, or one cannot be read; it is named.
pub fn read(
    path: &Path,
    samples: Option<usize>,
    graph: &Graph,
    preprocessing: Option<&Preprocessing>,
) -> Result<Calibration, Error> {
    let inputs: Vec<_> = graph.inputs().map(|(_, node)| node.types[0].shape.at(1)).collect();
    let [shape] = &inputs[..] else {
        return Err(usage(format!("the model has {} inputs, and calibration knows models with one", inputs.len())));
    };
    let item: usize = shape.iter().skip(1).product();
    let pictures = match path.is_dir() {
        true => folder(path, samples, shape, preprocessing)?,
        false => array(path, samples, shape)?,
    };
    if pictures.is_empty() {
        let read = if path.is_dir() { ": PNG and JPEG files are read" } else { "" };
        return Err(usage(format!("{} holds no pictures{read}", path.display())));
    }
    let mut hasher = blake3::Hasher::new();
    let mut different = HashSet::new();
    for picture in &pictures {
        let bytes: Vec<u8> = picture.iter().flat_map(|x| x.to_le_bytes()).collect();
        hasher.update(&bytes);
        different.insert(blake3::hash(&bytes));
    }
    let values = || pictures.iter().flat_map(|p| p.iter().copied());
    let pixels = values().all(|x| x.fract() == 0.0 && (0.0..=255.0).contains(&x)) && values().any(|x| x > PIXEL);
    let batch = shape.first().copied().unwrap_or(1).max(1);
    let filled: Vec<&Vec<f32>> = pictures.iter().cycle().take(pictures.len().next_multiple_of(batch)).collect();
    let model: Vec<Vec<f32>> =
        filled.chunks(batch).map(|unit| unit.iter().flat_map(|p| p.iter().copied()).collect()).collect();
    let as_taken = |unit: &Vec<f32>| match preprocessing.filter(|p| p.normalised_inside) {
        None => unit.clone(),
        Some(p) => unit
            .iter()
            .enumerate()
            .map(|(i, &x)| {
                let channels = p.mean.len().max(1);
                let channel = i % item.max(1) / (item / channels).max(1) % channels;
                let pixel = (f64::from(x) * p.std[channel] + p.mean[channel]) * 255.0;
                // What was a pixel is one again; other values stay between two.
                let whole = pixel.round();
                (if (pixel - whole).abs() < 1e-3 { whole } else { pixel }) as f32
            })
            .collect(),
    };
    let artifact = model.iter().map(as_taken).collect();
    let (count, distinct) = (pictures.len(), different.len());
    Ok(Calibration { count, distinct, pixels, blake3: hasher.finalize().to_hex().to_string(), artifact, model })
}

fn usage(what: String) -> Error {
    Error::Usage(message!(Setting::Calibrate, ": ", what))
}

/// Evenly spread indices of `count`.
fn chosen(count: usize, samples: Option<usize>) -> Vec<usize> {
    let wanted = samples.unwrap_or(count).min(count);
    (0..wanted).map(|i| i * count / wanted.max(1)).collect()
}

fn folder(
    path: &Path,
    samples: Option<usize>,
    shape: &[usize],
    preprocessing: Option<&Preprocessing>,
) -> Result<Vec<Vec<f32>>, Error> {
    let &[_, channels @ (1 | 3), height, width] = shape else {
        return Err(usage(format!(
            "the model takes {shape:?}, which is no picture [N,1 or 3,H,W]\n  give a .npy file of such values"
        )));
    };
    let Some(preprocessing) = preprocessing else {
        let what = format!("the model takes {shape:?}, and how a picture becomes that is not known\n  give ");
        let mean = message!(Setting::Mean, " and ", Setting::Std);
        return Err(Error::Usage(message!(Setting::Calibrate, ": ", what, mean, ", or a .npy file of such values")));
    };
    if preprocessing.mean.len() != channels {
        return Err(usage(format!(
            "the model takes {channels} channels, and its mean has {}",
            preprocessing.mean.len()
        )));
    }
    let mut files = Vec::new();
    list(path, &mut files).map_err(|e| usage(format!("{}: {e}", path.display())))?;
    files.sort();
    let outside = Preprocessing { normalised_inside: false, ..preprocessing.clone() };
    let one = |i: usize| {
        let picture = picture::read(&files[i]).and_then(|p| picture::fit(&p, [height, width], &outside));
        Ok(picture::input(&picture.map_err(|e| usage(e.to_string()))?, &outside))
    };
    chosen(files.len(), samples).into_iter().map(one).collect()
}

/// Pictures below a folder; hidden files are none.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // Links to folders are not followed: they may lead back.
        if entry.file_type()?.is_dir() {
            list(&path, files)?;
        } else if path.extension().is_some_and(|e| PICTURES.iter().any(|p| e.eq_ignore_ascii_case(p))) {
            files.push(path);
        }
    }
    Ok(())
}

fn array(path: &Path, samples: Option<usize>, shape: &[usize]) -> Result<Vec<Vec<f32>>, Error> {
    let array = npy::read(path).map_err(|e| usage(e.to_string()))?;
    if array.shape.len() != shape.len() || array.shape[1..] != shape[1..] {
        let what = format!("{} has shape {:?}, the model takes [N{}]", path.display(), array.shape, sizes(&shape[1..]));
        return Err(usage(what));
    }
    let item: usize = shape[1..].iter().product();
    if let Some(at) = array.data.iter().position(|x| !x.is_finite()) {
        return Err(usage(format!("{}: element {at} is {}", path.display(), array.data[at])));
    }
    let items: Vec<&[f32]> = array.data.chunks_exact(item.max(1)).collect();
    Ok(chosen(items.len(), samples).into_iter().map(|i| items[i].to_vec()).collect())
}

fn sizes(shape: &[usize]) -> String {
    shape.iter().map(|n| format!(", {n}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_evenly_spread() {
        assert_eq!(chosen(10, Some(4)), [0, 2, 5, 7]);
        assert_eq!(chosen(3, Some(8)), [0, 1, 2]);
        assert_eq!(chosen(2, None), [0, 1]);
        assert_eq!(chosen(0, Some(2)), [0; 0]);
    }
}
