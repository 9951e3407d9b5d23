//! The operations of a region, with the types of their results and, where the dialect asks for one, what they compute in simpler operations.
//!
//! A decomposition is for readers that are older than the operation; those that know it ignore it. All are exact, sizes that are known only at
//! run time included.

use super::dialect::OperationName;
use super::program::{Attribute, DYNAMIC, Element, Elements, Id, Interpolation, Operation, Padding, Region, Tensor};
use half::f16;
use std::collections::HashMap;

/// Arithmetic of two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Divide,
    Maximum,
    Minimum,
    Pow,
    FloorDivide,
}

impl Arithmetic {
    /// On operands of one shape.
    fn primitive(self) -> OperationName {
        match self {
            Arithmetic::Add => OperationName::Add,
            Arithmetic::Sub => OperationName::Sub,
            Arithmetic::Mul => OperationName::Mul,
            Arithmetic::Divide => OperationName::Divide,
            Arithmetic::Maximum => OperationName::Maximum,
            Arithmetic::Minimum => OperationName::Minimum,
            Arithmetic::Pow => OperationName::Pow,
            Arithmetic::FloorDivide => OperationName::FloorDivide,
        }
    }

    /// On operands that broadcast.
    fn broadcasting(self) -> OperationName {
        match self {
            Arithmetic::Add => OperationName::BroadcastingAdd,
            Arithmetic::Sub => OperationName::BroadcastingSub,
            Arithmetic::Mul => OperationName::BroadcastingMul,
            Arithmetic::Divide => OperationName::BroadcastingDivide,
            Arithmetic::Maximum => OperationName::BroadcastingMaximum,
            Arithmetic::Minimum => OperationName::BroadcastingMinimum,
            Arithmetic::Pow => OperationName::BroadcastingPow,
            Arithmetic::FloorDivide => OperationName::BroadcastingFloorDivide,
        }
    }
}

/// A reduction over axes, which stay with size 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reduction {
    Sum,
    Mean,
    Max,
    Min,
    Product,
}

/// A region that grows.
#[derive(Debug, Default)]
pub(super) struct Builder {
    region: Region,
    /// Name of the layer at hand.
    layer: String,
    /// Constants that stand already.
    constants: HashMap<(Tensor, Elements), Id>,
}

/// Bytes of a number.
fn number(element: Element, x: f64) -> Vec<u8> {
    match element {
        Element::Picture | Element::Bool | Element::U8 => vec![x as u8],
        Element::U1 | Element::U2 | Element::U3 | Element::U4 | Element::U6 => vec![x as u8],
        Element::I8 | Element::I4 => vec![x as i8 as u8],
        Element::I16 => (x as i16).to_le_bytes().to_vec(),
        Element::F32 => (x as f32).to_le_bytes().to_vec(),
        Element::F16 => f16::from_f64(x).to_le_bytes().to_vec(),
        Element::I32 => (x as i32).to_le_bytes().to_vec(),
        Element::U32 => (x as u32).to_le_bytes().to_vec(),
    }
}

impl Builder {
    pub(super) fn new(arguments: Vec<Tensor>) -> Self {
        Builder { region: Region::new(arguments), ..Builder::default() }
    }

    /// What follows belongs to this layer.
    pub(super) fn layer(&mut self, name: &str) {
        self.layer = name.to_string();
    }

    /// The region's arguments.
    pub(super) fn parameters(&self) -> Vec<Id> {
        self.region.parameters()
    }

    pub(super) fn ty(&self, value: Id) -> &Tensor {
        self.region.ty(value)
    }

    fn dims(&self, value: Id) -> Vec<i64> {
        self.ty(value).dims.clone()
    }

    /// The region, ended by an operation that hands out these values.
    pub(super) fn finish(mut self, end: OperationName, results: &[Id]) -> Region {
        let layer = String::new();
        let (operands, attribute) = (results.to_vec(), Attribute::Nothing);
        self.region.push(Operation { name: end, operands, results: vec![], attribute, decomposition: None, layer });
        self.region
    }

