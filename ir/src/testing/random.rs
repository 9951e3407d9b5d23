//! Random graphs as the papers draw them, small: every structure that a pass looks for, in odd geometry.

use super::Rng;
use crate::graph::{Graph, Output};
use crate::id::Value;
use crate::net::{Net, paper};
use crate::op::{AttentionLayout, Generator, OffsetOrder, Op, PadMode, ReduceKind, SpectralNorm, UnaryKind};
use crate::ty::{DType, Dim, Shape, Type};

/// What a random graph is made of.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Batch dimension of the input.
    pub batch: Dim,
    /// Number of blocks between input and head.
    pub blocks: usize,
}

impl Default for Options {
    /// Three blocks on a symbolic batch.
    fn default() -> Self {
        Options { batch: Dim::Batch(1), blocks: 3 }
    }
}

/// A valid paper graph: a few random blocks on a map of 3 to 9 rows and columns, and a head. The seed decides everything.
pub fn random_graph(seed: u64, options: Options) -> Graph {
    let mut graph = paper(format!("random-{seed}"));
    let rng = &mut Rng::new(seed);
    let net = &mut Net::new(&mut graph);
    let shape = Shape::batched(options.batch, &[2 * rng.range(1, 3), rng.range(3, 9), rng.range(3, 9)]);
    let mut x = net.input("image", Type::new(DType::F32, shape));
    for i in 0..options.blocks {
        let blocks = [
            downsample,
            branches,
            norm_pointwise,
            scaled_mlp,
            pool_mixer,
            channel_halves,
            map_attention,
            token_block,
            squeeze_excite,
            linear_chain,
            fourier_filter,
            cosine_filter,
            window_attention,
            norm_of_sum,
            twins,
            depthwise_pool,
        ];
        let block = rng.pick(&blocks);
        x = block(&mut net.at(format!("blocks.{i}")), rng, x);
    }
    let features = x;
    let y = head(net, rng, x);
    graph.outputs.push(Output { name: "logits".into(), value: y });
    if rng.chance(25) && !matches!(graph.op(features), Op::Input) {
        graph.outputs.push(Output { name: "features".into(), value: features });
    }
    graph
}

/// Rows and columns of a map.
fn map(net: &Net, x: Value) -> [usize; 2] {
    [net.dim(x, 2), net.dim(x, 3)]
}

fn channels(net: &Net, x: Value) -> usize {
    net.dim(x, 1)
}

/// A convolution with its weights here and now and then without bias.
fn conv(net: &mut Net, rng: &mut Rng, x: Value, out: usize, kernel: [usize; 2], geometry: Op) -> Value {
    let Op::Conv { groups, .. } = geometry else { unreachable!("a geometry is a convolution") };
    let inner = channels(net, x) / groups;
    let mut inputs = vec![x, net.weight("weight", &[out, inner, kernel[0], kernel[1]])];
    if rng.chance(60) {
        inputs.push(net.weight("bias", &[out]));
    }
    net.push("", geometry, &inputs)
}

/// Stride 1 and the padding that keeps the map, uneven for an even kernel.
fn same([kh, kw]: [usize; 2], groups: usize) -> Op {
    let (top, left) = ((kh - 1) / 2, (kw - 1) / 2);
    Op::Conv { stride: [1, 1], pad: [top, left, kh - 1 - top, kw - 1 - left], dilation: [1; 2], groups }
}

fn pointwise(net: &mut Net, rng: &mut Rng, x: Value, out: usize) -> Value {
    conv(net, rng, x, out, [1, 1], same([1, 1], 1))
}

/// A divisor of both channel counts: 1, 2 or all.
fn groups(rng: &mut Rng, input: usize, out: usize) -> usize {
    let all = if out.is_multiple_of(input) { input } else { 1 };
    rng.pick(&[1, 2, all])
}

fn norm(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let eps = rng.pick(&[1e-5, 1e-3]);
    net.at("bn").batch_norm(x, eps)
}

