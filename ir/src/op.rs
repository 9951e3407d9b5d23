//! The operators: a closed enum, each one documented as mathematics.
//!
//! Adding a variant breaks the build in every place that must answer for it: shape rule, printer, parser, evaluator, cost,
//! expansion and each exporter. There is no wildcard arm on purpose.
//!
//! Conventions. Images and maps are NCHW. `x[i]` is an element, `·` a product, Σ a sum. Elementwise operators broadcast as
//! numpy does. Inputs are listed in order; `?` marks one that may be left out at the end.

use crate::real::Real;
use crate::ty::{DType, Shape};

/// Constants that the model itself defines. The value's type carries the shape.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Generator {
    /// Every element is `value`.
    Fill {
        /// The element.
        value: Real,
    },
    /// Element = its index along `axis`.
    Iota {
        /// The counted axis.
        axis: usize,
    },
    /// `[n,m]`, 1 where row = column, else 0.
    Eye,
    /// i32 `[Nq,Nk]`: which entry of a position table belongs to a query and a key on row-major grids. The query at (y, x)
    /// lies at key coordinates (step·y, step·x); d = query − key per axis.
    RelativeIndex {
        /// Query grid (height, width).
        query: [usize; 2],
        /// Key grid (height, width).
        key: [usize; 2],
        /// Key positions per query position.
        step: [usize; 2],
        /// How an offset becomes an index.
        order: OffsetOrder,
    },
    /// `[n,m]`, m ≤ n: `cos(2πjk/n)/√n` or `sin(2πjk/n)/√n` at row j, column k; exact 0, ±1 (over √n) where due.
    DftBasis {
        /// Transform length.
        n: usize,
        /// Cosine or sine.
        part: Part,
    },
    /// `[n,n]`, orthonormal DCT-II: `D[k,i] = a_k·cos(π(2i+1)k/2n)`, `a_0 = √(1/n)`, else `√(2/n)` (dsm.md 3.3).
    DctBasis {
        /// Transform length.
        n: usize,
    },
    /// `[K,H·W]`, 0 or 1: coefficient (a, b) lies in band `min(K−1, ⌊K·r⌋)`, `r = √(((a/H)²+(b/W)²)/2)` (dsm.md 3.5).
    BandMask {
        /// Grid height H and width W.
        grid: [usize; 2],
    },
    /// `[(2h−1)(2w−1), 2]`: log-spaced window offsets, per axis `t = 8·offset/(side−1)`, `sign(t)·log2(|t|+1)/3`
    /// (Swin V2; FasterViT's `relative_coords_table`). A side of 1 gives 0.
    LogCoords {
        /// Window height h and width w.
        window: [usize; 2],
    },
    /// `[m,n]`: the matrix with which [`Op::Resize`] makes an axis of n samples one of m.
    Resample {
        /// How samples are read.
        sampling: Sampling,
        /// The factor that the coordinates count with, where it is not m/n.
        scale: Option<Real>,
    },
    /// `[m,n]`: adaptive average pooling of an axis. Row o holds 1/k at the k positions `⌊o·n/m⌋ … ⌈(o+1)·n/m⌉ − 1`, else 0; these bins overlap
    /// where m does not divide n, and repeat where m > n.
    AdaptiveMean,
    /// `[n·n, 2]`: `((row − ⌊n/2⌋)/⌊n/2⌋, (col − ⌊n/2⌋)/⌊n/2⌋)` (FasterViT's 1-D position input). n = 1 gives 0.
    GridCoords {
        /// Side n.
        side: usize,
    },
}

/// Cosine or sine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Cosine.
    Cos,
    /// Sine.
    Sin,
}

/// How a pair of offsets (dy, dx) becomes an index into a position table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OffsetOrder {
    /// `|dy|·W + |dx|` with W the key grid's width (LeViT, EfficientFormer).
    Absolute,
    /// `(dy + H − 1)(2W − 1) + dx + W − 1` with H×W the key grid (Swin).
    Signed,
}

