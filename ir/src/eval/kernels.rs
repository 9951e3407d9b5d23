//! Every operator applied to whole arrays.

use super::affine::Affine;
use super::attention::Heads;
use super::expr::{Expr, Program};
use super::grid::Grid;
use super::lower::Application;
use super::sample::Blocks;
use super::tensor::{Source, Tensor};
use super::{codes, normal, pool, product, sample, spectral};
use crate::graph::Node;
use crate::op::{DepthOrder, Op, PadMode};
use std::sync::Arc;

/// Apply a node's operator to its operands; `dims` are the sizes of its outputs.
///
/// # Errors
/// If an index lies outside the axis it gathers from.
pub(super) fn apply(node: &Node, inputs: &[Tensor], dims: &[Vec<usize>]) -> Result<Vec<Tensor>, String> {
    let all: Vec<&Tensor> = inputs.iter().collect();
    let x = all[0];
    let one = |data: Vec<f64>| Ok(vec![Tensor::new(&dims[0], data)]);
    match &node.op {
        Op::Input | Op::Weight { .. } | Op::Literal { .. } | Op::Generate(_) => Err("a leaf has no operands".into()),
        Op::Reshape { .. } | Op::Keep => Ok(vec![Tensor { dims: dims[0].clone(), data: x.data.clone() }]),
        Op::Unary(_)
        | Op::Binary(_)
        | Op::Sum
        | Op::Clip { .. }
        | Op::Cast { .. }
        | Op::Transpose { .. }
        | Op::Concat { .. }
        | Op::Split { .. }
        | Op::Slice { .. }
        | Op::Pad { mode: PadMode::Constant(_), .. }
        | Op::Expand { .. } => {
            Ok((0..dims.len()).map(|i| Tensor::new(&dims[i], elementwise(node, inputs, dims, i))).collect())
        }
        Op::Prelu => one(normal::prelu(x, all[1])),
        Op::Conv { stride, pad, dilation, groups } => {
            let geometry = product::Geometry { stride, pad, dilation };
            one(product::conv([x, all[1]], all.get(2).copied(), geometry, *groups, &dims[0]))
        }
        Op::ConvTranspose { stride, pad, dilation, groups, .. } => {
            let geometry = product::Geometry { stride, pad, dilation };
            one(product::conv_transpose([x, all[1]], all.get(2).copied(), &geometry, *groups, &dims[0]))
        }
        Op::MatMul { transpose_a, transpose_b } => {
            one(product::matmul(x, all[1], *transpose_a, *transpose_b, &dims[0]))
        }
        Op::Linear => one(product::linear(x, all[1], all.get(2).copied())),
        Op::BatchNorm { eps } => one(normal::batch_norm(x, [all[1], all[2], all[3], all[4]], eps.0)),
        Op::LayerNorm { axes, eps } => {
            let affine = (all.len() == 3).then(|| [all[1], all[2]]);
            one(normal::layer_norm(x, affine, axes, eps.0))
        }
        Op::Softmax { axis } => one(normal::softmax_axis(x, *axis)),
        Op::Reduce { kind, axes, .. } => one(normal::reduce(x, *kind, axes)),
        Op::AvgPool { kernel, stride, pad } => one(pool::avg_pool(x, kernel, stride, pad, &dims[0])),
        Op::MaxPool { kernel, stride, pad, dilation } => {
            one(pool::max_pool(x, kernel, stride, pad, dilation, &dims[0]))
        }
        Op::ArgMax { axis, .. } => one(pool::arg_max(x, *axis)),
        Op::Select => one(sample::select([x, all[1], all[2]], &dims[0])),
        Op::TopK { axis, k, largest } => {
            let found = pool::top_k(x, *axis, *k, *largest);
            Ok(found.into_iter().zip(dims).map(|(data, dims)| Tensor::new(dims, data)).collect())
        }
        Op::Pad { before, mode, .. } => one(sample::mirror(x, before, *mode, &dims[0])),
        Op::DepthToSpace { block, order } => {
            one(sample::blocks(x, [1, 2, 3].map(|a| dims[0][a]), *block, *order, Blocks::Merge))
        }
        Op::SpaceToDepth { block } => {
            one(sample::blocks(x, [1, 2, 3].map(|a| x.dims[a]), *block, DepthOrder::Dcr, Blocks::Cut))
        }
        Op::Gather { axis, .. } => one(gather(x, all[1], *axis)?),
        Op::Resize { sampling, size, scale } => one(sample::resize(x, sampling, *size, *scale)),
        Op::GridSample { kernel, outside, corners } => {
            one(Grid { kernel: *kernel, outside: *outside, corners: *corners }.sample(x, all[1]))
        }
        Op::Quantize { to } => one(codes::quantize(x, all[1].data[0], *to)),
        Op::Dequantize => one(codes::dequantize(x, all[1])),
        Op::Lookup { bits, .. } => one(codes::lookup(x, all[1], *bits, dims[0].iter().product())),
        Op::Attention { heads, scale, layout, bias, talking } => {
            let (layout, bias, talking) = (*layout, *bias, *talking);
            one(Heads { heads: *heads, scale: scale.0, layout, bias, talking }.attend(&all))
        }
        Op::Rfft2 { norm } => {
            let parts = spectral::rfft2(x, *norm);
            Ok(parts.into_iter().zip(dims).map(|(part, dims)| Tensor::new(dims, part)).collect())
        }
        Op::Irfft2 { norm, width } => one(spectral::irfft2(x, all[1], *norm, *width)),
        Op::Dct2 => one(spectral::dct2(x, false)),
        Op::Idct2 => one(spectral::dct2(x, true)),
        Op::WindowPartition { window } => one(windows(x, [x.dims[2], x.dims[3]], *window, x.dims[1], Way::Apart)),
        Op::WindowMerge { window, map } => one(windows(x, *map, *window, x.dims[2], Way::Together)),
    }
}

