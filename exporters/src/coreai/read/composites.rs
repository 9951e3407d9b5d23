//! Private graphs that systems know by name, as operators.

use vitc_ir::op::AttentionLayout;
use vitc_ir::{Graph, Op, Real, Value};

/// A composite whose body keeps its promise.
#[derive(Debug)]
pub(super) struct Composite<'a> {
    pub(super) kind: Kind,
    /// What it is named after; for messages.
    pub(super) name: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// A norm of so many last axes.
    LayerNorm { axes: usize, eps: f32 },
    /// Attention with this factor.
    Attention { scale: f32, mask: bool },
}

impl Composite<'_> {
    /// The operator on these operands.
    pub(super) fn op(&self, inputs: &[Value], graph: &Graph) -> Result<Op, String> {
        let wrong = || format!("{} has other operands", self.name);
        let rank = inputs.first().map(|&x| graph.shape(x).rank()).ok_or_else(wrong)?;
        Ok(match self.kind {
            Kind::LayerNorm { axes, eps } => {
                let first = rank.checked_sub(axes).ok_or_else(wrong)?;
                Op::LayerNorm { axes: (first..rank).collect(), eps: Real(f64::from(eps)) }
            }
            Kind::Attention { scale, mask } => {
                let heads = graph.shape(inputs[0]).0.get(1).and_then(|d| d.fixed()).ok_or_else(wrong)?;
                let scale = Real(f64::from(scale));
                Op::Attention { heads, scale, layout: AttentionLayout::Heads, bias: mask, talking: false }
            }
        })
    }
}
