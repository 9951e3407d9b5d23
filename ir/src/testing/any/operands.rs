//! Operands: values of a wanted type, from wherever they can be had.

use super::Maker;
use crate::id::Value;
use crate::op::{BinaryKind, Generator, OffsetOrder, Op, Part, UnaryKind};
use crate::real::Real;
use crate::ty::{DType, Dim, Shape, Type};

impl Maker {
    /// A value to go on with: most often the last one, sometimes a constant.
    pub(super) fn value(&mut self) -> Option<Value> {
        if self.pool.is_empty() || self.rng.chance(4) {
            if self.rng.chance(20) {
                return self.coordinates();
            }
            let rank = self.rng.range(0, 4);
            let dims: Vec<usize> = (0..rank).map(|_| self.size()).collect();
            return self.constant(&dims);
        }
        let last = self.pool.len() - 1;
        let at = if self.rng.chance(60) { last } else { self.rng.below(last + 1) };
        Some(self.pool[at])
    }

    /// A value of at least this rank.
    pub(super) fn ranked(&mut self, rank: usize) -> Option<Value> {
        let x = self.value()?;
        let at = self.graph.shape(x).rank();
        if at >= rank {
            return Some(x);
        }
        let mut shape = self.graph.shape(x).clone();
        for _ in at..rank {
            let place = self.rng.below(shape.rank() + 1);
            shape.0.insert(place, Dim::Fixed(1));
        }
        self.push(Op::Reshape { shape: shape.clone() }, &[x])
    }

    /// A map `[B,C,H,W]` whose last three sizes are plain numbers.
    pub(super) fn map(&mut self) -> Option<Value> {
        let x = self.value()?;
        let shape = self.graph.shape(x).clone();
        let plain = shape.rank() == 4 && shape.0[1..].iter().all(|d| d.fixed().is_some());
        if plain {
            return Some(x);
        }
        // The batch moves to the front with whatever its multiple is, the other elements are laid out anew.
        let batch = shape.0.iter().copied().find(|d| d.fixed().is_none());
        let k = batch.map_or(1, |d| d.at(1));
        let [c, h, w] = <[usize; 3]>::try_from(self.factors(shape.elements() / k, 3)).ok()?;
        let shape = match batch {
            Some(b) => Shape::batched(b, &[c, h, w]),
            None => Shape::fixed(&[1, c, h, w]),
        };
        self.push(Op::Reshape { shape }, &[x])
    }

    /// Numbers whose product is `n`.
    pub(super) fn factors(&mut self, n: usize, count: usize) -> Vec<usize> {
        let mut parts = vec![1; count];
        let (mut rest, mut prime) = (n, 2);
        while rest > 1 && count > 0 {
            while !rest.is_multiple_of(prime) {
                prime += 1;
            }
            let at = self.rng.below(count);
            parts[at] *= prime;
            rest /= prime;
        }
        parts
    }

    /// A divisor of `n`.
    pub(super) fn divisor(&mut self, n: usize) -> usize {
        let all: Vec<usize> = (1..=n).filter(|d| n.is_multiple_of(*d)).collect();
        self.rng.pick(&all)
    }

    /// An f32 value of plain sizes.
    pub(super) fn fixed(&mut self, dims: &[usize], dtype: DType) -> Option<Value> {
        self.of(&Shape::fixed(dims), dtype)
    }

    /// A value of this type: there already, computed at run time, or a constant.
    pub(super) fn of(&mut self, shape: &Shape, dtype: DType) -> Option<Value> {
        let value = match self.rng.below(100) {
            0..25 => self.existing(shape, dtype),
            25..40 => self.moved(shape, dtype),
            40..50 => self.computed(shape, dtype),
            _ => None,
        };
        if value.is_some() {
            return value;
        }
        if let Some(dims) = shape.as_fixed() {
            let value = self.constant(&dims)?;
            return self.typed(value, dtype);
        }
        if self.rng.chance(70) {
            return self
                .existing(shape, dtype)
                .or_else(|| self.moved(shape, dtype))
                .or_else(|| self.computed(shape, dtype));
        }
        // A constant for every item of the batch.
        let dims: Vec<usize> = shape.0.iter().map(|d| d.fixed().unwrap_or(1)).collect();
        let value = self.constant(&dims)?;
        let value = self.typed(value, dtype)?;
        self.push(Op::Expand { shape: shape.clone() }, &[value])
    }

