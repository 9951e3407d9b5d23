//! Targets: what an artifact may contain and what each form costs there. Data, not code.
//!
//! Sources of the figures: the project's measurements with TensorRT-RTX 1.7 and ONNX Runtime 1.31, and Apple's published rules; every
//! constant says which.

use crate::attention::bias_turns;
use crate::graph::{Graph, Node};
use crate::natural::is_natural;
use crate::op::{AttentionLayout, BinaryKind, GridKernel, Kernel, Op, PadMode, ReduceKind, Sampling, UnaryKind};
use crate::real::Real;
use crate::resample;
use crate::ty::{DType, Dim, Shape};

/// What an artifact is for: the file format with its version, and what runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// ONNX with this opset of the default domain, for ONNX Runtime and the like.
    Onnx {
        /// 17 to 23.
        opset: u32,
    },
    /// ONNX with this opset, for TensorRT to build.
    TensorRt {
        /// 17 to 23.
        opset: u32,
    },
    /// CoreML ML Program for this iOS version: 15, 16, 17, 18 or 26.
    CoreMl {
        /// Lowest iOS version that loads the file.
        ios: u32,
    },
    /// Core AI asset for this iOS version: 27.
    CoreAi {
        /// Lowest iOS version that loads the file.
        ios: u32,
    },
}

/// How attention is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttentionForm {
    /// Fewest nodes and transposes: products on channel-major maps.
    Compact,
    /// Token-major 4-D operands and softmax on the last axis, which a fused kernel recognises.
    Fused,
    /// Every head by itself, as Apple's reference implementation for the Neural Engine has it (`ml-ane-transformers`).
    PerHead,
    /// One operator, with the factor 1/√d: `scaled_dot_product_attention` from iOS 18, which fixes it, `Attention` from opset 23.
    Operator,
}

/// The kernel into which attention in the form [`AttentionForm::Fused`] is fused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FusedAttention {
    /// Heads have a multiple of this width.
    pub head_multiple: usize,
    /// Narrowest head.
    pub least: usize,
    /// Widest head.
    pub widest: usize,
    /// Kernels that one attention with talking heads saves when it is fused.
    pub kernels_saved: f64,
}

impl FusedAttention {
    /// The width to which heads of width `d` are padded.
    pub fn width(&self, d: usize) -> usize {
        d.next_multiple_of(self.head_multiple).max(self.least)
    }
}

/// How the real products around a spectral transform are spelled (recipes of the lowering, `lower_spectral`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpectralForms {
    /// The columns of a separable half spectrum are filled up with zeros to a multiple of this.
    pub column_multiple: usize,
    /// How channels mix.
    pub mix: MixForm,
    /// How two spectra are multiplied.
    pub product: ProductForm,
}

/// A linear map of the channels of a spectrum whose real and imaginary parts alternate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MixForm {
    /// A 1x1 convolution in the map's own groups: fewest multiplications.
    GroupedConv,
    /// A matrix product with all groups in one block-diagonal matrix: one kernel without a change of layout.
    BlockDiagonal,
}

/// Product of two complex spectra, bin by bin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProductForm {
    /// All four real products in one broadcast product; the inverse transform adds them: fewest nodes, twice its first product.
    Outer,
    /// Parts split, four products, two sums, joined.
    Split,
}

/// How a norm over channels and positions together is spelled (recipes of the lowering, `lower_norms`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NormForm {
    /// One node, with scale and shift repeated for each position while they stay below this share of the model's weights.
    Full {
        /// Largest ratio of repeated elements to weights.
        share: f64,
    },
    /// A norm without scale, a product, a sum.
    Affine,
    /// First and second moments, in one reduction over the positions.
    Moments,
}

/// Constants of the cost model: cost = MACs / rate + kernels × launch + small products × small + bytes / bandwidth, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Multiply-accumulates per microsecond.
    pub rate: f64,
    /// Microseconds per kernel.
    pub launch: f64,
    /// Microseconds per small product of a batched left product (one per batch item).
    pub small: f64,
    /// Bytes per microsecond.
    pub bandwidth: f64,
}

