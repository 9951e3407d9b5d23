//! Products and convolutions.

use super::super::super::tensor::Elem;
use super::super::call::{Call, Read};
use super::super::cx::Cx;
use super::super::refusal::{Done, Refusal};
use super::super::value::Val;
use super::elementwise::{fits, float};
use super::pooling::{self, Window};
use super::transposed;
use super::volumes;
use vitc_ir::{BinaryKind, Dim, Op, Shape, Value};

pub(super) fn find(op: &str) -> Option<Read> {
    Some(match op {
        "MatMul" => matmul,
        "Gemm" => gemm,
        "Conv" => conv,
        "ConvTranspose" => transposed::conv_transpose,
        _ => return None,
    })
}

fn matmul(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let (a, b) = (float(cx, c.needed(0)?, &c.at("a"))?, float(cx, c.needed(1)?, &c.at("b"))?);
    Ok(vec![Val::Node(product(cx, a, b, &c.path)?, elem)])
}

/// A product by numpy's rules: a vector is a row on the left and a column on the right, and that axis is dropped again.
pub(super) fn product(cx: &mut Cx, a: Value, b: Value, path: &str) -> Done<Value> {
    let (left, right) = (cx.shape(a), cx.shape(b));
    if left.is_empty() || right.is_empty() {
        return Err("multiplies a scalar".into());
    }
    let one = Dim::Fixed(1);
    let row = if left.len() == 1 { cx.reshape(a, vec![one, left[0]], &format!("{path}.row"))? } else { a };
    let column = if right.len() == 1 { cx.reshape(b, vec![right[0], one], &format!("{path}.column"))? } else { b };
    let plain = left.len() > 1 && right.len() > 1;
    let inner = if plain { path.to_string() } else { format!("{path}.product") };
    let op = Op::MatMul { transpose_a: false, transpose_b: false };
    let (lead_a, lead_b) = (cx.shape(row), cx.shape(column));
    let lead = |dims: &[Dim]| Shape(dims[..dims.len() - 2].to_vec());
    if vitc_ir::infer::broadcast(&lead(&lead_a), &lead(&lead_b)).is_none() {
        return Err(Refusal::new(cx.contradiction(&lead_a, &lead_b)));
    }
    let y = cx.push(op, &[row, column], &inner)?;
    let mut dims = cx.shape(y);
    let rank = dims.len();
    if right.len() == 1 {
        dims.remove(rank - 1);
    }
    if left.len() == 1 {
        dims.remove(rank - 2);
    }
    cx.reshape(y, dims, path)
}

fn gemm(cx: &mut Cx, c: &Call<'_>) -> Done {
    let elem = cx.elem(c.needed(0)?)?;
    let (mut a, b) = (float(cx, c.needed(0)?, &c.at("a"))?, float(cx, c.needed(1)?, &c.at("b"))?);
    let (alpha, beta) = (c.float("alpha", 1.0)?, c.float("beta", 1.0)?);
    if c.version < 7 {
        // The summand broadcasts as it does today wherever it may at all.
        c.int("broadcast", 0)?;
    }
    let (across, upright) = (c.int("transA", 0)? != 0, c.int("transB", 0)? != 0);
    if cx.shape(a).len() != 2 || cx.shape(b).len() != 2 {
        return Err("multiplies other than matrices".into());
    }
    if across {
        a = cx.push(Op::Transpose { perm: vec![1, 0] }, &[a], &c.at("across"))?;
    }
    let bias = if c.input(2).is_absent() || beta == 0.0 { None } else { Some(float(cx, c.input(2), &c.at("bias"))?) };
    let bias = match bias {
        Some(bias) if beta != 1.0 => Some(cx.with(BinaryKind::Mul, bias, beta, &c.at("beta"))?),
        bias => bias,
    };
    let out = cx.sizes(b)?[usize::from(!upright)];
    let mut w = if upright { b } else { cx.push(Op::Transpose { perm: vec![1, 0] }, &[b], &c.at("w"))? };
    if alpha != 1.0 {
        w = cx.with(BinaryKind::Mul, w, alpha, &c.at("alpha"))?;
    }
    let row = bias.filter(|&v| cx.graph.is_constant(v) && row_of(&cx.shape(v), out));
    if !cx.graph.is_constant(w) {
        let y = cx.product([a, w], [false, true], &c.at("product"))?;
        let y = if let Some(bias) = bias { cx.binary(BinaryKind::Add, y, bias, &c.path)? } else { y };
        return Ok(vec![Val::Node(y, elem)]);
    }
    let y = match (row, bias) {
        (Some(row), _) => {
            let size = cx.sizes(row)?.iter().product();
            let mut row = cx.reshape(row, vec![Dim::Fixed(size)], &c.at("bias.row"))?;
            if size != out {
                row = cx.push(Op::Expand { shape: Shape::fixed(&[out]) }, &[row], &c.at("bias.all"))?;
            }
            cx.push(Op::Linear, &[a, w, row], &c.path)?
        }
        (None, Some(bias)) => {
            let y = cx.push(Op::Linear, &[a, w], &c.at("product"))?;
            cx.binary(BinaryKind::Add, y, bias, &c.path)?
        }
        (None, None) => cx.push(Op::Linear, &[a, w], &c.path)?,
    };
    Ok(vec![Val::Node(y, elem)])
}

