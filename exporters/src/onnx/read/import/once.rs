//! What is computed of constants that are repeated for each item of an open batch is computed once, and its result is repeated.
//!
//! Positions, queries and class tokens come so: the repetition then ends where something of the picture meets them, which broadcasts.

use super::cx::Cx;
use super::refusal::Done;
use vitc_ir::{Axis, Dim, Op, Shape, Value};

/// Most elements of a constant that is made so.
const LARGEST: usize = 1 << 28;

/// A shape with the batch taken as one item.
fn alone(shape: &Shape) -> Shape {
    Shape(shape.0.iter().map(|&d| Dim::Fixed(d.at(1))).collect())
}

impl Cx {
    /// The result of an operator whose operands are constants, some of them repeated for each item: computed once, if the operator treats each item
    /// alone. `None` otherwise.
    pub(super) fn once(&mut self, op: &Op, inputs: &[Value], path: &str) -> Done<Option<Value>> {
        let inner: Vec<Option<(Value, usize)>> = inputs.iter().map(|&v| self.repeated(v)).collect();
        let constant = |(v, inner): (&Value, &Option<_>)| inner.is_some() || self.graph.is_constant(*v);
        if inner.iter().all(Option::is_none) || !inputs.iter().zip(&inner).all(constant) {
            return Ok(None);
        }
        let types: Vec<_> = inputs.iter().map(|&v| self.graph.ty(v)).collect();
        let whole = match vitc_ir::infer::infer(op, &types).as_deref() {
            Ok([one]) if alone(&one.shape).elements() <= LARGEST => one.shape.clone(),
            _ => return Ok(None),
        };
        let shapes: Vec<&Shape> = types.iter().map(|t| &t.shape).collect();
        let places = op.axes(&shapes);
        // The one axis of the result that is the batch, in every operand that has it.
        let mut batch = whole.0.iter().enumerate().filter(|(_, d)| d.fixed().is_none());
        let (Some((at, Dim::Batch(1))), None) = (batch.next(), batch.next()) else { return Ok(None) };
        let kept = |(slot, inner): (usize, &Option<(Value, usize)>)| match inner {
            Some((_, axis)) => places.0.get(slot).and_then(|axes| axes.get(*axis)) == Some(&Axis::Kept(at)),
            None => true,
        };
        if !inner.iter().enumerate().all(kept) {
            return Ok(None);
        }
        let op = match op {
            Op::Reshape { shape } => Op::Reshape { shape: alone(shape) },
            Op::Expand { shape } => Op::Expand { shape: alone(shape) },
            op => op.clone(),
        };
        let mut operands = Vec::new();
        for (i, (&value, inner)) in inputs.iter().zip(inner).enumerate() {
            let shape = alone(self.graph.shape(value));
            operands.push(match inner {
                Some((one, _)) if *self.graph.shape(one) != shape => {
                    self.graph.push(Op::Expand { shape }, &[one], &format!("{path}.one{i}"))?.into()
                }
                Some((one, _)) => one,
                None => value,
            });
        }
        let one = self.graph.push(op, &operands, &format!("{path}.once"))?.into();
        if *self.graph.shape(one) != alone(&whole) {
            return Ok(None);
        }
        Ok(Some(self.graph.push(Op::Expand { shape: whole }, &[one], path)?.into()))
    }

    /// The constant that a value repeats, and the shape that it is repeated to.
    pub(super) fn repeats(&self, value: Value) -> Option<(Value, &Shape)> {
        let Op::Expand { shape } = self.graph.op(value) else { return None };
        let inner = self.graph.producer(value).inputs[0];
        self.graph.is_constant(inner).then_some((inner, shape))
    }

    /// The constant that a value repeats for each item, and the axis of the value that is the batch.
    fn repeated(&self, value: Value) -> Option<(Value, usize)> {
        let (inner, shape) = self.repeats(value)?;
        let axis = shape.0.iter().position(|&d| d == Dim::Batch(1))?;
        let alone = shape.0.iter().filter(|d| d.fixed().is_none()).count() == 1;
        alone.then_some((inner, axis))
    }
}
