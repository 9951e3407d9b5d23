//! Proposals of operators that compute.

use super::Maker;
use crate::id::Value;
use crate::op::{AttentionLayout, BinaryKind, GridKernel, Op, Outside, ReduceKind, SpectralNorm, UnaryKind};
use crate::real::Real;
use crate::ty::{DType, Dim, Shape, Type};

impl Maker {
    /// An operator and operands that probably fit it.
    pub(super) fn propose(&mut self) -> Option<Value> {
        match self.rng.below(66) {
            0..4 => self.unary(),
            4..9 => self.binary(),
            9 => self.sum(),
            10 => self.clip(),
            11 => self.prelu(),
            12 => self.cast(),
            13..17 => self.conv(),
            17..20 => self.matmul(),
            20..23 => self.linear(),
            23..25 => self.batch_norm(),
            25..27 => self.layer_norm(),
            27 => self.softmax(),
            28..30 => self.reduce(),
            30 | 61 => self.avg_pool(),
            31..33 => self.reshape(),
            33..35 => self.transpose(),
            35 => self.concat(),
            36 => self.split(),
            37 => self.slice(),
            38 => self.pad(),
            39 => self.gather(),
            46 => self.barrier(),
            47..52 => self.phrase(),
            52 | 53 => self.max_pool(),
            54 => self.blocks(),
            55 => self.steps(),
            56 => self.resize(),
            59 => self.quantised(),
            60 => self.decoded(),
            57 | 58 => self.conv_transpose(),
            62 | 63 => self.select(),
            64 => self.top_k(),
            65 => self.grid_sample(),
            40 => self.expand(),
            41 => self.resize(),
            42..44 => self.attention(),
            44 => self.spectral(),
            _ if self.rng.chance(70) => self.windows(),
            _ => self.window_merge(),
        }
    }

    fn unary(&mut self) -> Option<Value> {
        let mut x = self.value()?;
        let kind = self.rng.pick(&[
            UnaryKind::Relu,
            UnaryKind::Gelu,
            UnaryKind::Silu,
            UnaryKind::Sigmoid,
            UnaryKind::Tanh,
            UnaryKind::Erf,
            UnaryKind::Sqrt,
            UnaryKind::Exp,
            UnaryKind::Abs,
            UnaryKind::Neg,
            UnaryKind::Sin,
            UnaryKind::Cos,
            UnaryKind::Log,
            UnaryKind::Softplus,
            UnaryKind::GeluTanh,
            UnaryKind::HardSwish,
            UnaryKind::Elu { alpha: Real(0.7) },
            UnaryKind::LeakyRelu { slope: Real(0.1) },
            UnaryKind::HardSigmoid { alpha: Real(0.2), beta: Real(0.5) },
        ]);
        // Rounding decides on which side of 0 a difference of equals lies, and whether it has a root.
        if matches!(kind, UnaryKind::Sqrt | UnaryKind::Log) {
            x = self.push(Op::Unary(UnaryKind::Exp), &[x])?;
        }
        self.push(Op::Unary(kind), &[x])
    }

    /// An input as it is: what is computed from it may lie where a step is, and a rewrite on the other side of it.
    fn untouched(&mut self) -> Option<Value> {
        let inputs: Vec<Value> = self.graph.inputs().map(|(id, _)| id.into()).collect();
        (!inputs.is_empty()).then(|| self.rng.pick(&inputs))
    }

    /// Operators with steps.
    fn steps(&mut self) -> Option<Value> {
        let x = self.untouched()?;
        if self.rng.chance(70) {
            let kinds = [UnaryKind::Floor, UnaryKind::Ceil, UnaryKind::Round, UnaryKind::Sign];
            let kind = self.rng.pick(&kinds);
            return self.push(Op::Unary(kind), &[x]);
        }
        let axis = self.rng.below(self.graph.shape(x).rank().max(1));
        let keep = self.rng.chance(50);
        let y = self.push(Op::ArgMax { axis, keep }, &[x])?;
        if self.rng.chance(50) { Some(y) } else { self.push(Op::Cast { to: DType::F32 }, &[y]) }
    }