fn maybe_norm(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    if rng.chance(80) { norm(net, rng, x) } else { x }
}

/// An activation, or none. One that clips comes with what it clips: channels that all lie beyond the clip would be the same for every image.
fn activation(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let y = match rng.below(6) {
        0 => net.gelu(x),
        1 => net.relu(x),
        2 => net.unary("act", UnaryKind::Silu, x),
        3 => {
            let x = net.at("double").add(x, x);
            net.push("act", Op::Clip { lo: 0.0.into(), hi: 6.0.into() }, &[x])
        }
        4 => {
            let slope = net.weight("slope", &[channels(net, x)]);
            return net.push("act", Op::Prelu, &[x, slope]);
        }
        _ => return x,
    };
    net.at("unclipped").add(x, y)
}

/// x + γ·y, with γ per channel of a map, or without.
fn residual(net: &mut Net, rng: &mut Rng, x: Value, y: Value) -> Value {
    let y = if rng.chance(50) {
        let gamma = net.weight("gamma", &[channels(net, x), 1, 1]);
        net.mul(y, gamma)
    } else {
        y
    };
    net.add(x, y)
}

/// A convolution of any geometry, BatchNorm, activation.
fn downsample(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let ([h, w], c) = (map(net, x), channels(net, x));
    let out = c * rng.range(1, 2);
    let kernel = [rng.range(1, 4), if rng.chance(70) { 3 } else { rng.range(1, 4) }];
    let stride = [rng.range(1, if h > 3 { 2 } else { 1 }), rng.range(1, if w > 3 { 2 } else { 1 })];
    // At least (kernel − 1) zeros in all, so that the map shrinks by its stride only.
    let mut pad = [0; 4];
    for axis in 0..2 {
        pad[axis] = rng.below(kernel[axis]);
        pad[axis + 2] = kernel[axis] - 1 - pad[axis];
    }
    // TensorFlow's borders are uneven, and stand in front.
    let (mut x, [top, left, bottom, right]) = (x, pad);
    if kernel[0] == 4 {
        let (before, after) = (vec![0, 0, top, left], vec![0, 0, bottom, right]);
        x = net.push("border", Op::Pad { before, after, mode: PadMode::ZERO }, &[x]);
        pad = [0; 4];
    }
    let op = Op::Conv { stride, pad, dilation: [1; 2], groups: groups(rng, c, out) };
    let x = conv(&mut net.at("conv"), rng, x, out, kernel, op);
    let x = maybe_norm(net, rng, x);
    activation(net, rng, x)
}

/// Parallel convolutions with BatchNorm, summed: the training form of MobileOne and RepVGG.
fn branches(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let ([h, w], c) = (map(net, x), channels(net, x));
    let stride = if h > 3 && w > 3 { rng.pick(&[1, 1, 2]) } else { 1 };
    let out = if rng.chance(50) { c } else { 2 * rng.range(1, 4) };
    let groups = groups(rng, c, out);
    let kernels = [rng.pick(&[3, 5]), rng.pick(&[1, 3]), 1];
    let mut sum: Option<Value> = None;
    for (i, k) in kernels.into_iter().take(rng.range(1, 3)).enumerate() {
        let net = &mut net.at(format!("branch{i}"));
        let op = Op::Conv { stride: [stride; 2], pad: [k / 2; 4], dilation: [1; 2], groups };
        let y = conv(&mut net.at("conv"), rng, x, out, [k, k], op);
        let y = maybe_norm(net, rng, y);
        sum = Some(sum.map_or(y, |s| net.add(s, y)));
    }
    let mut sum = sum.expect("there is a branch");
    if stride == 1 && out == c && rng.chance(60) {
        let net = &mut net.at("skip");
        let y = maybe_norm(net, rng, x);
        sum = net.add(sum, y);
    }
    activation(net, rng, sum)
}

