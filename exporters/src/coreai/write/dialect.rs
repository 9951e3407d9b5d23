//! The dialect `aicode`: the operations that are written, and since when the dialect has them.

/// Name of the dialect.
pub(super) const NAME: &str = "aicode";

/// Version of its encodings.
pub(super) const ENCODING: u64 = 2;

/// The first version of assets.
pub(super) const FIRST_ASSET: u32 = 20250707;

macro_rules! operations {
    ($($name:ident = $text:literal since $date:literal),* $(,)?) => {
        /// An operation of the dialect.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(super) enum OperationName { $($name),* }

        impl OperationName {
            /// Its name in a file, without the dialect.
            pub(super) fn text(self) -> &'static str {
                match self { $(OperationName::$name => $text),* }
            }

            /// The asset version that introduced it, a date.
            pub(super) fn since(self) -> u32 {
                match self { $(OperationName::$name => $date),* }
            }
        }
    };
}

operations! {
    Asset = "serialization.asset" since 20250707,
    Graph = "dataflow.graph_v1" since 20250707,
    Output = "dataflow.output_v1" since 20250707,
    Yield = "dataflow.yield_v1" since 20250707,
    Invoke = "dataflow.invoke_v1" since 20250707,
    Constant = "primitive.constant_v1" since 20250707,
    Abs = "primitive.abs_v1" since 20250814,
    Add = "primitive.add_v1" since 20250707,
    Sub = "primitive.sub_v1" since 20250717,
    Mul = "primitive.mul_v1" since 20250717,
    Divide = "primitive.divide_v1" since 20250717,
    FloorDivide = "primitive.floor_divide_v1" since 20260204,
    Maximum = "primitive.maximum_v1" since 20250928,
    Minimum = "primitive.minimum_v1" since 20250928,
    Exp = "primitive.exp_v1" since 20250819,
    Sqrt = "primitive.sqrt_v1" since 20250717,
    Rsqrt = "primitive.rsqrt_v1" since 20250928,
    Erf = "primitive.erf_v1" since 20250928,
    Tanh = "primitive.tanh_v1" since 20250928,
    Gelu = "primitive.gelu_v1" since 20251024,
    Relu = "relu_v1" since 20260204,
    Sigmoid = "sigmoid_v1" since 20260204,
    Log = "primitive.log_v1" since 20250928,
    Sin = "primitive.sin_v1" since 20250928,
    Cos = "primitive.cos_v1" since 20250928,
    Equal = "primitive.equal_v1" since 20250923,
    Where = "primitive.where_v1" since 20251023,
    Round = "primitive.round_v1" since 20251001,
    Pow = "primitive.pow_v1" since 20250928,
    BroadcastingPow = "broadcasting_pow_v1" since 20260204,
    Cast = "primitive.cast_v1" since 20250723,
    BroadcastingAdd = "broadcasting_add_v1" since 20260204,
    BroadcastingSub = "broadcasting_sub_v1" since 20260204,
    BroadcastingMul = "broadcasting_mul_v1" since 20260204,
    BroadcastingDivide = "broadcasting_divide_v1" since 20260204,
    BroadcastingFloorDivide = "broadcasting_floor_divide_v1" since 20260204,
    BroadcastingMaximum = "broadcasting_maximum_v1" since 20260204,
    BroadcastingMinimum = "broadcasting_minimum_v1" since 20260204,
    BroadcastingWhere = "broadcasting_where_v1" since 20251024,
    Conv2d = "primitive.conv2d_v1" since 20250905,
    ConvTranspose2d = "primitive.conv_transpose2d_v1" since 20251031,
    Pad = "primitive.pad_v1" since 20250924,
    BatchMatmul = "primitive.batch_matmul_v1" since 20250723,
    BroadcastingBatchMatmul = "broadcasting_batch_matmul_v1" since 20251202,
    Softmax = "softmax_v1" since 20260204,
    Reduce = "primitive.reduce_v1" since 20250926,
    ReduceSum = "reduce_sum_v1" since 20250926,
    ReduceMin = "reduce_min_v1" since 20251023,
    ReduceProduct = "reduce_product_v1" since 20250926,
    MaxPool2d = "primitive.max_pool_2d_v1" since 20251023,
    ReduceMax = "reduce_max_v1" since 20251023,
    ReduceMean = "reduce_mean_v1" since 20260317,
    ArgMax = "argmax_v1" since 20251028,
    SumPool2d = "primitive.sum_pool_2d_v1" since 20251017,
    Reshape = "primitive.reshape_v2" since 20260204,
    Transpose = "primitive.transpose_v1" since 20250811,
    Slice = "primitive.slice_v1" since 20250922,
    Split = "primitive.split_v1" since 20250904,
    Concat = "primitive.concat_v1" since 20250903,
    BroadcastInDims = "primitive.broadcast_in_dims_v1" since 20250826,
    GetShape = "primitive.get_shape_v2" since 20260204,
    GatherNd = "primitive.gather_nd_v1" since 20250723,
    GatherAlongAxis = "primitive.gather_along_axis_v1" since 20251028,
    ArgSort = "primitive.argsort_v1" since 20251028,
    BlockwiseShiftScale = "primitive.blockwise_shift_scale_v2" since 20260202,
    LutToDense = "primitive.lut_to_dense_v1" since 20251003,
    Quantize = "quantize_v2" since 20260204,
    Dequantize = "dequantize_v2" since 20260204,
    Interpolate = "primitive.interpolate_v1" since 20260127,
    ImageToTensor = "primitive.image_to_tensor_v1" since 20251114,
}

/// Numbers by which an attribute or a type says what it is.
pub(super) mod kind {
    pub(in super::super) const STRING: u64 = 1;
    pub(in super::super) const INTEGER: u64 = 2;
    pub(in super::super) const FLOAT: u64 = 3;
    pub(in super::super) const TYPE: u64 = 4;
    pub(in super::super) const ARRAY: u64 = 5;
    pub(in super::super) const DENSE_ELEMENTS: u64 = 6;
    pub(in super::super) const DENSE_RESOURCE: u64 = 7;
    pub(in super::super) const NAMED: u64 = 9;
    pub(in super::super) const SYMBOL: u64 = 14;
    pub(in super::super) const PARAMETER: u64 = 16;
    pub(in super::super) const PADDING_MODE: u64 = 17;
    pub(in super::super) const APPROXIMATION: u64 = 19;
    pub(in super::super) const PIXEL_FORMAT: u64 = 27;
    pub(in super::super) const FILE: u64 = 30;
    pub(in super::super) const SOURCE: u64 = 31;
    pub(in super::super) const LOCATION: u64 = 40;
    pub(in super::super) const INTERPOLATION: u64 = 43;
    pub(in super::super) const DICTIONARY: u64 = 45;
    pub(in super::super) const UNIT: u64 = 46;

    pub(in super::super) const TENSOR_TYPE: u64 = 2;
    pub(in super::super) const FUNCTION_TYPE: u64 = 30;
    pub(in super::super) const SYMBOL_TYPE: u64 = 33;
    pub(in super::super) const IMAGE_TYPE: u64 = 39;
}
