//! Proposals of operators that move, cut and sample.

use super::Maker;
use crate::id::Value;
use crate::op::{Coordinates, DepthOrder, Generator, Kernel, Op, PadMode, Rounding, Sampling, SliceAxis};
use crate::real::Real;
use crate::ty::{DType, Dim, Shape, Type};

impl Maker {
    pub(super) fn reshape(&mut self) -> Option<Value> {
        let x = self.value()?;
        let shape = self.graph.shape(x).clone();
        let (rank, k) = (self.rng.range(0, 5), shape.0.iter().find(|d| d.fixed().is_none()).map(|d| d.at(1)));
        let Some(k) = k else {
            let dims = self.factors(shape.elements(), rank);
            return self.push(Op::Reshape { shape: Shape::fixed(&dims) }, &[x]);
        };
        // Any multiple of the batch, anywhere; most often the one that was.
        let multiple = if self.rng.chance(70) { k } else { self.divisor(shape.elements()) };
        let mut dims: Vec<Dim> = self.factors(shape.elements() / multiple, rank).into_iter().map(Dim::Fixed).collect();
        let place = if self.rng.chance(60) { 0 } else { self.rng.below(dims.len() + 1) };
        dims.insert(place, Dim::Batch(multiple));
        self.push(Op::Reshape { shape: Shape(dims) }, &[x])
    }

    pub(super) fn transpose(&mut self) -> Option<Value> {
        let x = self.value()?;
        let mut perm: Vec<usize> = (0..self.graph.shape(x).rank()).collect();
        self.rng.shuffle(&mut perm);
        self.push(Op::Transpose { perm }, &[x])
    }

    pub(super) fn concat(&mut self) -> Option<Value> {
        let x = self.ranked(1)?;
        let ty = self.graph.ty(x).clone();
        let axis = self.rng.below(ty.shape.rank());
        ty.shape.0[axis].fixed()?;
        let mut parts = vec![x];
        for _ in 0..self.rng.below(4) {
            let mut shape = ty.shape.clone();
            if self.rng.chance(50) {
                shape.0[axis] = Dim::Fixed(self.size());
            }
            let part = if self.rng.chance(10) { x } else { self.of(&shape, ty.dtype)? };
            let place = self.rng.below(parts.len() + 1);
            parts.insert(place, part);
        }
        self.push(Op::Concat { axis }, &parts)
    }

    pub(super) fn split(&mut self) -> Option<Value> {
        let x = self.ranked(1)?;
        let axis = self.rng.below(self.graph.shape(x).rank());
        let mut rest = self.graph.shape(x).0[axis].fixed()?;
        let equal = self.divisor(rest);
        let even = self.rng.chance(60);
        let mut sizes = Vec::new();
        while rest > 0 {
            let size = if even { equal } else { self.rng.range(1, rest) };
            sizes.push(size);
            rest -= size;
        }
        self.push(Op::Split { axis, sizes }, &[x])
    }

    pub(super) fn slice(&mut self) -> Option<Value> {
        let x = self.value()?;
        let mut cuts = Vec::new();
        for (axis, d) in self.graph.shape(x).0.clone().into_iter().enumerate() {
            let Dim::Fixed(size) = d else { continue };
            if self.rng.chance(40) {
                let start = self.rng.below(size);
                let stop = self.rng.range(start + 1, size);
                cuts.push(SliceAxis { axis, start, stop, step: self.rng.pick(&[1, 1, 2, 3]) });
            }
        }
        self.push(Op::Slice { cuts }, &[x])
    }

    pub(super) fn pad(&mut self) -> Option<Value> {
        let x = self.value()?;
        let dims = self.graph.shape(x).0.clone();
        let mut side = || -> Vec<usize> {
            dims.iter().map(|d| if d.fixed().is_some() { self.rng.pick(&[0, 0, 0, 1, 2]) } else { 0 }).collect()
        };
        let (before, after) = (side(), side());
        let modes = [PadMode::ZERO, PadMode::ZERO, PadMode::Constant(Real(-0.5)), PadMode::Reflect, PadMode::Edge];
        let mode = self.rng.pick(&modes);
        self.push(Op::Pad { before, after, mode }, &[x])
    }

    pub(super) fn gather(&mut self) -> Option<Value> {
        let x = if self.rng.chance(50) { self.table()? } else { self.ranked(1)? };
        let axis = self.rng.below(self.graph.shape(x).rank());
        let size = self.graph.shape(x).0[axis].fixed()?;
        let indices = self.indices(size)?;
        self.push(Op::Gather { axis }, &[x, indices])
    }

    /// A constant that stays as it is.
    pub(super) fn barrier(&mut self) -> Option<Value> {
        let x = if self.rng.chance(60) { self.table()? } else { self.value()? };
        self.push(Op::Keep, &[x])
    }

    /// A value rounded to the steps of a scale.
    pub(super) fn quantised(&mut self) -> Option<Value> {
        let x = self.value()?;
        let ty = Type::new(self.graph.ty(x).dtype, Shape::default());
        let path = format!("step{}", self.graph.len());
        let scale = self.graph.push_leaf(Op::literal(&[0.05]), ty, &path).ok()?;
        let to = self.rng.pick(&[DType::I8, DType::U8]);
        let codes = self.push(Op::Quantize { to }, &[x, scale])?;
        self.push(Op::Dequantize, &[codes, scale])
    }

