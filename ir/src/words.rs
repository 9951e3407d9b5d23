//! The words of the text form, once for the printer and the parser: of operators, of their operands and of their attributes.
//!
//! A new operator, or a new value of an attribute, breaks the build here, and what is written here both are printed and read by.

use crate::op::{
    AttentionLayout, BinaryKind as B, Generator as G, OffsetOrder, Op, Part, ReduceKind as R, ResizeMode, SliceAxis,
    SpectralNorm, UnaryKind as U,
};
use crate::real::Real;
use crate::ty::{DType, Shape};
use crate::word::{Word, words};

/// A word, the operators that it stands for, and one of them: it is read by filling in that one's attributes.
macro_rules! operators {
    ($($word:literal: $pattern:pat => $example:expr,)*) => {
        impl Op {
            /// The operator's word in the text form.
            pub fn word(&self) -> &'static str {
                match self {
                    $($pattern => $word,)*
                }
            }

            /// An operator with this word.
            pub(crate) fn example(word: &str) -> Option<Op> {
                match word {
                    $($word => Some($example),)*
                    _ => None,
                }
            }

            /// Every word.
            #[cfg(test)]
            pub(crate) const WORDS: &[&str] = &[$($word),*];
        }
    };
}

const ZERO: Real = Real(0.0);

operators! {
    "input": Op::Input => Op::Input,
    "weight": Op::Weight { .. } => Op::Weight { key: String::new() },
    "literal": Op::Literal { .. } => Op::Literal { values: vec![] },
    "fill": Op::Generate(G::Fill { .. }) => Op::Generate(G::Fill { value: ZERO }),
    "iota": Op::Generate(G::Iota { .. }) => Op::Generate(G::Iota { axis: 0 }),
    "eye": Op::Generate(G::Eye) => Op::Generate(G::Eye),
    "relative_index": Op::Generate(G::RelativeIndex { .. }) => Op::Generate(G::RelativeIndex {
        query: [0; 2], key: [0; 2], step: [0; 2], order: OffsetOrder::Absolute,
    }),
    "dft_basis": Op::Generate(G::DftBasis { .. }) => Op::Generate(G::DftBasis { n: 0, part: Part::Cos }),
    "dct_basis": Op::Generate(G::DctBasis { .. }) => Op::Generate(G::DctBasis { n: 0 }),
    "band_mask": Op::Generate(G::BandMask { .. }) => Op::Generate(G::BandMask { grid: [0; 2] }),
    "log_coords": Op::Generate(G::LogCoords { .. }) => Op::Generate(G::LogCoords { window: [0; 2] }),
    "grid_coords": Op::Generate(G::GridCoords { .. }) => Op::Generate(G::GridCoords { side: 0 }),
    "relu": Op::Unary(U::Relu) => Op::Unary(U::Relu),
    "gelu": Op::Unary(U::Gelu) => Op::Unary(U::Gelu),
    "silu": Op::Unary(U::Silu) => Op::Unary(U::Silu),
    "sigmoid": Op::Unary(U::Sigmoid) => Op::Unary(U::Sigmoid),
    "tanh": Op::Unary(U::Tanh) => Op::Unary(U::Tanh),
    "erf": Op::Unary(U::Erf) => Op::Unary(U::Erf),
    "sqrt": Op::Unary(U::Sqrt) => Op::Unary(U::Sqrt),
    "exp": Op::Unary(U::Exp) => Op::Unary(U::Exp),
    "abs": Op::Unary(U::Abs) => Op::Unary(U::Abs),
    "neg": Op::Unary(U::Neg) => Op::Unary(U::Neg),
    "add": Op::Binary(B::Add) => Op::Binary(B::Add),
    "sub": Op::Binary(B::Sub) => Op::Binary(B::Sub),
    "mul": Op::Binary(B::Mul) => Op::Binary(B::Mul),
    "div": Op::Binary(B::Div) => Op::Binary(B::Div),
    "max": Op::Binary(B::Max) => Op::Binary(B::Max),
    "min": Op::Binary(B::Min) => Op::Binary(B::Min),
    "sum": Op::Sum => Op::Sum,
    "clip": Op::Clip { .. } => Op::Clip { lo: ZERO, hi: ZERO },
    "prelu": Op::Prelu => Op::Prelu,
    "cast": Op::Cast { .. } => Op::Cast { to: DType::F32 },
    "conv": Op::Conv { .. } => Op::Conv { stride: [1; 2], pad: [0; 4], groups: 1 },
    "matmul": Op::MatMul { .. } => Op::MatMul { transpose_a: false, transpose_b: false },
    "linear": Op::Linear => Op::Linear,
    "batch_norm": Op::BatchNorm { .. } => Op::BatchNorm { eps: ZERO },
    "layer_norm": Op::LayerNorm { .. } => Op::LayerNorm { axes: vec![], eps: ZERO },
    "softmax": Op::Softmax { .. } => Op::Softmax { axis: 0 },
    "reduce_sum": Op::Reduce { kind: R::Sum, .. } => Op::Reduce { kind: R::Sum, axes: vec![], keep: false },
    "reduce_mean": Op::Reduce { kind: R::Mean, .. } => Op::Reduce { kind: R::Mean, axes: vec![], keep: false },
    "reduce_max": Op::Reduce { kind: R::Max, .. } => Op::Reduce { kind: R::Max, axes: vec![], keep: false },
    "avg_pool": Op::AvgPool { .. } => Op::AvgPool { kernel: [1; 2], stride: [1; 2], pad: [0; 4] },
    "reshape": Op::Reshape { .. } => Op::Reshape { shape: Shape::default() },
    "transpose": Op::Transpose { .. } => Op::Transpose { perm: vec![] },
    "concat": Op::Concat { .. } => Op::Concat { axis: 0 },
    "split": Op::Split { .. } => Op::Split { axis: 0, sizes: vec![] },
    "slice": Op::Slice { .. } => Op::Slice { cuts: vec![] },
    "pad": Op::Pad { .. } => Op::Pad { before: vec![], after: vec![] },
    "gather": Op::Gather { .. } => Op::Gather { axis: 0 },
    "quantize": Op::Quantize { .. } => Op::Quantize { to: DType::I8 },
    "dequantize": Op::Dequantize => Op::Dequantize,
    "lookup": Op::Lookup { .. } => Op::Lookup { bits: 8, shape: Shape::default() },
    "keep": Op::Keep => Op::Keep,
    "expand": Op::Expand { .. } => Op::Expand { shape: Shape::default() },
    "resize": Op::Resize { .. } => Op::Resize { mode: ResizeMode::Nearest, size: [1; 2] },
    "attention": Op::Attention { .. } => Op::Attention {
        heads: 1, scale: ZERO, layout: AttentionLayout::Channels, bias: false, talking: false,
    },
    "rfft2": Op::Rfft2 { .. } => Op::Rfft2 { norm: SpectralNorm::Ortho },
    "irfft2": Op::Irfft2 { .. } => Op::Irfft2 { norm: SpectralNorm::Ortho, width: 1 },
    "dct2": Op::Dct2 => Op::Dct2,
    "idct2": Op::Idct2 => Op::Idct2,
    "window_partition": Op::WindowPartition { .. } => Op::WindowPartition { window: [1; 2] },
    "window_merge": Op::WindowMerge { .. } => Op::WindowMerge { window: [1; 2], map: [1; 2] },
}

