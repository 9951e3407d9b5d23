//! The vocabulary of the architectures: what several papers build with. A layer takes the place where its keys stand and the value that it reads.

use super::family::{BuildOptions, StageMap};
use std::fmt::Display;
use vitc_ir::op::{DepthOrder, OffsetOrder, Sampling, SliceAxis};
use vitc_ir::{BinaryKind, ConvSpec, DType, Generator, Net, Op, PadMode, Shape, Type, UnaryKind, Value};

/// Epsilon of a BatchNorm where the authors' code does not set it: PyTorch's default.
pub(super) const BN_EPS: f64 = 1e-5;

/// Epsilon of a LayerNorm over the channels of a map.
pub(super) const MAP_NORM_EPS: f64 = 1e-6;

/// How a code base names a convolution and its BatchNorm.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConvNorm<'a> {
    /// The convolution.
    pub(super) conv: &'a str,
    /// The BatchNorm behind it.
    pub(super) norm: &'a str,
    /// What the code base's own merging leaves of both, if it has one: a convolution with bias under this name, empty for the place itself.
    pub(super) merged: Option<&'a str>,
    /// Epsilon of the BatchNorm.
    pub(super) eps: f64,
}

impl<'a> ConvNorm<'a> {
    /// Under these names, as PyTorch makes it, never merged.
    pub(super) const fn named(conv: &'a str, norm: &'a str) -> ConvNorm<'a> {
        ConvNorm { conv, norm, merged: None, eps: BN_EPS }
    }

    /// Convolution and BatchNorm; one convolution in a merged checkpoint. What merges has no bias before.
    pub(super) fn build(self, net: &mut Net, options: &BuildOptions, x: Value, spec: ConvSpec) -> Value {
        let Some(merged) = self.merged else { return self.apart(net, x, spec) };
        branches(net, options, merged, x, spec, |net| self.apart(net, x, spec.no_bias()))
    }

    /// Convolution, bias and all, and BatchNorm.
    pub(super) fn apart(self, net: &mut Net, x: Value, spec: ConvSpec) -> Value {
        let x = net.at(self.conv).conv(x, spec);
        net.at(self.norm).batch_norm(x, self.eps)
    }
}

/// A convolution and its BatchNorm, under these two names.
pub(super) fn conv_bn(net: &mut Net, x: Value, [conv, norm]: [&str; 2], spec: ConvSpec) -> Value {
    ConvNorm::named(conv, norm).apart(net, x, spec)
}

/// What training branches compute together, or the one convolution `merged` that a checkpoint holds in their place.
pub(super) fn branches(
    net: &mut Net,
    options: &BuildOptions,
    merged: &str,
    x: Value,
    spec: ConvSpec,
    apart: impl FnOnce(&mut Net) -> Value,
) -> Value {
    let mut place = net.at(merged);
    if options.holds(&place.path("weight"), false) {
        return place.conv(x, spec);
    }
    apart(net)
}

/// Two strided convolutions, a quarter of the resolution: `[B,3,H,W]` to `[B,width,⌈H/4⌉,⌈W/4⌉]`.
pub(super) fn stem(net: &mut Net, x: Value, width: usize, activation: UnaryKind) -> Value {
    let x = conv_bn(net, x, ["0", "1"], ConvSpec::new(width / 2, 3).stride(2));
    let x = net.unary("2", activation, x);
    let x = conv_bn(net, x, ["3", "4"], ConvSpec::new(width, 3).stride(2));
    net.unary("5", activation, x)
}

/// Half the resolution in another width: a strided convolution and its BatchNorm.
pub(super) fn downsample(net: &mut Net, x: Value, width: usize) -> Value {
    conv_bn(net, x, ["proj", "norm"], ConvSpec::new(width, 3).stride(2))
}

/// Stages at strides 4, 8, 16, … of the image: `enter` leads into stage i, then come its blocks, `block(net, x, i, j)`.
pub(super) fn stages(
    net: &mut Net,
    x: Value,
    depths: [usize; 4],
    enter: impl Fn(&mut Net, Value, usize) -> Value,
    block: impl Fn(&mut Net, Value, usize, usize) -> Value,
) -> Vec<StageMap> {
    let mut x = x;
    let mut maps = Vec::new();
    for (i, depth) in depths.into_iter().enumerate() {
        x = enter(net, x, i);
        x = (0..depth).fold(x, |x, j| block(net, x, i, j));
        maps.push(StageMap { value: x, stride: 4 << i });
    }
    maps
}

/// What `inside` makes of the map with zeros to the right and below, so that its sides are multiples of `side`; they are cut off again.
pub(super) fn padded(net: &mut Net, x: Value, side: usize, inside: impl FnOnce(&mut Net, Value) -> Value) -> Value {
    let map = [net.dim(x, 2), net.dim(x, 3)];
    let whole = map.map(|s| s.next_multiple_of(side));
    if whole == map {
        return inside(net, x);
    }
    let after = vec![0, 0, whole[0] - map[0], whole[1] - map[1]];
    let x = net.push("pad", Op::Pad { before: vec![0; 4], after, mode: PadMode::ZERO }, &[x]);
    let x = inside(net, x);
    let cuts = [2, 3].map(|axis| SliceAxis { axis, start: 0, stop: map[axis - 2], step: 1 });
    let cuts = cuts.into_iter().filter(|cut| cut.stop != whole[cut.axis - 2]).collect();
    net.push("crop", Op::Slice { cuts }, &[x])
}