    /// The value in this element type.
    pub(super) fn typed(&mut self, value: Value, dtype: DType) -> Option<Value> {
        if self.graph.ty(value).dtype == dtype { Some(value) } else { self.push(Op::Cast { to: dtype }, &[value]) }
    }

    fn existing(&mut self, shape: &Shape, dtype: DType) -> Option<Value> {
        let fits = |v: &Value| self.graph.shape(*v) == shape && self.graph.ty(*v).dtype == dtype;
        let all: Vec<Value> = self.pool.iter().copied().filter(fits).collect();
        (!all.is_empty()).then(|| self.rng.pick(&all))
    }

    /// A value with as many elements, laid out anew.
    fn moved(&mut self, shape: &Shape, dtype: DType) -> Option<Value> {
        let fits = |v: &Value| {
            let ty = self.graph.ty(*v);
            ty.dtype == dtype && ty.shape.elements() == shape.elements() && ty.shape.has_batch() == shape.has_batch()
        };
        let all: Vec<Value> = self.pool.iter().copied().filter(fits).collect();
        let x = (!all.is_empty()).then(|| self.rng.pick(&all))?;
        let order = |s: &Shape| {
            let mut dims = s.0.clone();
            dims.sort_unstable();
            dims
        };
        if order(self.graph.shape(x)) != order(shape) {
            return self.push(Op::Reshape { shape: shape.clone() }, &[x]);
        }
        let mut taken = vec![false; shape.rank()];
        let dims = self.graph.shape(x).0.clone();
        let mut perm = Vec::new();
        for d in &shape.0 {
            let axis = (0..dims.len()).find(|&a| !taken[a] && dims[a] == *d)?;
            taken[axis] = true;
            perm.push(axis);
        }
        self.push(Op::Transpose { perm }, &[x])
    }

    /// A scalar or a small value of run time, spread over the shape and mixed with a weight.
    fn computed(&mut self, shape: &Shape, dtype: DType) -> Option<Value> {
        let spreads = |v: &Value| {
            let ty = self.graph.ty(*v);
            ty.dtype == dtype && crate::infer::broadcast(&ty.shape, shape).as_ref() == Some(shape)
        };
        let all: Vec<Value> = self.pool.iter().copied().filter(spreads).collect();
        let x = (!all.is_empty()).then(|| self.rng.pick(&all))?;
        if self.rng.chance(40) {
            return self.push(Op::Expand { shape: shape.clone() }, &[x]);
        }
        let dims: Vec<usize> = shape.0.iter().map(|d| d.fixed().unwrap_or(1)).collect();
        let w = self.constant(&dims)?;
        let w = self.typed(w, dtype)?;
        let y = self.push(Op::Binary(BinaryKind::Mul), &[w, x])?;
        (self.graph.shape(y) == shape).then_some(y)
    }

    /// An f32 constant: a weight, most often.
    pub(super) fn constant(&mut self, dims: &[usize]) -> Option<Value> {
        match self.rng.below(100) {
            0..60 => self.weight(dims, ""),
            60..70 => self.leaf(dims),
            70..85 => {
                let kind = self.rng.pick(&[BinaryKind::Add, BinaryKind::Mul, BinaryKind::Sub, BinaryKind::Div]);
                let part: Vec<usize> = dims[self.rng.below(dims.len() + 1)..].to_vec();
                let (a, b) = (self.weight(dims, "")?, self.weight(&part, "")?);
                self.push(Op::Binary(kind), &[a, b])
            }
            85..93 => {
                let mut order: Vec<usize> = dims.to_vec();
                order.reverse();
                let a = self.weight(&order, "")?;
                self.push(Op::Transpose { perm: (0..dims.len()).rev().collect() }, &[a])
            }
            _ => {
                let order: Vec<usize> = vec![dims.iter().product()];
                let a = self.weight(&order, "")?;
                let kind = self.rng.pick(&[UnaryKind::Neg, UnaryKind::Tanh, UnaryKind::Sigmoid, UnaryKind::Gelu]);
                let a = self.push(Op::Unary(kind), &[a])?;
                self.push(Op::Reshape { shape: Shape::fixed(dims) }, &[a])
            }
        }
    }

