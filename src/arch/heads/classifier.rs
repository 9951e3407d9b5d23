//! A linear classifier on pooled features, or several, whose mean is the result: a distilled model has a head that learned from the labels and
//! one that learned from the teacher, and its authors evaluate both.

use crate::arch::choice::Head;
use crate::arch::family::BuildOptions;
use vitc_ir::{Net, Value};

/// Linear layers that read the same features.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classifier {
    /// Where the keys of each stand; at least one.
    pub layers: Vec<&'static str>,
    /// Those of them that have no bias.
    pub without_bias: Vec<&'static str>,
    /// Scores of each.
    pub classes: usize,
}

impl Classifier {
    /// The family's classifiers that the checkpoint holds and the options want; `None` if that is none.
    pub fn chosen(options: &BuildOptions) -> Option<Classifier> {
        let all = options.backbone.family.heads;
        let held = |head: &&&str| options.holds(&format!("{head}.weight"), true);
        let wanted = |head: &&&str| match options.head {
            Head::Average => true,
            Head::Class => **head == all[0],
            Head::Distillation => **head != all[0],
        };
        let layers: Vec<&'static str> = all.iter().filter(held).filter(wanted).copied().collect();
        let biased = |head: &&&str| options.holds(&format!("{head}.bias"), true);
        let without_bias = layers.iter().filter(|head| !biased(head)).copied().collect();
        (!layers.is_empty()).then_some(Classifier { layers, without_bias, classes: options.classes })
    }

    /// `[B,classes]` for features `[B,C]`.
    pub(in crate::arch) fn build(&self, net: &mut Net, pooled: Value) -> Value {
        let biased = |layer: &str| !self.without_bias.contains(&layer);
        let scores: Vec<Value> =
            self.layers.iter().map(|layer| net.at(layer).linear(pooled, self.classes, biased(layer))).collect();
        if let [only] = scores[..] {
            return only;
        }
        let mut net = net.at("logits");
        let sum = scores[1..].iter().fold(scores[0], |sum, &more| net.add(sum, more));
        let count = net.scalar(scores.len() as f64);
        net.div(sum, count)
    }
}