    /// One of two values by the sign of a third, which lies where a step is as it is.
    fn select(&mut self) -> Option<Value> {
        let x = self.untouched()?;
        let up = self.push(Op::Unary(UnaryKind::Relu), &[x])?;
        let condition = self.push(Op::Cast { to: DType::Bool }, &[up])?;
        let ty = self.graph.ty(x).clone();
        let shapes = [self.part_of(&ty.shape), self.part_of(&ty.shape)];
        let (a, b) = (self.of(&shapes[0], ty.dtype)?, self.of(&shapes[1], ty.dtype)?);
        self.push(Op::Select, &[condition, a, b])
    }

    /// The largest or smallest elements, or where they lie.
    fn top_k(&mut self) -> Option<Value> {
        let x = self.untouched()?;
        let axis = self.rng.below(self.graph.shape(x).rank().max(1));
        let size = self.graph.shape(x).0.get(axis)?.fixed()?;
        let k = self.rng.range(1, size);
        let largest = self.rng.chance(60);
        let node = self.push(Op::TopK { axis, k, largest }, &[x])?.node;
        match self.rng.chance(60) {
            true => Some(node.into()),
            false => self.push(Op::Cast { to: DType::F32 }, &[Value { node, index: 1 }]),
        }
    }

    /// A map at places in it and around it. Kernels without steps: what is computed may lie where one is.
    fn grid_sample(&mut self) -> Option<Value> {
        let x = self.map()?;
        let shape = self.graph.shape(x).clone();
        let places = [self.rng.range(1, 3), self.rng.range(1, 3), 2];
        let grid = self.of(&Shape::batched(shape.0[0], &places), self.graph.ty(x).dtype)?;
        let kernel = self.rng.pick(&[GridKernel::Linear, GridKernel::Cubic]);
        let outside = self.rng.pick(&[Outside::Zeros, Outside::Border, Outside::Mirror]);
        let corners = self.rng.chance(50);
        self.push(Op::GridSample { kernel, outside, corners }, &[x, grid])
    }

    /// A shape that broadcasts to another one: some axes are 1, some of the first are missing.
    fn part_of(&mut self, shape: &Shape) -> Shape {
        let mut part = shape.clone();
        match self.rng.below(4) {
            0 => return part,
            // One number per index of an axis.
            1 if shape.rank() > 0 => {
                let axis = self.rng.below(shape.rank());
                part.0.iter_mut().enumerate().filter(|(i, _)| *i != axis).for_each(|(_, d)| *d = Dim::Fixed(1));
            }
            _ => {
                for d in &mut part.0 {
                    if self.rng.chance(50) {
                        *d = Dim::Fixed(1);
                    }
                }
            }
        }
        let ones = part.0.iter().take_while(|d| **d == Dim::Fixed(1)).count();
        part.0.drain(..self.rng.below(ones + 1));
        part
    }

    fn binary(&mut self) -> Option<Value> {
        let kinds =
            [BinaryKind::Add, BinaryKind::Add, BinaryKind::Sub, BinaryKind::Mul, BinaryKind::Mul, BinaryKind::Div];
        let kind = if self.rng.chance(85) {
            self.rng.pick(&kinds)
        } else {
            self.rng.pick(&[BinaryKind::Max, BinaryKind::Min, BinaryKind::Pow])
        };
        let x = self.value()?;
        let ty = self.graph.ty(x).clone();
        if ty.dtype == DType::I32 && self.rng.chance(40) {
            return self.quotient(x);
        }
        let shape = self.part_of(&ty.shape);
        let y = match self.rng.below(10) {
            0 => x,
            1 | 2 => self.value()?,
            _ => self.of(&shape, ty.dtype)?,
        };
        let operands = if self.rng.chance(65) { [x, y] } else { [y, x] };
        self.push(Op::Binary(kind), &operands)
    }

    /// Integers of either sign divided by one that is not zero.
    fn quotient(&mut self, x: Value) -> Option<Value> {
        let number = |m: &mut Self, of: &[f64]| {
            let path = format!("b{}.n{}", m.graph.len() / 8, m.graph.len());
            let op = Op::literal(&[m.rng.pick(of)]);
            m.graph.push_leaf(op, Type::new(DType::I32, Shape::default()), &path).ok()
        };
        let shift = number(self, &[0.0, 1.0, 3.0])?;
        let x = self.push(Op::Binary(BinaryKind::Sub), &[x, shift])?;
        let by = number(self, &[1.0, 2.0, 3.0, 7.0, -1.0, -2.0])?;
        self.push(Op::Binary(BinaryKind::Quotient), &[x, by])
    }