/// What an artifact may contain.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// What it is for.
    pub format: Format,
    /// Highest rank of a value.
    pub rank_limit: usize,
    /// Values may have no axes; else vectors of one element stand for them.
    pub scalars: bool,
    /// `Prelu` takes maps `[B,C,H,W]` alone.
    pub slopes_on_maps: bool,
    /// `Quotient` rounds down, so its operands are never negative.
    pub quotients_round_down: bool,
    /// Inputs and outputs may hold truth values.
    pub truth_ports: bool,
    /// `Gelu` is one node.
    pub gelu: bool,
    /// `Silu` is one node.
    pub silu: bool,
    /// `GeluTanh` is one node.
    pub gelu_tanh: bool,
    /// `HardSwish` is one node.
    pub hard_swish: bool,
    /// A pool may have holes in its windows.
    pub dilated_pool: bool,
    /// Pads that mirror or repeat the border do so on the last two axes alone.
    pub mirrors_maps_only: bool,
    /// A transposed convolution may cut its result's borders, or add to them; else it gives its whole map.
    pub transposed_pad: bool,
    /// A transposed convolution may have both a stride and a dilation.
    pub transposed_dilation: bool,
    /// Zeros in front of a `MaxPool` are computed as they stand. ONNX Runtime 1.31 merges such a `Pad` into the pool, which pads with the smallest
    /// number; with other numbers, other modes and other pools it does right.
    pub pad_before_pool: bool,
    /// Forms of sampling that a resize has, the preferred ones first.
    pub sampling: &'static [Sampling],
    /// Kernels with which a map may be read at the places of a grid.
    pub grids: &'static [GridKernel],
    /// Operands of one node may be floats of several types; else a node whose places are f32 is f32 as a whole.
    pub mixed_floats: bool,
    /// A `BatchNorm` of a map is one node that runs as fast as what it stands for.
    pub batch_norm: bool,
    /// A Euclidean norm is one node.
    pub euclidean_norm: bool,
    /// `Linear` is one node on values of at most this rank (0: never).
    pub linear_rank: usize,
    /// A matrix product may transpose its operands.
    pub matmul_transpose: bool,
    /// `LayerNorm` is one node.
    pub layer_norm: bool,
    /// `LayerNorm` may normalise any axes; else only the last ones.
    pub layer_norm_any_axis: bool,
    /// Linear layers on maps with channels last run as fast as 1x1 convolutions: stretches around norms over channels are laid out so.
    pub channels_last: bool,
    /// Windows of a map are cut and merged in two steps, a plain change between channels first and last and a move of whole rows of channels.
    pub row_moves: bool,
    /// `Sum` is one node.
    pub sum: bool,
    /// How attention is spelled.
    pub attention: AttentionForm,
    /// The kernel that attention is fused into, if there is one.
    pub fused_attention: Option<FusedAttention>,
    /// The sum with a bias behind a matrix product costs nothing and rounds better than a bias in the null direction of a norm.
    pub bias_rides_on_product: bool,
    /// A norm over the channels of a map that is held as tokens is made on the tokens: on the map it would turn the map twice.
    pub map_norm_on_tokens: bool,
    /// With f16: softmax runs in f32 between casts.
    pub softmax_f32: bool,
    /// With f16: softplus runs in f32 between casts.
    pub softplus_f32: bool,
    /// With f16: means over the map run in f32 between casts.
    pub mean_f32: bool,
    /// With f16: sums and means over rows of a map, or all of it, that only elementwise operators read run in f32 between casts.
    pub position_sums_f32: bool,
    /// With f16: a square, its mean and the mean of what was squared run in f32, and what is computed from such moments alone.
    pub moments_f32: bool,
    /// With f16: a convolution accumulates in f32, a matrix product does not.
    pub conv_accumulates_f32: bool,
    /// So many parallel products of one geometry on one input become one, whose result is split.
    pub merge_siblings: usize,
    /// In graphs where a convolution's map of at least so many positions is split for other convolutions, each part is a convolution of its own.
    pub split_maps: Option<usize>,
    /// Two layers in a row on at most so many rows, each with weights of at least so many bytes, run faster as 1x1 convolutions.
    pub streamed_weights: Option<(usize, usize)>,
    /// How a norm over channels and positions together is spelled.
    pub joint_norm: NormForm,
    /// How spectral transforms are spelled.
    pub spectral: SpectralForms,
    /// Cost model.
    pub cost: Cost,
}

/// Difference of two weights that is rounding and nothing else.
const SAME_WEIGHT: f64 = 1e-9;

