//! The constant matrices of the transforms, as expressions over the generators `DftBasis` and `DctBasis`.
//!
//! C and S are the symmetric cosine and sine bases over √n, so every matrix here is orthonormally scaled and f16 never sees an unnormalised
//! spectrum. Indices: h, k of a spectrum's row and column, y, x of a map's, p and q the part (0 real, 1 imaginary).
//!
//! | matrix | shape | element |
//! |---|---|---|
//! | columns, forward | `[W, (q,k)]` | C, −S |
//! | rows, forward | `[(p,h), (y,q)]` | p = 0: C, S; p = 1: −S, C |
//! | rows, back | `[(y,q), (p,h)]` | its transpose |
//! | columns, back | `[(q,k), W]` | the transpose of the first with weights c_k |
//!
//! c_k is 1 for k = 0 and (W even) k = W/2, else 2: a column of the half spectrum also stands for its mirror image. The dense matrices are the
//! products of those of rows and columns over q. For products of spectra that were left apart as rr, ri, ir, ii, the way back has
//! the columns or rows T_re, T_im, T_im, −T_re.

use super::choice::Site;
use crate::algebra::each;
use vitc_ir::op::{Part, SpectralNorm};
use vitc_ir::{BinaryKind, Builder, Built, Generator, Op, PadMode, Shape, Type, UnaryKind, Value};

/// The DFT basis `[n,m]` over √n.
fn dft(net: &mut Builder, n: usize, m: usize, part: Part) -> Built {
    let word = if part == Part::Cos { "cos" } else { "sin" };
    let ty = Type::f32(&[n, m]);
    Builder::new(net.graph()).generate(format!("dft.{word}_{n}x{m}"), Generator::DftBasis { n, part }, ty)
}

/// `a` and `b` in turn along the last axis.
fn alternating(net: &mut Builder, name: &str, [a, b]: [Value; 2]) -> Built {
    let [n, m] = [net.dim(a, 0)?, net.dim(a, 1)?];
    let [a, b] = each([a, b], |v| net.reshape(format!("{name}.last"), v, Shape::fixed(&[n, m, 1])))?;
    let both = net.concat(format!("{name}.pairs"), &[a, b], 2)?;
    net.reshape(name, both, Shape::fixed(&[n, 2 * m]))
}

/// A matrix with zero columns behind, up to `columns`.
fn padded(net: &mut Builder, x: Value, columns: usize) -> Built {
    let [_, m] = [net.dim(x, 0)?, net.dim(x, 1)?];
    if m == columns {
        return Ok(x);
    }
    net.push("padded", Op::Pad { before: vec![0, 0], after: vec![0, columns - m], mode: PadMode::ZERO }, &[x])
}

/// Cosine and negative sine of the half spectrum, `[W,columns]` each.
fn half(net: &mut Builder, w: usize, columns: usize) -> Built<[Value; 2]> {
    let m = w / 2 + 1;
    let (c, s) = (dft(net, w, m, Part::Cos)?, dft(net, w, m, Part::Sin)?);
    let s = net.unary("neg_sin", UnaryKind::Neg, s)?;
    Ok([padded(net, c, columns)?, padded(net, s, columns)?])
}

/// The same with the weights of the half spectrum's columns.
fn weighted_half(net: &mut Builder, w: usize, columns: usize) -> Built<[Value; 2]> {
    let m = w / 2 + 1;
    let single = if w.is_multiple_of(2) { 2 } else { 1 };
    let runs = [(1.0, 1), (2.0, m - single), (1.0, single - 1)].into_iter().filter(|(_, n)| *n > 0);
    let parts: Vec<Value> = runs.map(|(value, n)| net.fill("weight", value, &[1, n])).collect::<Built<_>>()?;
    let weights = net.concat("weights", &parts, 1)?;
    let weights = padded(net, weights, columns)?;
    let parts = half(net, w, columns)?;
    each(parts, |part| net.binary("weighted", BinaryKind::Mul, part, weights))
}

/// Columns, forward: `[W,2·columns]`.
pub(super) fn dft_columns(net: &mut Builder, w: usize, columns: usize) -> Built {
    let parts = half(net, w, columns)?;
    net.concat("columns.basis", &parts, 1)
}

/// Columns, back: `[2·columns,W]`.
pub(super) fn idft_columns(net: &mut Builder, w: usize, columns: usize) -> Built {
    let parts = weighted_half(net, w, columns)?;
    let basis = net.concat("columns.weighted", &parts, 1)?;
    net.transpose("columns.basis", basis, &[1, 0])
}

