//! One small graph per operator and spelling: what the exporter is tested on, here and by the foreign readers.

use vitc_ir::op::{
    AttentionLayout, BinaryKind, DepthOrder, GridKernel, Outside, ReduceKind, Sampling, SliceAxis, UnaryKind,
};
use vitc_ir::testing::Rng;
use vitc_ir::{
    DType, Dim, Generator, Graph, Net, Op, Output, PadMode, Real, Shape, Stage, Stored, StoredType, Type, Value,
};
use vitc_ir::{WeightError, Weights};

/// Weights from a hash of key and place, in ±1.
pub(crate) struct Hashed;

impl Weights for Hashed {
    fn weight(&self, key: &str, elements: usize) -> Result<Stored<'_>, WeightError> {
        let mut state =
            key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let mut bytes = Vec::with_capacity(4 * elements);
        for _ in 0..elements {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bytes.extend_from_slice(&(((state >> 40) as f32) / 8_388_608.0 - 1.0).to_le_bytes());
        }
        Ok(Stored { dtype: StoredType::F32, bytes: bytes.into() })
    }
}

/// Which variant of the samples.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variant {
    /// Operator set.
    pub opset: u32,
    /// What the operators compute in; the interface is f32.
    pub dtype: DType,
    /// First dimension of the input.
    pub batch: Dim,
}

/// A graph under construction: input `image`, one operator under test, result `logits`.
struct Sample<'g> {
    net: Net<'g>,
    v: Variant,
}

impl Sample<'_> {
    fn weight(&mut self, name: &str, dims: &[usize]) -> Value {
        let w = self.net.weight(name, dims);
        self.cast(&format!("{name}.half"), w)
    }

    fn cast(&mut self, name: &str, x: Value) -> Value {
        if self.v.dtype == DType::F32 { x } else { self.net.push(name, Op::Cast { to: self.v.dtype }, &[x]) }
    }

    fn cast_back(&mut self, y: Value) -> Value {
        if self.net.ty(y).dtype == DType::F32 { y } else { self.net.push("widened", Op::Cast { to: DType::F32 }, &[y]) }
    }

    fn push(&mut self, op: Op, inputs: &[Value]) -> Value {
        self.net.push("op", op, inputs)
    }
}

