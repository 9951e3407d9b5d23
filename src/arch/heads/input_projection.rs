//! The neck of DINO: "DETR with Improved DeNoising Anchor Boxes for End-to-End Object Detection", Zhang et al., ICLR 2023 (arXiv 2203.03605).
//!
//! Each map becomes one of a common width, normalised over groups of 32; further levels are strided convolutions of the backbone's last map, then of
//! each other.

use super::numbers::{axis, count, part_error, rows};
use crate::arch::family::{ArchError, BuildOptions, Neck, StageMap};
use vitc_ir::{ConvSpec, Net};

const NAME: &str = "input projections";
const GROUPS: usize = 32;
const EPS: f64 = 1e-5;

/// The neck.
pub(super) static INPUT_PROJECTION: Neck = Neck {
    name: NAME,
    scope: "input_proj",
    anchors: &["input_proj.0.0.weight", "input_proj.0.1.weight"],
    choices: &[],
    build,
};

fn build(net: &mut Net, options: &BuildOptions, maps: &[StageMap]) -> Result<Vec<StageMap>, ArchError> {
    let width = rows(net, options, NAME, "0.0.weight")?;
    let levels = count(net, options, |i| format!("{i}.0.weight"));
    if levels < maps.len() || !width.is_multiple_of(GROUPS) {
        let what = format!("{levels} projections to {width} channels, in groups of {GROUPS}, for {} maps", maps.len());
        return Err(part_error(NAME, what));
    }
    let mut source = maps[maps.len() - 1];
    let mut found = Vec::new();
    for i in 0..levels {
        let (x, spec, stride) = match maps.get(i) {
            Some(map) => (map.value, ConvSpec::new(width, 1), map.stride),
            None => (source.value, ConvSpec::new(width, 3).stride(2), 2 * source.stride),
        };
        let columns = axis(net, options, NAME, &format!("{i}.0.weight"), 1)?;
        if columns != net.dim(x, 1) {
            let what = format!("projection {i} reads {columns} channels, and its map has {}", net.dim(x, 1));
            return Err(part_error(NAME, what));
        }
        let mut net = net.at(i);
        let x = net.at(0).conv(x, spec);
        let value = net.at(1).group_norm(x, GROUPS, EPS);
        found.push(StageMap { value, stride });
        if i >= maps.len() {
            source = found[i];
        }
    }
    Ok(found)
}