/// Rows, forward: `[2H,2H]`.
pub(super) fn dft_rows(net: &mut Builder, h: usize) -> Built {
    let (c, s) = (dft(net, h, h, Part::Cos)?, dft(net, h, h, Part::Sin)?);
    let minus = net.unary("neg_sin", UnaryKind::Neg, s)?;
    let real = alternating(net, "rows.real", [c, s])?;
    let imag = alternating(net, "rows.imag", [minus, c])?;
    net.concat("rows.basis", &[real, imag], 0)
}

/// Rows, back: `[2H,2H]`, or `[2H,4H]` for products left apart.
pub(super) fn idft_rows(net: &mut Builder, h: usize, outer: bool) -> Built {
    let forward = dft_rows(net, h)?;
    let basis = net.transpose("rows.basis", forward, &[1, 0])?;
    if !outer {
        return Ok(basis);
    }
    let parts = net.split("rows.by_part", basis, 1, &[h, h])?;
    let minus = net.unary("rows.neg_real", UnaryKind::Neg, parts[0])?;
    net.concat("rows.basis", &[parts[0], parts[1], parts[1], minus], 1)
}

/// `F[(y,x),(p,h,k)] = Σ_q rows[(p,h),(y,q)]·columns[x,(q,k)]` for the parts of `columns`.
fn kronecker(net: &mut Builder, [h, w]: [usize; 2], columns: [Value; 2]) -> Built {
    let k = net.dim(columns[0], 1)?;
    let rows = dft_rows(net, h)?;
    let rows = net.reshape("dense.rows", rows, Shape::fixed(&[2 * h * h, 2]))?;
    let parts = each(columns, |c| net.reshape("dense.column", c, Shape::fixed(&[1, w * k])))?;
    let columns = net.concat("dense.columns", &parts, 0)?;
    let basis = net.matmul("dense.products", rows, columns)?;
    let basis = net.reshape("dense.axes", basis, Shape::fixed(&[2 * h, h, w, k]))?;
    let basis = net.transpose("dense.turned", basis, &[1, 2, 0, 3])?;
    net.reshape("dense.basis", basis, Shape::fixed(&[h * w, 2 * h * k]))
}

/// Both axes, forward: `[HW,2HK]`.
pub(super) fn dft_dense(net: &mut Builder, [h, w]: [usize; 2]) -> Built {
    let columns = half(net, w, w / 2 + 1)?;
    kronecker(net, [h, w], columns)
}

/// Both axes, back: `[2HK,HW]`, or `[4HK,HW]` for products left apart, K = `columns`.
pub(super) fn idft_dense(net: &mut Builder, [h, w]: [usize; 2], columns: usize, outer: bool) -> Built {
    let parts = weighted_half(net, w, columns)?;
    let basis = kronecker(net, [h, w], parts)?;
    let basis = net.transpose("dense.basis", basis, &[1, 0])?;
    if !outer {
        return Ok(basis);
    }
    let parts = net.split("dense.by_part", basis, 0, &[h * columns, h * columns])?;
    let minus = net.unary("dense.neg_real", UnaryKind::Neg, parts[0])?;
    net.concat("dense.basis", &[parts[0], parts[1], parts[1], minus], 0)
}

/// What the normalisation differs by from the orthonormal one.
pub(super) fn factor(site: &Site, norm: SpectralNorm, inverse: bool) -> f64 {
    let root = ((site.grid[0] * site.grid[1]) as f64).sqrt();
    match (norm, inverse) {
        (SpectralNorm::Ortho, _) => 1.0,
        (SpectralNorm::Backward, false) => root,
        (SpectralNorm::Backward, true) => 1.0 / root,
    }
}

/// `D`, or its transpose, of length n.
pub(super) fn dct(net: &mut Builder, n: usize, transposed: bool) -> Built {
    let ty = Type::f32(&[n, n]);
    let d = Builder::new(net.graph()).generate(format!("dct.basis_{n}"), Generator::DctBasis { n }, ty)?;
    Ok(if transposed { net.transpose("basis", d, &[1, 0])? } else { d })
}

/// Both axes, `[(y,x),(a,b)]`: `D_H[a,y]·D_W[b,x]`; its transpose for the way back.
pub(super) fn dct_dense(net: &mut Builder, [h, w]: [usize; 2], inverse: bool) -> Built {
    let (dh, dw) = (dct(net, h, true)?, dct(net, w, true)?);
    let dh = net.reshape("dense.rows", dh, Shape::fixed(&[h, 1, h, 1]))?;
    let dw = net.reshape("dense.columns", dw, Shape::fixed(&[1, w, 1, w]))?;
    let basis = net.binary("dense.products", BinaryKind::Mul, dh, dw)?;
    let basis = net.reshape("dense.basis", basis, Shape::fixed(&[h * w, h * w]))?;
    Ok(if inverse { net.transpose("dense.inverse", basis, &[1, 0])? } else { basis })
}