    fn sum(&mut self) -> Option<Value> {
        let x = self.value()?;
        let ty = self.graph.ty(x).clone();
        let mut terms = vec![x];
        for _ in 0..self.rng.range(1, 3) {
            let shape = self.part_of(&ty.shape);
            let term = self.of(&shape, ty.dtype)?;
            let place = self.rng.below(terms.len() + 1);
            terms.insert(place, term);
        }
        self.push(Op::Sum, &terms)
    }

    fn clip(&mut self) -> Option<Value> {
        let x = self.value()?;
        let (lo, hi) = (self.rng.pick(&[0.0, -1.0, -3.0]), self.rng.pick(&[6.0, 1.0, 0.5]));
        self.push(Op::Clip { lo: lo.into(), hi: hi.into() }, &[x])
    }

    fn prelu(&mut self) -> Option<Value> {
        let x = self.ranked(2)?;
        let ty = self.graph.ty(x).clone();
        let channels = if self.rng.chance(80) { ty.shape.0[1] } else { Dim::Fixed(1) };
        let slope = self.of(&Shape(vec![channels]), ty.dtype)?;
        self.push(Op::Prelu, &[x, slope])
    }

    fn cast(&mut self) -> Option<Value> {
        if !self.half {
            return None;
        }
        let x = self.value()?;
        let to = self.rng.pick(&[DType::F16, DType::F32]);
        self.push(Op::Cast { to }, &[x])
    }

    fn conv(&mut self) -> Option<Value> {
        let x = self.map()?;
        let ty = self.graph.ty(x).clone();
        let channels = ty.shape.dim(1);
        let groups = match self.rng.below(4) {
            0 | 1 => 1,
            2 => channels,
            _ => self.divisor(channels),
        };
        let out = groups * if groups == channels && self.rng.chance(60) { 1 } else { self.rng.range(1, 4) };
        let kernel = if self.rng.chance(40) { [1, 1] } else { [self.rng.range(1, 4), self.rng.range(1, 4)] };
        let plain = self.rng.chance(60);
        let stride = if plain { [1, 1] } else { [self.rng.range(1, 3), self.rng.range(1, 3)] };
        let mut pad = [0; 4];
        for (i, p) in pad.iter_mut().enumerate() {
            *p = if plain { (kernel[i % 2] - 1) / 2 } else { self.rng.pick(&[0, 0, 1, 2, 3]) };
        }
        let mut inputs = vec![x, self.fixed(&[out, channels / groups, kernel[0], kernel[1]], ty.dtype)?];
        if self.rng.chance(60) {
            inputs.push(self.fixed(&[out], ty.dtype)?);
        }
        let dilation = if self.rng.chance(80) { [1; 2] } else { [self.rng.range(1, 2), self.rng.range(1, 3)] };
        self.push(Op::Conv { stride, pad, dilation, groups }, &inputs)
    }

    fn conv_transpose(&mut self) -> Option<Value> {
        let x = self.map()?;
        let ty = self.graph.ty(x).clone();
        let channels = ty.shape.dim(1);
        let groups = if self.rng.chance(60) { 1 } else { self.divisor(channels) };
        let (inner, kernel) = (self.rng.range(1, 3), [self.rng.range(1, 3), self.rng.range(1, 3)]);
        let stride = [self.rng.range(1, 3), self.rng.range(1, 2)];
        let dilation = if self.rng.chance(70) { [1; 2] } else { [self.rng.range(1, 2), 2] };
        let pad = [0, 1, 2, 3].map(|_| self.rng.pick(&[0, 0, 1, 2]));
        let output_pad = [0, 1].map(|i| self.rng.below(stride[i].max(dilation[i])));
        let mut inputs = vec![x, self.fixed(&[channels, inner, kernel[0], kernel[1]], ty.dtype)?];
        if self.rng.chance(60) {
            inputs.push(self.fixed(&[inner * groups], ty.dtype)?);
        }
        self.push(Op::ConvTranspose { stride, pad, output_pad, dilation, groups }, &inputs)
    }

