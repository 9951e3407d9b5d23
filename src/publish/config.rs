//! `config.json` of a published folder, where timm, transformers and vitc itself look for a model's settings.

use super::files;
use crate::export::Report;
use crate::place::PlaceError;
use crate::signature::OutputRole;
use serde_json::{Value as Json, json};
use std::path::Path;
use vitc_exporters::metadata::Fit;

/// Name of the file.
const CONFIG: &str = "config.json";
/// Key of vitc's version, by which a folder is known as published by it.
const MARK: &str = "vitc";
/// No such file is longer.
const LONGEST: u64 = 64 << 20;

/// Whether the folder's file is vitc's.
pub(super) fn is_ours(folder: &Path) -> bool {
    let path = folder.join(CONFIG);
    let short = std::fs::metadata(&path).is_ok_and(|found| found.len() <= LONGEST);
    let text = if short { std::fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
    serde_json::from_str::<Json>(&text).is_ok_and(|config| config.get(MARK).is_some())
}

/// Write what the report says of the model, as far as it is true of its weights whatever the artifact is.
pub(super) fn write(root: &Path, report: &Report) -> Result<(), PlaceError> {
    let lowered = &report.lowered;
    let mut config = json!({ MARK: env!("CARGO_PKG_VERSION"), "architecture": report.model });
    let classes = lowered.model.signature.outputs.iter().find_map(|port| match port.role {
        OutputRole::Scores { classes, .. } | OutputRole::Probabilities { classes, .. } => Some(classes),
        _ => None,
    });
    if let Some(classes) = classes {
        config["num_classes"] = json!(classes);
    }
    if let Some(p) = &lowered.preprocessing {
        let [height, width] = report.resolution;
        config["pretrained_cfg"] = json!({
            "input_size": [p.mean.len(), height, width],
            "mean": p.mean,
            "std": p.std,
            "crop_pct": p.crop,
            "interpolation": p.interpolation,
        });
        if p.fit == Fit::Stretch {
            config["pretrained_cfg"]["crop_mode"] = json!("squash");
        }
    }
    if let Some(labels) = &lowered.labels {
        config["label_names"] = json!(labels);
    }
    let text = format!("{config:#}\n");
    files::write(&root.join(CONFIG), text.as_bytes())
}