/// BatchNorm before a convolution, with a residual: sometimes the BatchNorm's result is read twice.
fn norm_pointwise(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let c = channels(net, x);
    let n = norm(net, rng, x);
    let k = rng.pick(&[1, 1, 2, 3]);
    let y = conv(&mut net.at("fc"), rng, n, c, [k, k], same([k, k], 1));
    let skip = if rng.chance(25) { n } else { x };
    residual(net, rng, skip, y)
}

/// Pointwise, GELU, pointwise, LayerScale.
fn scaled_mlp(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let c = channels(net, x);
    let y = pointwise(&mut net.at("fc1"), rng, x, 2 * c);
    let y = maybe_norm(&mut net.at("fc1"), rng, y);
    let y = net.gelu(y);
    let y = pointwise(&mut net.at("fc2"), rng, y, c);
    let y = maybe_norm(&mut net.at("fc2"), rng, y);
    residual(net, rng, x, y)
}

/// A depthwise convolution and a strided average over its result.
fn depthwise_pool(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let ([h, w], c) = (map(net, x), channels(net, x));
    let kernel = [rng.range(1, 3), rng.range(1, 3)];
    let y = conv(&mut net.at("conv"), rng, x, c, kernel, same(kernel, c));
    let kernel = [rng.range(1, h.min(3)), rng.range(1, w.min(3))];
    let stride = [rng.range(1, 2), rng.range(1, 2)];
    let y = net.push("pool", Op::AvgPool { kernel, stride, pad: [0; 4] }, &[y]);
    // Averages of averages come close to constants.
    let factor = net.scalar(4.0);
    net.mul(y, factor)
}

/// Average pooling minus identity on a normalised map (PoolFormer).
fn pool_mixer(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let n = maybe_norm(net, rng, x);
    let pool = net.push("pool", Op::AvgPool { kernel: [3; 2], stride: [1; 2], pad: [1; 4] }, &[n]);
    let y = net.sub(pool, n);
    residual(net, rng, x, y)
}

/// One part of the channels goes through a depthwise convolution.
fn channel_halves(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let c = channels(net, x);
    let cut = rng.range(1, c - 1);
    let parts = net.split("split", x, 1, &[cut, c - cut]);
    let k = [rng.range(1, 4), rng.range(1, 4)];
    let y = conv(&mut net.at("conv"), rng, parts[0], cut, k, same(k, cut));
    let y = maybe_norm(net, rng, y);
    net.concat("concat", &[y, parts[1]], 1)
}

/// Attention on a map, with a position table or a plain bias, now and then with talking heads.
fn map_attention(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let ([h, w], c) = (map(net, x), channels(net, x));
    let heads = if c % 2 == 0 { 2 } else { 1 };
    let qkv = ["q", "k", "v"].map(|name| {
        let net = &mut net.at(name);
        let y = pointwise(net, rng, x, c);
        maybe_norm(net, rng, y)
    });
    let mut inputs = qkv.to_vec();
    let n = h * w;
    let bias = rng.chance(70);
    if bias && rng.chance(60) {
        let order = rng.pick(&[OffsetOrder::Absolute, OffsetOrder::Signed]);
        let entries = if order == OffsetOrder::Absolute { n } else { (2 * h - 1) * (2 * w - 1) };
        let table = net.weight("attention_biases", &[heads, entries]);
        let generator = Generator::RelativeIndex { query: [h, w], key: [h, w], step: [1, 1], order };
        let index = net.generate("index", generator, Type::new(DType::I32, Shape::fixed(&[n, n])));
        inputs.push(net.push("bias", Op::Gather { axis: 1 }, &[table, index]));
    } else if bias {
        let heads = rng.pick(&[1, heads]);
        inputs.push(net.weight("bias", &[heads, n, n]));
    }
    let talking = rng.chance(30);
    if talking {
        for name in ["talking_head1", "talking_head2"] {
            let net = &mut net.at(name);
            inputs.extend([net.weight("weight", &[heads, heads]), net.weight("bias", &[heads])]);
        }
    }
    let scale = ((c / heads) as f64).sqrt().recip().into();
    let op = Op::Attention { heads, scale, layout: AttentionLayout::Channels, bias, talking };
    let y = net.push("attn", op, &inputs);
    let y = activation(net, rng, y);
    let y = pointwise(&mut net.at("proj"), rng, y, c);
    let y = maybe_norm(&mut net.at("proj"), rng, y);
    residual(net, rng, x, y)
}

