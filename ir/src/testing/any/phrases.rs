//! Proposals of several operators at once: what single passes look for, in any size, which single proposals would seldom make.

use super::Maker;
use crate::id::Value;
use crate::op::{AttentionLayout, BinaryKind, Op, PadMode, ReduceKind, Sampling, UnaryKind};
use crate::real::Real;
use crate::ty::{DType, Dim, Shape, Type};

impl Maker {
    /// One of the phrases, on whatever is there.
    pub(super) fn phrase(&mut self) -> Option<Value> {
        match self.rng.below(19) {
            0 => self.summands(),
            1 => self.two_layers(),
            2 => self.mean_of_layer(),
            3 => self.towers(),
            4 => self.joined_twice(),
            5 => self.projected(),
            6..9 => self.rows_between_views(),
            9 => super::spelled::attention(self),
            10 => self.talking_heads(),
            11 => self.layer_on_rows(),
            12 => self.quotient_of_sums(),
            13 => self.enlarged_summands(),
            14 => self.length(),
            15 => self.padded_pool(),
            16 => self.channels_last(),
            _ => self.moved_windows(),
        }
    }

    /// `view(f(W·view(x) + b))`: a layer on the matrix of all tokens' channels.
    fn layer_on_rows(&mut self) -> Option<Value> {
        let x = self.tokens()?;
        let shape = self.graph.shape(x).clone();
        let (n, c, out) = (shape.dim(1), shape.dim(2), self.size());
        let y = self.push(Op::Reshape { shape: Shape::batched(shape.0[0].times(n), &[c]) }, &[x])?;
        let y = self.layer(y, out)?;
        let axis = self.rng.below(2);
        let op = if self.rng.chance(50) { Op::Unary(UnaryKind::Gelu) } else { Op::Softmax { axis } };
        let y = self.push(op, &[y])?;
        let last = if self.rng.chance(50) { vec![n, out] } else { vec![n * out] };
        self.push(Op::Reshape { shape: Shape::batched(shape.0[0], &last) }, &[y])
    }

    /// Windows and their positions change places, and are read with others.
    fn moved_windows(&mut self) -> Option<Value> {
        let x = self.map()?;
        let shape = self.graph.shape(x).clone();
        let [c, h, w] = [1, 2, 3].map(|axis| shape.dim(axis));
        let window = [self.divisor(h), self.divisor(w)];
        let x = self.push(Op::WindowPartition { window }, &[x])?;
        let n = window[0] * window[1];
        let sets = h * w / n;
        let y = self.push(Op::Reshape { shape: Shape::batched(shape.0[0], &[sets, n, c]) }, &[x])?;
        let y = self.push(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[y])?;
        let moved = Shape::batched(shape.0[0].times(n), &[sets, c]);
        let y = self.push(Op::Reshape { shape: moved.clone() }, &[y])?;
        let y = if self.rng.chance(50) { self.push(Op::Unary(UnaryKind::Relu), &[y])? } else { y };
        match self.of(&moved, DType::F32) {
            Some(other) => self.push(Op::Concat { axis: 1 }, &[y, other]),
            None => Some(y),
        }
    }

    /// `√(Σ x·x)` along one axis.
    fn length(&mut self) -> Option<Value> {
        let x = self.value()?;
        let axis = self.rng.below(self.graph.shape(x).rank().max(1));
        let keep = self.rng.chance(50);
        let squares = self.push(Op::Binary(BinaryKind::Mul), &[x, x])?;
        let sum = self.push(Op::Reduce { kind: ReduceKind::Sum, axes: vec![axis], keep }, &[squares])?;
        self.push(Op::Unary(UnaryKind::Sqrt), &[sum])
    }