    fn matmul(&mut self) -> Option<Value> {
        let x = self.ranked(2)?;
        let ty = self.graph.ty(x).clone();
        let (transpose_a, transpose_b) = (self.rng.chance(30), self.rng.chance(40));
        let rank = ty.shape.rank();
        let first = self.rng.chance(70);
        // The contracted axis of x, on whichever side it stands.
        let last = if first { !transpose_a } else { transpose_b };
        let inner = ty.shape.0[if last { rank - 1 } else { rank - 2 }];
        let other = if self.rng.chance(80) { Dim::Fixed(self.size()) } else { inner };
        let mut shape = if self.rng.chance(50) { Shape::default() } else { Shape(ty.shape.0[..rank - 2].to_vec()) };
        let columns_first = if first { transpose_b } else { !transpose_a };
        shape.0.extend(if columns_first { [other, inner] } else { [inner, other] });
        let y = if self.rng.chance(10) { x } else { self.of(&shape, ty.dtype)? };
        self.push(Op::MatMul { transpose_a, transpose_b }, &if first { [x, y] } else { [y, x] })
    }

    fn linear(&mut self) -> Option<Value> {
        let x = self.ranked(1)?;
        let ty = self.graph.ty(x).clone();
        let (inner, out) = (*ty.shape.0.last()?, self.size());
        let mut inputs = vec![x, self.of(&Shape(vec![Dim::Fixed(out), inner]), ty.dtype)?];
        if self.rng.chance(60) {
            inputs.push(self.fixed(&[out], ty.dtype)?);
        }
        self.push(Op::Linear, &inputs)
    }

    fn batch_norm(&mut self) -> Option<Value> {
        let x = self.ranked(2)?;
        let ty = self.graph.ty(x).clone();
        let channels = Shape(vec![ty.shape.0[1]]);
        let mut inputs = vec![x];
        for _ in 0..3 {
            inputs.push(self.of(&channels, ty.dtype)?);
        }
        inputs.push(match (channels.as_fixed(), self.rng.chance(80)) {
            (Some(dims), true) => {
                let variance = self.weight(&dims, ".running_var")?;
                self.typed(variance, ty.dtype)?
            }
            _ => self.of(&channels, ty.dtype)?,
        });
        let eps = self.rng.pick(&[1e-5, 1e-3]).into();
        self.push(Op::BatchNorm { eps }, &inputs)
    }

    fn layer_norm(&mut self) -> Option<Value> {
        let x = self.ranked(1)?;
        let ty = self.graph.ty(x).clone();
        let rank = ty.shape.rank();
        let some: Vec<usize> = (0..rank).filter(|_| self.rng.chance(35)).collect();
        let axes = if self.rng.chance(50) || some.is_empty() { vec![self.rng.below(rank)] } else { some };
        let mut inputs = vec![x];
        if self.rng.chance(75) {
            for _ in 0..2 {
                let mut shape = Shape(axes.iter().map(|&a| ty.shape.0[a]).collect());
                if self.rng.chance(20) {
                    let at = self.rng.below(shape.rank());
                    shape.0[at] = Dim::Fixed(1);
                }
                inputs.push(self.of(&shape, ty.dtype)?);
            }
        }
        let eps = self.rng.pick(&[1e-5, 1e-3]).into();
        self.push(Op::LayerNorm { axes, eps }, &inputs)
    }

    fn softmax(&mut self) -> Option<Value> {
        let x = self.ranked(1)?;
        let axis = self.rng.below(self.graph.shape(x).rank());
        self.push(Op::Softmax { axis }, &[x])
    }

    fn reduce(&mut self) -> Option<Value> {
        let x = self.value()?;
        let dims = self.graph.shape(x).0.clone();
        let axes = (0..dims.len()).filter(|&a| dims[a].fixed().is_some() && self.rng.chance(40)).collect();
        let kind = self.rng.pick(&[
            ReduceKind::Sum,
            ReduceKind::Mean,
            ReduceKind::Mean,
            ReduceKind::Max,
            ReduceKind::Min,
            ReduceKind::Prod,
            ReduceKind::L2,
        ]);
        let keep = self.rng.chance(50);
        self.push(Op::Reduce { kind, axes, keep }, &[x])
    }

    fn avg_pool(&mut self) -> Option<Value> {
        let x = self.map()?;
        let kernel = [self.rng.range(1, 3), self.rng.range(1, 3)];
        let stride = [self.rng.range(1, 3), self.rng.range(1, 3)];
        let pad = [0, 1, 2, 3].map(|i| self.rng.below(kernel[i % 2]));
        self.push(Op::AvgPool { kernel, stride, pad }, &[x])
    }