/// Elements of operand 0 that make a row, for operators whose result is, row by row, a function of operand 0's rows and
/// all of the others: such an operand need not be held. `dims` are the operands' sizes.
pub(super) fn row(op: &Op, dims: &[Vec<usize>]) -> Option<usize> {
    let (x, rank) = (&dims[0], dims[0].len());
    let count: usize = match op {
        Op::Reduce { axes, .. } if axes.iter().copied().eq(rank - axes.len()..rank) => {
            x[rank - axes.len()..].iter().product()
        }
        Op::Linear => x[rank - 1],
        Op::MatMul { transpose_a: false, .. } if dims[1].iter().rev().skip(2).all(|&n| n == 1) => x[rank - 1],
        _ => return None,
    };
    (count > 0).then_some(count)
}

/// Apply an operator to some rows of its operand 0, one behind another, and append their results; `rows` is empty then.
pub(super) fn apply_rows(op: &Op, row: usize, rows: &mut Vec<f64>, others: &[Tensor], results: &mut Vec<f64>) {
    let x = Tensor::new(&[rows.len() / row, row], std::mem::take(rows));
    results.extend(match op {
        Op::Reduce { kind, .. } => normal::reduce(&x, *kind, &[1]),
        Op::Linear => product::linear(&x, &others[0], others.get(1)),
        Op::MatMul { transpose_b, .. } => {
            let [m, n] = *others[0].dims.last_chunk().expect("operands of a product are matrices");
            let b = Tensor { dims: vec![m, n], data: Arc::clone(&others[0].data) };
            product::matmul(&x, &b, false, *transpose_b, &[x.dims[0], if *transpose_b { m } else { n }])
        }
        _ => unreachable!("an operator that `row` knows"),
    });
    *rows = Arc::unwrap_or_clone(x.data);
    rows.clear();
}

/// An elementwise or movement operator, through the rule that constants use.
fn elementwise(node: &Node, inputs: &[Tensor], dims: &[Vec<usize>], index: usize) -> Vec<f64> {
    let shapes: Vec<Vec<usize>> = inputs.iter().map(|t| t.dims.clone()).collect();
    let output = &dims[index];
    let dtype = node.types[index].dtype;
    let application = Application { op: &node.op, index, inputs: &shapes, output, dtype, round: true };
    let load = &mut |source: usize, _: &[usize], at: Affine| Ok(Expr::Load { source, at });
    let expr = application.lower(output, Affine::identity(output), load);
    let expr = expr.expect("every position of an operator's own result is affine in its operands");
    let sources: Vec<Source<'_>> = inputs.iter().map(|t| Source::F64(Arc::clone(&t.data))).collect();
    let mut elements = Vec::new();
    Program { space: output.clone(), expr }.evaluate(&sources.iter().collect::<Vec<_>>(), &mut elements);
    elements
}

fn gather(x: &Tensor, indices: &Tensor, axis: usize) -> Result<Vec<f64>, String> {
    let (size, inner) = (x.dims[axis], x.dims[axis + 1..].iter().product::<usize>());
    let mut rows = Vec::with_capacity(indices.data.len());
    for &index in indices.data.iter() {
        if !(index >= 0.0 && index < size as f64) {
            return Err(format!("index {index} lies outside axis {axis} of size {size}"));
        }
        rows.push(index as usize);
    }
    let outer: usize = x.dims[..axis].iter().product();
    let mut result = Vec::with_capacity(outer * rows.len() * inner);
    for block in x.data.chunks_exact((size * inner).max(1)) {
        for &row in &rows {
            result.extend_from_slice(&block[row * inner..(row + 1) * inner]);
        }
    }
    Ok(result)
}

/// From a map to windows of tokens, or back.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Apart,
    Together,
}

fn windows(x: &Tensor, [h, w]: [usize; 2], window: [usize; 2], channels: usize, way: Way) -> Vec<f64> {
    let mut result = vec![0.0; x.data.len()];
    let across = w / window[1];
    for place in 0..x.data.len() {
        // `place` in [B,C,H,W].
        let (column, row) = (place % w, place / w % h);
        let (channel, image) = (place / (w * h) % channels, place / (w * h * channels));
        let tile = image * (h / window[0]) * across + row / window[0] * across + column / window[1];
        let token = row % window[0] * window[1] + column % window[1];
        let in_windows = (tile * window[0] * window[1] + token) * channels + channel;
        match way {
            Way::Apart => result[in_windows] = x.data[place],
            Way::Together => result[place] = x.data[in_windows],
        }
    }
    result
}
