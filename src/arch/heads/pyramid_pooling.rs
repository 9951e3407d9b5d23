//! The pyramid of contexts of "Pyramid Scene Parsing Network", Zhao et al., CVPR 2017 (arXiv 1612.01105), as mmsegmentation builds it.

use super::numbers::count;
use super::segmentation::{align_corners, pool_scales};
use crate::arch::conv_module::conv_module;
use crate::arch::family::{ArchError, BuildOptions};
use crate::arch::layers::like;
use vitc_ir::{ConvSpec, Net, UnaryKind, Value};

/// The map beside what it holds pooled to each size, `psp_modules`, joined by the 3x3 `bottleneck`.
pub(super) fn pyramid_pooling(
    net: &mut Net,
    options: &BuildOptions,
    part: &'static str,
    x: Value,
    width: usize,
) -> Result<Value, ArchError> {
    let branches = count(net, options, |i| format!("psp_modules.{i}.1.conv.weight"));
    let mut joined = vec![x];
    for (i, side) in pool_scales(options, part, branches)?.into_iter().enumerate() {
        let mut place = net.at(format!("psp_modules.{i}"));
        let y = place.adaptive_avg_pool("0", x, [side; 2]);
        let spec = ConvSpec::new(width, 1).no_bias();
        let y = conv_module(&mut place.at(1), options, y, spec, Some(UnaryKind::Relu))?;
        joined.push(like(&mut place, "enlarged", y, x, align_corners(options)));
    }
    let x = net.concat("bottleneck.concat", &joined, 1);
    let spec = ConvSpec::new(width, 3).no_bias();
    conv_module(&mut net.at("bottleneck"), options, x, spec, Some(UnaryKind::Relu))
}