    /// Any operation.
    fn push(
        &mut self,
        name: OperationName,
        operands: &[Id],
        results: Vec<Tensor>,
        attribute: Attribute,
        decomposition: Option<Region>,
    ) -> Vec<Id> {
        let (operands, layer) = (operands.to_vec(), self.layer.clone());
        self.region.push(Operation { name, operands, results, attribute, decomposition, layer })
    }

    /// An operation of one result.
    fn one(&mut self, name: OperationName, operands: &[Id], result: Tensor) -> Id {
        self.push(name, operands, vec![result], Attribute::Nothing, None)[0]
    }

    fn one_with(&mut self, name: OperationName, operands: &[Id], result: Tensor, attribute: Attribute) -> Id {
        self.push(name, operands, vec![result], attribute, None)[0]
    }

    /// An operation with what it computes in simpler ones, given on values of its operands' types.
    fn decomposed(
        &mut self,
        name: OperationName,
        operands: &[Id],
        result: Tensor,
        body: impl FnOnce(&mut Builder, &[Id]) -> Id,
    ) -> Id {
        let mut inner = Builder::new(operands.iter().map(|&v| self.ty(v).clone()).collect());
        let arguments = inner.parameters();
        let value = body(&mut inner, &arguments);
        let region = inner.finish(OperationName::Yield, &[value]);
        self.push(name, operands, vec![result], Attribute::Nothing, Some(region))[0]
    }

    /// Call a private graph.
    pub(super) fn invoke(&mut self, graph: &str, operands: &[Id], result: Tensor) -> Id {
        self.one_with(OperationName::Invoke, operands, result, Attribute::Callee(graph.to_string()))
    }
}

/// Constants.
impl Builder {
    pub(super) fn constant(&mut self, ty: Tensor, elements: Elements) -> Id {
        let key = (ty, elements);
        if let Some(&known) = self.constants.get(&key) {
            return known;
        }
        let (ty, elements) = key.clone();
        let layer = std::mem::take(&mut self.layer);
        let id = self.one_with(OperationName::Constant, &[], ty, Attribute::Constant(elements));
        self.layer = layer;
        self.constants.insert(key, id);
        id
    }

    /// A constant of which every element stands in the file, or one if all are equal.
    pub(super) fn inline(&mut self, ty: Tensor, bytes: &[u8]) -> Id {
        let one = &bytes[..ty.element.bytes().min(bytes.len())];
        let splat = !one.is_empty() && bytes.chunks(one.len()).all(|c| c == one);
        let bytes = if splat { one.to_vec() } else { bytes.to_vec() };
        self.constant(ty, Elements::Inline { bytes, splat })
    }

    /// One number everywhere.
    pub(super) fn fill(&mut self, ty: Tensor, value: f64) -> Id {
        let bytes = number(ty.element, value);
        self.constant(ty, Elements::Inline { bytes, splat: true })
    }

    pub(super) fn scalar(&mut self, element: Element, value: f64) -> Id {
        self.fill(Tensor::new(element, &[]), value)
    }

    /// Numbers row by row.
    pub(super) fn array(&mut self, ty: Tensor, values: &[f64]) -> Id {
        let bytes: Vec<u8> = values.iter().flat_map(|&v| number(ty.element, v)).collect();
        self.inline(ty, &bytes)
    }

    /// A list of whole numbers.
    fn numbers(&mut self, element: Element, values: &[i64]) -> Id {
        let values: Vec<f64> = values.iter().map(|&v| v as f64).collect();
        self.array(Tensor::new(element, &[values.len() as i64]), &values)
    }

    fn unsigned(&mut self, values: &[i64]) -> Id {
        self.numbers(Element::U32, values)
    }

    fn signed(&mut self, values: &[i64]) -> Id {
        self.numbers(Element::I32, values)
    }

    fn floats(&mut self, values: &[f64]) -> Id {
        self.array(Tensor::new(Element::F32, &[values.len() as i64]), values)
    }
}

/// Elementwise operations.
impl Builder {
    /// A function of one argument.
    pub(super) fn unary(&mut self, name: OperationName, x: Id) -> Id {
        let ty = self.ty(x).clone();
        self.one(name, &[x], ty)
    }