    /// Elementwise operators and a border on a map whose channels are last, between transpositions.
    fn channels_last(&mut self) -> Option<Value> {
        let x = self.map()?;
        let channels = self.graph.shape(x).dim(1);
        let x = self.push(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[x])?;
        let bias = self.constant(&[channels])?;
        let mut y = self.push(Op::Binary(BinaryKind::Add), &[x, bias])?;
        if self.rng.chance(50) {
            let [before, after] = [(); 2].map(|()| vec![0, self.rng.below(2), self.rng.below(2), self.rng.below(2)]);
            y = self.push(Op::Pad { before, after, mode: PadMode::ZERO }, &[y])?;
        }
        if self.rng.chance(50) {
            let (axes, keep) = (vec![1, 2], self.rng.chance(50));
            self.push(Op::Reduce { kind: ReduceKind::Mean, axes, keep }, &[y])?;
        }
        self.push(Op::Transpose { perm: vec![0, 3, 1, 2] }, &[y])
    }

    /// The largest of windows on a map with zeros around it.
    fn padded_pool(&mut self) -> Option<Value> {
        let x = self.map()?;
        let [top, left, bottom, right] = [(); 4].map(|()| self.rng.below(3));
        let (before, after) = (vec![0, 0, top, left], vec![0, 0, bottom, right]);
        let x = self.push(Op::Pad { before, after, mode: PadMode::ZERO }, &[x])?;
        let stride = [self.rng.range(1, 2); 2];
        self.push(Op::MaxPool { kernel: [2; 2], stride, pad: [1; 4], dilation: [1; 2] }, &[x])
    }

    /// `enlarge(x) + enlarge(y)`.
    fn enlarged_summands(&mut self) -> Option<Value> {
        let x = self.map()?;
        let shape = self.graph.shape(x).clone();
        let y = self.push(Op::Unary(UnaryKind::Relu), &[x])?;
        let size = [2, 3].map(|axis| 2 * shape.dim(axis));
        let enlarge = Op::Resize { sampling: Sampling::LINEAR, size, scale: None };
        let [x, y] = [self.push(enlarge.clone(), &[x])?, self.push(enlarge, &[y])?];
        self.push(Op::Binary(BinaryKind::Add), &[x, y])
    }

    /// `(r + (x + a)) + c`.
    fn summands(&mut self) -> Option<Value> {
        let x = self.value()?;
        let shape = self.graph.shape(x).clone();
        let dims: Vec<usize> = shape.0.iter().map(|d| d.fixed().unwrap_or(1)).collect();
        let r = self.of(&shape, DType::F32)?;
        let part = dims[self.rng.below(dims.len() + 1)..].to_vec();
        let [a, c] = [self.constant(&part)?, self.constant(&dims)?];
        let y = self.push(Op::Binary(BinaryKind::Add), &[x, a])?;
        let y = self.push(Op::Binary(BinaryKind::Add), &[r, y])?;
        self.push(Op::Binary(BinaryKind::Add), &[y, c])
    }

    /// Tokens `[batch,N,C]` of f32.
    pub(super) fn tokens(&mut self) -> Option<Value> {
        let x = self.map()?;
        let shape = self.graph.shape(x).clone();
        let [c, n] = [shape.dim(1), shape.dim(2) * shape.dim(3)];
        let y = self.push(Op::Reshape { shape: Shape::batched(shape.0[0], &[c, n]) }, &[x])?;
        if self.rng.chance(50) { self.push(Op::Transpose { perm: vec![0, 2, 1] }, &[y]) } else { Some(y) }
    }

    /// `W·x + b` on the last axis, with weights of their own.
    pub(super) fn layer(&mut self, x: Value, out: usize) -> Option<Value> {
        let inner = self.graph.shape(x).0.last()?.fixed()?;
        let inputs = [x, self.weight(&[out, inner], "")?, self.weight(&[out], "")?];
        self.push(Op::Linear, &inputs)
    }

    /// `W₂·f(W₁·x + b₁) + b₂`.
    fn two_layers(&mut self) -> Option<Value> {
        let x = self.tokens()?;
        let (wide, out) = (self.size(), self.size());
        let y = self.layer(x, wide)?;
        let kind = self.rng.pick(&[UnaryKind::Gelu, UnaryKind::Relu]);
        let y = self.push(Op::Unary(kind), &[y])?;
        self.layer(y, out)
    }