impl Target {
    /// Plain ONNX, for ONNX Runtime and the like.
    pub fn onnx(opset: u32) -> Target {
        Target {
            format: Format::Onnx { opset },
            rank_limit: usize::MAX,
            scalars: true,
            slopes_on_maps: false,
            quotients_round_down: false,
            truth_ports: true,
            gelu: opset >= 20,
            gelu_tanh: opset >= 20,
            hard_swish: opset >= 14,
            dilated_pool: true,
            transposed_pad: true,
            transposed_dilation: true,
            pad_before_pool: false,
            mirrors_maps_only: false,
            sampling: &[Sampling::NEAREST, Sampling::LINEAR, Sampling::LINEAR_CORNERS, Sampling::LINEAR_ASYMMETRIC],
            // Not cubic: tract, which runs the file for the check, reads other elements at the border.
            grids: if opset >= 16 { &[GridKernel::Nearest, GridKernel::Linear] } else { &[] },
            mixed_floats: true,
            batch_norm: true, // DenseNet-121: 110 ms, 128 ms with products and sums (ONNX Runtime 1.31, one thread)
            euclidean_norm: true,
            silu: false, // ONNX Runtime fuses x·Sigmoid(x); Swish exists from opset 24
            linear_rank: 2,
            matmul_transpose: false,
            layer_norm: opset >= 17,
            layer_norm_any_axis: false,
            channels_last: false, // DSM-T takes 8 to 15 % longer so
            row_moves: true, // FasterViT-0's maps of 14x14x256: 18 and 30 us, against 138 and 160 for one transpose
            sum: true,       // three operands in one node, at equal speed
            attention: AttentionForm::Compact,
            fused_attention: None,
            bias_rides_on_product: false,
            map_norm_on_tokens: true,
            softmax_f32: true,
            softplus_f32: true, // ONNX Runtime on a processor writes it out as log(1 + eˣ), which is infinite in f16 from 12 up
            mean_f32: true,
            position_sums_f32: false, // not measured
            moments_f32: true,
            conv_accumulates_f32: false, // products accumulate in f32 as well
            merge_siblings: 3,           // two would trade a product for a split
            split_maps: None,            // a split is a view of its operand, or one copy
            // 49 rows, 2048x512 to be read from memory: 561 us against 692, and 579 against 675 for 512x2048. 212 rows: 529 against 534.
            streamed_weights: Some((64, 2 << 20)),
            // Three nodes in one, at equal speed; without the operator there is nothing to join.
            joint_norm: if opset >= 17 { NormForm::Full { share: 0.75 } } else { NormForm::Affine },
            // Padded columns cost 4 to 13 %, a block-diagonal mix 16 to 50 %; the product's forms differ by less than 5 %.
            spectral: SpectralForms { column_multiple: 1, mix: MixForm::GroupedConv, product: ProductForm::Outer },
            // Fit over 22 filter forms with ONNX Runtime 1.31, one thread (recipes-spectral.md section 7).
            cost: Cost { rate: 50e3, launch: 5.0, small: 0.5, bandwidth: 5.6e3 },
        }
    }

    /// ONNX that TensorRT builds.
    pub fn tensorrt(opset: u32) -> Target {
        Target {
            format: Format::TensorRt { opset },
            dilated_pool: false,        // refused by TensorRT-RTX 1.7.1
            transposed_dilation: false, // likewise
            pad_before_pool: true,
            channels_last: true,
            row_moves: false,      // moves ride on the kernels of norms
            sum: false,            // sums ride on the kernels in front of them
            softplus_f32: false,   // one kernel in f16
            euclidean_norm: false, // squares and roots ride on the kernel of the sum
            batch_norm: false,     // DenseNet-121: 188 kernels either way
            mixed_floats: false,   // "`input` and `grid` must be of same type"
            attention: AttentionForm::Fused,
            // Widths from TensorRT's documentation; kernels: 147 against 95 for the five attentions of EfficientFormerV2-S0 (TensorRT-RTX 1.7.1).
            fused_attention: Some(FusedAttention { head_multiple: 8, least: 16, widest: 256, kernels_saved: 10.4 }),
            bias_rides_on_product: true, // a sum is computed in the product's kernel
            map_norm_on_tokens: false,   // moves ride on the kernels of norms
            // Assumed, not measured: half the f16 tensor rate of an A100's data sheet, its memory bandwidth, a usual launch.
            cost: Cost { rate: 78e6, launch: 4.0, small: 0.0, bandwidth: 1.5e6 },
            linear_rank: 0,
            streamed_weights: None,
            joint_norm: NormForm::Moments,
            // A filter takes 8 kernels; 12 without padding and with a grouped convolution.
            spectral: SpectralForms { column_multiple: 4, mix: MixForm::BlockDiagonal, product: ProductForm::Split },
            mean_f32: false, // reductions accumulate in f32 whatever the type; an island in front of a product costs a kernel
            // Casts ride on elementwise kernels, and a sum in f16 is a kernel of its own that wants a copy of the map in another order: MobileViTv2-050 has 171
            // kernels against 183, a map's parts that are multiplied, summed and gated 6 against 9.
            position_sums_f32: true,
            merge_siblings: 2, // three convolutions for q, k and v cost 17 kernels, one 7 (tensorrt.md 2.3)
            split_maps: Some(128 * 128), // see the pass
            ..Target::onnx(opset)
        }
    }