    /// By the error function, or by tanh.
    pub(super) fn gelu(&mut self, x: Id, tanh: bool) -> Id {
        let ty = self.ty(x).clone();
        self.one_with(OperationName::Gelu, &[x], ty, Attribute::Gelu { tanh })
    }

    pub(super) fn relu(&mut self, x: Id) -> Id {
        let ty = self.ty(x).clone();
        self.decomposed(OperationName::Relu, &[x], ty.clone(), |b, x| {
            let zero = b.scalar(ty.element, 0.0);
            let zero = b.spread_like(zero, x[0]);
            b.one(OperationName::Maximum, &[x[0], zero], ty)
        })
    }

    pub(super) fn sigmoid(&mut self, x: Id) -> Id {
        let ty = self.ty(x).clone();
        self.decomposed(OperationName::Sigmoid, &[x], ty.clone(), |b, x| {
            let zero = b.scalar(ty.element, 0.0);
            let zero = b.spread_like(zero, x[0]);
            let one = b.scalar(ty.element, 1.0);
            let one = b.spread_like(one, x[0]);
            let negative = b.one(OperationName::Sub, &[zero, x[0]], ty.clone());
            let exp = b.unary(OperationName::Exp, negative);
            let below = b.one(OperationName::Add, &[exp, one], ty.clone());
            b.one(OperationName::Divide, &[one, below], ty)
        })
    }

    pub(super) fn cast(&mut self, x: Id, element: Element) -> Id {
        let dims = self.dims(x);
        self.one(OperationName::Cast, &[x], Tensor::new(element, &dims))
    }

    /// Where a truth holds an element of `a`, else of `b`; all three broadcast.
    pub(super) fn select(&mut self, truth: Id, a: Id, b: Id) -> Id {
        let dims = joint(&joint(&self.dims(truth), &self.dims(a)), &self.dims(b));
        let ty = Tensor::new(self.ty(a).element, &dims);
        if [truth, a, b].iter().all(|&x| self.dims(x) == dims) {
            return self.one(OperationName::Where, &[truth, a, b], ty);
        }
        self.decomposed(OperationName::BroadcastingWhere, &[truth, a, b], ty.clone(), |inner, operands| {
            let like = operands.iter().copied().find(|&x| inner.dims(x) == ty.dims).unwrap_or(operands[0]);
            let all = [0, 1, 2].map(|i| inner.spread(operands[i], like, &ty.dims));
            inner.one(OperationName::Where, &all, ty.clone())
        })
    }

    /// Arithmetic of two operands, which broadcast as numpy's do.
    pub(super) fn arithmetic(&mut self, kind: Arithmetic, a: Id, b: Id) -> Id {
        let dims = joint(&self.dims(a), &self.dims(b));
        let ty = Tensor::new(self.ty(a).element, &dims);
        if self.ty(a) == self.ty(b) {
            return self.one(kind.primitive(), &[a, b], ty);
        }
        self.decomposed(kind.broadcasting(), &[a, b], ty.clone(), |inner, operands| {
            let [a, b] = [operands[0], operands[1]];
            let [wide_a, wide_b] = [inner.spread(a, b, &ty.dims), inner.spread(b, a, &ty.dims)];
            inner.one(kind.primitive(), &[wide_a, wide_b], ty)
        })
    }

    /// `x` in the shape of `like`.
    fn spread_like(&mut self, x: Id, like: Id) -> Id {
        let dims = self.dims(like);
        self.spread(x, like, &dims)
    }