    /// `mean(r + (W·x + b))` over positions.
    fn mean_of_layer(&mut self) -> Option<Value> {
        let x = self.tokens()?;
        let out = self.size();
        let y = self.layer(x, out)?;
        let shape = self.graph.shape(y).clone();
        let r = self.of(&shape, DType::F32)?;
        let y = self.push(Op::Binary(BinaryKind::Add), &[r, y])?;
        self.push(Op::Reduce { kind: ReduceKind::Mean, axes: vec![1], keep: false }, &[y])
    }

    /// `view(A·view(x))`: rows of a map, as a transform of the smaller axis leaves them.
    fn rows_between_views(&mut self) -> Option<Value> {
        let x = self.map()?;
        let shape = self.graph.shape(x).clone();
        let [c, h, w] = [1, 2, 3].map(|axis| shape.dim(axis));
        let rows = self.size();
        let x = self.push(Op::Reshape { shape: Shape::batched(shape.0[0], &[c, w, h]) }, &[x])?;
        let a = self.weight(&[rows, w], "")?;
        let y = self.push(Op::MatMul { transpose_a: false, transpose_b: false }, &[a, x])?;
        self.push(Op::Reshape { shape: Shape::batched(shape.0[0], &[c * rows, h]) }, &[y])
    }

    /// A depthwise convolution that keeps the map.
    fn depthwise(&mut self, x: Value, side: usize) -> Option<Value> {
        let c = self.graph.shape(x).0.get(1)?.fixed()?;
        let inputs = [x, self.weight(&[c, 1, side, side], "")?, self.weight(&[c], "")?];
        self.push(Op::Conv { stride: [1; 2], pad: [side / 2; 4], dilation: [1; 2], groups: c }, &inputs)
    }

    /// Equal chains on the parts of a split.
    fn towers(&mut self) -> Option<Value> {
        let x = self.map()?;
        let part = self.rng.range(1, 3);
        let n = self.rng.range(2, 3);
        let x = self.widened(x, part * n)?;
        let split = self.push(Op::Split { axis: 1, sizes: vec![part; n] }, &[x])?;
        let kind = self.rng.pick(&[UnaryKind::Relu, UnaryKind::Sigmoid]);
        let length = self.rng.range(1, 2);
        let mut ends = Vec::new();
        for index in 0..n as u32 {
            let mut y = Value { index, ..split };
            for _ in 0..length {
                y = self.depthwise(y, 3)?;
                y = self.push(Op::Unary(kind), &[y])?;
            }
            ends.push(y);
        }
        self.push(Op::Concat { axis: 1 }, &ends)
    }

    /// A map with this many channels.
    fn widened(&mut self, x: Value, out: usize) -> Option<Value> {
        let c = self.graph.shape(x).dim(1);
        let inputs = [x, self.weight(&[out, c, 1, 1], "")?, self.weight(&[out], "")?];
        self.push(Op::Conv { stride: [1; 2], pad: [0; 4], dilation: [1; 2], groups: 1 }, &inputs)
    }

    /// `[a ; dw([b ; c])]`.
    fn joined_twice(&mut self) -> Option<Value> {
        let x = self.map()?;
        let [a, b, c] = [self.widened(x, 1)?, self.widened(x, 2)?, self.widened(x, 1)?];
        let inner = self.push(Op::Concat { axis: 1 }, &[b, c])?;
        let inner = self.depthwise(inner, 3)?;
        self.push(Op::Concat { axis: 1 }, &[a, inner])
    }