/// Elementwise functions of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnaryKind {
    /// max(x, 0).
    Relu,
    /// x·Φ(x) = x/2·(1 + erf(x/√2)), the exact form.
    Gelu,
    /// x·σ(x).
    Silu,
    /// σ(x) = 1/(1 + e^−x).
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// Error function.
    Erf,
    /// Square root.
    Sqrt,
    /// e^x.
    Exp,
    /// |x|.
    Abs,
    /// −x.
    Neg,
    /// Natural logarithm.
    Log,
    /// Sine of radians.
    Sin,
    /// Cosine of radians.
    Cos,
    /// ⌊x⌋.
    Floor,
    /// ⌈x⌉.
    Ceil,
    /// The nearest whole number, the even one of two.
    Round,
    /// −1, 0 or 1.
    Sign,
    /// ln(1 + e^x).
    Softplus,
    /// x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))), which approximates `Gelu`.
    GeluTanh,
    /// x·min(max(x/6 + ½, 0), 1).
    HardSwish,
    /// x where x ≥ 0, else α·(e^x − 1).
    Elu {
        /// α.
        alpha: Real,
    },
    /// x where x ≥ 0, else slope·x.
    LeakyRelu {
        /// The slope.
        slope: Real,
    },
    /// min(max(α·x + β, 0), 1).
    HardSigmoid {
        /// α.
        alpha: Real,
        /// β.
        beta: Real,
    },
}

/// Elementwise functions of two arguments, broadcast as numpy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinaryKind {
    /// a + b.
    Add,
    /// a − b.
    Sub,
    /// a·b.
    Mul,
    /// a/b.
    Div,
    /// max(a, b).
    Max,
    /// min(a, b).
    Min,
    /// a^b.
    Pow,
    /// a/b of integers, rounded towards zero; b is not 0.
    Quotient,
}

/// What a reduction computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReduceKind {
    /// Sum.
    Sum,
    /// Arithmetic mean.
    Mean,
    /// Largest element.
    Max,
    /// Smallest element.
    Min,
    /// Product.
    Prod,
    /// √(Σ x²).
    L2,
}

/// How an axis of n samples becomes one of m: result i is a sum of samples around the coordinate x(i), weighted by a kernel. With s the factor, m/n
/// unless another one is given. Equal sizes with the factor 1 are the identity in every form, and all weights of a result sum to 1.
///
/// Coordinates are exact where s is m/n. With a factor of its own they are computed in f32, as ONNX' own runtime does: ties depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sampling {
    /// Weights by distance.
    pub kernel: Kernel,
    /// Where a result lies among the samples.
    pub coordinates: Coordinates,
    /// Where s < 1, linear and cubic kernels are stretched by 1/s and their weights scaled to a sum of 1.
    pub antialias: bool,
    /// What of a cubic or stretched kernel lies outside of the samples is left out and the rest scaled to a sum of 1; else it reads the border.
    pub exclude_outside: bool,
}

impl Sampling {
    /// Sample ⌊i·n/m⌋ (PyTorch `nearest`).
    pub const NEAREST: Sampling = Sampling::of(Kernel::Nearest(Rounding::Floor), Coordinates::Asymmetric);
    /// Linear at (i + ½)·n/m − ½ (PyTorch `bilinear`, align_corners false).
    pub const LINEAR: Sampling = Sampling::of(Kernel::Linear, Coordinates::HalfPixel);
    /// Linear at i·(n − 1)/(m − 1) (PyTorch `bilinear`, align_corners true).
    pub const LINEAR_CORNERS: Sampling = Sampling::of(Kernel::Linear, Coordinates::AlignCorners);
    /// Linear at i·n/m.
    pub const LINEAR_ASYMMETRIC: Sampling = Sampling::of(Kernel::Linear, Coordinates::Asymmetric);
    /// Cubic with a = −0.75 at (i + ½)·n/m − ½ (PyTorch `bicubic`, align_corners false).
    pub const CUBIC: Sampling = Sampling::of(Kernel::Cubic(Real(-0.75)), Coordinates::HalfPixel);

    /// Without antialiasing, the border read where a kernel reaches beyond it.
    pub const fn of(kernel: Kernel, coordinates: Coordinates) -> Sampling {
        Sampling { kernel, coordinates, antialias: false, exclude_outside: false }
    }
}