    /// `x` broadcast to `dims`; sizes that are known only at run time are those of `like`.
    fn spread(&mut self, x: Id, like: Id, dims: &[i64]) -> Id {
        let (element, own) = (self.ty(x).element, self.dims(x));
        let mut lifted = vec![1; dims.len() - own.len()];
        lifted.extend(own);
        let x = self.reshape(x, &lifted);
        let axes: Vec<usize> = (0..dims.len()).filter(|&i| lifted[i] == 1 && dims[i] != 1).collect();
        if axes.is_empty() {
            return x;
        }
        let sizes: Vec<i64> = axes.iter().map(|&i| dims[i]).collect();
        let sizes = if sizes.contains(&DYNAMIC) {
            let offset = dims.len() - self.ty(like).rank();
            let parts: Vec<Id> = axes.iter().map(|&i| self.size(like, i.checked_sub(offset), dims[i])).collect();
            self.concat(&parts, 0)
        } else {
            self.unsigned(&sizes)
        };
        let axes = self.signed(&axes.iter().map(|&i| i as i64).collect::<Vec<_>>());
        self.one(OperationName::BroadcastInDims, &[x, sizes, axes], Tensor::new(element, dims))
    }

    /// The size of an axis as a list of one number, at run time where it is not known.
    fn size(&mut self, of: Id, axis: Option<usize>, known: i64) -> Id {
        match axis {
            Some(axis) if known == DYNAMIC => {
                let rank = self.ty(of).rank() as i64;
                let shape = self.one(OperationName::GetShape, &[of], Tensor::new(Element::U32, &[rank]));
                self.slice(shape, &[(axis as i64, axis as i64 + 1, 1)], &[1])
            }
            _ => self.unsigned(&[known]),
        }
    }
}

/// Codes.
impl Builder {
    /// `min(max(round(x/scale), lo), hi)`, one scale for all.
    pub(super) fn quantize(&mut self, x: Id, scale: Id, code: Element, lo: f64, hi: f64) -> Id {
        let (from, result) = (self.ty(x).clone(), Tensor::new(code, &self.dims(x)));
        let [zero, none] = [self.scalar(code, 0.0), self.scalar(from.element, 0.0)];
        let axes: Vec<i64> = (0..from.rank() as i64).collect();
        let axes = self.signed(&axes);
        self.decomposed(OperationName::Quantize, &[x, scale, zero, none, axes], result, |b, x| {
            let scale = b.spread_like(x[1], x[0]);
            let steps = b.one(OperationName::Divide, &[x[0], scale], from.clone());
            let whole = b.unary(OperationName::Round, steps);
            let [lo, hi] = [lo, hi].map(|bound| {
                let bound = b.scalar(from.element, bound);
                b.spread_like(bound, x[0])
            });
            let above = b.one(OperationName::Maximum, &[whole, lo], from.clone());
            let inside = b.one(OperationName::Minimum, &[above, hi], from);
            b.cast(inside, code)
        })
    }

    /// Codes times one scale.
    pub(super) fn dequantize(&mut self, x: Id, scale: Id, element: Element) -> Id {
        let (code, result) = (self.ty(x).element, Tensor::new(element, &self.dims(x)));
        let [zero, none] = [self.scalar(code, 0.0), self.scalar(element, 0.0)];
        let axes: Vec<i64> = (0..result.rank() as i64).collect();
        let axes = self.signed(&axes);
        self.decomposed(OperationName::Dequantize, &[x, scale, zero, none, axes], result.clone(), |b, x| {
            let numbers = b.cast(x[0], element);
            let scale = b.spread_like(x[1], numbers);
            b.one(OperationName::Mul, &[numbers, scale], result)
        })
    }

    /// Constant codes times the scale of their block; the scale's sizes divide those of the codes.
    pub(super) fn scaled(&mut self, data: Id, scale: Id, element: Element) -> Id {
        let (code, blocks, dims) = (self.ty(data).element, self.dims(scale), self.dims(data));
        let zero = self.fill(Tensor::new(code, &blocks), 0.0);
        let none = self.fill(Tensor::new(element, &blocks), 0.0);
        self.one(OperationName::BlockwiseShiftScale, &[data, scale, zero, none], Tensor::new(element, &dims))
    }

    /// Entries `[parts,1,…,entries,1]` of tables that constant codes name.
    pub(super) fn lut_to_dense(&mut self, data: Id, table: Id) -> Id {
        let (element, dims) = (self.ty(table).element, self.dims(data));
        let axis = self.scalar(Element::I16, 0.0);
        self.one(OperationName::LutToDense, &[data, table, axis], Tensor::new(element, &dims))
    }
}

