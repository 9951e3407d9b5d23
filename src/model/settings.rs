//! How pictures are prepared, and from where that is known: what the checkpoint says, else the published evaluation, which is an assumption.

use super::account::{Account, Leftover, printable};
use crate::arch::Backbone;
use crate::checkpoint::{ModelConfig, Said, Selected};
use crate::message;
use crate::message::{Message, Setting};
use vitc_exporters::metadata::{Fit, Layout, Preprocessing};

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Which (`mean`).
    pub setting: &'static str,
    /// Where it was found; `None` if it is the published one.
    pub from: Option<String>,
}

/// Names of modules that normalise pictures in front of a trunk.
const NORMALISERS: &[&str] = &[
    "data_preprocessor",
    "normalize",
    "normalizer",
    "normalise",
    "normalization",
    "norm_input",
    "input_norm",
    "preprocess",
    "preprocessing",
    "preprocessor",
    "transform",
    "transforms",
];

/// Mean and deviation that are stored as tensors, taken out of what the trunk does not ask for.
pub(super) fn stored(account: &mut Account, selected: &Selected, file: &str) -> ModelConfig {
    let is = |l: &Leftover, leaves: &[&str]| {
        let (module, leaf) = l.name.rsplit_once('.').unwrap_or(("", &l.name));
        let module = module.rsplit('.').next().unwrap_or_default();
        let few = (1..=64).contains(&l.tensor.elements());
        !l.within && few && leaves.contains(&leaf) && (NORMALISERS.contains(&module) || leaf.starts_with("pixel_"))
    };
    let (mean, std) = (["mean", "pixel_mean"], ["std", "pixel_std"]);
    let pair = [&mean, &std].map(|leaves| account.leftovers.iter().find(|l| is(l, leaves)));
    let [Some(first), Some(second)] = pair else { return ModelConfig::default() };
    // Numbers as somebody wrote them: the shortest that are the stored ones.
    let written = |x: &f64| (*x as f32).to_string().parse().unwrap_or(*x);
    let said = |l: &Leftover| {
        let value = selected.numbers(&l.tensor)?.iter().map(written).collect();
        Some(Said { value, from: format!("{file}: {}", printable(&l.name)) })
    };
    let (read_mean, read_std) = crate::checkpoint::in_unit_range(said(first), said(second));
    if read_mean.is_none() || read_std.is_none() {
        return ModelConfig::default();
    }
    account.take(|l| is(l, &mean) || is(l, &std));
    ModelConfig { mean: read_mean, std: read_std, ..ModelConfig::default() }
}

/// How pictures are prepared, with the source of each setting; a notice of what is assumed for other than three channels.
pub(super) fn preprocessing(
    backbone: Backbone,
    said: &ModelConfig,
    channels: usize,
) -> (Preprocessing, Vec<Source>, Option<Message>) {
    let published = &backbone.variant.transform;
    let mut sources = Vec::new();
    let mut source =
        |setting: &'static str, from: Option<&String>| sources.push(Source { setting, from: from.cloned() });
    let [mean, std] = [&said.mean, &said.std].map(|said| said.as_ref().filter(|s| s.value.len() == channels));
    source("mean", mean.map(|m| &m.from));
    source("std", std.map(|s| &s.from));
    let crop = said.crop_pct.as_ref();
    source("crop", crop.map(|c| &c.from));
    let interpolation = said.interpolation.as_ref();
    source("interpolation", interpolation.map(|i| &i.from));
    let fit = said.crop_mode.as_ref().filter(|mode| mode.value == "squash");
    if let Some(fit) = fit {
        source("fit", Some(&fit.from));
    }
    let usual = |of: [f64; 3], other: f64| match channels {
        3 => of.to_vec(),
        1 => vec![of.iter().sum::<f64>() / 3.0],
        _ => vec![other; channels],
    };
    let assumed = (channels != 3 && (mean.is_none() || std.is_none())).then(|| {
        let [mean, std] = [usual(published.mean, 0.0)[0], usual(published.std, 1.0)[0]];
        let what = format!(
            "nothing is known of the mean and deviation of {channels} channels: {mean:.3} and {std:.3} are assumed; "
        );
        message!(what, Setting::Mean, " and ", Setting::Std, " change them")
    });
    let preprocessing = Preprocessing {
        mean: mean.map_or_else(|| usual(published.mean, 0.0), |m| m.value.clone()),
        std: std.map_or_else(|| usual(published.std, 1.0), |s| s.value.clone()),
        layout: Layout::default(),
        fit: if fit.is_some() { Fit::Stretch } else { Fit::Crop },
        crop: crop.map_or(published.crop, |c| c.value),
        interpolation: interpolation.map_or_else(|| published.interpolation.into(), |i| i.value.clone()),
        normalised_inside: false,
    };
    (preprocessing, sources, assumed)
}
