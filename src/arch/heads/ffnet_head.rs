//! FFNet's own segmentation head: "MetaMixer Is All You Need", Yun et al. (arXiv 2406.02021).
//!
//! The maps, enlarged to the finest, are joined and narrowed; blocks of the backbone's kind, with a GELU behind each sum, mix them; a 1x1 classifies.

use super::numbers::{axis, count, part_error, rows};
use super::segmentation::{ALIGN_CORNERS, align_corners};
use crate::arch::family::{ArchError, BuildOptions, MapHead, StageMap};
use crate::arch::ffnet_seg::{strip_depthwise, token_mixer};
use crate::arch::layers::{conv_bn, mlp};
use crate::arch::prediction::{PixelScores, Prediction};
use vitc_ir::op::Sampling;
use vitc_ir::{ConvSpec, Net, UnaryKind, Value};

const NAME: &str = "FFNet's head";

/// The head.
pub(super) static FFNET_HEAD: MapHead = MapHead {
    name: NAME,
    scope: "decode_head",
    anchors: &["squeeze.0.c.weight", "align.0.c.weight"],
    choices: &[&ALIGN_CORNERS],
    backbone_stride: None,
    build,
};

fn build(net: &mut Net, options: &BuildOptions, maps: &[StageMap]) -> Result<Prediction, ArchError> {
    let width = rows(net, options, NAME, "squeeze.2.c.weight")?;
    let aligned = rows(net, options, NAME, "align.0.c.weight")?;
    let classes = rows(net, options, NAME, "conv_seg.weight")?;
    if options.resolution.iter().any(|side| !side.is_multiple_of(32)) {
        return Err(options.misfit("the head enlarges maps by fixed factors", "use multiples of 32"));
    }
    let conv = |net: &mut Net, place: &str, x: Value, width: usize| {
        conv_bn(&mut net.at(place), x, ["c", "bn"], ConvSpec::new(width, 1).no_bias())
    };
    let mut joined = Vec::new();
    for (i, map) in maps.iter().enumerate() {
        let factor = map.stride / maps[0].stride;
        let size = [2, 3].map(|axis| factor * net.dim(map.value, axis));
        joined.push(if factor == 1 {
            map.value
        } else {
            net.resize(format!("enlarged.{i}"), map.value, Sampling::CUBIC, size)
        });
    }
    let x = net.concat("squeeze.concat", &joined, 1);
    let squeezed = rows(net, options, NAME, "squeeze.0.c.weight")?;
    let x = conv(net, "squeeze.0", x, squeezed);
    let x = net.unary("squeeze.1", UnaryKind::Gelu, x);
    let mut x = conv(net, "squeeze.2", x, width);
    for j in 0..count(net, options, |j| format!("head_blocks.{j}.token_mixer.main.fc.c.weight")) {
        x = block(&mut net.at(format!("head_blocks.{j}")), options, x)?;
    }
    let x = conv(net, "align.0", x, aligned);
    let x = net.unary("align.1", UnaryKind::Gelu, x);
    let value = net.at("conv_seg").conv(x, ConvSpec::new(classes, 1));
    Ok(Prediction::Pixels(PixelScores { value, classes, stride: maps[0].stride, corners: align_corners(options) }))
}

/// One block: x = GELU(x + T(x)), x = GELU(x + M(x)).
fn block(net: &mut Net, options: &BuildOptions, x: Value) -> Result<Value, ArchError> {
    let kernel = |key: &str| match axis(net, options, NAME, key, 3)? {
        k if k % 2 == 1 && k <= 63 => Ok(k),
        k => Err(part_error(NAME, format!("{}: a kernel of {k}", net.path(key)))),
    };
    let spatial = kernel("token_mixer.main.conv1.conv1.c.weight")?;
    let channel = kernel("channel_mixer.main.conv.conv1.c.weight")?;
    let width = net.dim(x, 1);
    let hidden = rows(net, options, NAME, "channel_mixer.main.fc1.weight")?;
    if !hidden.is_multiple_of(width) {
        return Err(part_error(NAME, format!("{} has {hidden} rows", net.path("channel_mixer.main.fc1.weight"))));
    }
    let y = token_mixer(&mut net.at("token_mixer.main"), options, x, spatial);
    let x = sum(&mut net.at("token_mixer"), x, y);
    let mut mixer = net.at("channel_mixer.main");
    let y = strip_depthwise(&mut mixer.at("conv"), x, channel);
    let y = mlp(&mut mixer, y, hidden / width);
    Ok(sum(&mut net.at("channel_mixer"), x, y))
}

fn sum(net: &mut Net, x: Value, y: Value) -> Value {
    let x = net.add(x, y);
    net.gelu(x)
}