/// Weights of samples by their distance d from a coordinate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// One sample: the coordinate rounded, within the samples.
    Nearest(Rounding),
    /// 1 − d up to 1, at the coordinate clamped to the samples.
    Linear,
    /// Keys' kernel: (a+2)d³ − (a+3)d² + 1 up to 1, ad³ − 5ad² + 8ad − 4a up to 2.
    Cubic(Real),
}

/// How a coordinate becomes a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// Down.
    Floor,
    /// Up.
    Ceil,
    /// To the nearest, ties down.
    PreferFloor,
    /// To the nearest, ties up.
    PreferCeil,
}

/// The coordinate x(i) of result i of m among n samples, with the factor s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coordinates {
    /// (i + ½)/s − ½.
    HalfPixel,
    /// The same, but 0 where m = 1.
    PytorchHalfPixel,
    /// i·(n − 1)/(m − 1), 0 where m = 1.
    AlignCorners,
    /// i/s.
    Asymmetric,
    /// (i + ½)/s.
    TfHalfPixel,
    /// n/2·(1 − m/(s·n)) + (i + ½)/s − ½: half pixels with the same centre, whatever s·n leaves over.
    HalfPixelSymmetric,
}

/// What [`Op::Pad`] puts around.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PadMode {
    /// One number.
    Constant(Real),
    /// The mirror image without the border itself: `… x₂ x₁ | x₀ x₁ x₂ …`, of fewer elements than the axis has.
    Reflect,
    /// The border, repeated.
    Edge,
}

impl PadMode {
    /// Zeros.
    pub const ZERO: PadMode = PadMode::Constant(Real(0.0));
}

/// What of a map [`Op::GridSample`] reads beside a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GridKernel {
    /// The nearest element, of two the one with the even index.
    Nearest,
    /// The elements before and behind, weighted by 1 − d.
    Linear,
    /// Two before and two behind, by Keys' kernel with a = −0.75.
    Cubic,
}

/// What [`Op::GridSample`] reads outside of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outside {
    /// Zeros.
    Zeros,
    /// The element of the border that is nearest.
    Border,
    /// The mirror image, as often as it takes: about the middles of the border's elements where −1 and 1 lie there, else about their edges.
    Mirror,
}

/// Where a channel of [`Op::DepthToSpace`] goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DepthOrder {
    /// Channel c·r² + i·r + j to row i, column j of channel c (PyTorch `pixel_shuffle`).
    Crd,
    /// Channel (i·r + j)·C + c to row i, column j of channel c of C (TensorFlow).
    Dcr,
}

/// Where an attention's operands keep their channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttentionLayout {
    /// `[B, C, …]`: channels on axis 1, all later axes together are the tokens, row-major.
    Channels,
    /// `[B, N, C]`: tokens on axis 1.
    Tokens,
    /// `[B, H, N, d]`: the heads are cut already. The form that targets with an operator for attention take.
    Heads,
}

/// Normalisation of a spectral transform pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpectralNorm {
    /// 1/√(HW) both ways.
    Ortho,
    /// Nothing forward, 1/(HW) back.
    Backward,
}

/// One axis of a [`Op::Slice`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SliceAxis {
    /// The axis.
    pub axis: usize,
    /// First index.
    pub start: usize,
    /// One past the last index.
    pub stop: usize,
    /// Distance of taken elements, at least 1.
    pub step: usize,
}