/// Tokens `[B,N,C]` through attention and an MLP with LayerNorm and γ on the last axis.
fn token_layers(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let c = net.dim(x, 2);
    let y = net.at("norm1").layer_norm(x, 2, 1e-5);
    let [q, k, v] = ["q", "k", "v"].map(|name| net.at(name).linear(y, c, true));
    let y = net.attention("attn", [q, k, v], None, 2, 0.7, AttentionLayout::Tokens);
    let y = net.at("proj").linear(y, c, rng.chance(50));
    let x = net.at("mixed").add(x, y);
    let y = net.at("norm2").layer_norm(x, 2, 1e-5);
    let y = net.at("fc1").linear(y, 2 * c, true);
    let y = net.gelu(y);
    let mut y = net.at("fc2").linear(y, c, true);
    if rng.chance(50) {
        let gamma = net.weight("gamma", &[c]);
        y = net.mul(gamma, y);
    }
    net.add(x, y)
}

/// A map of four channels at least: a LayerNorm over two is a sign, and no rounding leaves a sign alone.
fn widened(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    if channels(net, x) < 4 { pointwise(&mut net.at("widen"), rng, x, 4) } else { x }
}

/// A token stretch between two maps.
fn token_block(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let x = widened(net, rng, x);
    let shape = net.ty(x).shape.clone();
    let ([h, w], c) = (map(net, x), channels(net, x));
    let y = net.reshape("flat", x, Shape::batched(shape.0[0], &[c, h * w]));
    let y = net.transpose("tokens", y, &[0, 2, 1]);
    let y = token_layers(&mut net.at("layer"), rng, y);
    let y = net.transpose("channels", y, &[0, 2, 1]);
    net.reshape("map", y, shape)
}

/// Token layers inside windows, one per row of the map.
fn window_attention(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let x = widened(net, rng, x);
    let [h, w] = map(net, x);
    let window = if w % 2 == 0 { [h, w / 2] } else { [1, w] };
    let y = net.push("windows", Op::WindowPartition { window }, &[x]);
    let y = token_layers(&mut net.at("layer"), rng, y);
    net.push("map", Op::WindowMerge { window, map: [h, w] }, &[y])
}

/// Channel weights from the mean of the map, beside the map itself: gates that are closed leave nothing.
fn squeeze_excite(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let c = channels(net, x);
    let y = net.mean(x, &[2, 3], true);
    let y = pointwise(&mut net.at("reduce"), rng, y, 2);
    let y = net.relu(y);
    let y = pointwise(&mut net.at("expand"), rng, y, c);
    let y = net.unary("gate", UnaryKind::Sigmoid, y);
    let y = net.at("gated").mul(x, y);
    residual(net, rng, x, y)
}

/// Linear layers with nothing between.
fn linear_chain(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let c = channels(net, x);
    let (middle, k) = (rng.range(1, 6), rng.pick(&[1, 1, 3]));
    let y = pointwise(&mut net.at("first"), rng, x, middle);
    let y = maybe_norm(&mut net.at("first"), rng, y);
    let y = conv(&mut net.at("second"), rng, y, c, [k, k], same([k, k], 1));
    maybe_norm(&mut net.at("second"), rng, y)
}

/// BatchNorm behind a sum, which no convolution precedes; or [`fused_projection`].
fn norm_of_sum(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let c = channels(net, x);
    if rng.chance(30) {
        return fused_projection(net, rng, x);
    }
    let y = conv(&mut net.at("conv"), rng, x, c, [3, 3], same([3, 3], c));
    let y = residual(net, rng, x, y);
    let y = norm(net, rng, y);
    activation(net, rng, y)
}