    /// A constant of few bits.
    pub(super) fn decoded(&mut self) -> Option<Value> {
        let dims = [self.size(), self.size()];
        let (table, bits) = (self.rng.chance(50), self.rng.pick(&[1, 2, 3, 4, 6]));
        let (dtype, shape, scale) = match table {
            true => {
                (DType::U8, vec![(dims[0] * dims[1] * bits).div_ceil(8)], [self.rng.pick(&[1, dims[0]]), 1 << bits])
            }
            false => (self.rng.pick(&[DType::I8, DType::U8]), dims.to_vec(), self.rng.pick(&[[1, 1], [dims[0], 1]])),
        };
        let path = format!("codes{}", self.graph.len());
        let iota = Op::Generate(Generator::Iota { axis: 0 });
        let codes = self.graph.push_leaf(iota, Type::new(dtype, Shape::fixed(&shape)), &path).ok()?;
        let codes = self.push(Op::Keep, &[codes])?;
        let scale = self.constant(&scale)?;
        let op = if table { Op::Lookup { bits, shape: Shape::fixed(&dims) } } else { Op::Dequantize };
        self.push(op, &[codes, scale])
    }

    /// A table of positions, as a gather reads it.
    fn table(&mut self) -> Option<Value> {
        if self.rng.chance(20) {
            return self.coordinates();
        }
        let dims = [self.rng.range(1, 4), self.rng.range(1, 25)];
        self.constant(&dims)
    }

    pub(super) fn expand(&mut self) -> Option<Value> {
        let x = self.value()?;
        let mut shape = self.graph.shape(x).clone();
        let mut batch = shape.has_batch();
        for i in 0..shape.rank() {
            if shape.0[i] == Dim::Fixed(1) {
                shape.0[i] = if !batch && self.rng.chance(20) { self.batch } else { Dim::Fixed(self.size()) };
                batch |= shape.0[i].fixed().is_none();
            }
        }
        if self.rng.chance(30) {
            let size = self.size();
            shape.0.insert(0, Dim::Fixed(size));
        }
        self.push(Op::Expand { shape }, &[x])
    }

    pub(super) fn resize(&mut self) -> Option<Value> {
        let x = self.map()?;
        let size = [self.size(), self.size()];
        let sampling = self.sampling();
        if self.rng.chance(80) {
            return self.push(Op::Resize { sampling, size, scale: None }, &[x]);
        }
        // Factors between those of the sizes and of one element more.
        let map = [2, 3].map(|a| self.graph.shape(x).dim(a));
        let part = self.rng.pick(&[0.0, 0.25, 0.5]);
        let scale = Some([0, 1].map(|i| Real((size[i] as f64 + part) / map[i] as f64)));
        self.push(Op::Resize { sampling, size, scale }, &[x])
    }

    /// One of those that papers draw, or any.
    pub(super) fn sampling(&mut self) -> Sampling {
        if self.rng.chance(50) {
            let usual = [Sampling::NEAREST, Sampling::LINEAR, Sampling::LINEAR_CORNERS, Sampling::CUBIC];
            return self.rng.pick(&usual);
        }
        let roundings = [Rounding::Floor, Rounding::Ceil, Rounding::PreferFloor, Rounding::PreferCeil];
        let nearest = Kernel::Nearest(self.rng.pick(&roundings));
        let kernel = self.rng.pick(&[nearest, Kernel::Linear, Kernel::Cubic(Real(-0.5))]);
        let coordinates = self.rng.pick(&[
            Coordinates::HalfPixel,
            Coordinates::PytorchHalfPixel,
            Coordinates::AlignCorners,
            Coordinates::Asymmetric,
            Coordinates::TfHalfPixel,
            Coordinates::HalfPixelSymmetric,
        ]);
        let (antialias, exclude_outside) = (self.rng.chance(30), self.rng.chance(30));
        Sampling { kernel, coordinates, antialias, exclude_outside }
    }

    /// Channels to blocks of positions, or back.
    pub(super) fn blocks(&mut self) -> Option<Value> {
        let x = self.map()?;
        let [c, h, w] = [1, 2, 3].map(|a| self.graph.shape(x).dim(a));
        let fitting = |fits: &dyn Fn(usize) -> bool| (2..=3).find(|&b| fits(b));
        let apart = fitting(&|b| c.is_multiple_of(b * b)).filter(|_| self.rng.chance(60));
        match (apart, fitting(&|b| h.is_multiple_of(b) && w.is_multiple_of(b))) {
            (Some(block), _) => {
                let order = self.rng.pick(&[DepthOrder::Crd, DepthOrder::Dcr]);
                self.push(Op::DepthToSpace { block, order }, &[x])
            }
            (None, Some(block)) => self.push(Op::SpaceToDepth { block }, &[x]),
            (None, None) => None,
        }
    }

    pub(super) fn windows(&mut self) -> Option<Value> {
        let x = self.map()?;
        let (h, w) = (self.graph.shape(x).dim(2), self.graph.shape(x).dim(3));
        let window = [self.divisor(h), self.divisor(w)];
        let y = self.push(Op::WindowPartition { window }, &[x])?;
        match self.rng.chance(50) {
            true => self.push(Op::WindowMerge { window, map: [h, w] }, &[y]),
            false => Some(y),
        }
    }

    /// Windows of tokens that nobody cut before.
    pub(super) fn window_merge(&mut self) -> Option<Value> {
        let x = self.ranked(3)?;
        let shape = self.graph.shape(x).clone();
        let [windows, tokens, _] = <[Dim; 3]>::try_from(shape.0).ok()?;
        let (windows, tokens) = (self.divisor(windows.at(1)), tokens.fixed()?);
        let [h, w] = <[usize; 2]>::try_from(self.factors(tokens, 2)).ok()?;
        let [rows, columns] = <[usize; 2]>::try_from(self.factors(windows, 2)).ok()?;
        self.push(Op::WindowMerge { window: [h, w], map: [h * rows, w * columns] }, &[x])
    }
}
