//! Attention as exporters spell it: packed or not, of one source or several, its digits in any order, a bias of any shape, heads mixed or not.

use super::Maker;
use crate::id::Value;
use crate::op::{BinaryKind, Op, SliceAxis, UnaryKind};
use crate::ty::{DType, Dim, Shape, Type};

/// What a digit of an axis counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counts {
    /// The batch.
    Batch,
    /// Windows, which are sets of their own.
    Window,
    Head,
    /// Tokens of a set; twice, since a map has rows and columns.
    Row,
    Column,
    /// Channels of a head, cut once.
    Outer,
    Inner,
    /// Queries, keys or values.
    Part,
}

use Counts::{Batch, Column, Head, Inner, Outer, Part, Row, Window};

/// Sizes and orders that the operands of one attention share.
struct Drawn {
    sets: Dim,
    sizes: [usize; 7],
    /// Digits before the tokens, and how many axes they are.
    lead: Vec<Counts>,
    axes: usize,
    channels: Vec<Counts>,
    tokens: Vec<Counts>,
}

impl Drawn {
    fn dim(&self, counts: Counts) -> Dim {
        let at = [Window, Head, Row, Column, Outer, Inner, Part].iter().position(|&c| c == counts);
        at.map_or(self.sets, |at| Dim::Fixed(self.sizes[at]))
    }

    fn product(&self, digits: &[Counts]) -> Dim {
        digits.iter().fold(Dim::Fixed(1), |all, &digit| match (all, self.dim(digit)) {
            (Dim::Batch(n), Dim::Fixed(m)) | (Dim::Fixed(m), Dim::Batch(n)) => Dim::Batch(n * m),
            (Dim::Fixed(n), Dim::Fixed(m)) | (Dim::Batch(n), Dim::Batch(m)) => Dim::Fixed(n * m),
        })
    }

    /// Digits of more than one element: the others are on no axis of their own.
    fn long(&self, digits: &[Counts]) -> Vec<Counts> {
        digits.iter().copied().filter(|&d| d == Batch || self.dim(d) != Dim::Fixed(1)).collect()
    }

    /// One axis for each digit.
    fn cut(&self, digits: &[Counts]) -> Shape {
        Shape(digits.iter().map(|&digit| self.dim(digit)).collect())
    }

    fn shape(&self, axes: &[&[Counts]]) -> Shape {
        Shape(axes.iter().map(|digits| self.product(digits)).collect())
    }

    /// The leading axes: one for all digits, or one for the first of them and one for the rest.
    fn leading(&self) -> Vec<&[Counts]> {
        match self.axes {
            1 => vec![&self.lead[..]],
            _ => vec![&self.lead[..self.axes - 1], &self.lead[self.axes - 1..]],
        }
    }
}

/// `softmax(s·q·kᵀ + bias)·v`, and back to tokens.
pub(super) fn attention(maker: &mut Maker) -> Option<Value> {
    let x = maker.tokens()?;
    let shape = maker.graph.shape(x).clone();
    let n = shape.0[1].fixed()?;
    let columns = maker.divisor(n);
    let rows = if maker.rng.chance(50) { n / columns } else { maker.divisor(n / columns) };
    let windows = n / columns / rows;
    let channels = if maker.rng.chance(70) { [1, maker.rng.range(1, 3)] } else { [2, 2] };
    let sizes = [windows, maker.rng.range(1, 3), rows, columns, channels[0], channels[1], 3];
    let mut lead = vec![Batch, Window, Head];
    if maker.rng.chance(40) {
        maker.rng.shuffle(&mut lead);
    }
    let mut orders = [vec![Outer, Inner], vec![Row, Column]];
    orders.iter_mut().for_each(|order| {
        if maker.rng.chance(15) {
            order.reverse()
        }
    });
    let [channels, tokens] = orders;
    let axes = maker.rng.range(1, 3);
    let drawn = Drawn { sets: shape.0[0], sizes, lead, axes, channels, tokens };
    let [q, k, v] = operands(maker, &drawn, x)?;
    let scores = scores(maker, q, k)?;
    let last = maker.rng.chance(95);
    let weights =
        maker.push(Op::Softmax { axis: maker.graph.shape(scores).rank() - if last { 1 } else { 2 } }, &[scores])?;
    let weights = if maker.rng.chance(15) { mixed(maker, weights)? } else { weights };
    let y = if maker.rng.chance(20) {
        // Values before weights: the result has its channels first.
        let v = swapped(maker, v)?;
        let y = maker.push(Op::MatMul { transpose_a: false, transpose_b: true }, &[v, weights])?;
        swapped(maker, y)?
    } else {
        maker.push(Op::MatMul { transpose_a: false, transpose_b: false }, &[weights, v])?
    };
    merged(maker, &drawn, y)
}

