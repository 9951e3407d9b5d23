//! Shapes and factors that every form of a transform needs.

use vitc_ir::{BinaryKind, Builder, Built, Dim, Shape, Value};

/// The leading axes of a value with `tail` behind them.
pub(super) fn with_tail(shape: &Shape, kept: usize, tail: &[usize]) -> Shape {
    let mut dims = shape.0[..kept].to_vec();
    dims.extend(tail.iter().map(|&d| Dim::Fixed(d)));
    Shape(dims)
}

/// `x` times a number.
pub(super) fn scaled(net: &mut Builder, x: Value, factor: f64) -> Built {
    let factor = net.scalar(factor)?;
    net.binary("norm", BinaryKind::Mul, x, factor)
}

/// The leading axes with one of `n` elements behind them, a matrix at least: rows of a dense product.
pub(super) fn flat(shape: &Shape, kept: usize, n: usize) -> Shape {
    if kept == 0 { Shape::fixed(&[1, n]) } else { with_tail(shape, kept, &[n]) }
}

/// `x` under another shape, or itself if it has that shape.
pub(super) fn view(net: &mut Builder, name: &str, x: Value, shape: Shape) -> Built {
    Ok(if net.ty(x).shape == shape { x } else { net.reshape(name, x, shape)? })
}