    /// CoreML ML Program.
    pub fn coreml(ios: u32) -> Target {
        Target {
            format: Format::CoreMl { ios },
            rank_limit: 5,
            scalars: false,
            slopes_on_maps: true, // of other ranks the format takes one slope for all
            quotients_round_down: true,
            truth_ports: false,
            gelu: true,
            gelu_tanh: true,
            hard_swish: false,
            dilated_pool: false,
            transposed_pad: false, // the format cannot add rows, and says the result's shape where it cuts
            transposed_dilation: true,
            pad_before_pool: true,
            mirrors_maps_only: true,
            sampling: &[Sampling::NEAREST, Sampling::LINEAR, Sampling::LINEAR_CORNERS, Sampling::LINEAR_ASYMMETRIC],
            // The format does not say which of two equally near elements is the nearest.
            grids: &[GridKernel::Linear],
            mixed_floats: true,
            batch_norm: true,
            euclidean_norm: true,
            silu: true,
            linear_rank: 3,
            matmul_transpose: true,
            layer_norm: true,
            layer_norm_any_axis: true,
            channels_last: false,
            row_moves: false,
            sum: false,
            attention: AttentionForm::Compact,
            fused_attention: None,
            bias_rides_on_product: false,
            map_norm_on_tokens: false, // norms take any axis
            softmax_f32: false,
            softplus_f32: false,
            mean_f32: false,
            position_sums_f32: false,
            moments_f32: false,
            conv_accumulates_f32: false,
            merge_siblings: 3,
            split_maps: None,
            streamed_weights: None,
            joint_norm: NormForm::Affine,
            // By fewest multiplications; not measured on a device.
            spectral: SpectralForms { column_multiple: 1, mix: MixForm::GroupedConv, product: ProductForm::Split },
            // Assumed: a tenth of the A14 engine's published rate for the small layers of these models; never measured on a device.
            cost: Cost { rate: 1.1e6, launch: 10.0, small: 1.0, bandwidth: 30e3 },
        }
    }

    /// Core AI asset.
    pub fn coreai(ios: u32) -> Target {
        Target {
            format: Format::CoreAi { ios },
            scalars: true,
            slopes_on_maps: false,
            gelu_tanh: true,
            hard_swish: false,
            sampling: &[Sampling::NEAREST, Sampling::LINEAR],
            grids: &[],
            batch_norm: false,
            euclidean_norm: false,
            silu: false, // the dialect's own leaves the Neural Engine for casts
            linear_rank: 0,
            matmul_transpose: false,
            layer_norm_any_axis: false, // the composite that systems know normalises the last axes
            map_norm_on_tokens: true,
            // Bit for bit in the vendor's runtime: a product of 1024 terms around 117 is off by 0.9, a convolution by one rounding.
            conv_accumulates_f32: true,
            joint_norm: NormForm::Full { share: 0.75 },
            // Two parts of a spectrum in one product: fewest operations. Not measured on a device.
            spectral: SpectralForms { column_multiple: 1, mix: MixForm::GroupedConv, product: ProductForm::Outer },
            ..Target::coreml(18)
        }
    }

