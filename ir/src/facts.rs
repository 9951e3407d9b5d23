//! What is known about each operator, said once: one exhaustive match, from which every list of operators follows.
//!
//! Whoever asks "is this one of those operators" asks a fact. What depends on the operands' shapes, where each of their axes is found in the
//! result, stands in [`crate::axes`]. Both are proven against the evaluator: an operator with a fact that does not hold, or that lacks one which
//! holds, fails the tests.

use crate::op::{AttentionLayout, BinaryKind, Op, Outside, PadMode, ReduceKind, UnaryKind};
use crate::stage::Stage;
use crate::ty::DType;
use std::ops::RangeInclusive;

/// Kind of computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A port of the model, or a constant: no operands.
    Leaf,
    /// One function of the elements at one place, broadcast.
    Elementwise,
    /// The same numbers in another element type.
    Cast,
    /// Sums of products of two operands, and a bias.
    Contraction,
    /// Products with matrices that the operator itself defines: Fourier and cosine transforms.
    Transform,
    /// Scores, softmax and a mean of values by them.
    Attention,
    /// Shifted and scaled by statistics, or to a given sum.
    Normalisation,
    /// Several elements become one.
    Reduction,
    /// Elements are laid out differently, repeated or left out; numbers may stand between them.
    Movement,
    /// Elements are read where an index, a truth or a ratio of sizes says.
    Sampling,
    /// Numbers become codes of few bits, or codes the numbers that they stand for.
    Quantisation,
    /// Nothing: the operand is kept as it is.
    Barrier,
}

/// What an operator loses in half precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wide {
    /// Nothing but the rounding of its result. Norms and pools belong here: formats compute their statistics in f32.
    Nothing,
    /// Bits of a sum of exponentials.
    Exponentials,
    /// Bits of a sum over many elements, which may overflow too.
    Sums,
}

/// Element types that an operator computes with. Operands have one type, but for the indices of a gather and the truths of a select.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Elements {
    /// All: elements are moved and not computed with.
    Any,
    /// Floats, and i32 for indices.
    Numbers,
    /// i32.
    Integers,
    /// Floats.
    Floats,
}

/// Some of an operator's operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slots(u32);

impl Slots {
    /// No operand.
    pub const NONE: Slots = Slots(0);
    /// Every operand, however many there are.
    pub const ALL: Slots = Slots(u32::MAX);
    /// The first operand.
    pub const FIRST: Slots = Slots(1);

    /// These operands, of the first thirty.
    pub fn of(slots: impl IntoIterator<Item = usize>) -> Slots {
        Slots(slots.into_iter().fold(0, |set, slot| set | 1 << slot.min(30)))
    }

    /// Whether operand `slot` is one of them.
    pub fn contains(self, slot: usize) -> bool {
        self.0 >> slot.min(31) & 1 == 1
    }
}

/// What is known about an operator whatever its operands are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Kind of computation.
    pub class: Class,
    /// How many operands there can be.
    pub operands: RangeInclusive<usize>,
    /// Operands in which it is linear, the others held, but for a summand that the operand does not change.
    pub linear: Slots,
    /// Operands that pass a shift on: a number added to all of the operand's elements is added to every element of the result.
    pub shift: Slots,
    /// Sets of operands that pass a factor on: a number c > 0 times all operands of one set, the others held, is c times every result.
    pub factor: [Slots; 2],
    /// Element types that it takes.
    pub elements: Elements,
    /// What it loses in half precision.
    pub wide: Wide,
    /// Operands that are read in f32 whatever the others are: places in a map, which half precision moves.
    pub single: Slots,
    /// Operands that may be held in few bits: activations with one scale, weights with one for each index of
    /// [`crate::axes::AxisMap::scale_axis`].
    pub quantised: Slots,
    /// May give integers and booleans that are computed when the model runs. Where not, they are constants.
    pub integers: bool,
    /// Each element of the result is an expression of elements whose places are affine in its own: constants go through it without being made.
    pub affine: bool,
    /// Last stage at which it may stand in a graph.
    pub until: Stage,
}

impl Facts {
    fn of(class: Class, operands: RangeInclusive<usize>) -> Facts {
        Facts {
            class,
            operands,
            linear: Slots::NONE,
            shift: Slots::NONE,
            factor: [Slots::NONE; 2],
            elements: Elements::Floats,
            wide: Wide::Nothing,
            single: Slots::NONE,
            quantised: Slots::NONE,
            integers: false,
            affine: matches!(class, Class::Elementwise | Class::Cast | Class::Movement),
            until: Stage::Target,
        }
    }

    /// Moves the elements of its operands, whatever they are.
    fn movement(operands: RangeInclusive<usize>) -> Facts {
        let facts = Facts::of(Class::Movement, operands).linear(Slots::ALL).shift(Slots::FIRST).factor(Slots::ALL);
        Facts { elements: Elements::Any, integers: true, ..facts }
    }