    /// A trained tensor: a new one, or one of those with this shape.
    pub(super) fn weight(&mut self, dims: &[usize], suffix: &str) -> Option<Value> {
        let ty = Type::f32(dims);
        if suffix.is_empty() && self.rng.chance(15) {
            let known = self.graph.nodes().filter(|(_, n)| matches!(n.op, Op::Weight { .. }) && n.types[0] == ty);
            let known: Vec<Value> = known.map(|(id, _)| id.into()).collect();
            if !known.is_empty() {
                return Some(self.rng.pick(&known));
            }
        }
        self.keys += 1;
        let key = format!("b{}.w{}{suffix}", self.graph.len() / 8, self.keys);
        let value = self.graph.push_leaf(Op::Weight { key: key.clone() }, ty, &key).ok()?;
        self.small(value).then_some(value)
    }

    /// A constant that the model defines.
    fn leaf(&mut self, dims: &[usize]) -> Option<Value> {
        let elements = dims.iter().product::<usize>();
        let number = |m: &mut Self| Real(m.rng.pick(&[0.0, 1.0, 0.5, 2.0, -1.0, 3.0, 0.25]));
        let op = match (self.rng.below(8), dims) {
            (0, [n, m]) if m <= n => {
                Op::Generate(Generator::DftBasis { n: *n, part: self.rng.pick(&[Part::Cos, Part::Sin]) })
            }
            (1, [n, m]) if n == m => Op::Generate(Generator::DctBasis { n: *n }),
            (2, [_, m]) => {
                Op::Generate(Generator::BandMask { grid: <[usize; 2]>::try_from(self.factors(*m, 2)).ok()? })
            }
            (2, [_]) => Op::Generate(Generator::Iota { axis: 0 }),
            (3, [_, _]) => Op::Generate(Generator::Eye),
            (6, [_, _]) => Op::Generate(Generator::Resample { sampling: self.sampling(), scale: None }),
            (7, [_, _]) => Op::Generate(Generator::AdaptiveMean),
            (4, _) if elements < 64 => Op::Literal { values: (0..elements).map(|_| number(self)).collect() },
            _ => Op::Generate(Generator::Fill { value: number(self) }),
        };
        let path = format!("b{}.c{}", self.graph.len() / 8, self.graph.len());
        self.graph.push_leaf(op, Type::f32(dims), &path).ok()
    }

    /// Constant integers below `limit`.
    pub(super) fn indices(&mut self, limit: usize) -> Option<Value> {
        let path = format!("b{}.i{}", self.graph.len() / 8, self.graph.len());
        let leaf = |m: &mut Self, op: Op, dims: &[usize]| {
            m.graph.push_leaf(op, Type::new(DType::I32, Shape::fixed(dims)), &path).ok()
        };
        match self.rng.below(6) {
            0 => {
                let n = self.rng.range(1, limit);
                leaf(self, Op::Generate(Generator::Iota { axis: 0 }), &[n])
            }
            1 => {
                let (query, key) = ([self.size().min(3), self.size().min(3)], [self.size().min(3), self.size().min(3)]);
                let order = self.rng.pick(&[OffsetOrder::Absolute, OffsetOrder::Signed]);
                let op = Op::Generate(Generator::RelativeIndex { query, key, step: [self.rng.range(1, 2), 1], order });
                leaf(self, op, &[query[0] * query[1], key[0] * key[1]])
            }
            _ => {
                let rank = self.rng.range(0, 2);
                let dims: Vec<usize> = (0..rank).map(|_| self.rng.range(1, 5)).collect();
                let count = dims.iter().product();
                let values = (0..count).map(|_| Real(self.rng.below(limit) as f64)).collect();
                let i = leaf(self, Op::Literal { values }, &dims)?;
                if self.rng.chance(30) && rank > 0 {
                    return self.push(Op::Transpose { perm: (0..rank).rev().collect() }, &[i]);
                }
                Some(i)
            }
        }
    }

    /// Tables and coordinates that only some papers have, with the shapes that they must have.
    pub(super) fn coordinates(&mut self) -> Option<Value> {
        let path = format!("b{}.t{}", self.graph.len() / 8, self.graph.len());
        let (h, w) = (self.rng.range(1, 4), self.rng.range(1, 4));
        let (op, rows) = match self.rng.chance(50) {
            true => (Generator::LogCoords { window: [h, w] }, (2 * h - 1) * (2 * w - 1)),
            false => (Generator::GridCoords { side: h }, h * h),
        };
        self.graph.push_leaf(Op::Generate(op), Type::f32(&[rows, 2]), &path).ok()
    }
}