/// Queries, keys and values: of one layer or of three, or of a value that is no layer.
fn operands(maker: &mut Maker, drawn: &Drawn, x: Value) -> Option<[Value; 3]> {
    let mut channels = vec![Head, Outer, Inner];
    if maker.rng.chance(30) {
        maker.rng.shuffle(&mut channels);
    }
    let width = drawn.product(&channels).fixed()?;
    if maker.rng.chance(70) {
        let place = maker.rng.below(4);
        channels.insert(place, Part);
        let packed = maker.layer(x, 3 * width)?;
        let mut parts = [0, 1, 2];
        parts.iter_mut().for_each(|p| {
            if maker.rng.chance(5) {
                *p = 0
            }
        });
        let [a, b, c] = parts.map(|at| operand(maker, drawn, packed, &channels, at));
        return Some([a?, b?, c?]);
    }
    let [a, b, c] = [0, 1, 2].map(|_| {
        let source = maker.layer(x, width)?;
        let source = if maker.rng.chance(20) { maker.push(Op::Unary(UnaryKind::Relu), &[source])? } else { source };
        let mut channels = channels.clone();
        if maker.rng.chance(10) {
            maker.rng.shuffle(&mut channels);
        }
        operand(maker, drawn, source, &channels, 0)
    });
    Some([a?, b?, c?])
}

/// A part of tokens `[sets,N,C]` as `[lead…,N,d]`.
fn operand(maker: &mut Maker, drawn: &Drawn, source: Value, channels: &[Counts], part: usize) -> Option<Value> {
    let mut digits = vec![Batch, Window, Row, Column];
    // Channels may be cut with the map's axes behind them.
    let (source, behind) = if maker.rng.chance(20) { (swapped(maker, source)?, true) } else { (source, false) };
    if maker.rng.chance(30) {
        digits[1..].rotate_left(1);
    }
    let at = if behind { 1 } else { digits.len() };
    digits.splice(at..at, channels.iter().copied());
    let mut digits = drawn.long(&digits);
    let mut x = maker.push(Op::Reshape { shape: drawn.cut(&digits) }, &[source])?;
    if let Some(axis) = digits.iter().position(|&d| d == Part) {
        x = match maker.rng.chance(70) {
            true => {
                let cut = SliceAxis { axis, start: part, stop: part + 1, step: 1 };
                maker.push(Op::Slice { cuts: vec![cut] }, &[x])?
            }
            false => Value { index: part as u32, ..maker.push(Op::Split { axis, sizes: vec![1; 3] }, &[x])? },
        };
        digits.remove(axis);
        let mut dims = maker.graph.shape(x).0.clone();
        dims.remove(axis);
        x = maker.push(Op::Reshape { shape: Shape(dims) }, &[x])?;
    }
    let order = drawn.long(&[&drawn.lead[..], &drawn.tokens, &drawn.channels].concat());
    let perm = order.iter().map(|d| digits.iter().position(|own| own == d)).collect::<Option<_>>()?;
    let x = maker.push(Op::Transpose { perm }, &[x])?;
    let axes = [&drawn.leading()[..], &[&drawn.tokens, &drawn.channels]].concat();
    maker.push(Op::Reshape { shape: drawn.shape(&axes) }, &[x])
}