/// Whether a summand is the same in every row of `out` columns.
fn row_of(dims: &[Dim], out: usize) -> bool {
    let size: usize = dims.iter().filter_map(|d| d.fixed()).product();
    (size == 1 || size == out && dims.last() == Some(&Dim::Fixed(out))) && dims.len() <= 2
}

fn conv(cx: &mut Cx, c: &Call<'_>) -> Done {
    let value = c.needed(0)?.clone();
    let elem = cx.elem(&value)?;
    let (x, w) = (float(cx, &value, &c.at("x"))?, float(cx, c.needed(1)?, &c.at("weight"))?);
    let bias = if c.input(2).is_absent() { None } else { Some(float(cx, c.input(2), &c.at("bias"))?) };
    Ok(vec![Val::Node(convolution(cx, c, x, w, bias)?, elem)])
}

/// A convolution on rank 3 to 5; rank 3 is a map of one row.
pub(super) fn convolution(cx: &mut Cx, c: &Call<'_>, x: Value, w: Value, bias: Option<Value>) -> Done<Value> {
    let (dims, kernel) = (cx.shape(x), cx.sizes(w)?);
    if kernel.len() != dims.len() {
        return Err(format!("kernels {kernel:?} do not fit a value of rank {}", dims.len()).into());
    }
    let groups = usize::try_from(c.int("group", 1)?).map_err(|_| Refusal::new("has a negative number of groups"))?;
    if dims.len() == 5 {
        return volumes::convolution(cx, c, [x, w], bias, groups);
    }
    let spatial = pooling::spatial(&dims, "convolution")?;
    let sizes = dims[2..].iter().map(|&d| cx.size(d)).collect::<Done<Vec<_>>>()?;
    let window = Window::of(c, &sizes, Some(&kernel[2..]), false)?;
    let (map, w) = match spatial {
        1 => {
            let map = cx.reshape(x, vec![dims[0], dims[1], Dim::Fixed(1), dims[2]], &c.at("map"))?;
            let row = [kernel[0], kernel[1], 1, kernel[2]].map(Dim::Fixed).to_vec();
            (map, cx.reshape(w, row, &c.at("weight.row"))?)
        }
        _ => (x, w),
    };
    let op = Op::Conv { stride: window.stride, pad: window.pad, dilation: window.dilation, groups };
    let inputs: Vec<Value> = [map, w].into_iter().chain(bias).collect();
    let y = cx.push(op, &inputs, &c.path)?;
    pooling::back(cx, y, spatial, &c.path)
}

/// A sum that has to broadcast.
pub(super) fn add(cx: &mut Cx, x: Value, y: &Val, path: &str) -> Done<Value> {
    let elem = Elem::F32;
    fits(cx, &Val::Node(x, elem), y)?;
    let y = float(cx, y, &format!("{path}.summand"))?;
    cx.binary(BinaryKind::Add, x, y, path)
}
