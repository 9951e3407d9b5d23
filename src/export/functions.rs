//! Several sizes of one model in one artifact: a function for each.

use super::format::FileFormat;
use crate::message;
use crate::message::{Message, Setting};
use std::collections::HashSet;
use vitc_ir::Dim;

/// What an only function is called.
const ONLY: &str = "main";

/// Size of the input of one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FunctionSize {
    /// Images per run: a number, or `Dim::Batch(1)`.
    pub batch: Dim,
    /// Input height and width; `None` for the model's own.
    pub resolution: Option<[usize; 2]>,
}

/// A function of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamedFunction {
    /// `main`, or what tells it from the others: `batch_8`, `resolution_224x224`, `batch_8_resolution_224x224`.
    pub(super) name: String,
    pub(super) size: FunctionSize,
}

/// The functions of these sizes, named after what differs between them.
///
/// # Errors
/// If the format holds one function and several are asked for, a size is asked for twice, or one takes every batch anyway.
pub(super) fn named(sizes: &[FunctionSize], format: &FileFormat) -> Result<Vec<NamedFunction>, Message> {
    let batches = distinct(sizes.iter().map(|s| s.batch));
    let resolutions = distinct(sizes.iter().map(|s| s.resolution));
    let batch = |b: &Dim| b.fixed().map_or("dynamic".to_string(), |n| n.to_string());
    let resolution = |r: &Option<[usize; 2]>| r.map_or(String::new(), |[h, w]| format!("{h}x{w}"));
    let said: Vec<(Setting, Vec<String>)> = [
        (Setting::Batch, batches.iter().map(batch).collect::<Vec<_>>()),
        (Setting::Resolution, resolutions.iter().map(resolution).collect()),
    ]
    .into_iter()
    .filter(|(_, values)| values.len() > 1)
    .collect();
    if sizes.len() > batches.len() * resolutions.len() {
        return Err("a size of the input is asked for twice\n  name each once".into());
    }
    if let (Some(why), [(setting, values), ..]) = (format.one_function, &said[..]) {
        let one = Message::joined(values.iter().map(|v| setting.to(v)), ", ");
        return Err(message!(setting.to(values.join(",")), ": ", why, "\n  export one for each: ", one));
    }
    if batches.len() > 1 && batches.iter().any(|b| b.fixed().is_none()) {
        let all = batches.iter().map(batch).collect::<Vec<_>>().join(",");
        let what = ": a batch that is chosen when the model runs takes the others too\n  use ";
        return Err(message!(Setting::Batch.to(all), what, Setting::Batch.to("dynamic")));
    }
    let name = |size: &FunctionSize| {
        let mut parts = Vec::new();
        parts.extend((batches.len() > 1).then(|| format!("batch_{}", batch(&size.batch))));
        parts.extend((resolutions.len() > 1).then(|| format!("resolution_{}", resolution(&size.resolution))));
        if parts.is_empty() { ONLY.to_string() } else { parts.join("_") }
    };
    let all = if sizes.is_empty() { &[FunctionSize { batch: Dim::Fixed(1), resolution: None }] } else { sizes };
    Ok(all.iter().map(|&size| NamedFunction { name: name(&size), size }).collect())
}

/// Each value once, in order.
fn distinct<T: Copy + Eq + std::hash::Hash>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = HashSet::new();
    values.filter(|v| seen.insert(*v)).collect()
}