/// An operator.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Op {
    // ---- leaves -------------------------------------------------------------------------------------------------
    /// An input of the model; its name is the node's path.
    Input,
    /// A trained tensor, asked for by its key when a value is needed. No inputs.
    Weight {
        /// The architecture's name for the tensor.
        key: String,
    },
    /// A small array written out, row-major, fewer than 64 elements. No inputs.
    Literal {
        /// The elements.
        values: Vec<Real>,
    },
    /// A constant given by a formula. No inputs.
    Generate(Generator),

    // ---- elementwise --------------------------------------------------------------------------------------------
    /// f(x).
    Unary(UnaryKind),
    /// f(a, b), broadcast.
    Binary(BinaryKind),
    /// Sum of two or more values, first to last, broadcast as by `Binary`.
    Sum,
    /// min(max(x, lo), hi).
    Clip {
        /// Lower bound.
        lo: Real,
        /// Upper bound.
        hi: Real,
    },
    /// x where x ≥ 0, else slope·x; inputs x `[B,C,…]`, slope `[C]` or `[1]`, along axis 1.
    Prelu,
    /// Inputs c (bool), a, b: a where c holds, else b, whatever the other one is. All three broadcast as by `Binary`.
    Select,
    /// The same numbers in another element type: floats rounded to nearest even, 32- and 64-bit integers towards zero; a truth is what is not 0.
    Cast {
        /// Result element type.
        to: DType,
    },

    // ---- products -----------------------------------------------------------------------------------------------
    /// Inputs x `[B,Cin,H,W]`, w `[Cout,Cin/groups,kh,kw]`, bias? `[Cout]`.
    /// `y[o,i,j] = b[o] + Σ_{c,u,v} w[o,c,u,v] · x[c, i·sh − top + u·dh, j·sw − left + v·dw]`, zero outside the map.
    Conv {
        /// Rows, columns per output.
        stride: [usize; 2],
        /// Zeros added at top, left, bottom, right.
        pad: [usize; 4],
        /// Rows, columns per element of the kernel.
        dilation: [usize; 2],
        /// Channel groups.
        groups: usize,
    },
    /// Inputs x `[B,Cin,H,W]`, w `[Cin,Cout/groups,kh,kw]`, bias? `[Cout]`. Every element of the map adds the kernel to the result:
    /// `y[o,i,j] = b[o] + Σ_{c,p,q,u,v} x[c,p,q]·w[c,o,u,v]` over all `p·sh + u·dh − top = i` and `q·sw + v·dw − left = j`.
    /// The result has `sh·(H − 1) + (kh − 1)·dh + 1 − top − bottom + output_pad` rows, and columns likewise.
    ConvTranspose {
        /// Rows, columns per element of the map.
        stride: [usize; 2],
        /// Rows, columns of the whole result left out at top, left, bottom, right.
        pad: [usize; 4],
        /// Rows, columns more at bottom, right; fewer than the stride or the dilation.
        output_pad: [usize; 2],
        /// Rows, columns per element of the kernel.
        dilation: [usize; 2],
        /// Channel groups.
        groups: usize,
    },
    /// Matrix product of the last two axes, leading axes broadcast. Operands are transposed first where flagged.
    MatMul {
        /// Transpose the last two axes of a.
        transpose_a: bool,
        /// Transpose the last two axes of b.
        transpose_b: bool,
    },
    /// `y = x·Wᵀ + b`: inputs x `[…,in]`, w `[out,in]`, bias? `[out]`.
    Linear,

    // ---- normalisation ------------------------------------------------------------------------------------------
    /// Inputs x `[B,C,…]`, γ, β, μ, σ² `[C]`: `γ·(x − μ)/√(σ² + ε) + β` per channel (evaluation mode).
    BatchNorm {
        /// ε.
        eps: Real,
    },
    /// Inputs x, scale?, bias? (both or neither): `(x − mean)/√(var + ε)·scale + bias`, mean and (biased) variance over `axes` together.
    /// scale and bias have one dimension per axis of `axes`, of that axis' size or 1.
    LayerNorm {
        /// Normalised axes, ascending.
        axes: Vec<usize>,
        /// ε.
        eps: Real,
    },
    /// `e^x / Σ e^x` along `axis`, computed with the maximum subtracted.
    Softmax {
        /// The axis that sums to one.
        axis: usize,
    },

    // ---- reductions ---------------------------------------------------------------------------------------------
    /// Reduction over `axes`.
    Reduce {
        /// What is computed.
        kind: ReduceKind,
        /// Reduced axes, ascending.
        axes: Vec<usize>,
        /// Reduced axes stay with size 1.
        keep: bool,
    },
    /// Average over windows of `[B,C,H,W]`; padding is not counted, so border windows divide by fewer elements.
    AvgPool {
        /// Window height, width.
        kernel: [usize; 2],
        /// Rows, columns per output.
        stride: [usize; 2],
        /// Positions added at top, left, bottom, right.
        pad: [usize; 4],
    },
    /// Largest element of windows of `[B,C,H,W]`, padding left out. Every window has an element of the map.
    MaxPool {
        /// Window height, width.
        kernel: [usize; 2],
        /// Rows, columns per output.
        stride: [usize; 2],
        /// Positions added at top, left, bottom, right.
        pad: [usize; 4],
        /// Rows, columns per element of the window.
        dilation: [usize; 2],
    },
    /// i32 index along `axis` of the largest element, the first of equal ones.
    ArgMax {
        /// The axis.
        axis: usize,
        /// The axis stays with size 1.
        keep: bool,
    },

    /// The `k` largest elements along `axis`, or the smallest, in order; of equal ones the first. Outputs the elements, and their i32 indices.
    TopK {
        /// The axis.
        axis: usize,
        /// How many.
        k: usize,
        /// The largest; else the smallest.
        largest: bool,
    },

    // ---- movement -----------------------------------------------------------------------------------------------
    /// The same elements in row-major order under another shape.
    Reshape {
        /// Result shape.
        shape: Shape,
    },
    /// `y.shape[i] = x.shape[perm[i]]`.
    Transpose {
        /// Source axis of each result axis.
        perm: Vec<usize>,
    },
    /// Inputs laid one behind the other along `axis`.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// One output per size, cut along `axis`.
    Split {
        /// The axis.
        axis: usize,
        /// Size of each output; they add up to the axis.
        sizes: Vec<usize>,
    },
    /// Every `step`-th element from `start` to before `stop` on the listed axes, which are ascending.
    Slice {
        /// The cut axes.
        cuts: Vec<SliceAxis>,
    },
    /// Elements added before and after each axis.
    Pad {
        /// Elements before, per axis.
        before: Vec<usize>,
        /// Elements after, per axis.
        after: Vec<usize>,
        /// What they are.
        mode: PadMode,
    },
    /// Inputs x, indices (i32): `x` taken at the indices along `axis`; the axis is replaced by the indices' shape.
    Gather {
        /// The axis.
        axis: usize,
    },
    /// Broadcast to `shape`.
    Expand {
        /// Result shape.
        shape: Shape,
    },
    /// `[B,C,H,W]` sampled at another size: `R·x·Cᵀ` with the matrices [`Generator::Resample`] of both axes.
    Resize {
        /// How samples are read.
        sampling: Sampling,
        /// Result height, width.
        size: [usize; 2],
        /// Factors that the coordinates of rows and columns count with, where they are not those of the sizes.
        scale: Option<[Real; 2]>,
    },
    /// Inputs x `[B,C,H,W]`, grid `[B,h,w,2]`: `y[b,c,i,j]` is map c of x at the place (column, row) that `grid[b,i,j]` names, in −1..1. The place on
    /// an axis of n elements is `(g + 1)/2·(n − 1)` if −1 and 1 are the middles of its first and last element (`corners`), else
    /// `((g + 1)·n − 1)/2`, and they are the edges.
    GridSample {
        /// What is read beside a place.
        kernel: GridKernel,
        /// What is read outside of the map.
        outside: Outside,
        /// −1 and 1 are the middles of the corners.
        corners: bool,
    },
    /// `[B,C·r²,H,W]` to `[B,C,H·r,W·r]`: channels become positions inside of blocks of r×r.
    DepthToSpace {
        /// r.
        block: usize,
        /// Which channels.
        order: DepthOrder,
    },
    /// `[B,C,H·r,W·r]` to `[B,C·r²,H,W]`: the inverse of `DepthToSpace` in the order `Dcr`.
    SpaceToDepth {
        /// r.
        block: usize,
    },

    // ---- few bits ------------------------------------------------------------------------------------------------
    /// Inputs x, scale `[]`: the whole number nearest to x/scale, ties to even, held in the range of `to`. The result is read by `Dequantize`.
    Quantize {
        /// i8 or u8.
        to: DType,
    },
    /// Inputs codes (i8, u8, i4, u4), scale: `codes · scale`. The scale has the codes' rank, and each of its sizes divides the codes': it is
    /// repeated in blocks. Sizes of 1 are one scale for the tensor, all but one of 1 one per index of an axis. A scale `[]` is one for all.
    Dequantize,
    /// Inputs codes u8`[n]`, table `[g,2^bits]`: element i of the result, row-major, is the table's entry at code i, where codes of `bits` bits
    /// stand one behind the other, the first in the low bits of the first byte. The result's first axis is cut into g equal parts with a row of
    /// the table each.
    Lookup {
        /// Bits of a code: 1, 2, 3, 4, 6 or 8.
        bits: usize,
        /// Result shape.
        shape: Shape,
    },

    // ---- barrier ------------------------------------------------------------------------------------------------
    /// x itself. What is computed from it counts as computed at run time, even if x is constant: x is stored as it is and not folded into
    /// what follows (a table much smaller than all that is looked up in it, quantised weights).
    Keep,

    // ---- operators that exist until a lowering spells them ------------------------------------------------------
    /// Multi-head attention. Inputs q, k, v, then bias `[H|1,Nq,Nk]`, or `[S,H|1,Nq,Nk]` of which set number s reads row s mod S, if `bias`, then w₁ `[H,H]`, b₁ `[H]`, w₂ `[H,H]`, b₂ `[H]`
    /// if `talking`. Channels are head-major: channel h·d + c. Per head: `A = scale·q kᵀ + bias`; talking: `A_h ← Σ_g w₁[h,g] A_g + b₁[h]`;
    /// `P = softmax over keys`; talking: `P_h ← Σ_g w₂[h,g] P_g + b₂[h]`; `O = P v`. The result has q's layout and tokens and v's channels.
    Attention {
        /// Number of heads H.
        heads: usize,
        /// Factor of the scores.
        scale: Real,
        /// Where channels lie.
        layout: AttentionLayout,
        /// A bias input follows v.
        bias: bool,
        /// Four talking-head inputs follow.
        talking: bool,
    },
    /// Real 2-D Fourier transform of the last two axes `[…,H,W]`; outputs real and imaginary part, `[…,H,W/2+1]`.
    /// `Z[a,b] = s·Σ x[h,w]·e^{−2πi(ah/H + bw/W)}`.
    Rfft2 {
        /// s: 1/√(HW) or 1.
        norm: SpectralNorm,
    },
    /// Inverse of `Rfft2`, inputs real and imaginary part `[…,H,W/2+1]`: the full complex inverse along H, then along W the real part of
    /// `Σ_k c_k·Z[·,k]·e^{2πikw/W}`, `c_k = 1` for k = 0 and (W even) k = W/2, else 2. So for an input that is not Hermitian the imaginary part
    /// of those two columns (after the inverse along H) is ignored, as PyTorch and pocketfft do.
    Irfft2 {
        /// Factor 1/√(HW) or 1/(HW).
        norm: SpectralNorm,
        /// W, which the half spectrum does not tell.
        width: usize,
    },
    /// Orthonormal 2-D DCT-II of the last two axes: `S = D_H x D_Wᵀ`.
    Dct2,
    /// Its inverse: `x = D_Hᵀ S D_W`.
    Idct2,
    /// `[B,C,H,W]` to tokens `[B·(H/h)·(W/w), h·w, C]`: windows row-major, tokens row-major inside. H and W divide by the window.
    WindowPartition {
        /// Window height h, width w.
        window: [usize; 2],
    },
    /// Inverse of `WindowPartition`: `[B·(H/h)·(W/w), h·w, C]` to `[B,C,H,W]`.
    WindowMerge {
        /// Window height h, width w.
        window: [usize; 2],
        /// Map height H, width W.
        map: [usize; 2],
    },
}

impl Op {
    /// A literal scalar or array.
    pub fn literal(values: &[f64]) -> Op {
        Op::Literal { values: values.iter().map(|&v| Real(v)).collect() }
    }

    /// True for weights, literals and generators: leaves whose value does not depend on the model's input.
    pub fn is_constant_leaf(&self) -> bool {
        matches!(self, Op::Weight { .. } | Op::Literal { .. } | Op::Generate(_))
    }
}
