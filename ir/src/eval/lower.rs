//! Elementwise and movement operators as expressions over an iteration space.
//!
//! One rule per operator serves constant folding, the emission stream and the interpreter: given where in the result
//! an iteration index looks, it says where in each operand to look.

use super::affine::{Affine, Stop, row_major};
use super::expr::Expr;
use super::scalar::Map;
use crate::facts::Class;
use crate::op::{BinaryKind, Op, PadMode};
use crate::ty::DType;

/// True for operators that [`Application::lower`] writes as expressions; the others need whole operands.
pub(super) fn is_fusable(op: &Op) -> bool {
    op.facts().affine
}

/// True for fused operators that cost something per element; the others only say where to look.
pub(super) fn is_arithmetic(op: &Op) -> bool {
    op.facts().class == Class::Elementwise && is_fusable(op)
}

/// An operator's application, as far as expressions need to know it. Shapes are plain numbers.
pub(super) struct Application<'a> {
    /// The operator.
    pub(super) op: &'a Op,
    /// Which output is asked for.
    pub(super) index: usize,
    /// Shapes of the operands.
    pub(super) inputs: &'a [Vec<usize>],
    /// Shape of the output asked for.
    pub(super) output: &'a [usize],
    /// Element type of the output.
    pub(super) dtype: DType,
    /// A cast to f16 rounds here and now; constants round when they are stored.
    pub(super) round: bool,
}

/// Says what stands for operand `.0`, over the iteration space `.1`, at position `.2` of the operand.
pub(super) type Operands<'a> = dyn FnMut(usize, &[usize], Affine) -> Result<Expr, Stop> + 'a;

/// Piece p of a value in pieces, over its part of a space, with its indices there.
type Pieces<'a> = dyn FnMut(usize, &[usize], &[Affine]) -> Result<Expr, Stop> + 'a;

impl Application<'_> {
    /// The expression of the output's elements at `at`.
    ///
    /// # Errors
    /// `Opaque` for operators that are not elementwise or movement, and for positions that are not affine.
    pub(super) fn lower(&self, space: &[usize], at: Affine, operands: &mut Operands<'_>) -> Result<Expr, Stop> {
        let input = |i: usize| self.inputs[i].as_slice();
        let rank = space.len();
        match self.op {
            Op::Unary(kind) => Ok(Expr::map(Map::Unary(*kind), operands(0, space, at)?)),
            Op::Clip { lo, hi } => Ok(Expr::map(Map::Clip(lo.0, hi.0), operands(0, space, at)?)),
            Op::Cast { to } => {
                let x = operands(0, space, at)?;
                Ok(match to {
                    DType::F32 => x,
                    DType::F16 if !self.round => x,
                    DType::F16 => Expr::map(Map::ToF16, x),
                    DType::I32 | DType::I64 => Expr::map(Map::Truncate, x),
                    DType::I8 | DType::U8 | DType::I4 | DType::U4 => Expr::map(Map::ToInteger, x),
                    DType::Bool => Expr::map(Map::ToTruth, x),
                })
            }
            Op::Binary(kind) => {
                let a = operands(0, space, self.broadcast(&at, 0, space)?)?;
                let b = operands(1, space, self.broadcast(&at, 1, space)?)?;
                let result = Expr::Binary(*kind, Box::new(a), Box::new(b));
                let quotient = *kind == BinaryKind::Div && !self.dtype.is_float();
                Ok(if quotient { Expr::map(Map::Truncate, result) } else { result })
            }
            Op::Sum => {
                let mut sum = operands(0, space, self.broadcast(&at, 0, space)?)?;
                for i in 1..self.inputs.len() {
                    let summand = operands(i, space, self.broadcast(&at, i, space)?)?;
                    sum = Expr::Binary(BinaryKind::Add, Box::new(sum), Box::new(summand));
                }
                Ok(sum)
            }
            Op::Expand { .. } => operands(0, space, self.broadcast(&at, 0, space)?),
            Op::Reshape { .. } => operands(0, space, at),
            Op::Transpose { perm } => {
                let forms = at.unflatten(self.output, space)?;
                let strides = row_major(input(0));
                let from = perm.iter().zip(&forms);
                operands(0, space, from.fold(Affine::constant(0, rank), |sum, (&p, form)| sum.plus(strides[p], form)))
            }
            Op::Slice { cuts } => {
                let mut forms = at.unflatten(self.output, space)?;
                for cut in cuts {
                    forms[cut.axis] = Affine::constant(cut.start, rank).plus(cut.step, &forms[cut.axis]);
                }
                operands(0, space, Affine::flatten(forms.iter(), input(0), rank))
            }
            Op::Split { axis, sizes } => {
                let mut forms = at.unflatten(self.output, space)?;
                forms[*axis].offset += sizes[..self.index].iter().sum::<usize>();
                operands(0, space, Affine::flatten(forms.iter(), input(0), rank))
            }
            Op::Concat { axis } => {
                let forms = at.unflatten(self.output, space)?;
                let parts: Vec<usize> = self.inputs.iter().map(|d| d[*axis]).collect();
                select(*axis, &parts, &forms, space, &mut |part, space, forms| {
                    operands(part, space, Affine::flatten(forms.iter(), input(part), space.len()))
                })
            }
            Op::Pad { before, after, mode: PadMode::Constant(value) } => {
                let forms = at.unflatten(self.output, space)?;
                Padding { before, after, dims: input(0), value: value.0 }.expression(0, forms, space, operands)
            }
            _ => Err(Stop::Opaque), // what `is_fusable` denies
        }
    }

    /// Position in operand `i` of what broadcasting puts at position `at` of the result.
    fn broadcast(&self, at: &Affine, i: usize, space: &[usize]) -> Result<Affine, Stop> {
        let dims = &self.inputs[i];
        let elements: usize = dims.iter().product();
        if elements == 1 {
            return Ok(Affine::constant(0, space.len()));
        }
        if elements == self.output.iter().product() {
            return Ok(at.clone());
        }
        let forms = at.unflatten(self.output, space)?;
        let strides = row_major(dims);
        let aligned = forms[self.output.len() - dims.len()..].iter().zip(dims.iter().zip(&strides));
        let wide = aligned.filter(|(_, (size, _))| **size > 1);
        Ok(wide.fold(Affine::constant(0, space.len()), |sum, (form, (_, &stride))| sum.plus(stride, form)))
    }
}