    fn max_pool(&mut self) -> Option<Value> {
        let x = self.map()?;
        let kernel = [self.rng.range(1, 3), self.rng.range(1, 3)];
        let stride = [self.rng.range(1, 3), self.rng.range(1, 3)];
        let dilation = if self.rng.chance(70) { [1; 2] } else { [self.rng.range(1, 2), self.rng.range(1, 3)] };
        let span = |i: usize| (kernel[i] - 1) * dilation[i] + 1;
        let pad = [0, 1, 2, 3].map(|i| self.rng.below(span(i % 2)));
        self.push(Op::MaxPool { kernel, stride, pad, dilation }, &[x])
    }

    fn attention(&mut self) -> Option<Value> {
        let x = self.ranked(3)?;
        let ty = self.graph.ty(x).clone();
        let dims = ty.shape.0.clone();
        let rest: Vec<usize> = dims[1..].iter().map(|d| d.fixed()).collect::<Option<_>>()?;
        let layout = match dims.len() {
            3 => self.rng.pick(&[AttentionLayout::Channels, AttentionLayout::Tokens]),
            4 => self.rng.pick(&[AttentionLayout::Channels, AttentionLayout::Heads]),
            _ => AttentionLayout::Channels,
        };
        let (heads, tokens) = match layout {
            AttentionLayout::Channels => (self.divisor(rest[0]), rest[1..].iter().product()),
            AttentionLayout::Tokens => (self.divisor(rest[1]), rest[0]),
            AttentionLayout::Heads => (rest[0], rest[1]),
        };
        let keys = if self.rng.chance(60) { tokens } else { self.size() };
        // Channels of keys are those of the queries, channels of values any multiple of the heads.
        let width = |m: &mut Self| if m.rng.chance(70) { None } else { Some(m.rng.range(1, 4)) };
        let operand = |d: Option<usize>| match layout {
            AttentionLayout::Channels => vec![d.map_or(rest[0], |d| d * heads), keys],
            AttentionLayout::Tokens => vec![keys, d.map_or(rest[1], |d| d * heads)],
            AttentionLayout::Heads => vec![heads, keys, d.unwrap_or(rest[2])],
        };
        let k = if keys == tokens && self.rng.chance(30) {
            x
        } else {
            self.of(&Shape::batched(dims[0], &operand(None)), ty.dtype)?
        };
        let v = width(self);
        let v = if keys == tokens && v.is_none() && self.rng.chance(30) {
            x
        } else {
            self.of(&Shape::batched(dims[0], &operand(v)), ty.dtype)?
        };
        let mut inputs = vec![x, k, v];
        let (bias, talking) = (self.rng.chance(35), self.rng.chance(25));
        if bias {
            let mut own = vec![if self.rng.chance(60) { heads } else { 1 }, tokens, keys];
            if !talking && self.rng.chance(40) {
                let (Dim::Fixed(n) | Dim::Batch(n)) = dims[0];
                own.insert(0, self.divisor(n));
            }
            inputs.push(self.fixed(&own, ty.dtype)?);
        }
        if talking {
            for dims in [&[heads, heads][..], &[heads], &[heads, heads], &[heads]] {
                inputs.push(self.fixed(dims, ty.dtype)?);
            }
        }
        let scale = Real(self.rng.pick(&[1.0, 0.5, 0.7]));
        self.push(Op::Attention { heads, scale, layout, bias, talking }, &inputs)
    }

    fn spectral(&mut self) -> Option<Value> {
        let x = self.ranked(2)?;
        let norm = self.rng.pick(&[SpectralNorm::Ortho, SpectralNorm::Backward]);
        match self.rng.below(5) {
            0 => self.push(Op::Dct2, &[x]),
            1 => self.push(Op::Idct2, &[x]),
            2 => self.push(Op::Rfft2 { norm }, &[x]),
            3 => {
                let re = self.push(Op::Rfft2 { norm }, &[x])?;
                let width = self.graph.shape(x).0.last()?.fixed()?;
                let im = Value { index: 1, ..re };
                self.push(Op::Irfft2 { norm, width }, &[re, im])
            }
            _ => {
                let ty = self.graph.ty(x).clone();
                let columns = ty.shape.0.last()?.fixed()?;
                let im = self.of(&ty.shape, ty.dtype)?;
                let width = 2 * (columns - 1) + self.rng.below(2);
                self.push(Op::Irfft2 { norm, width: width.max(1) }, &[x, im])
            }
        }
    }
}