/// The scores before the softmax.
fn scores(maker: &mut Maker, q: Value, k: Value) -> Option<Value> {
    let (q, k) = (scaled(maker, q)?, if maker.rng.chance(20) { scaled(maker, k)? } else { k });
    let turned = maker.rng.chance(40);
    let k = if turned { swapped(maker, k)? } else { k };
    let mut scores = maker.push(Op::MatMul { transpose_a: false, transpose_b: !turned }, &[q, k])?;
    for _ in 0..3 {
        scores = match maker.rng.below(8) {
            0..3 => scaled(maker, scores)?,
            3..5 => biased(maker, scores)?,
            5 if maker.rng.chance(40) => mixed(maker, scores)?,
            _ => scores,
        };
    }
    Some(scores)
}

/// A value and a constant of a part of its axes.
fn biased(maker: &mut Maker, x: Value) -> Option<Value> {
    let sizes: Vec<usize> = maker.graph.shape(x).0.iter().map(|d| d.fixed().unwrap_or(1)).collect();
    let from = maker.rng.below(sizes.len());
    let dims: Vec<usize> = sizes[from..].iter().map(|&n| if maker.rng.chance(30) { 1 } else { n }).collect();
    let bias = maker.constant(&dims)?;
    let kind = maker.rng.pick(&[BinaryKind::Add, BinaryKind::Sub]);
    let order = if kind == BinaryKind::Add && maker.rng.chance(30) { [bias, x] } else { [x, bias] };
    maker.push(Op::Binary(kind), &order)
}

/// Maps of scores, mixed on their second axis.
fn mixed(maker: &mut Maker, x: Value) -> Option<Value> {
    let shape = maker.graph.shape(x).clone();
    let Some(heads) = shape.0.get(1).and_then(|d| d.fixed()).filter(|_| shape.rank() == 4) else { return Some(x) };
    let inputs = [x, maker.weight(&[heads, heads, 1, 1], "")?, maker.weight(&[heads], "")?];
    maker.push(Op::Conv { stride: [1; 2], pad: [0; 4], dilation: [1; 2], groups: 1 }, &inputs)
}

/// `[lead…,N,d]` as tokens `[sets,N,C]`, most often in their order.
fn merged(maker: &mut Maker, drawn: &Drawn, y: Value) -> Option<Value> {
    let digits = drawn.long(&[&drawn.lead[..], &drawn.tokens, &drawn.channels].concat());
    let y = maker.push(Op::Reshape { shape: drawn.cut(&digits) }, &[y])?;
    let mut order = [Batch, Window, Row, Column, Head, Outer, Inner];
    if maker.rng.chance(20) {
        maker.rng.shuffle(&mut order[1..]);
    }
    let perm = drawn.long(&order).iter().map(|d| digits.iter().position(|own| own == d)).collect::<Option<_>>()?;
    let y = maker.push(Op::Transpose { perm }, &[y])?;
    maker.push(Op::Reshape { shape: drawn.shape(&[&order[..1], &order[1..4], &order[4..]]) }, &[y])
}

/// The last two axes in the other order.
fn swapped(maker: &mut Maker, x: Value) -> Option<Value> {
    let rank = maker.graph.shape(x).rank();
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 2, rank - 1);
    maker.push(Op::Transpose { perm }, &[x])
}

/// A value times a number or a constant, in one of two in three cases.
fn scaled(maker: &mut Maker, x: Value) -> Option<Value> {
    if maker.rng.chance(33) {
        return Some(x);
    }
    let kind = maker.rng.pick(&[BinaryKind::Mul, BinaryKind::Div]);
    let number = maker.rng.pick(&[0.5, 2.0, -1.5]);
    let constant = maker.graph.push_leaf(Op::literal(&[number]), Type::new(DType::F32, Shape::default()), "s");
    maker.push(Op::Binary(kind), &[x, constant.ok()?])
}
