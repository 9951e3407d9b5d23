//! The words of the text form, once for the printer and the parser: of operators, of their operands and of their attributes.
//!
//! A new operator, or a new value of an attribute, breaks the build here, and what is written here both are printed and read by.

use crate::op::{
    AttentionLayout, BinaryKind as B, Coordinates, DepthOrder, Generator as G, GridKernel, Kernel, OffsetOrder, Op,
    Outside, PadMode, Part, ReduceKind as R, Rounding, Sampling, SliceAxis, SpectralNorm, UnaryKind as U,
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
    "resample": Op::Generate(G::Resample { .. }) => Op::Generate(G::Resample {
        sampling: Sampling::LINEAR, scale: None,
    }),
    "adaptive_mean": Op::Generate(G::AdaptiveMean) => Op::Generate(G::AdaptiveMean),
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
    "log": Op::Unary(U::Log) => Op::Unary(U::Log),
    "sin": Op::Unary(U::Sin) => Op::Unary(U::Sin),
    "cos": Op::Unary(U::Cos) => Op::Unary(U::Cos),
    "floor": Op::Unary(U::Floor) => Op::Unary(U::Floor),
    "ceil": Op::Unary(U::Ceil) => Op::Unary(U::Ceil),
    "round": Op::Unary(U::Round) => Op::Unary(U::Round),
    "sign": Op::Unary(U::Sign) => Op::Unary(U::Sign),
    "softplus": Op::Unary(U::Softplus) => Op::Unary(U::Softplus),
    "gelu_tanh": Op::Unary(U::GeluTanh) => Op::Unary(U::GeluTanh),
    "hard_swish": Op::Unary(U::HardSwish) => Op::Unary(U::HardSwish),
    "elu": Op::Unary(U::Elu { .. }) => Op::Unary(U::Elu { alpha: ZERO }),
    "leaky_relu": Op::Unary(U::LeakyRelu { .. }) => Op::Unary(U::LeakyRelu { slope: ZERO }),
    "hard_sigmoid": Op::Unary(U::HardSigmoid { .. }) => Op::Unary(U::HardSigmoid { alpha: ZERO, beta: ZERO }),
    "add": Op::Binary(B::Add) => Op::Binary(B::Add),
    "sub": Op::Binary(B::Sub) => Op::Binary(B::Sub),
    "mul": Op::Binary(B::Mul) => Op::Binary(B::Mul),
    "div": Op::Binary(B::Div) => Op::Binary(B::Div),
    "max": Op::Binary(B::Max) => Op::Binary(B::Max),
    "min": Op::Binary(B::Min) => Op::Binary(B::Min),
    "pow": Op::Binary(B::Pow) => Op::Binary(B::Pow),
    "quotient": Op::Binary(B::Quotient) => Op::Binary(B::Quotient),
    "sum": Op::Sum => Op::Sum,
    "clip": Op::Clip { .. } => Op::Clip { lo: ZERO, hi: ZERO },
    "prelu": Op::Prelu => Op::Prelu,
    "cast": Op::Cast { .. } => Op::Cast { to: DType::F32 },
    "conv": Op::Conv { .. } => Op::Conv { stride: [1; 2], pad: [0; 4], dilation: [1; 2], groups: 1 },
    "conv_transpose": Op::ConvTranspose { .. } => Op::ConvTranspose {
        stride: [1; 2], pad: [0; 4], output_pad: [0; 2], dilation: [1; 2], groups: 1,
    },
    "matmul": Op::MatMul { .. } => Op::MatMul { transpose_a: false, transpose_b: false },
    "linear": Op::Linear => Op::Linear,
    "batch_norm": Op::BatchNorm { .. } => Op::BatchNorm { eps: ZERO },
    "layer_norm": Op::LayerNorm { .. } => Op::LayerNorm { axes: vec![], eps: ZERO },
    "softmax": Op::Softmax { .. } => Op::Softmax { axis: 0 },
    "reduce_sum": Op::Reduce { kind: R::Sum, .. } => Op::Reduce { kind: R::Sum, axes: vec![], keep: false },
    "reduce_mean": Op::Reduce { kind: R::Mean, .. } => Op::Reduce { kind: R::Mean, axes: vec![], keep: false },
    "reduce_max": Op::Reduce { kind: R::Max, .. } => Op::Reduce { kind: R::Max, axes: vec![], keep: false },
    "reduce_min": Op::Reduce { kind: R::Min, .. } => Op::Reduce { kind: R::Min, axes: vec![], keep: false },
    "reduce_prod": Op::Reduce { kind: R::Prod, .. } => Op::Reduce { kind: R::Prod, axes: vec![], keep: false },
    "reduce_l2": Op::Reduce { kind: R::L2, .. } => Op::Reduce { kind: R::L2, axes: vec![], keep: false },
    "avg_pool": Op::AvgPool { .. } => Op::AvgPool { kernel: [1; 2], stride: [1; 2], pad: [0; 4] },
    "max_pool": Op::MaxPool { .. } => Op::MaxPool { kernel: [1; 2], stride: [1; 2], pad: [0; 4], dilation: [1; 2] },
    "select": Op::Select => Op::Select,
    "top_k": Op::TopK { .. } => Op::TopK { axis: 0, k: 1, largest: true },
    "argmax": Op::ArgMax { .. } => Op::ArgMax { axis: 0, keep: false },
    "reshape": Op::Reshape { .. } => Op::Reshape { shape: Shape::default() },
    "transpose": Op::Transpose { .. } => Op::Transpose { perm: vec![] },
    "concat": Op::Concat { .. } => Op::Concat { axis: 0 },
    "split": Op::Split { .. } => Op::Split { axis: 0, sizes: vec![] },
    "slice": Op::Slice { .. } => Op::Slice { cuts: vec![] },
    "pad": Op::Pad { .. } => Op::Pad { before: vec![], after: vec![], mode: PadMode::ZERO },
    "depth_to_space": Op::DepthToSpace { .. } => Op::DepthToSpace { block: 1, order: DepthOrder::Crd },
    "space_to_depth": Op::SpaceToDepth { .. } => Op::SpaceToDepth { block: 1 },
    "gather": Op::Gather { .. } => Op::Gather { axis: 0 },
    "quantize": Op::Quantize { .. } => Op::Quantize { to: DType::I8 },
    "dequantize": Op::Dequantize => Op::Dequantize,
    "lookup": Op::Lookup { .. } => Op::Lookup { bits: 8, shape: Shape::default() },
    "keep": Op::Keep => Op::Keep,
    "expand": Op::Expand { .. } => Op::Expand { shape: Shape::default() },
    "resize": Op::Resize { .. } => Op::Resize { sampling: Sampling::LINEAR, size: [1; 2], scale: None },
    "grid_sample": Op::GridSample { .. } => Op::GridSample {
        kernel: GridKernel::Linear, outside: Outside::Zeros, corners: false,
    },
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
    Coordinates {
        HalfPixel => "half_pixel", PytorchHalfPixel => "pytorch_half_pixel", AlignCorners => "align_corners", Asymmetric => "asymmetric",
        TfHalfPixel => "tf_half_pixel", HalfPixelSymmetric => "half_pixel_symmetric"
    }
    Rounding { Floor => "floor", Ceil => "ceil", PreferFloor => "prefer_floor", PreferCeil => "prefer_ceil" }
    DepthOrder { Crd => "crd", Dcr => "dcr" }
    GridKernel { Nearest => "nearest", Linear => "linear", Cubic => "cubic" }
    Outside { Zeros => "zeros", Border => "border", Mirror => "mirror" }
    KernelWord { Nearest => "nearest", Linear => "linear", Cubic => "cubic" }
    PadWord { Constant => "constant", Reflect => "reflect", Edge => "edge" }
    AttentionLayout { Channels => "channels", Tokens => "tokens", Heads => "heads" }
    SpectralNorm { Ortho => "ortho", Backward => "backward" }
}

