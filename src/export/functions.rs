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
    let mut seen = HashSet::new();
    if let Some(twice) = sizes.iter().find(|s| !seen.insert(**s)) {
        let given = [Setting::Batch.to(batch(&twice.batch))].into_iter();
        let given = given.chain(twice.resolution.map(|r| Setting::Resolution.to(resolution(&Some(r)))));
        let what = ": asked for twice\n  name each size once; one that is not square is HEIGHTxWIDTH";
        return Err(message!(Message::joined(given, " "), what));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::TargetKind;

    #[test]
    fn functions_are_named_after_what_differs() {
        let size = |n: usize, side: Option<usize>| FunctionSize {
            batch: if n == 0 { Dim::Batch(1) } else { Dim::Fixed(n) },
            resolution: side.map(|s| [s, s]),
        };
        let names = |sizes: &[FunctionSize]| -> Result<Vec<String>, String> {
            let found = named(sizes, TargetKind::CoreAi.format()).map_err(|e| e.to_string())?;
            Ok(found.into_iter().map(|f| f.name).collect())
        };
        let good = |sizes: &[FunctionSize]| names(sizes).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(good(&[]), ["main"]);
        assert_eq!(good(&[size(0, Some(64))]), ["main"]);
        assert_eq!(good(&[size(1, None), size(8, None)]), ["batch_1", "batch_8"]);
        assert_eq!(good(&[size(0, Some(64)), size(0, Some(96))]), ["resolution_64x64", "resolution_96x96"]);
        assert_eq!(
            good(&[size(1, Some(64)), size(2, Some(64)), size(1, Some(96)), size(2, Some(96))])[2],
            "batch_1_resolution_96x96"
        );
        assert!(names(&[size(1, None), size(1, None)]).is_err_and(|e| e.contains("twice")));
        assert!(names(&[size(1, None), size(0, None)]).is_err_and(|e| e.contains("takes the others too")));
        for kind in [TargetKind::Onnx, TargetKind::TensorRt, TargetKind::CoreMl] {
            assert!(named(&[size(1, None), size(8, None)], kind.format()).is_err(), "{}", kind.name());
            assert!(named(&[size(8, Some(64))], kind.format()).is_ok(), "{}", kind.name());
        }
    }
}