words! {
    Part { Cos => "cos", Sin => "sin" }
    OffsetOrder { Absolute => "absolute", Signed => "signed" }
    ResizeMode { Nearest => "nearest", Bilinear => "bilinear" }
    AttentionLayout { Channels => "channels", Tokens => "tokens", Heads => "heads" }
    SpectralNorm { Ortho => "ortho", Backward => "backward" }
}

/// What is done with an operator's attributes, one after the other: they are written out, or read in.
pub(crate) trait Visitor {
    type Error;

    /// `key=3`.
    fn number(&mut self, key: &'static str, value: &mut usize) -> Result<(), Self::Error>;

    /// `key=3`, left out where it is `usual`.
    fn number_or(&mut self, key: &'static str, usual: usize, value: &mut usize) -> Result<(), Self::Error>;

    /// `key=1e-5`.
    fn real(&mut self, key: &'static str, value: &mut Real) -> Result<(), Self::Error>;

    /// `key` where it is set.
    fn flag(&mut self, key: &'static str, value: &mut bool) -> Result<(), Self::Error>;

    /// `key=[1,2]`.
    fn numbers(&mut self, key: &'static str, values: &mut Vec<usize>) -> Result<(), Self::Error>;

    /// Numbers along axes: `key=[1,2]`, or `key=1` where they are equal.
    fn sides(&mut self, key: &'static str, values: &mut [usize]) -> Result<(), Self::Error>;

    /// `key=word`.
    fn word<T: Word>(&mut self, key: &'static str, value: &mut T) -> Result<(), Self::Error>;

    /// `axis1=0..8, axis3=1..9:2`.
    fn cuts(&mut self, cuts: &mut Vec<SliceAxis>) -> Result<(), Self::Error>;
}

/// Show the attributes of an operator to `v`, in the order in which they are written. What stands elsewhere in the text is left out: keys and
/// values of leaves, and the shape of `reshape` and `expand`, which is their type.
pub(crate) fn attributes<V: Visitor>(op: &mut Op, v: &mut V) -> Result<(), V::Error> {
    match op {
        Op::Generate(generator) => return generator_attributes(generator, v),
        Op::Clip { lo, hi } => {
            v.real("lo", lo)?;
            v.real("hi", hi)?;
        }
        Op::Cast { to } | Op::Quantize { to } => v.word("to", to)?,
        Op::Lookup { bits, shape: _ } => v.number("bits", bits)?,
        Op::Conv { stride, pad, groups } => {
            v.sides("stride", stride)?;
            v.sides("pad", pad)?;
            v.number_or("groups", 1, groups)?;
        }
        Op::MatMul { transpose_a, transpose_b } => {
            v.flag("transpose_a", transpose_a)?;
            v.flag("transpose_b", transpose_b)?;
        }
        Op::BatchNorm { eps } => v.real("eps", eps)?,
        Op::LayerNorm { axes, eps } => {
            v.numbers("axes", axes)?;
            v.real("eps", eps)?;
        }
        Op::Softmax { axis } | Op::Concat { axis } | Op::Gather { axis } => v.number("axis", axis)?,
        Op::Reduce { kind: _, axes, keep } => {
            v.numbers("axes", axes)?;
            v.flag("keep", keep)?;
        }
        Op::AvgPool { kernel, stride, pad } => {
            v.sides("kernel", kernel)?;
            v.sides("stride", stride)?;
            v.sides("pad", pad)?;
        }
        Op::Transpose { perm } => v.numbers("perm", perm)?,
        Op::Split { axis, sizes } => {
            v.number("axis", axis)?;
            v.numbers("sizes", sizes)?;
        }
        Op::Slice { cuts } => v.cuts(cuts)?,
        Op::Pad { before, after } => {
            v.numbers("before", before)?;
            v.numbers("after", after)?;
        }
        Op::Resize { mode, size } => {
            v.word("mode", mode)?;
            v.sides("size", size)?;
        }
        Op::Attention { heads, scale, layout, bias, talking } => {
            v.number("heads", heads)?;
            v.real("scale", scale)?;
            v.word("layout", layout)?;
            v.flag("bias", bias)?;
            v.flag("talking", talking)?;
        }
        Op::Rfft2 { norm } => v.word("norm", norm)?,
        Op::Irfft2 { norm, width } => {
            v.word("norm", norm)?;
            v.number("width", width)?;
        }
        Op::WindowPartition { window } => v.sides("window", window)?,
        Op::WindowMerge { window, map } => {
            v.sides("window", window)?;
            v.sides("map", map)?;
        }
        Op::Input | Op::Weight { key: _ } | Op::Literal { values: _ } => {}
        Op::Reshape { shape: _ } | Op::Expand { shape: _ } => {}
        Op::Unary(_)
        | Op::Binary(_)
        | Op::Sum
        | Op::Prelu
        | Op::Linear
        | Op::Keep
        | Op::Dequantize
        | Op::Dct2
        | Op::Idct2 => {}
    }
    Ok(())
}

fn generator_attributes<V: Visitor>(generator: &mut G, v: &mut V) -> Result<(), V::Error> {
    match generator {
        G::Fill { value } => v.real("value", value),
        G::Iota { axis } => v.number("axis", axis),
        G::Eye => Ok(()),
        G::RelativeIndex { query, key, step, order } => {
            v.sides("query", query)?;
            v.sides("key", key)?;
            v.sides("step", step)?;
            v.word("order", order)
        }
        G::DftBasis { n, part } => {
            v.number("n", n)?;
            v.word("part", part)
        }
        G::DctBasis { n } => v.number("n", n),
        G::BandMask { grid } => v.sides("grid", grid),
        G::LogCoords { window } => v.sides("window", window),
        G::GridCoords { side } => v.number("side", side),
    }
}

impl Op {
    /// Whether more operands than two are written for several of it in a row, from left to right.
    pub(crate) fn is_chain(&self) -> bool {
        matches!(self, Op::Binary(B::Add | B::Mul))
    }
}

/// What operand `at` of an operator is to it: constants without a name of their own are called after their reader and this.
pub(crate) fn role(op: &Op, at: usize) -> String {
    let roles: &[&str] = match op {
        Op::Conv { .. } | Op::Linear => &["x", "w", "bias"],
        Op::Prelu => &["x", "slope"],
        Op::BatchNorm { .. } => &["x", "scale", "shift", "mean", "var"],
        Op::LayerNorm { .. } => &["x", "scale", "bias"],
        Op::Gather { .. } => &["x", "index"],
        Op::Quantize { .. } => &["x", "scale"],
        Op::Dequantize => &["codes", "scale"],
        Op::Lookup { .. } => &["codes", "table"],
        Op::Attention { bias: true, .. } => &["q", "k", "v", "bias", "w1", "b1", "w2", "b2"],
        Op::Attention { bias: false, .. } => &["q", "k", "v", "w1", "b1", "w2", "b2"],
        Op::Binary(_) | Op::MatMul { .. } => &["a", "b"],
        Op::Irfft2 { .. } => &["re", "im"],
        Op::Sum | Op::Concat { .. } => &[],
        Op::Unary(_)
        | Op::Clip { .. }
        | Op::Cast { .. }
        | Op::Softmax { .. }
        | Op::Reduce { .. }
        | Op::AvgPool { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Split { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Expand { .. }
        | Op::Resize { .. }
        | Op::Keep
        | Op::Rfft2 { .. }
        | Op::Dct2
        | Op::Idct2
        | Op::WindowPartition { .. }
        | Op::WindowMerge { .. } => &["x"],
        Op::Input | Op::Weight { .. } | Op::Literal { .. } | Op::Generate(_) => &[],
    };
    roles.get(at).map_or_else(|| at.to_string(), |role| role.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_stands_for_its_operator() {
        for word in Op::WORDS {
            assert_eq!(Op::example(word).expect("a row").word(), *word);
        }
    }
}