    /// A sum of products of operands 0 and 1.
    fn contraction(operands: RangeInclusive<usize>) -> Facts {
        let bias = Slots::of([2]);
        let quantised = Slots::of([0, 1]);
        let factor = [Slots::of([0, 2]), Slots::of([1, 2])];
        Facts { linear: Slots::ALL, shift: bias, factor, quantised, ..Facts::of(Class::Contraction, operands) }
    }

    fn linear(self, linear: Slots) -> Facts {
        Facts { linear, ..self }
    }

    fn shift(self, shift: Slots) -> Facts {
        Facts { shift, ..self }
    }

    fn factor(self, set: Slots) -> Facts {
        Facts { factor: [set, Slots::NONE], ..self }
    }

    /// Either set passes a factor on.
    fn factors(self, one: Slots, other: Slots) -> Facts {
        Facts { factor: [one, other], ..self }
    }

    fn wide(self, wide: Wide) -> Facts {
        Facts { wide, ..self }
    }

    fn piecewise(self) -> Facts {
        Facts { affine: false, ..self }
    }

    fn until(self, until: Stage) -> Facts {
        Facts { until, ..self }
    }

    fn binary(kind: BinaryKind) -> Facts {
        let first = Slots::FIRST;
        // What `Div` makes of integers is another function in every format.
        let integers = !matches!(kind, BinaryKind::Div | BinaryKind::Pow);
        let facts = Facts { elements: Elements::Numbers, integers, ..Facts::of(Class::Elementwise, 2..=2) };
        match kind {
            BinaryKind::Add => facts.linear(Slots::ALL).shift(Slots::ALL).factor(Slots::ALL),
            BinaryKind::Sub => facts.linear(Slots::ALL).shift(first).factor(Slots::ALL),
            BinaryKind::Mul => facts.linear(Slots::ALL).factors(first, Slots::of([1])),
            BinaryKind::Div => facts.linear(first).factor(first),
            BinaryKind::Max | BinaryKind::Min => facts.factor(Slots::ALL),
            BinaryKind::Pow => Facts { elements: Elements::Floats, ..facts },
            BinaryKind::Quotient => Facts { elements: Elements::Integers, ..facts },
        }
    }

    fn attention(layout: AttentionLayout, bias: bool, talking: bool) -> Facts {
        let (scores, values) = (3 + usize::from(bias), Slots::of([2]));
        let facts = Facts::of(Class::Attention, scores..=scores).wide(Wide::Exponentials).until(Stage::Deploy);
        match (layout, talking) {
            // The heads' second mix is linear too, and what it adds up to is anything.
            (_, true) => Facts { operands: scores + 4..=scores + 4, ..facts }
                .linear(Slots::of([2, scores + 2, scores + 3]))
                .factor(values),
            // Some targets have an operator for this form.
            (AttentionLayout::Heads, false) => facts.linear(values).shift(values).factor(values).until(Stage::Target),
            (_, false) => facts.linear(values).shift(values).factor(values),
        }
    }
}