/// The shape of an elementwise operation's result.
fn joint(a: &[i64], b: &[i64]) -> Vec<i64> {
    let rank = a.len().max(b.len());
    let size = |dims: &[i64], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    (0..rank).map(|i| if size(a, i) == 1 { size(b, i) } else { size(a, i) }).collect()
}

/// Pictures.
impl Builder {
    /// A picture as `[1,3,H,W]` of this element type, in 0..255.
    pub(super) fn picture(&mut self, x: Id, element: Element) -> Id {
        let dims = self.dims(x);
        let [h, w] = [dims[0], dims[1]];
        let pixels = self.one(OperationName::ImageToTensor, &[x], Tensor::new(Element::U8, &[h, w, 3]));
        let pixels = self.cast(pixels, element);
        let planes = self.transpose(pixels, &[2, 0, 1]);
        self.reshape(planes, &[1, 3, h, w])
    }
}

/// Products, pools and reductions.
impl Builder {
    /// Zeros around a value: before and after each axis.
    pub(super) fn pad(&mut self, x: Id, around: &[[i64; 2]]) -> Id {
        self.pad_with(x, around, Padding::Constant, 0.0)
    }

    /// The same with anything around it; the number is what a constant padding holds.
    pub(super) fn pad_with(&mut self, x: Id, around: &[[i64; 2]], padding: Padding, number: f64) -> Id {
        if around.iter().all(|a| *a == [0; 2]) {
            return x;
        }
        let element = self.ty(x).element;
        let dims: Vec<i64> = self.dims(x).iter().zip(around).map(|(&d, [a, b])| grown(d, a + b)).collect();
        let amounts = self.unsigned(around.as_flattened());
        let number = self.scalar(element, number);
        let ty = Tensor::new(element, &dims);
        self.one_with(OperationName::Pad, &[x, amounts, number], ty, Attribute::Padding(padding))
    }

    /// A convolution `[B,C,H,W]` without padding and bias; `size` is the result's height and width.
    pub(super) fn conv2d(
        &mut self,
        x: Id,
        w: Id,
        [stride, dilation]: [[i64; 2]; 2],
        groups: i64,
        size: [i64; 2],
    ) -> Id {
        let (element, batch, out) = (self.ty(x).element, self.dims(x)[0], self.dims(w)[0]);
        let (stride, dilation) = (self.unsigned(&stride), self.unsigned(&dilation));
        let groups = self.scalar(Element::U32, groups as f64);
        let ty = Tensor::new(element, &[batch, out, size[0], size[1]]);
        self.one(OperationName::Conv2d, &[x, w, stride, dilation, groups], ty)
    }

    /// A transposed convolution `[B,C,H,W]` that leaves nothing out and adds nothing at the end; `size` is the result's height and width.
    pub(super) fn conv_transpose2d(
        &mut self,
        x: Id,
        w: Id,
        [stride, dilation]: [[i64; 2]; 2],
        groups: i64,
        size: [i64; 2],
    ) -> Id {
        let (element, batch, out) = (self.ty(x).element, self.dims(x)[0], self.dims(w)[1] * groups);
        let [stride, dilation, none] = [stride, dilation, [0; 2]].map(|list| self.unsigned(&list));
        let groups = self.scalar(Element::U32, groups as f64);
        let ty = Tensor::new(element, &[batch, out, size[0], size[1]]);
        self.one(OperationName::ConvTranspose2d, &[x, w, stride, none, dilation, none, groups], ty)
    }

