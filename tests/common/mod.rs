//! Shared by the integration tests: models, merged checkpoints, golden data.

#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod command;
pub(crate) mod golden;

use std::collections::BTreeSet;
use vitc::arch::{self, BuildOptions, Shapes};
use vitc_ir::Graph;

/// The paper graph of a model at its native resolution, batch 1, for these tensors or for seeded weights.
pub(crate) fn paper(name: &str, tensors: Option<&Shapes>) -> Graph {
    let backbone = arch::find(name).unwrap_or_else(|e| panic!("{e}"));
    let options = BuildOptions { tensors, ..BuildOptions::new(backbone) };
    options.build().unwrap_or_else(|e| panic!("{e}")).graph
}

/// Keys and shapes of a graph's weights.
pub(crate) fn shapes(graph: &Graph) -> Shapes {
    graph.weights().map(|(key, ty)| (key.to_string(), ty.shape.at(1))).collect()
}

/// The state dict after the family's own merging of branches: FMViT's deploy form, the authors' `fuse` of FFNet, the
/// same keys elsewhere. Kernels have the shape of the largest branch.
pub(crate) fn merged(training: &Shapes) -> Shapes {
    let keys: BTreeSet<&str> = training.keys().map(String::as_str).collect();
    let (suffix, stored) = match () {
        () if keys.contains("stem.0.conv.weight") => (".conv.weight", ".reparam"),
        () if keys.contains("patch_embed.0.c.weight") => (".c.weight", ""),
        () => return training.clone(),
    };
    // Leaves of a place whose branches become one convolution.
    let branches: &[&str] = match stored {
        ".reparam" => &["g1", "g2", "g4", "dw7", "dw3", "dw1"],
        _ => &["conv", "conv1"],
    };
    let is_place = |place: &str| {
        let parallel = |a: &str, b: &str| keys.contains(a) && keys.contains(b);
        !stored.is_empty()
            || parallel(&format!("{place}.conv.c.weight"), &format!("{place}.conv1.c.weight"))
            || place.ends_with("proj.1")
    };
    let mut merged = Shapes::new();
    for (key, shape) in training {
        if let Some(module) = key.strip_suffix(suffix) {
            let place = match module.rsplit_once('.') {
                Some((place, last)) if branches.contains(&last) && is_place(place) => place,
                _ => module,
            };
            let largest = merged.entry(format!("{place}{stored}.weight")).or_default();
            *largest = std::cmp::max(&*largest, shape).clone();
            merged.insert(format!("{place}{stored}.bias"), vec![shape[0]]);
        } else {
            let absorbed = key.contains(".bn.")
                || (!stored.is_empty() && (key.contains(".identity.") || key.starts_with("norm.")));
            if !absorbed {
                merged.insert(key.clone(), shape.clone());
            }
        }
    }
    merged
}