impl Op {
    /// What is known about the operator.
    pub fn facts(&self) -> Facts {
        let first = Slots::FIRST;
        match self {
            Op::Select => {
                let facts = Facts::of(Class::Sampling, 3..=3).linear(Slots::of([1, 2])).factor(Slots::of([1, 2]));
                Facts { elements: Elements::Any, integers: true, ..facts }
            }
            Op::TopK { .. } => {
                Facts { elements: Elements::Numbers, integers: true, ..Facts::of(Class::Sampling, 1..=1) }
            }
            Op::Input | Op::Weight { .. } | Op::Literal { .. } | Op::Generate(_) => {
                Facts { elements: Elements::Any, integers: *self == Op::Input, ..Facts::of(Class::Leaf, 0..=0) }
            }

            Op::Unary(UnaryKind::Neg) => Facts::of(Class::Elementwise, 1..=1).linear(first).factor(first),
            Op::Unary(UnaryKind::Relu | UnaryKind::Abs | UnaryKind::LeakyRelu { .. }) => {
                Facts::of(Class::Elementwise, 1..=1).factor(first)
            }
            Op::Unary(_) | Op::Clip { .. } => Facts::of(Class::Elementwise, 1..=1),
            Op::Binary(kind) => Facts::binary(*kind),
            Op::Sum => {
                let facts = Facts::of(Class::Elementwise, 2..=usize::MAX);
                facts.linear(Slots::ALL).shift(Slots::ALL).factor(Slots::ALL)
            }
            // Which of x and slope·x it is depends on the element.
            Op::Prelu => Facts::of(Class::Elementwise, 2..=2).linear(Slots::of([1])).factor(first).piecewise(),
            // Nothing is rounded on the way up.
            Op::Cast { to } => {
                let facts = Facts { elements: Elements::Any, integers: true, ..Facts::of(Class::Cast, 1..=1) };
                if *to == DType::F32 { facts.linear(first).shift(first).factor(first) } else { facts }
            }

            Op::Conv { .. } | Op::Linear => Facts::contraction(2..=3),
            // Where there are groups, no axis of the weights has scales that come out of the sums.
            Op::ConvTranspose { .. } => Facts { quantised: Slots::NONE, ..Facts::contraction(2..=3) },
            Op::MatMul { .. } => Facts::contraction(2..=2),

            // Anything but the variance.
            Op::BatchNorm { .. } => Facts::of(Class::Normalisation, 5..=5)
                .linear(Slots::of([0, 1, 2, 3]))
                .shift(Slots::of([2]))
                .factors(Slots::of([1, 2]), Slots::of([0, 2, 3])),
            Op::LayerNorm { .. } => {
                let affine = Slots::of([1, 2]);
                Facts::of(Class::Normalisation, 1..=3).linear(affine).shift(Slots::of([2])).factor(affine)
            }
            Op::Softmax { .. } => Facts::of(Class::Normalisation, 1..=1).wide(Wide::Exponentials),

            Op::Reduce { kind, .. } => {
                let facts = Facts::of(Class::Reduction, 1..=1);
                match kind {
                    ReduceKind::Sum => facts.linear(first).factor(first).wide(Wide::Sums),
                    ReduceKind::Mean => facts.linear(first).shift(first).factor(first).wide(Wide::Sums),
                    ReduceKind::Max | ReduceKind::Min => facts.shift(first).factor(first),
                    ReduceKind::L2 => facts.factor(first).wide(Wide::Sums),
                    ReduceKind::Prod => facts,
                }
            }
            Op::AvgPool { .. } => Facts::of(Class::Reduction, 1..=1).linear(first).shift(first).factor(first),
            Op::MaxPool { .. } => Facts::of(Class::Reduction, 1..=1).shift(first).factor(first),
            Op::ArgMax { .. } => Facts { integers: true, ..Facts::of(Class::Reduction, 1..=1) },

            Op::Reshape { .. } | Op::Transpose { .. } | Op::Split { .. } | Op::Slice { .. } | Op::Expand { .. } => {
                Facts::movement(1..=1)
            }
            // Windows and blocks are moved through a view with six axes, mirrors run backwards.
            Op::DepthToSpace { .. } | Op::SpaceToDepth { .. } => Facts::movement(1..=1).piecewise(),
            Op::Concat { .. } => Facts::movement(1..=usize::MAX).shift(Slots::NONE),
            Op::Pad { mode: PadMode::Constant(x), .. } => {
                let factor = if x.0 == 0.0 { first } else { Slots::NONE };
                Facts::movement(1..=1).shift(Slots::NONE).factor(factor)
            }
            Op::Pad { mode: PadMode::Reflect | PadMode::Edge, .. } => Facts::movement(1..=1).piecewise(),
            Op::WindowPartition { .. } | Op::WindowMerge { .. } => {
                Facts::movement(1..=1).piecewise().until(Stage::Deploy)
            }
            Op::Gather { .. } => {
                let facts = Facts::of(Class::Sampling, 2..=2).linear(first).shift(first).factor(first);
                Facts { elements: Elements::Any, integers: true, ..facts }
            }
            // What lies outside of the map is no element of it, and a cubic kernel's weights sum to 1 too.
            Op::GridSample { outside, .. } => {
                let shift = if *outside == Outside::Zeros { Slots::NONE } else { first };
                let facts = Facts::of(Class::Sampling, 2..=2).linear(first).shift(shift).factor(first);
                Facts { single: Slots::of([1]), ..facts }
            }
            Op::Resize { .. } => Facts::of(Class::Sampling, 1..=1).linear(first).shift(first).factor(first),
            Op::Quantize { .. } => Facts::of(Class::Quantisation, 2..=2),
            Op::Dequantize => {
                let facts = Facts::of(Class::Quantisation, 2..=2).linear(Slots::ALL).factors(first, Slots::of([1]));
                Facts { elements: Elements::Any, ..facts }
            }
            Op::Lookup { .. } => {
                let table = Slots::of([1]);
                let facts = Facts::of(Class::Quantisation, 2..=2).linear(table).shift(table).factor(table);
                Facts { elements: Elements::Any, ..facts }
            }
            Op::Keep => Facts { class: Class::Barrier, ..Facts::movement(1..=1) },

            Op::Attention { layout, bias, talking, .. } => Facts::attention(*layout, *bias, *talking),
            Op::Rfft2 { .. } | Op::Dct2 | Op::Idct2 => {
                Facts::of(Class::Transform, 1..=1).linear(first).factor(first).until(Stage::Deploy)
            }
            Op::Irfft2 { .. } => {
                Facts::of(Class::Transform, 2..=2).linear(Slots::ALL).factor(Slots::ALL).until(Stage::Deploy)
            }
        }
    }
}