/// Pieces laid behind each other along `axis` of a value whose indices are `forms`: `piece(p, space, forms)` is piece
/// p with its own indices over its own part of the space.
fn select(
    axis: usize,
    sizes: &[usize],
    forms: &[Affine],
    space: &[usize],
    piece: &mut Pieces<'_>,
) -> Result<Expr, Stop> {
    let form = &forms[axis];
    let mut moving = form.coefs.iter().zip(space).enumerate().filter(|(_, (c, n))| **c > 0 && **n > 1);
    let along = moving.next().map(|(j, (&c, _))| (j, c));
    if moving.next().is_some() {
        return Err(Stop::Opaque);
    }
    let mut parts = Vec::new();
    let mut start = 0;
    for (p, &size) in sizes.iter().enumerate() {
        let end = start + size;
        let (lo, hi) = match along {
            Some((j, c)) => {
                let first = |index: usize| index.saturating_sub(form.offset).div_ceil(c).min(space[j]);
                (first(start), first(end))
            }
            None if (start..end).contains(&form.offset) => (0, 1),
            None => (0, 0),
        };
        if lo < hi {
            let (mut space, mut forms) = (space.to_vec(), forms.to_vec());
            if let Some((j, _)) = along {
                space[j] = hi - lo;
                for f in &mut forms {
                    f.offset += f.coefs[j] * lo;
                }
            }
            forms[axis].offset -= start;
            let part = match (piece(p, &space, &forms), along) {
                // The pieces' borders are on the axis as it is.
                (Err(Stop::Refine { axis, .. }), Some((j, _))) if axis == j => return Err(Stop::Opaque),
                (part, _) => part?,
            };
            match along {
                Some(_) => parts.push((lo..hi, part)),
                None => return Ok(part),
            }
        }
        start = end;
    }
    let axis = along.map_or(0, |(j, _)| j);
    Ok(Expr::Select { axis, parts })
}

/// A number around operand 0.
struct Padding<'a> {
    before: &'a [usize],
    after: &'a [usize],
    dims: &'a [usize],
    value: f64,
}

impl Padding<'_> {
    /// From `axis` on; `forms` index the padded value on those axes and the operand on earlier ones.
    fn expression(
        &self,
        axis: usize,
        forms: Vec<Affine>,
        space: &[usize],
        operands: &mut Operands<'_>,
    ) -> Result<Expr, Stop> {
        if axis == self.dims.len() {
            return operands(0, space, Affine::flatten(forms.iter(), self.dims, space.len()));
        }
        let (before, after) = (self.before[axis], self.after[axis]);
        if before + after == 0 {
            return self.expression(axis + 1, forms, space, operands);
        }
        select(axis, &[before, self.dims[axis], after], &forms, space, &mut |piece, space, forms| match piece {
            1 => self.expression(axis + 1, forms.to_vec(), space, operands),
            _ => Ok(Expr::Fill(self.value)),
        })
    }
}