    /// Index along an axis, which stays with size 1, of the first of the largest elements.
    pub(super) fn argmax(&mut self, x: Id, axis: usize) -> Id {
        let mut dims = self.dims(x);
        let count = dims[axis];
        dims[axis] = 1;
        let ty = Tensor::new(Element::U32, &dims);
        let at = self.scalar(Element::I32, axis as f64);
        let index = self.decomposed(OperationName::ArgMax, &[x, at], ty, |b, x| {
            // The least index of an element that is the largest; f32 holds whole numbers up to 2^24.
            let top = b.fold(x[0], &[axis], Arithmetic::Maximum);
            let top = b.spread_like(top, x[0]);
            let dims = b.dims(x[0]);
            let is_top = b.one(OperationName::Equal, &[x[0], top], Tensor::new(Element::Bool, &dims));
            let mut line = vec![1; dims.len()];
            line[axis] = count;
            let numbers: Vec<f64> = (0..count).map(|i| i as f64).collect();
            let numbers = b.array(Tensor::new(Element::F32, &line), &numbers);
            let numbers = b.spread_like(numbers, x[0]);
            let behind = b.scalar(Element::F32, count as f64);
            let behind = b.spread_like(behind, x[0]);
            let numbers = b.one(OperationName::Where, &[is_top, numbers, behind], Tensor::new(Element::F32, &dims));
            let least = b.fold(numbers, &[axis], Arithmetic::Minimum);
            b.cast(least, Element::U32)
        });
        self.cast(index, Element::I32)
    }

    /// Sums over windows of `[B,C,H,W]`; `size` is the result's height and width.
    pub(super) fn sum_pool(&mut self, x: Id, kernel: [i64; 2], stride: [i64; 2], size: [i64; 2]) -> Id {
        let (element, dims) = (self.ty(x).element, self.dims(x));
        let operands = [self.unsigned(&kernel), self.unsigned(&stride), self.unsigned(&[1, 1])];
        let ty = Tensor::new(element, &[dims[0], dims[1], size[0], size[1]]);
        self.one(OperationName::SumPool2d, &[&[x], &operands[..]].concat(), ty)
    }

    /// Largest elements of windows of `[B,C,H,W]`; `size` is the result's height and width.
    pub(super) fn max_pool(
        &mut self,
        x: Id,
        kernel: [i64; 2],
        [stride, dilation]: [[i64; 2]; 2],
        size: [i64; 2],
    ) -> Id {
        let (element, dims) = (self.ty(x).element, self.dims(x));
        let lists = [kernel, stride, dilation].map(|list| self.unsigned(&list));
        let whole = self.scalar(Element::Bool, 0.0);
        let ty = Tensor::new(element, &[dims[0], dims[1], size[0], size[1]]);
        self.one(OperationName::MaxPool2d, &[&[x], &lists[..], &[whole]].concat(), ty)
    }

    /// The product of the last two axes; those in front broadcast.
    pub(super) fn matmul(&mut self, a: Id, b: Id) -> Id {
        let (element, da, db) = (self.ty(a).element, self.dims(a), self.dims(b));
        let (la, lb) = (da.len() - 2, db.len() - 2);
        let batch = joint(&da[..la], &db[..lb]);
        let dims = [&batch[..], &[da[la], db[lb + 1]]].concat();
        let ty = Tensor::new(element, &dims);
        if da[..la] == db[..lb] {
            return self.one(OperationName::BatchMatmul, &[a, b], ty);
        }
        self.decomposed(OperationName::BroadcastingBatchMatmul, &[a, b], ty.clone(), |inner, operands| {
            let [a, b] = [operands[0], operands[1]];
            let wide_a = inner.spread(a, b, &[&batch[..], &da[la..]].concat());
            let wide_b = inner.spread(b, a, &[&batch[..], &db[lb..]].concat());
            inner.one(OperationName::BatchMatmul, &[wide_a, wide_b], ty)
        })
    }

    /// A reduction over axes, which stay with size 1.
    pub(super) fn reduce(&mut self, kind: Reduction, x: Id, axes: &[usize]) -> Id {
        let (name, of) = match kind {
            Reduction::Sum => (OperationName::ReduceSum, Arithmetic::Add),
            Reduction::Mean => (OperationName::ReduceMean, Arithmetic::Add),
            Reduction::Max => (OperationName::ReduceMax, Arithmetic::Maximum),
            Reduction::Min => (OperationName::ReduceMin, Arithmetic::Minimum),
            Reduction::Product => (OperationName::ReduceProduct, Arithmetic::Mul),
        };
        let (element, from) = (self.ty(x).element, self.dims(x));
        let dims = (0..from.len()).map(|i| if axes.contains(&i) { 1 } else { from[i] }).collect::<Vec<_>>();
        let count: i64 = axes.iter().map(|&i| from[i]).product();
        let list = self.signed(&axes.iter().map(|&i| i as i64).collect::<Vec<_>>());
        let ty = Tensor::new(element, &dims);
        self.decomposed(name, &[x, list], ty.clone(), |b, x| {
            let folded = b.fold(x[0], axes, of);
            if kind != Reduction::Mean {
                return folded;
            }
            let count = b.scalar(element, count as f64);
            let count = b.spread_like(count, folded);
            b.one(OperationName::Divide, &[folded, count], ty)
        })
    }

