//! Convolutions and pools over volumes `[B,C,D,H,W]`, as ones over maps: not every format has them.
//!
//! A window over a volume is one over its rows and columns in each layer, and one over the layers: extremes and means over it are those of both, one
//! after the other. A convolution adds up layers of the kernel, which are channels of one over maps.

use super::super::super::tensor::Elem;
use super::super::call::Call;
use super::super::cx::Cx;
use super::super::moves::Cut;
use super::super::refusal::Done;
use super::super::value::Val;
use super::pooling::{Axis, Window};
use vitc_ir::op::PadMode;
use vitc_ir::{Dim, Op, Value};

/// How [`pool`] pools a map.
type Maps<'a> = dyn FnMut(&mut Cx, Value, &Window, &str) -> Done<Value> + 'a;

/// Windows of one element, side by side.
fn is_idle(axes: &[Axis]) -> bool {
    axes.iter().all(|a| a.kernel == 1 && a.stride == 1 && a.before + a.after == 0)
}

/// A pool over a volume, where `one` pools maps: rows and columns of each layer, then layers.
pub(super) fn pool(cx: &mut Cx, c: &Call<'_>, x: Value, ceil: bool, one: &mut Maps<'_>) -> Done<Value> {
    let dims = cx.shape(x);
    let sizes = dims[2..].iter().map(|&d| cx.size(d)).collect::<Done<Vec<_>>>()?;
    let channels = cx.size(dims[1])?;
    let axes = Axis::all(c, &sizes, None, ceil)?;
    let (mut y, mut inner) = (x, [dims[3], dims[4]]);
    if !is_idle(&axes[1..]) {
        let layers = vec![dims[0], Dim::Fixed(channels * sizes[0]), dims[3], dims[4]];
        y = cx.reshape(y, layers, &c.at("layers"))?;
        y = one(cx, y, &Window::over(&axes[1..]), &c.at("planes"))?;
        inner = [2, 3].map(|axis| cx.shape(y)[axis]);
    }
    let area = cx.size(inner[0])? * cx.size(inner[1])?;
    let mut depth = dims[2];
    if !is_idle(&axes[..1]) {
        y = cx.reshape(y, vec![dims[0], dims[1], dims[2], Dim::Fixed(area)], &c.at("columns"))?;
        let none = Axis { kernel: 1, stride: 1, dilation: 1, before: 0, after: 0, overhang: 0 };
        y = one(cx, y, &Window::over(&[axes[0], none]), &c.at("depth"))?;
        depth = cx.shape(y)[2];
    }
    cx.reshape(y, vec![dims[0], dims[1], depth, inner[0], inner[1]], &c.path)
}

/// A convolution over a volume with kernels `[O,C/groups,kd,kh,kw]`: layers that a kernel reads are channels of a map, one behind the other.
pub(super) fn convolution(
    cx: &mut Cx,
    c: &Call<'_>,
    [x, w]: [Value; 2],
    bias: Option<Value>,
    groups: usize,
) -> Done<Value> {
    let (dims, kernel) = (cx.shape(x), cx.sizes(w)?);
    let sizes = dims[2..].iter().map(|&d| cx.size(d)).collect::<Done<Vec<_>>>()?;
    let axes = Axis::all(c, &sizes, Some(&kernel[2..]), false)?;
    let reach = (axes[0].kernel - 1) * axes[0].dilation + 1;
    let padded = sizes[0] + axes[0].before + axes[0].after;
    let free = padded.checked_sub(reach).ok_or("its kernel is deeper than its map")?;
    let depth = free / axes[0].stride + 1;
    let map = layers(cx, c, x, &axes[0], depth)?;
    let rows = [kernel[0], kernel[1] * kernel[2], kernel[3], kernel[4]].map(Dim::Fixed).to_vec();
    let w = cx.reshape(w, rows, &c.at("weight.layers"))?;
    let window = Window::over(&axes[1..]);
    let op = Op::Conv { stride: window.stride, pad: window.pad, dilation: window.dilation, groups };
    let inputs: Vec<Value> = [map, w].into_iter().chain(bias).collect();
    let y = cx.push(op, &inputs, &c.at("maps"))?;
    let [h, w] = [2, 3].map(|axis| cx.shape(y)[axis]);
    if depth == 1 {
        return cx.reshape(y, vec![dims[0], Dim::Fixed(kernel[0]), Dim::Fixed(1), h, w], &c.path);
    }
    let apart = vec![dims[0], Dim::Fixed(depth), Dim::Fixed(kernel[0]), h, w];
    let y = cx.reshape(y, apart, &c.at("apart"))?;
    cx.push(Op::Transpose { perm: vec![0, 2, 1, 3, 4] }, &[y], &c.path)
}

/// `[B·depth, C·kd, H, W]`: for each window over the layers those that it reads, as channels.
fn layers(cx: &mut Cx, c: &Call<'_>, x: Value, axis: &Axis, depth: usize) -> Done<Value> {
    let mut x = x;
    if axis.before + axis.after > 0 {
        let side = |n: usize| vec![0, 0, n, 0, 0];
        let op = Op::Pad { before: side(axis.before), after: side(axis.after), mode: PadMode::ZERO };
        x = cx.push(op, &[x], &c.at("border"))?;
    }
    let dims = cx.shape(x);
    let (channels, area) = (cx.size(dims[1])?, cx.size(dims[3])? * cx.size(dims[4])?);
    let (kernel, area) = (axis.kernel, Dim::Fixed(area));
    let cut = |cx: &mut Cx, x: Value, along: usize, [start, step, count]: [usize; 3], name: &str| {
        let cut = Cut { axis: along, start, step: step as isize, count };
        let part = cx.cut(&Val::Node(x, Elem::F32), &[cut], &c.at(name))?;
        cx.value(&part, &c.at(name))
    };
    let map = if depth == 1 {
        cut(cx, x, 2, [0, axis.dilation, kernel], "read")?
    } else if kernel == 1 || axis.stride == kernel && axis.dilation == 1 {
        // Windows that lie beside each other, or are one layer each.
        let x = match axis.stride == kernel {
            true => cut(cx, x, 2, [0, 1, depth * kernel], "read")?,
            false => cut(cx, x, 2, [0, axis.stride, depth], "read")?,
        };
        let apart = vec![dims[0], dims[1], Dim::Fixed(depth), Dim::Fixed(kernel), area];
        let apart = cx.reshape(x, apart, &c.at("windows"))?;
        cx.push(Op::Transpose { perm: vec![0, 2, 1, 3, 4] }, &[apart], &c.at("turned"))?
    } else {
        let flat = cx.reshape(x, vec![dims[0], dims[1], dims[2], area], &c.at("flat"))?;
        let turned = cx.push(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[flat], &c.at("turned"))?;
        let mut parts = Vec::new();
        cx.unroll(2 * kernel)?;
        for u in 0..kernel {
            let part = cut(cx, turned, 1, [u * axis.dilation, axis.stride, depth], &format!("layer{u}"))?;
            let one = vec![dims[0], Dim::Fixed(depth), dims[1], Dim::Fixed(1), area];
            parts.push(Val::Node(cx.reshape(part, one, &c.at(&format!("layer{u}.apart")))?, Elem::F32));
        }
        let joined = cx.joined(&parts, 3, &c.at("read"))?;
        cx.value(&joined, &c.at("read"))?
    };
    let items = dims[0].times(depth);
    cx.reshape(map, vec![items, Dim::Fixed(channels * kernel), dims[3], dims[4]], &c.at("layers"))
}