/// A sample of a variant: what `build` makes of the input, as the result.
fn sample(v: Variant, name: &str, dims: &[usize], build: &dyn Fn(&mut Sample<'_>, Value) -> Value) -> (String, Graph) {
    let mut graph = Graph::new(name, Stage::Target);
    let mut s = Sample { net: Net::new(&mut graph), v };
    let image = s.net.input("image", Type::new(DType::F32, Shape::batched(v.batch, dims)));
    let x = s.cast("image.half", image);
    let y = build(&mut s, x);
    let y = s.cast_back(y);
    graph.outputs.push(Output { name: "logits".into(), value: y });
    (name.to_string(), graph)
}

/// All samples of a variant, by name.
pub(crate) fn samples(v: Variant) -> Vec<(String, Graph)> {
    let mut all = Vec::new();
    let mut add = |name: &str, dims: &[usize], build: &dyn Fn(&mut Sample<'_>, Value) -> Value| {
        all.push(sample(v, name, dims, build));
    };
    let map = [8, 6, 6];

    for kind in [
        UnaryKind::Relu,
        UnaryKind::Sigmoid,
        UnaryKind::Tanh,
        UnaryKind::Erf,
        UnaryKind::Exp,
        UnaryKind::Abs,
        UnaryKind::Neg,
        UnaryKind::Gelu,
    ] {
        if kind != UnaryKind::Gelu || v.opset >= 20 {
            add(Op::Unary(kind).word(), &map, &|s, x| s.push(Op::Unary(kind), &[x]));
        }
    }
    add("sqrt", &map, &|s, x| {
        let x = s.net.push("abs", Op::Unary(UnaryKind::Abs), &[x]);
        s.push(Op::Unary(UnaryKind::Sqrt), &[x])
    });
    for kind in [BinaryKind::Add, BinaryKind::Sub, BinaryKind::Mul, BinaryKind::Div, BinaryKind::Max, BinaryKind::Min] {
        add(Op::Binary(kind).word(), &map, &|s, x| {
            let w = s.weight("w", &[8, 1, 1]);
            let y = s.net.push("first", Op::Binary(kind), &[x, w]);
            s.push(Op::Binary(kind), &[w, y])
        });
    }
    for (name, lo, hi) in
        [("clip", -0.5, 0.75), ("clip_above", f64::NEG_INFINITY, 0.5), ("clip_below", 0.0, f64::INFINITY)]
    {
        add(name, &map, &|s, x| s.push(Op::Clip { lo: Real(lo), hi: Real(hi) }, &[x]));
    }
    add("prelu", &map, &|s, x| {
        let slope = s.weight("slope", &[8]);
        s.push(Op::Prelu, &[x, slope])
    });
    add("prelu_shared", &map, &|s, x| {
        let (slope, one) = (s.weight("slope", &[8]), s.weight("one", &[1]));
        let w = s.weight("kernel", &[8, 8, 1, 1]);
        let y = s.net.push("first", Op::Prelu, &[x, slope]);
        let y = s.net.push("second", Op::Prelu, &[y, one]);
        s.push(Op::Conv { stride: [1; 2], pad: [0; 4], dilation: [1; 2], groups: 1 }, &[y, w, slope])
    });
    add("conv", &map, &|s, x| {
        let (w, b) = (s.weight("weight", &[12, 4, 3, 2]), s.weight("bias", &[12]));
        s.push(Op::Conv { stride: [2, 1], pad: [1, 0, 2, 1], dilation: [1; 2], groups: 2 }, &[x, w, b])
    });
    add("conv_depthwise", &map, &|s, x| {
        let w = s.weight("weight", &[8, 1, 3, 3]);
        s.push(Op::Conv { stride: [1; 2], pad: [1; 4], dilation: [1; 2], groups: 8 }, &[x, w])
    });
    add("matmul", &[2, 5, 7], &|s, x| {
        let w = s.weight("weight", &[7, 3]);
        s.push(Op::MatMul { transpose_a: false, transpose_b: false }, &[x, w])
    });
    for (name, bias) in [("linear", true), ("linear_no_bias", false)] {
        add(name, &[7], &|s, x| {
            let mut inputs = vec![x, s.weight("weight", &[3, 7])];
            if bias {
                inputs.push(s.weight("bias", &[3]));
            }
            s.push(Op::Linear, &inputs)
        });
    }
    let eps = Real(1e-5);
    if v.opset >= 17 {
        add("layer_norm", &[5, 8], &|s, x| {
            let (g, b) = (s.weight("weight", &[8]), s.weight("bias", &[8]));
            s.push(Op::LayerNorm { axes: vec![2], eps }, &[x, g, b])
        });
        add("layer_norm_plain", &[5, 8], &|s, x| {
            let y = s.net.push("first", Op::LayerNorm { axes: vec![2], eps }, &[x]);
            s.push(Op::LayerNorm { axes: vec![1, 2], eps }, &[y])
        });
        add("layer_norm_two_axes", &[5, 8], &|s, x| {
            let (g, b) = (s.weight("weight", &[5, 8]), s.weight("bias", &[5, 8]));
            s.push(Op::LayerNorm { axes: vec![1, 2], eps }, &[x, g, b])
        });
    }
    for axis in if v.opset >= 13 { vec![1, 3] } else { vec![3] } {
        add(&format!("softmax_{axis}"), &map, &|s, x| s.push(Op::Softmax { axis }, &[x]));
    }
    for kind in [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max] {
        for keep in [false, true] {
            let op = Op::Reduce { kind, axes: vec![2, 3], keep };
            add(&format!("{}_{keep}", op.word()), &map, &|s, x| s.push(op.clone(), &[x]));
        }
    }
    add("avg_pool", &map, &|s, x| s.push(Op::AvgPool { kernel: [3; 2], stride: [2, 1], pad: [1, 1, 1, 1] }, &[x]));
    add("reshape", &map, &|s, x| {
        let windows = Shape::batched(v.batch.times(4), &[8, 9]);
        let y = s.net.push("windows", Op::Reshape { shape: windows }, &[x]);
        let y = s.net.push("act", Op::Unary(UnaryKind::Tanh), &[y]);
        s.push(Op::Reshape { shape: Shape::batched(v.batch, &[8, 36]) }, &[y])
    });
    add("transpose", &map, &|s, x| {
        let y = s.net.push("sequence_first", Op::Transpose { perm: vec![2, 0, 3, 1] }, &[x]);
        let y = s.net.push("act", Op::Unary(UnaryKind::Tanh), &[y]);
        s.push(Op::Transpose { perm: vec![1, 0, 2, 3] }, &[y])
    });
    add("sum", &map, &|s, x| {
        let y = s.net.push("act", Op::Unary(UnaryKind::Tanh), &[x]);
        let c = s.weight("c", &[8, 1, 1]);
        s.push(Op::Sum, &[x, y, c, x])
    });
    add("concat", &map, &|s, x| {
        let y = s.net.push("act", Op::Unary(UnaryKind::Tanh), &[x]);
        s.push(Op::Concat { axis: 1 }, &[x, y, x])
    });
    add("split", &map, &|s, x| {
        let parts = s.net.split("parts", x, 1, &[5, 2, 1]);
        s.push(Op::Concat { axis: 1 }, &[parts[2], parts[0], parts[1]])
    });
    for step in [1, 2] {
        let cut = |axis, start, stop| SliceAxis { axis, start, stop, step };
        let op = Op::Slice { cuts: vec![cut(2, 1, 6), cut(3, 0, 5)] };
        add(&format!("slice_{step}"), &map, &|s, x| s.push(op.clone(), &[x]));
    }
    add("pad", &map, &|s, x| {
        s.push(Op::Pad { before: vec![0, 0, 1, 2], after: vec![0, 3, 0, 1], mode: PadMode::ZERO }, &[x])
    });
    add("gather", &map, &|s, x| {
        let grid = Generator::RelativeIndex {
            query: [2, 2],
            key: [2, 2],
            step: [1, 1],
            order: vitc_ir::op::OffsetOrder::Absolute,
        };
        let index = s.net.generate("index", grid, Type::new(DType::I32, Shape::fixed(&[4, 4])));
        s.push(Op::Gather { axis: 2 }, &[x, index])
    });
    add("identity", &map, &|_, x| x);
    add("scalars", &map, &|s, x| {
        // Three constants, two of them 0.5 of one type: one initializer.
        let half = s.net.scalar_of(0.5, v.dtype);
        let y = s.net.push("scaled", Op::Binary(BinaryKind::Mul), &[x, half]);
        s.push(Op::Clip { lo: Real(-0.25), hi: Real(0.5) }, &[y])
    });
    for (name, sampling, size) in [
        ("resize_twice", Sampling::LINEAR, [12, 12]),
        ("resize_half", Sampling::LINEAR, [3, 9]),
        ("resize_odd", Sampling::LINEAR, [7, 13]),
        ("resize_nearest_twice", Sampling::NEAREST, [12, 18]),
        ("resize_nearest_half", Sampling::NEAREST, [3, 6]),
    ] {
        let exact = size.iter().all(|&s| matches!(s, 3 | 6 | 9 | 12 | 18));
        if exact || v.opset >= 18 || v.batch.fixed().is_some() {
            add(name, &map, &|s, x| s.push(Op::Resize { sampling, size, scale: None }, &[x]));
        }
    }
    if let Dim::Fixed(n) = v.batch {
        add("expand", &[8, 1, 6], &|s, x| s.push(Op::Expand { shape: Shape::fixed(&[n, 8, 5, 6]) }, &[x]));
    }
    if v.opset >= 23 {
        for (name, bias) in [("attention", None), ("attention_bias", Some(3)), ("attention_one_bias", Some(1))] {
            add(name, &[3, 5, 8], &|s, x| {
                // Other keys than queries, and values of another width.
                let k = s.net.unary("k", UnaryKind::Tanh, x);
                let k = s.net.push("k.more", Op::Concat { axis: 2 }, &[k, x]);
                let v = s.net.slice("v", k, 3, 1..7);
                let mut inputs = vec![x, k, v];
                inputs.extend(bias.map(|heads| s.weight("bias", &[heads, 5, 10])));
                let (scale, layout) = (Real(8f64.powf(-0.5)), AttentionLayout::Heads);
                s.push(Op::Attention { heads: 3, scale, layout, bias: bias.is_some(), talking: false }, &inputs)
            });
        }
    }
    all
}

/// Operators of dense models, by name.
pub(crate) fn dense(v: Variant) -> Vec<(String, Graph)> {
    let mut all = Vec::new();
    let mut add = |name: &str, dims: &[usize], build: &dyn Fn(&mut Sample<'_>, Value) -> Value| {
        all.push(sample(v, name, dims, build));
    };
    let map = [8, 6, 6];
    for kind in [
        UnaryKind::Sin,
        UnaryKind::Cos,
        UnaryKind::Round,
        UnaryKind::Sign,
        UnaryKind::Softplus,
        UnaryKind::Elu { alpha: Real(0.75) },
        UnaryKind::LeakyRelu { slope: Real(0.125) },
        UnaryKind::HardSigmoid { alpha: Real(0.25), beta: Real(0.5) },
    ] {
        add(Op::Unary(kind).word(), &map, &|s, x| s.push(Op::Unary(kind), &[x]));
    }
    for kind in [UnaryKind::Floor, UnaryKind::Ceil] {
        add(Op::Unary(kind).word(), &map, &|s, x| {
            // Away from whole numbers: readers round what is nearly 1 in another order.
            let factor = s.net.scalar_of(0.875, v.dtype);
            let x = s.net.push("inside", Op::Binary(BinaryKind::Mul), &[x, factor]);
            s.push(Op::Unary(kind), &[x])
        });
    }
    if v.opset >= 14 {
        add("hard_swish", &map, &|s, x| s.push(Op::Unary(UnaryKind::HardSwish), &[x]));
    }
    if v.opset >= 20 {
        add("gelu_tanh", &map, &|s, x| s.push(Op::Unary(UnaryKind::GeluTanh), &[x]));
    }
    add("log", &map, &|s, x| {
        let x = s.net.push("exp", Op::Unary(UnaryKind::Exp), &[x]);
        s.push(Op::Unary(UnaryKind::Log), &[x])
    });
    add("pow", &map, &|s, x| {
        let x = s.net.push("exp", Op::Unary(UnaryKind::Exp), &[x]);
        let w = s.weight("w", &[8, 1, 1]);
        s.push(Op::Binary(BinaryKind::Pow), &[x, w])
    });
    add("conv_dilated", &map, &|s, x| {
        let (w, b) = (s.weight("weight", &[12, 4, 3, 2]), s.weight("bias", &[12]));
        s.push(Op::Conv { stride: [1, 2], pad: [2, 0, 1, 3], dilation: [2, 3], groups: 2 }, &[x, w, b])
    });
    add("conv_transpose", &map, &|s, x| {
        let (w, b) = (s.weight("weight", &[8, 3, 3, 2]), s.weight("bias", &[6]));
        let (stride, dilation) = ([2, 1], [1, 2]);
        s.push(Op::ConvTranspose { stride, pad: [0; 4], output_pad: [0; 2], dilation, groups: 2 }, &[x, w, b])
    });
    add("max_pool", &map, &|s, x| {
        s.push(Op::MaxPool { kernel: [3, 2], stride: [2, 1], pad: [1, 0, 2, 1], dilation: [1; 2] }, &[x])
    });
    for keep in [false, true] {
        add(&format!("argmax_{keep}"), &map, &|s, x| {
            let y = s.push(Op::ArgMax { axis: 1, keep }, &[x]);
            s.net.push("number", Op::Cast { to: DType::F32 }, &[y])
        });
    }
    add("select", &map, &|s, x| {
        let up = s.net.push("up", Op::Unary(UnaryKind::Relu), &[x]);
        let condition = s.net.push("condition", Op::Cast { to: DType::Bool }, &[up]);
        let other = s.weight("other", &[8, 1, 1]);
        s.push(Op::Select, &[condition, x, other])
    });
    for largest in [true, false] {
        add(&format!("top_k_{largest}"), &map, &|s, x| s.push(Op::TopK { axis: 2, k: 3, largest }, &[x]));
    }
    add("quotient", &map, &|s, x| {
        let place = s.push(Op::ArgMax { axis: 1, keep: true }, &[x]);
        let three = s.net.scalar_of(3.0, DType::I32);
        let third = s.net.push("third", Op::Binary(BinaryKind::Quotient), &[place, three]);
        s.net.push("number", Op::Cast { to: DType::F32 }, &[third])
    });
    add("top_k_whole", &map, &|s, x| {
        let scaled = s.net.push("whole", Op::Cast { to: DType::I32 }, &[x]);
        let most = s.push(Op::TopK { axis: 2, k: 3, largest: true }, &[scaled]);
        s.net.push("number", Op::Cast { to: DType::F32 }, &[most])
    });
    add("gather_at_places", &map, &|s, x| {
        let place = s.push(Op::ArgMax { axis: 1, keep: false }, &[x]);
        let table = s.weight("table", &[8, 4]);
        s.push(Op::Gather { axis: 0 }, &[table, place])
    });
    for kind in [ReduceKind::Min, ReduceKind::Prod, ReduceKind::L2] {
        let op = Op::Reduce { kind, axes: vec![3], keep: true };
        add(op.word(), &map, &|s, x| s.push(op.clone(), &[x]));
    }
    for (name, mode) in
        [("pad_value", PadMode::Constant(Real(-0.5))), ("pad_reflect", PadMode::Reflect), ("pad_edge", PadMode::Edge)]
    {
        add(name, &map, &|s, x| s.push(Op::Pad { before: vec![0, 0, 1, 2], after: vec![0, 0, 3, 1], mode }, &[x]));
    }
    for (name, order) in [("depth_to_space_crd", DepthOrder::Crd), ("depth_to_space_dcr", DepthOrder::Dcr)] {
        add(name, &map, &|s, x| s.push(Op::DepthToSpace { block: 2, order }, &[x]));
    }
    add("space_to_depth", &map, &|s, x| s.push(Op::SpaceToDepth { block: 3 }, &[x]));
    add("batch_norm", &map, &|s, x| {
        let [scale, shift, mean] = ["scale", "shift", "mean"].map(|name| s.weight(name, &[8]));
        let var = s.weight("var", &[8]);
        let var = s.net.push("var.size", Op::Unary(UnaryKind::Abs), &[var]);
        s.push(Op::BatchNorm { eps: Real(0.0009765625) }, &[x, scale, shift, mean, var])
    });
    for (name, outside, corners) in
        [("zeros", Outside::Zeros, false), ("border", Outside::Border, true), ("mirror", Outside::Mirror, false)]
    {
        add(&format!("grid_sample_{name}"), &map, &|s, x| {
            if s.v.opset < 16 {
                return s.push(Op::Unary(UnaryKind::Tanh), &[x]);
            }
            let pair = s.net.slice("pair", x, 1, 0..2);
            let grid = s.net.transpose("places", pair, &[0, 2, 3, 1]);
            let half = s.v.dtype == DType::F16;
            let grid = if half { s.net.push("single", Op::Cast { to: DType::F32 }, &[grid]) } else { grid };
            s.push(Op::GridSample { kernel: GridKernel::Linear, outside, corners }, &[x, grid])
        });
    }
    for (name, sampling, size) in [
        ("resize_corners", Sampling::LINEAR_CORNERS, [12, 9]),
        ("resize_asymmetric", Sampling::LINEAR_ASYMMETRIC, [9, 3]),
    ] {
        add(name, &map, &|s, x| s.push(Op::Resize { sampling, size, scale: None }, &[x]));
    }
    all
}

/// A random chain of operators with residuals on a map, of a variant; the seed decides everything.
pub(crate) fn random(v: Variant, seed: u64) -> Graph {
    let rng = &mut Rng::new(seed);
    let mut graph = Graph::new(format!("random-{seed}"), Stage::Target);
    let mut s = Sample { net: Net::new(&mut graph), v };
    let channels = 2 * rng.range(1, 3);
    let dims = [channels, rng.range(4, 9), rng.range(4, 9)];
    let image = s.net.input("image", Type::new(DType::F32, Shape::batched(v.batch, &dims)));
    let mut x = s.cast("image.half", image);
    for i in 0..rng.range(3, 9) {
        let mut s = Sample { net: s.net.at(format!("blocks.{i}")), v };
        let y = step(&mut s, rng, x);
        x = if s.net.ty(y) == s.net.ty(x) && rng.chance(50) { s.net.add(x, y) } else { y };
    }
    let y = s.cast_back(x);
    graph.outputs.push(Output { name: "logits".into(), value: y });
    graph
}

/// One random operator, or two that belong together.
fn step(s: &mut Sample<'_>, rng: &mut Rng, x: Value) -> Value {
    let batch = s.net.batch(x);
    let [c, h, w] = [1, 2, 3].map(|axis| s.net.dim(x, axis));
    match rng.below(13) {
        0 => {
            let groups = rng.pick(&[1, 2]);
            let (k, out) = (rng.range(1, 3), 2 * rng.range(1, 3));
            let weight = s.weight("weight", &[out, c / groups, k, k]);
            let bias = s.weight("bias", &[out]);
            let pad = [rng.below(2), rng.below(2), k - 1, k - 1];
            s.push(Op::Conv { stride: [1; 2], pad, dilation: [1; 2], groups }, &[x, weight, bias])
        }
        1 => {
            let kind =
                rng.pick(&[UnaryKind::Relu, UnaryKind::Sigmoid, UnaryKind::Tanh, UnaryKind::Erf, UnaryKind::Neg]);
            s.push(Op::Unary(kind), &[x])
        }
        2 => {
            let dims = rng.pick(&[[1, 1, 1], [c, 1, 1], [1, h, w], [c, h, w]]);
            let weight = s.weight("weight", &dims);
            s.push(Op::Binary(rng.pick(&[BinaryKind::Add, BinaryKind::Mul, BinaryKind::Max])), &[weight, x])
        }
        3 => s.push(Op::Clip { lo: Real(0.0), hi: Real(rng.pick(&[1.0, 6.0])) }, &[x]),
        4 => {
            let slope = s.weight("slope", &[c]);
            s.push(Op::Prelu, &[x, slope])
        }
        5 => {
            let axis = if s.v.opset >= 13 { rng.range(1, 3) } else { 3 };
            s.push(Op::Softmax { axis }, &[x])
        }
        6 => {
            let kind = rng.pick(&[ReduceKind::Mean, ReduceKind::Max, ReduceKind::Sum]);
            let gate = s.net.push("pooled", Op::Reduce { kind, axes: vec![rng.range(2, 3)], keep: true }, &[x]);
            let gate = s.net.push("gate", Op::Unary(UnaryKind::Tanh), &[gate]);
            s.push(Op::Binary(BinaryKind::Mul), &[x, gate])
        }
        7 => s.push(Op::AvgPool { kernel: [3; 2], stride: [1; 2], pad: [1; 4] }, &[x]),
        8 => s.push(Op::Transpose { perm: vec![0, 1, 3, 2] }, &[x]),
        9 => {
            let cut = rng.range(1, c - 1);
            let parts = s.net.split("parts", x, 1, &[cut, c - cut]);
            s.push(Op::Concat { axis: 1 }, &[parts[1], parts[0]])
        }
        10 => {
            let grown = Op::Pad { before: vec![0, 0, 1, 0], after: vec![0, 0, 1, 2], mode: PadMode::ZERO };
            let y = s.net.push("grown", grown, &[x]);
            let cut = SliceAxis { axis: 3, start: 1, stop: w + 1, step: 1 };
            s.push(Op::Slice { cuts: vec![cut] }, &[y])
        }
        11 => {
            let halves = Shape::batched(batch.times(2), &[c / 2, h * w]);
            let y = s.net.push("halves", Op::Reshape { shape: halves }, &[x]);
            let (g, b) = (s.weight("weight", &[h * w]), s.weight("bias", &[h * w]));
            let y = match s.v.opset {
                17.. => s.net.push("norm", Op::LayerNorm { axes: vec![2], eps: Real(1e-5) }, &[y, g, b]),
                _ => s.net.push("scaled", Op::Binary(BinaryKind::Mul), &[y, g]),
            };
            s.push(Op::Reshape { shape: Shape::batched(batch, &[c, h, w]) }, &[y])
        }
        _ => {
            let weight = s.weight("weight", &[w, w]);
            s.push(Op::MatMul { transpose_a: false, transpose_b: false }, &[x, weight])
        }
    }
}