/// The same expression twice. A product of unbounded twins in every block would leave every range.
fn twins(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let kind = rng.pick(&[UnaryKind::Gelu, UnaryKind::Sigmoid]);
    let (a, b) = (net.unary("first", kind, x), net.unary("second", kind, x));
    let y = if kind == UnaryKind::Sigmoid { net.mul(a, b) } else { net.at("twins").add(a, b) };
    residual(net, rng, x, y)
}

/// A norm over channels and positions together and a projection, fused with what they were made of.
fn fused_projection(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let c = channels(net, x);
    let affine = ["weight", "bias"].map(|k| {
        let v = net.at("norm").weight(k, &[c]);
        net.at("norm").along(format!("{k}.map"), v, 0, 3)
    });
    let y = net.push("norm", Op::LayerNorm { axes: vec![1, 2, 3], eps: 1e-5.into() }, &[x, affine[0], affine[1]]);
    let y = if rng.chance(25) { activation(net, rng, y) } else { y };
    let y = pointwise(&mut net.at("proj"), rng, y, c);
    let operands = if rng.chance(50) { [x, y] } else { [y, x] };
    let y = net.concat("concat", &operands, 1);
    pointwise(&mut net.at("fusion"), rng, y, c)
}

/// A filter in the Fourier domain.
fn fourier_filter(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let ([h, w], c) = (map(net, x), channels(net, x));
    let norm = rng.pick(&[SpectralNorm::Ortho, SpectralNorm::Backward]);
    let re = net.push("rfft", Op::Rfft2 { norm }, &[x]);
    let im = Value { index: 1, ..re };
    let filter = net.weight("filter", &[c, h, w / 2 + 1]);
    let (re, im) = (net.at("real").mul(re, filter), net.at("imag").mul(im, filter));
    let y = net.push("irfft", Op::Irfft2 { norm, width: w }, &[re, im]);
    residual(net, rng, x, y)
}

/// A filter in the cosine domain.
fn cosine_filter(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let ([h, w], c) = (map(net, x), channels(net, x));
    let y = net.push("dct", Op::Dct2, &[x]);
    let filter = net.weight("filter", &[c, h, w]);
    let y = net.mul(y, filter);
    let y = net.push("idct", Op::Idct2, &[y]);
    residual(net, rng, x, y)
}

/// A map `[B,C,H,W]` to `[B,C]`.
fn pool(net: &mut Net, kind: ReduceKind, name: &str, x: Value) -> Value {
    net.push(name, Op::Reduce { kind, axes: vec![2, 3], keep: false }, &[x])
}

/// Mean or maximum, perhaps BatchNorm before or after it, and one classifier or two averaged.
fn head(net: &mut Net, rng: &mut Rng, x: Value) -> Value {
    let map = x;
    let x = if rng.chance(40) { norm(&mut net.at("norm"), rng, x) } else { x };
    let kind = rng.pick(&[ReduceKind::Mean, ReduceKind::Mean, ReduceKind::Max]);
    let mut x = pool(net, kind, "pool", x);
    if kind == ReduceKind::Max {
        // With negative gammas the maximum is the clipped end of the map, everywhere the same; its mean is not.
        let mean = pool(net, ReduceKind::Mean, "mean", map);
        x = net.concat("pooled", &[x, mean], 1);
    }
    if rng.chance(50) {
        let x = if rng.chance(50) { norm(&mut net.at("head"), rng, x) } else { x };
        return net.at("head").linear(x, 3, true);
    }
    let [a, b] = ["head", "head_dist"].map(|name| {
        let net = &mut net.at(name);
        let x = if rng.chance(60) { norm(net, rng, x) } else { x };
        net.at("l").linear(x, 3, rng.chance(80))
    });
    let sum = net.add(a, b);
    if rng.chance(50) {
        let two = net.scalar(2.0);
        net.div(sum, two)
    } else {
        let half = net.scalar(0.5);
        net.mul(sum, half)
    }
}