    /// Whether the target can say this node; the reason if not. Only called for run-time nodes.
    ///
    /// # Errors
    /// What the target does not have.
    pub fn allows(&self, graph: &Graph, node: &Node) -> Result<(), String> {
        let name = self.name();
        if let Some(t) = node.types.iter().find(|t| t.shape.rank() > self.rank_limit) {
            return Err(format!("{name} holds values of rank {} at most, found {t}", self.rank_limit));
        }
        let rank = node.inputs.first().map_or(0, |&x| graph.shape(x).rank());
        let has = |it: bool, what: &str| if it { Ok(()) } else { Err(format!("{name} has no {what}")) };
        match &node.op {
            Op::Unary(UnaryKind::Gelu) => has(self.gelu, "gelu"),
            Op::Unary(UnaryKind::Silu) => has(self.silu, "silu"),
            Op::Unary(UnaryKind::GeluTanh) => has(self.gelu_tanh, "gelu_tanh"),
            Op::Unary(UnaryKind::HardSwish) => has(self.hard_swish, "hard_swish"),
            Op::ConvTranspose { stride, pad, output_pad, dilation, .. } => {
                let plain = *pad == [0; 4] && *output_pad == [0; 2];
                has(self.transposed_pad || plain, "transposed convolution with a padding")?;
                let dense = *stride == [1; 2] || *dilation == [1; 2];
                has(self.transposed_dilation || dense, "transposed convolution with a stride and a dilation")
            }
            Op::MaxPool { .. } if !self.pad_before_pool && is_padded(graph, node) => {
                has(false, "pad in front of a max_pool")
            }
            Op::MaxPool { dilation, .. } => has(self.dilated_pool || *dilation == [1; 2], "max_pool with a dilation"),
            Op::Pad { before, after, mode: PadMode::Reflect | PadMode::Edge } if self.mirrors_maps_only => {
                let inner = (0..rank.saturating_sub(2)).all(|a| before[a] + after[a] == 0);
                has(inner && rank >= 2, "mirrored pad of other axes than the last two")
            }
            Op::Resize { sampling, size, scale } => {
                let form = self.resize_form(graph.shape(node.inputs[0]), sampling, *size, *scale);
                has(scale.is_none() && form == Some(*sampling), "resize that reads these samples")
            }
            Op::Binary(BinaryKind::Quotient) => {
                let natural = || node.inputs.iter().all(|&v| is_natural(graph, v));
                has(!self.quotients_round_down || natural(), "quotient of integers that may be negative")
            }
            Op::Prelu => has(!self.slopes_on_maps || rank == 4, "prelu on other than maps"),
            Op::GridSample { kernel, .. } => has(self.grids.contains(kernel), "grid_sample that reads these elements"),
            Op::Sum => has(self.sum, "sum of several values"),
            Op::Linear => has(rank <= self.linear_rank, &format!("linear on rank {rank}")),
            Op::MatMul { transpose_a, transpose_b } => {
                has(self.matmul_transpose || !(*transpose_a || *transpose_b), "transposing matmul")
            }
            Op::LayerNorm { axes, .. } => {
                has(self.layer_norm_any_axis || axes.last() == Some(&(rank - 1)), "layer_norm on inner axes")?;
                has(self.layer_norm, "layer_norm")
            }
            Op::Lookup { .. } => has(self.is_apple(), node.op.word()),
            Op::Attention { layout: AttentionLayout::Heads, talking: false, bias, .. } => {
                let sets = graph.shape(node.inputs[0]).0[0];
                let turns = *bias && bias_turns(graph.shape(node.inputs[3]), sets).is_some();
                has(!turns, "attention with a bias that several sets read in turn")?;
                has(self.attention_operator(), node.op.word())
            }
            Op::Reduce { kind: ReduceKind::L2, axes, .. } => {
                has(self.euclidean_norm && !axes.is_empty(), node.op.word())
            }
            Op::BatchNorm { .. } => has(self.batch_norm && rank == 4, node.op.word()),
            Op::Attention { .. }
            | Op::Rfft2 { .. }
            | Op::Irfft2 { .. }
            | Op::Dct2
            | Op::Idct2
            | Op::WindowPartition { .. }
            | Op::WindowMerge { .. } => has(false, node.op.word()),
            Op::Input
            | Op::Weight { .. }
            | Op::Literal { .. }
            | Op::Generate(_)
            | Op::Unary(
                UnaryKind::Relu
                | UnaryKind::Sigmoid
                | UnaryKind::Tanh
                | UnaryKind::Erf
                | UnaryKind::Sqrt
                | UnaryKind::Exp
                | UnaryKind::Abs
                | UnaryKind::Neg
                | UnaryKind::Log
                | UnaryKind::Sin
                | UnaryKind::Cos
                | UnaryKind::Floor
                | UnaryKind::Ceil
                | UnaryKind::Round
                | UnaryKind::Sign
                | UnaryKind::Softplus
                | UnaryKind::Elu { .. }
                | UnaryKind::LeakyRelu { .. }
                | UnaryKind::HardSigmoid { .. },
            )
            | Op::Binary(_)
            | Op::Clip { .. }
            | Op::Cast { .. }
            | Op::Conv { .. }
            | Op::Softmax { .. }
            | Op::Reduce { .. }
            | Op::AvgPool { .. }
            | Op::ArgMax { .. }
            | Op::Select
            | Op::TopK { .. }
            | Op::DepthToSpace { .. }
            | Op::SpaceToDepth { .. }
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Concat { .. }
            | Op::Split { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Gather { .. }
            | Op::Expand { .. }
            | Op::Quantize { .. }
            | Op::Dequantize
            | Op::Keep => Ok(()),
        }
    }

    /// The form, of those that the target has, in which it can say a resize of a map `[B,C,H,W]`: the first that reads the same samples.
    pub fn resize_form(
        &self,
        map: &Shape,
        sampling: &Sampling,
        size: [usize; 2],
        scale: Option<[Real; 2]>,
    ) -> Option<Sampling> {
        let &[batch, _, Dim::Fixed(h), Dim::Fixed(w)] = &map.0[..] else { return None };
        let taps =
            |sampling: &Sampling, i: usize, scale: Option<f64>| resample::taps(sampling, [h, w][i], size[i], scale);
        let wanted = [0, 1].map(|i| taps(sampling, i, scale.map(|s| s[i].0)));
        let says = |form: &&Sampling| {
            (0..2).all(|i| resample::equal(&taps(form, i, None), &wanted[i], SAME_WEIGHT))
                && self.resizes(form, batch, [h, w], size)
        };
        self.sampling.iter().find(says).copied()
    }

    /// Whether a form of sampling stays what it is between these sizes.
    fn resizes(&self, form: &Sampling, batch: Dim, map: [usize; 2], size: [usize; 2]) -> bool {
        // ONNX: scales where f32 holds them, since TensorRT builds them best and they leave the batch alone; sizes else. Readers divide by a
        // rounded scale: at the edge of a nearest sample that takes the neighbour (14 to 2 in ONNX Runtime 1.31).
        let exact = |i: usize| {
            let scale = size[i] as f32 / map[i] as f32;
            f64::from(scale) * map[i] as f64 == size[i] as f64
        };
        match self.format {
            Format::Onnx { opset } | Format::TensorRt { opset } => {
                let between = !matches!(form.kernel, Kernel::Nearest(_)) && (batch.fixed().is_some() || opset >= 18);
                between || exact(0) && exact(1)
            }
            // One result: the middle of the map in some of ML programs' forms, undefined in others.
            Format::CoreMl { .. } => [Sampling::NEAREST, Sampling::LINEAR].contains(form) || !size.contains(&1),
            Format::CoreAi { .. } => true,
        }
    }

    fn is_apple(&self) -> bool {
        match self.format {
            Format::CoreMl { .. } | Format::CoreAi { .. } => true,
            Format::Onnx { .. } | Format::TensorRt { .. } => false,
        }
    }

    /// The name on the command line.
    pub fn name(&self) -> &'static str {
        match self.format {
            Format::Onnx { .. } => "onnx",
            Format::TensorRt { .. } => "tensorrt-onnx",
            Format::CoreMl { .. } => "coreml",
            Format::CoreAi { .. } => "coreai",
        }
    }

    /// The kernel that attention is fused into as it is spelled here.
    pub fn fusing(&self) -> Option<&FusedAttention> {
        self.fused_attention.as_ref().filter(|_| self.attention == AttentionForm::Fused)
    }

    /// Whether the format has an operator for attention: ML programs from iOS 18, Core AI, ONNX from opset 23.
    pub fn attention_operator(&self) -> bool {
        matches!(
            self.format,
            Format::CoreAi { .. }
                | Format::CoreMl { ios: 18.. }
                | Format::Onnx { opset: 23.. }
                | Format::TensorRt { opset: 23.. }
        )
    }

    /// Default element type of the target: Apple's Neural Engine computes in f16 only.
    pub fn default_precision(&self) -> DType {
        match self.format {
            Format::Onnx { .. } | Format::TensorRt { .. } => DType::F32,
            Format::CoreMl { .. } | Format::CoreAi { .. } => DType::F16,
        }
    }
}

/// Whether a node reads a pad with zeros.
fn is_padded(graph: &Graph, node: &Node) -> bool {
    let x = node.inputs.first().map(|&x| graph.op(graph.stored(x)));
    matches!(x, Some(Op::Pad { mode: PadMode::Constant(Real(0.0)), .. }))
}