/// The norm on a map that leaves the backbone, if the checkpoint has one here: a BatchNorm, or without running statistics a LayerNorm over the channels
/// of each position.
pub(super) fn output_norm(net: &mut Net, options: &BuildOptions, x: Value) -> Value {
    if ["running_mean", "running_var"].iter().any(|leaf| options.holds(&net.path(leaf), false)) {
        return net.batch_norm(x, BN_EPS);
    }
    if options.holds(&net.path("weight"), false) {
        return net.layer_norm(x, 1, MAP_NORM_EPS);
    }
    x
}

/// BatchNorm, then the mean over all positions.
pub(super) fn norm_and_mean(net: &mut Net, x: Value) -> Value {
    let x = net.at("norm").batch_norm(x, BN_EPS);
    mean(net, x)
}

/// The mean over all positions: `[B,C,H,W]` to `[B,C]`.
pub(super) fn mean(net: &mut Net, x: Value) -> Value {
    net.at("pool").mean(x, &[2, 3], false)
}

/// Widen by `ratio`, GELU, narrow; at each position of a map or token by token.
pub(super) fn mlp(net: &mut Net, x: Value, ratio: usize) -> Value {
    let c = net.dim(x, channels(net, x));
    let x = pointwise(&mut net.at("fc1"), x, ratio * c);
    let x = net.gelu(x);
    pointwise(&mut net.at("fc2"), x, c)
}

/// A linear layer over the channels of a map `[B,C,H,W]` or of tokens `[B,N,C]`.
fn pointwise(net: &mut Net, x: Value, out: usize) -> Value {
    match channels(net, x) {
        1 => net.conv(x, ConvSpec::new(out, 1)),
        _ => net.linear(x, out, true),
    }
}

/// The axis of the channels of a map or of tokens.
fn channels(net: &Net, x: Value) -> usize {
    if net.ty(x).shape.rank() == 4 { 1 } else { 2 }
}

/// `γ∘y`, LayerScale: a trained factor per channel of a map or of tokens, stored under `key`, over a map as `[C,1,1]`. The product is named
/// `product`.
pub(super) fn layer_scale(net: &mut Net, y: Value, key: &str, product: &str) -> Value {
    let axis = channels(net, y);
    let c = net.dim(y, axis);
    let gamma = if axis == 1 { net.weight(key, &[c, 1, 1]) } else { net.weight(key, &[c]) };
    net.binary(product, BinaryKind::Mul, y, gamma)
}

/// Per pair of positions of two grids, the entry of `table` along `axis` that belongs to their offset. `names` are those of indices and entries.
pub(super) fn table_bias(
    net: &mut Net,
    table: Value,
    axis: usize,
    [query, key]: [[usize; 2]; 2],
    order: OffsetOrder,
    names: [&str; 2],
) -> Value {
    let step = [key[0].div_ceil(query[0]), key[1].div_ceil(query[1])];
    let generator = Generator::RelativeIndex { query, key, step, order };
    let pairs = [query, key].map(|grid| grid[0] * grid[1]);
    let index = net.generate(names[0], generator, Type::new(DType::I32, Shape::fixed(&pairs)));
    net.push(names[1], Op::Gather { axis }, &[table, index])
}

/// A depthwise convolution of any kernel, without bias, that keeps the map.
pub(super) fn strip_conv(net: &mut Net, x: Value, kernel: [usize; 2]) -> Value {
    let c = net.dim(x, 1);
    let w = net.weight("weight", &[c, 1, kernel[0], kernel[1]]);
    let pad = [kernel[0] / 2, kernel[1] / 2, kernel[0] / 2, kernel[1] / 2];
    net.push("", Op::Conv { stride: [1; 2], pad, dilation: [1; 2], groups: c }, &[x, w])
}

/// Sides of a map.
fn sides(net: &Net, x: Value) -> [usize; 2] {
    [net.dim(x, 2), net.dim(x, 3)]
}

/// A map bilinearly at another size, or itself if it has it; `corners` lie on corners.
pub(super) fn enlarge(net: &mut Net, name: impl Display, x: Value, size: [usize; 2], corners: bool) -> Value {
    let sampling = if corners { Sampling::LINEAR_CORNERS } else { Sampling::LINEAR };
    if sides(net, x) == size { x } else { net.resize(name, x, sampling, size) }
}

/// A map bilinearly at the size of another.
pub(super) fn like(net: &mut Net, name: impl Display, x: Value, other: Value, corners: bool) -> Value {
    let size = sides(net, other);
    enlarge(net, name, x, size, corners)
}

/// A map at the size of another, each position that of the nearest one before.
pub(super) fn nearest_like(net: &mut Net, name: impl Display, x: Value, other: Value) -> Value {
    let size = sides(net, other);
    if sides(net, x) == size { x } else { net.resize(name, x, Sampling::NEAREST, size) }
}

/// The one value per channel of `x` at every position of another map.
pub(super) fn broadcast_like(net: &mut Net, name: impl Display, x: Value, other: Value) -> Value {
    let shape = Shape::batched(net.batch(x), &[net.dim(x, 1), net.dim(other, 2), net.dim(other, 3)]);
    net.push(name, Op::Expand { shape }, &[x])
}

/// `[B,C·r²,H,W]` to `[B,C,H·r,W·r]`: channel c·r² + i·r + j to row i, column j of each block.
pub(super) fn pixel_shuffle(net: &mut Net, name: impl Display, x: Value, block: usize) -> Value {
    net.push(name, Op::DepthToSpace { block, order: DepthOrder::Crd }, &[x])
}