/// A kernel without its parameter.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum KernelWord {
    Nearest,
    Linear,
    Cubic,
}

/// A pad's mode without its number.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum PadWord {
    Constant,
    Reflect,
    Edge,
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

    /// `key=1e-5`, left out where it is `usual`.
    fn real_or(&mut self, key: &'static str, usual: f64, value: &mut Real) -> Result<(), Self::Error>;

    /// `key=[1.5,2]`, left out where there are none.
    fn some_reals<const N: usize>(
        &mut self,
        key: &'static str,
        values: &mut Option<[Real; N]>,
    ) -> Result<(), Self::Error>;

    /// `key` where it is set.
    fn flag(&mut self, key: &'static str, value: &mut bool) -> Result<(), Self::Error>;

    /// `key=[1,2]`.
    fn numbers(&mut self, key: &'static str, values: &mut Vec<usize>) -> Result<(), Self::Error>;

    /// Numbers along axes: `key=[1,2]`, or `key=1` where they are equal.
    fn sides(&mut self, key: &'static str, values: &mut [usize]) -> Result<(), Self::Error>;

    /// The same, left out where all are 1.
    fn sides_or_one(&mut self, key: &'static str, values: &mut [usize]) -> Result<(), Self::Error>;

    /// `key=word`.
    fn word<T: Word>(&mut self, key: &'static str, value: &mut T) -> Result<(), Self::Error>;

    /// `key=word`, left out where it is `usual`.
    fn word_or<T: Word + PartialEq>(&mut self, key: &'static str, usual: T, value: &mut T) -> Result<(), Self::Error>;

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
        Op::Unary(U::Elu { alpha }) => v.real("alpha", alpha)?,
        Op::Unary(U::LeakyRelu { slope }) => v.real("slope", slope)?,
        Op::Unary(U::HardSigmoid { alpha, beta }) => {
            v.real("alpha", alpha)?;
            v.real("beta", beta)?;
        }
        Op::Cast { to } | Op::Quantize { to } => v.word("to", to)?,
        Op::Lookup { bits, shape: _ } => v.number("bits", bits)?,
        Op::Conv { stride, pad, dilation, groups } => {
            v.sides("stride", stride)?;
            v.sides("pad", pad)?;
            v.sides_or_one("dilation", dilation)?;
            v.number_or("groups", 1, groups)?;
        }
        Op::ConvTranspose { stride, pad, output_pad, dilation, groups } => {
            v.sides("stride", stride)?;
            v.sides("pad", pad)?;
            v.sides("output_pad", output_pad)?;
            v.sides_or_one("dilation", dilation)?;
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
        Op::MaxPool { kernel, stride, pad, dilation } => {
            v.sides("kernel", kernel)?;
            v.sides("stride", stride)?;
            v.sides("pad", pad)?;
            v.sides_or_one("dilation", dilation)?;
        }
        Op::ArgMax { axis, keep } => {
            v.number("axis", axis)?;
            v.flag("keep", keep)?;
        }
        Op::TopK { axis, k, largest } => {
            v.number("axis", axis)?;
            v.number("k", k)?;
            v.flag("largest", largest)?;
        }
        Op::Transpose { perm } => v.numbers("perm", perm)?,
        Op::Split { axis, sizes } => {
            v.number("axis", axis)?;
            v.numbers("sizes", sizes)?;
        }
        Op::Slice { cuts } => v.cuts(cuts)?,
        Op::Pad { before, after, mode } => {
            v.numbers("before", before)?;
            v.numbers("after", after)?;
            pad_attributes(mode, v)?;
        }
        Op::DepthToSpace { block, order } => {
            v.number("block", block)?;
            v.word("order", order)?;
        }
        Op::SpaceToDepth { block } => v.number("block", block)?,
        Op::Resize { sampling, size, scale } => {
            sampling_attributes(sampling, v)?;
            v.sides("size", size)?;
            v.some_reals("scale", scale)?;
        }
        Op::GridSample { kernel, outside, corners } => {
            v.word("kernel", kernel)?;
            v.word("outside", outside)?;
            v.flag("corners", corners)?;
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
        Op::Unary(
            U::Relu
            | U::Gelu
            | U::Silu
            | U::Sigmoid
            | U::Tanh
            | U::Erf
            | U::Sqrt
            | U::Exp
            | U::Abs
            | U::Neg
            | U::Log
            | U::Sin
            | U::Cos
            | U::Floor
            | U::Ceil
            | U::Round
            | U::Sign
            | U::Softplus
            | U::GeluTanh
            | U::HardSwish,
        ) => {}
        Op::Binary(_)
        | Op::Sum
        | Op::Select
        | Op::Prelu
        | Op::Linear
        | Op::Keep
        | Op::Dequantize
        | Op::Dct2
        | Op::Idct2 => {}
    }
    Ok(())
}

/// `mode=edge`, `value=1`: nothing for zeros.
fn pad_attributes<V: Visitor>(mode: &mut PadMode, v: &mut V) -> Result<(), V::Error> {
    let (mut word, mut value) = match *mode {
        PadMode::Constant(value) => (PadWord::Constant, value),
        PadMode::Reflect => (PadWord::Reflect, ZERO),
        PadMode::Edge => (PadWord::Edge, ZERO),
    };
    v.word_or("mode", PadWord::Constant, &mut word)?;
    *mode = match word {
        PadWord::Constant => {
            v.real_or("value", 0.0, &mut value)?;
            PadMode::Constant(value)
        }
        PadWord::Reflect => PadMode::Reflect,
        PadWord::Edge => PadMode::Edge,
    };
    Ok(())
}

/// `kernel=nearest, rounding=floor, coordinates=half_pixel`, and flags.
fn sampling_attributes<V: Visitor>(sampling: &mut Sampling, v: &mut V) -> Result<(), V::Error> {
    let (mut word, mut rounding, mut a) = match sampling.kernel {
        Kernel::Nearest(rounding) => (KernelWord::Nearest, rounding, ZERO),
        Kernel::Linear => (KernelWord::Linear, Rounding::Floor, ZERO),
        Kernel::Cubic(a) => (KernelWord::Cubic, Rounding::Floor, a),
    };
    v.word("kernel", &mut word)?;
    sampling.kernel = match word {
        KernelWord::Nearest => {
            v.word("rounding", &mut rounding)?;
            Kernel::Nearest(rounding)
        }
        KernelWord::Linear => Kernel::Linear,
        KernelWord::Cubic => {
            v.real("a", &mut a)?;
            Kernel::Cubic(a)
        }
    };
    v.word("coordinates", &mut sampling.coordinates)?;
    v.flag("antialias", &mut sampling.antialias)?;
    v.flag("exclude_outside", &mut sampling.exclude_outside)
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
        G::AdaptiveMean => Ok(()),
        G::Resample { sampling, scale } => {
            sampling_attributes(sampling, v)?;
            let mut one = scale.map(|s| [s]);
            v.some_reals("scale", &mut one)?;
            *scale = one.map(|[s]| s);
            Ok(())
        }
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
        Op::Conv { .. } | Op::ConvTranspose { .. } | Op::Linear => &["x", "w", "bias"],
        Op::Prelu => &["x", "slope"],
        Op::Select => &["condition", "a", "b"],
        Op::BatchNorm { .. } => &["x", "scale", "shift", "mean", "var"],
        Op::LayerNorm { .. } => &["x", "scale", "bias"],
        Op::Gather { .. } => &["x", "index"],
        Op::GridSample { .. } => &["x", "grid"],
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
        | Op::MaxPool { .. }
        | Op::ArgMax { .. }
        | Op::TopK { .. }
        | Op::DepthToSpace { .. }
        | Op::SpaceToDepth { .. }
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