    /// Attention on three parts of one projection or on three projections, and a layer behind it, at once or behind a function.
    fn projected(&mut self) -> Option<Value> {
        let x = self.tokens()?;
        let (heads, d, out) = (self.rng.range(1, 3), self.rng.range(1, 5), self.size());
        let parts = if self.rng.chance(50) {
            let y = self.layer(x, 3 * heads * d)?;
            let q = self.push(Op::Split { axis: 2, sizes: vec![heads * d; 3] }, &[y])?;
            [0, 1, 2].map(|index| Value { index, ..q })
        } else {
            let values = if self.rng.chance(50) { d } else { self.rng.range(1, 5) };
            [self.layer(x, heads * d)?, self.layer(x, heads * d)?, self.layer(x, heads * values)?]
        };
        let op =
            Op::Attention { heads, scale: 0.5.into(), layout: AttentionLayout::Tokens, bias: false, talking: false };
        let mut y = self.push(op, &parts)?;
        if self.rng.chance(30) {
            let kind = self.rng.pick(&[UnaryKind::HardSwish, UnaryKind::Exp, UnaryKind::Relu]);
            y = self.push(Op::Unary(kind), &[y])?;
        }
        self.layer(y, out)
    }

    /// Attention without a softmax: `q·(kᵀ·v) / (q·Σk + e)`, the denominator a product of its own or one more column of the values.
    fn quotient_of_sums(&mut self) -> Option<Value> {
        let x = self.tokens()?;
        let rank = self.graph.shape(x).rank();
        let (d, width) = (self.rng.range(1, 4), self.rng.range(1, 4));
        let [mut q, mut k] = [self.layer(x, d)?, self.layer(x, d)?];
        if self.rng.chance(70) {
            q = self.push(Op::Unary(UnaryKind::Relu), &[q])?;
            k = self.push(Op::Unary(UnaryKind::Relu), &[k])?;
        }
        let v = self.layer(x, width)?;
        let product = |transpose_a, transpose_b| Op::MatMul { transpose_a, transpose_b };
        let [above, below] = if self.rng.chance(50) {
            let (before, mut after) = (vec![0; rank], vec![0; rank]);
            after[rank - 1] = 1;
            let wide = self.push(Op::Pad { before, after, mode: PadMode::Constant(Real(1.0)) }, &[v])?;
            let inner = self.push(product(true, false), &[k, wide])?;
            let both = self.push(product(false, false), &[q, inner])?;
            let parts = self.push(Op::Split { axis: rank - 1, sizes: vec![width, 1] }, &[both])?;
            [0, 1].map(|index| Value { index, ..parts })
        } else {
            let inner = self.push(product(true, false), &[k, v])?;
            let sum = self.push(Op::Reduce { kind: ReduceKind::Sum, axes: vec![rank - 2], keep: true }, &[k])?;
            [self.push(product(false, false), &[q, inner])?, self.push(product(false, true), &[q, sum])?]
        };
        let e = self.graph.push_leaf(Op::literal(&[0.5]), Type::new(DType::F32, Shape::default()), "least").ok()?;
        let kind = self.rng.pick(&[BinaryKind::Add, BinaryKind::Max]);
        let below = self.push(Op::Binary(kind), &[below, e])?;
        self.push(Op::Binary(BinaryKind::Div), &[above, below])
    }

    /// Attention on maps whose heads are mixed.
    fn talking_heads(&mut self) -> Option<Value> {
        let x = self.map()?;
        let (heads, d) = self.rng.pick(&[(1, 2), (2, 3), (3, 1), (2, 8), (4, 4), (2, 12)]);
        let mut inputs = Vec::new();
        for _ in 0..3 {
            inputs.push(self.widened(x, heads * d)?);
        }
        let positions = self.graph.shape(x).0[2..].iter().map(|d: &Dim| d.at(1)).product();
        let bias = self.rng.chance(50);
        if bias {
            inputs.push(self.constant(&[heads, positions, positions])?);
        }
        for dims in [&[heads, heads][..], &[heads], &[heads, heads], &[heads]] {
            inputs.push(self.constant(dims)?);
        }
        let op = Op::Attention { heads, scale: 0.7.into(), layout: AttentionLayout::Channels, bias, talking: true };
        self.push(op, &inputs)
    }
}