    /// A reduction by any arithmetic, from its neutral element.
    fn fold(&mut self, x: Id, axes: &[usize], of: Arithmetic) -> Id {
        let (element, from) = (self.ty(x).element, self.dims(x));
        let dims = (0..from.len()).map(|i| if axes.contains(&i) { 1 } else { from[i] }).collect::<Vec<_>>();
        let list = self.signed(&axes.iter().map(|&i| i as i64).collect::<Vec<_>>());
        let neutral = match of {
            Arithmetic::Maximum => f64::NEG_INFINITY,
            Arithmetic::Minimum => f64::INFINITY,
            Arithmetic::Mul | Arithmetic::Divide | Arithmetic::FloorDivide | Arithmetic::Pow => 1.0,
            Arithmetic::Add | Arithmetic::Sub => 0.0,
        };
        let first = self.scalar(element, neutral);
        let scalar = Tensor::new(element, &[]);
        let mut step = Builder::new(vec![scalar.clone(); 2]);
        let pair = step.parameters();
        let next = step.one(of.primitive(), &pair, scalar);
        let region = step.finish(OperationName::Yield, &[next]);
        let ty = Tensor::new(element, &dims);
        self.push(OperationName::Reduce, &[x, list, first], vec![ty], Attribute::Nothing, Some(region))[0]
    }

    pub(super) fn softmax(&mut self, x: Id, axis: usize) -> Id {
        let ty = self.ty(x).clone();
        let last = self.scalar(Element::I32, axis as f64);
        self.decomposed(OperationName::Softmax, &[x, last], ty.clone(), |b, x| {
            let top = b.fold(x[0], &[axis], Arithmetic::Maximum);
            let top = b.spread_like(top, x[0]);
            let below = b.one(OperationName::Sub, &[x[0], top], ty.clone());
            let exp = b.unary(OperationName::Exp, below);
            let sum = b.fold(exp, &[axis], Arithmetic::Add);
            let sum = b.spread_like(sum, exp);
            b.one(OperationName::Divide, &[exp, sum], ty)
        })
    }
}

fn grown(size: i64, by: i64) -> i64 {
    if size == DYNAMIC { DYNAMIC } else { size + by }
}

/// Movement.
impl Builder {
    /// The same elements under another shape, of which one size may be known at run time only.
    pub(super) fn reshape(&mut self, x: Id, dims: &[i64]) -> Id {
        if self.dims(x) == dims {
            return x;
        }
        let element = self.ty(x).element;
        let shape = match dims.contains(&DYNAMIC) {
            false => self.unsigned(dims),
            true => self.signed(&dims.iter().map(|&d| if d == DYNAMIC { -1 } else { d }).collect::<Vec<_>>()),
        };
        self.one(OperationName::Reshape, &[x, shape], Tensor::new(element, dims))
    }

    pub(super) fn transpose(&mut self, x: Id, perm: &[usize]) -> Id {
        if perm.iter().enumerate().all(|(i, &p)| i == p) {
            return x;
        }
        let (element, from) = (self.ty(x).element, self.dims(x));
        let dims: Vec<i64> = perm.iter().map(|&p| from[p]).collect();
        let order = self.unsigned(&perm.iter().map(|&p| p as i64).collect::<Vec<_>>());
        self.one(OperationName::Transpose, &[x, order], Tensor::new(element, &dims))
    }

