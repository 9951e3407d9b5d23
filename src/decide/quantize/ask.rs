//! What is asked of a quantisation.

use super::fit::Target;
use super::form::Form;
use super::layers::Layer;
use std::collections::HashMap;
use vitc_ir::NodeId;

/// The form of each layer; layers that are not there stay as they are.
pub(super) type Forms = HashMap<NodeId, Form>;

/// What becomes of convolutions in groups where other layers read codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grouped {
    /// They read codes too.
    Codes,
    /// Their weights are codes, their inputs are not: few products wait for each value, and one step for all channels costs them most.
    Weights,
    /// They stay as they are.
    Float,
}

/// What is asked of a quantisation.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The forms that a layer may have, from the one of fewest bits on.
    pub forms: Vec<Form>,
    /// Scales, tables, shifts and factors are stored in half precision.
    pub half: bool,
    /// Bits of 8-bit weights that are used: 7 leaves room in 16-bit sums.
    pub weight_bits: u32,
    /// Convolutions in groups.
    pub grouped: Grouped,
    /// Outputs that share a table; `None` for one table per tensor.
    pub palette_group: Option<usize>,
    /// Layers that stay as they are: a path, or what it begins with up to a dot.
    pub keep: Vec<String>,
    /// What the whole must reach on the pictures.
    pub goal: Goal,
    /// Classes of the first output, if it is a row of scores for each picture.
    pub classes: Option<usize>,
}

/// What the whole must reach on the pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Goal {
    /// Least signal to noise of all outputs, in dB.
    pub snr: Option<f64>,
    /// Least share of pictures that keep their class.
    pub agreement: Option<f64>,
}

impl Goal {
    /// Whether anything is asked for.
    pub(super) fn is_set(self) -> bool {
        self != Goal::default()
    }
}

impl Ask {
    /// Whether a layer stays as it is for its form.
    pub(super) fn leaves(&self, layer: &Layer) -> bool {
        layer.groups > 1 && self.grouped == Grouped::Float
    }

    /// The form of a layer where others have this one.
    pub(super) fn own(&self, form: Form, layer: &Layer) -> Form {
        let weights = layer.groups > 1 && self.grouped == Grouped::Weights;
        if form == Form::W8A8 && weights { Form::W8 } else { form }
    }

    /// What a layer's weights of this rank become in a form.
    pub(super) fn target(&self, form: Form, layer: &Layer, rank: usize) -> Target {
        match form {
            Form::W8A8 | Form::W8 => Target::PerOutput { bits: self.weight_bits },
            Form::W6 => Target::Table { bits: 6, outputs: self.shared_by(layer, rank) },
            Form::W4 => Target::Table { bits: 4, outputs: self.shared_by(layer, rank) },
            Form::W4Block32 => Target::Blocks { size: 32 },
        }
    }

    /// Outputs that share a table: as many as were asked for, or the next number below that divides them. Tables stand along the first axis, so weights
    /// whose outputs are on another have one.
    fn shared_by(&self, layer: &Layer, rank: usize) -> Option<usize> {
        let all = layer.groups * layer.outputs;
        let asked = self.palette_group.filter(|_| layer.output_axis(rank) == 0)?;
        (1..=asked.min(all)).rev().find(|&n| all.is_multiple_of(n))
    }

    /// A number as it is stored; scales that half precision would make subnormal are raised.
    pub(super) fn held(&self, x: f64) -> f64 {
        match self.half {
            false => f64::from(x as f32),
            true => half::f16::from_f64(x).to_f64(),
        }
    }

    /// A scale as it is stored.
    pub(super) fn held_scale(&self, x: f64) -> f64 {
        self.held(if self.half { x.max(6.2e-5) } else { x.max(1e-12) })
    }

    /// Whether the user keeps a layer.
    pub(super) fn keeps(&self, path: &str) -> bool {
        self.keep.iter().any(|kept| is_below(path, kept))
    }
}

/// Whether a path is `kept`, or below it.
pub(super) fn is_below(path: &str, kept: &str) -> bool {
    path.strip_prefix(kept).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