    pub(super) fn concat(&mut self, values: &[Id], axis: usize) -> Id {
        if let [one] = values {
            return *one;
        }
        let (element, mut dims) = (self.ty(values[0]).element, self.dims(values[0]));
        let sizes: Vec<i64> = values.iter().map(|&v| self.dims(v)[axis]).collect();
        dims[axis] = if sizes.contains(&DYNAMIC) { DYNAMIC } else { sizes.iter().sum() };
        let axis = self.scalar(Element::I32, axis as f64);
        self.one(OperationName::Concat, &[&[axis], values].concat(), Tensor::new(element, &dims))
    }

    pub(super) fn split(&mut self, x: Id, axis: usize, sizes: &[i64]) -> Vec<Id> {
        if sizes.len() == 1 {
            return vec![x];
        }
        let (element, dims) = (self.ty(x).element, self.dims(x));
        let part = |&size: &i64| {
            let mut dims = dims.clone();
            dims[axis] = size;
            Tensor::new(element, &dims)
        };
        let results = sizes.iter().map(part).collect();
        let operands = [x, self.unsigned(sizes), self.scalar(Element::I32, axis as f64)];
        self.push(OperationName::Split, &operands, results, Attribute::Nothing, None)
    }

    /// First index, index behind the last, and step of each axis; `dims` are the result's sizes.
    pub(super) fn slice(&mut self, x: Id, cuts: &[(i64, i64, i64)], dims: &[i64]) -> Id {
        let element = self.ty(x).element;
        let column = |part: fn(&(i64, i64, i64)) -> i64| cuts.iter().map(part).collect::<Vec<_>>();
        let parts = [column(|c| c.0), column(|c| c.1), column(|c| c.2)].map(|list| self.signed(&list));
        self.one(OperationName::Slice, &[&[x], &parts[..]].concat(), Tensor::new(element, dims))
    }

    /// The `k` largest or least elements along an axis in order, of equal ones the first, and their places.
    pub(super) fn top(&mut self, x: Id, axis: usize, k: i64, largest: bool) -> [Id; 2] {
        let Tensor { element, dims } = self.ty(x).clone();
        let at = self.scalar(Element::I32, axis as f64);
        let flags = [largest, true].map(|flag| self.scalar(Element::Bool, f64::from(u8::from(flag))));
        let order = self.one(OperationName::ArgSort, &[x, at, flags[0], flags[1]], Tensor::new(Element::I32, &dims));
        let mut first = dims.clone();
        first[axis] = k;
        let cut = |i: usize| (0, if i == axis { k } else { i64::from(i32::MAX) }, 1);
        let cuts: Vec<(i64, i64, i64)> = (0..dims.len()).map(cut).collect();
        let places = if first == dims { order } else { self.slice(order, &cuts, &first) };
        let values = self.one(OperationName::GatherAlongAxis, &[x, places, at], Tensor::new(element, &first));
        [values, places]
    }

    /// Rows of `x` along its first axis, taken at indices `[…,1]`.
    pub(super) fn gather_rows(&mut self, x: Id, indices: Id) -> Id {
        let (element, from, at) = (self.ty(x).element, self.dims(x), self.dims(indices));
        let dims = [&at[..at.len() - 1], &from[1..]].concat();
        self.one(OperationName::GatherNd, &[x, indices], Tensor::new(element, &dims))
    }

    /// `[B,C,H,W]` at another size: output index i reads at `(i + ½ − offset)/scale − ½`.
    pub(super) fn interpolate(&mut self, x: Id, mode: Interpolation, size: [i64; 2], offset: [f64; 2]) -> Id {
        let (element, from) = (self.ty(x).element, self.dims(x));
        let dims = [from[0], from[1], size[0], size[1]];
        let scale = [1.0, 1.0, size[0] as f64 / from[2] as f64, size[1] as f64 / from[3] as f64];
        let operands = [x, self.signed(&dims), self.floats(&scale), self.floats(&[0.0, 0.0, offset[0], offset[1]])];
        self.one_with(
            OperationName::Interpolate,
            &operands,
            Tensor::new(element, &dims),
            Attribute::Interpolation(mode),
        )
    }
}
