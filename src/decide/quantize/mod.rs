//! Which codes, scales, tables, biases, shifts and factors a quantised model has.
//!
//! One walk over the graph with two streams of values for the calibration pictures: what the model computes, and what it computes as quantised so far. Each
//! layer is fitted when the walk reaches it, to the outputs that the exact stream has, at the inputs that the quantised stream has: its input's codes,
//! its weights' scales or tables, rounding that passes errors on, and the bias that makes the mean of each output right. Without pictures each
//! weight is rounded by itself.
//!
//! Nothing is chosen at random, and sums have a fixed order: the same pictures give the same bytes on one machine.

mod fit;
mod held;
mod inputs;
mod layers;
mod record;
mod rounding;
mod sample;
mod scales;
mod streams;

pub use record::{LayerLine, Quantised, Tensors};
pub(super) use streams::Streams;

use fit::{Fitted, Target, fit};
use held::Held;
use inputs::{Input, input};
use layers::{Bias, Kind, Layer};
use record::Record;
use std::collections::HashMap;
use std::sync::Arc;
use streams::{Units, runs, stream};
use vitc_ir::eval::{self, EvalError};
use vitc_ir::{Graph, NodeId, Value, Weights};

/// What weights, and activations, become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Weights and the inputs of layers in 8 bits.
    W8A8,
    /// Weights in 8 bits, a scale for each output.
    W8,
    /// Weights as 6-bit indices into a table.
    W6,
    /// Weights as 4-bit indices into a table.
    W4,
    /// Weights in 4 bits, a scale for every 32 input channels of each output.
    W4Block32,
}

impl Form {
    /// Every form.
    pub const ALL: [Form; 5] = [Form::W8A8, Form::W8, Form::W6, Form::W4, Form::W4Block32];

    /// Its name: `w8a8`, `w8`, `w6`, `w4`, `w4-block32`.
    pub fn name(self) -> &'static str {
        match self {
            Form::W8A8 => "w8a8",
            Form::W8 => "w8",
            Form::W6 => "w6",
            Form::W4 => "w4",
            Form::W4Block32 => "w4-block32",
        }
    }

    /// The form of this name.
    pub fn named(name: &str) -> Option<Form> {
        Form::ALL.into_iter().find(|form| form.name() == name)
    }
}

/// What is asked of a quantisation.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The form.
    pub form: Form,
    /// Scales, tables, shifts and factors are stored in half precision.
    pub half: bool,
    /// Bits of 8-bit weights that are used: 7 leaves room in 16-bit sums.
    pub weight_bits: u32,
    /// Convolutions in groups are quantised too.
    pub grouped: bool,
    /// Outputs that share a table; `None` for one table per tensor.
    pub palette_group: Option<usize>,
}

impl Ask {
    fn target(&self) -> Target {
        match self.form {
            Form::W8A8 | Form::W8 => Target::PerOutput { bits: self.weight_bits },
            Form::W6 => Target::Table { bits: 6, outputs: self.palette_group },
            Form::W4 => Target::Table { bits: 4, outputs: self.palette_group },
            Form::W4Block32 => Target::Blocks { size: 32 },
        }
    }

    /// A number as it is stored; scales that half precision would make subnormal are raised.
    fn held(&self, x: f64) -> f64 {
        match self.half {
            false => f64::from(x as f32),
            true => half::f16::from_f64(x).to_f64(),
        }
    }

    fn held_scale(&self, x: f64) -> f64 {
        self.held(if self.half { x.max(6.2e-5) } else { x.max(1e-12) })
    }
}

/// Quantise a graph whose values have no element types yet. `pictures` are its input, one array for each pass at its own batch.
///
/// # Errors
/// If a weight is missing, or a value cannot be computed.
pub fn quantize(
    graph: &Graph,
    ask: &Ask,
    weights: &dyn Weights,
    pictures: Option<Vec<Vec<f32>>>,
) -> Result<Quantised, EvalError> {
    let (all, mut record) = (layers::layers(graph), Record::new(graph));
    let (wanted, left): (Vec<Layer>, Vec<Layer>) = all.into_iter().partition(|l| ask.grouped || l.groups == 1);
    left.iter().for_each(|l| record.left(l, "a convolution in groups, which the target runs faster as it is"));
    let Some(pictures) = pictures else {
        for layer in &wanted {
            if record.has_weight(layer.weight) {
                continue;
            }
            let rows = rows(graph, weights, layer)?;
            let fitted = fit(
                layer,
                &rows,
                ask.target(),
                None,
                &Held { number: &|x| ask.held(x), scale: &|x| ask.held_scale(x) },
            );
            record.layer(graph, layer, ask.target(), &rows, &fitted, None);
        }
        record.share(&wanted);
        return Ok(record.finish());
    };
    let mut walk = Walk {
        graph,
        ask,
        weights,
        streams: Streams::new(graph, weights, pictures),
        record,
        inputs: HashMap::new(),
        biases: HashMap::new(),
        shared: HashMap::new(),
    };
    let by_node: HashMap<NodeId, &Layer> = wanted.iter().map(|l| (l.id, l)).collect();
    for (id, node) in graph.run_time_nodes().filter(|(_, n)| runs(&n.op)) {
        match by_node.get(&id) {
            Some(layer) => walk.layer(layer, &wanted)?,
            None => walk.other(id, &node.path)?,
        }
    }
    walk.record.share(&wanted);
    Ok(walk.record.finish())
}

/// A layer's weights as rows of terms.
fn rows(graph: &Graph, weights: &dyn Weights, layer: &Layer) -> Result<Vec<f64>, EvalError> {
    let stored = eval::constants(graph, weights, &[layer.weight])?.pop().unwrap_or_default();
    Ok(layer.rows(&stored))
}

struct Walk<'a> {
    graph: &'a Graph,
    ask: &'a Ask,
    weights: &'a dyn Weights,
    streams: Streams<'a>,
    record: Record,
    inputs: HashMap<Value, Input>,
    /// Constants of sums that a layer's bias replaced, by path.
    biases: HashMap<String, (usize, Arc<Vec<f64>>)>,
    /// Weights that several layers have, as fitted for the first.
    shared: HashMap<Value, Fitted>,
}

impl Walk<'_> {
    /// A node that is no layer.
    fn other(&mut self, id: NodeId, path: &str) -> Result<(), EvalError> {
        let constants = self.streams.constants(id)?;
        let exact = self.streams.exact_results(id, &constants)?;
        let Some((slot, bias)) = self.biases.remove(path) else { return self.streams.advance(id, exact, None) };
        let mut changed = constants;
        changed.insert(slot, bias);
        self.streams.advance(id, exact, Some((&changed, None)))
    }

    fn layer(&mut self, layer: &Layer, all: &[Layer]) -> Result<(), EvalError> {
        let constants = self.streams.constants(layer.id)?;
        let exact = self.streams.exact_results(layer.id, &constants)?;
        let rows = constants.get(&layer.slot).map(|stored| layer.rows(stored)).unwrap_or_default();
        let input = self.input(layer, all)?;
        let x_units = match &input {
            Some(input) => Arc::clone(&input.units),
            None => self.streams.quantised(layer.input).unwrap_or_default(),
        };
        let absorbed = input.as_ref().map_or_else(|| rows.clone(), |i| i.absorbed(layer, rows.clone()));
        let (x_dims, y_dims) = (self.streams.dims(layer.input), self.streams.dims(layer.id.into()));
        let fitted = match self.shared.get(&layer.weight) {
            Some(fitted) => Fitted { shift: None, ..fitted.clone() },
            None => {
                let streams = [stream(&x_dims, &x_units), stream(&y_dims, &exact[0])];
                let held = Held { number: &|x| self.ask.held(x), scale: &|x| self.ask.held_scale(x) };
                fit(layer, &absorbed, self.ask.target(), Some(streams), &held)
            }
        };
        if layer.shared {
            self.shared.insert(layer.weight, fitted.clone());
        }
        let bias = self.bias(layer, &fitted);
        self.record.layer(self.graph, layer, self.ask.target(), &absorbed, &fitted, input.as_ref());
        let mut changed = constants;
        changed.insert(layer.slot, Arc::new(layer.stored(&fitted.weights)));
        let mut added = None;
        match (&layer.bias, bias) {
            (Bias::Operand(Some(_)), Some(bias)) => {
                self.record.bias(&layer.path, &bias);
                changed.insert(2, Arc::new(bias));
            }
            (Bias::Operand(None), Some(bias)) => {
                self.record.bias(&layer.path, &bias);
                added = Some(bias);
            }
            (Bias::Sum(path, slot, old), Some(bias)) => {
                self.record.sum(path, *slot, self.graph.shape(*old).at(1), &bias);
                self.biases.insert(path.clone(), (*slot, Arc::new(bias)));
            }
            (Bias::None, _) | (_, None) => {}
        }
        let other = input.is_some().then_some((1 - layer.slot, &x_units));
        self.streams.advance(layer.id, exact, Some((&changed, other)))?;
        if let Some(bias) = added {
            let axis = if matches!(layer.kind, Kind::Conv { .. }) { 1 } else { y_dims.len() - 1 };
            self.streams.add(layer.id.into(), &y_dims, axis, &bias);
        }
        Ok(())
    }

    /// The bias with which the mean of each output is right.
    fn bias(&self, layer: &Layer, fitted: &Fitted) -> Option<Vec<f64>> {
        let shift = fitted.shift.as_ref().filter(|_| !layer.shared)?;
        let held = |x: f64| f64::from(x as f32);
        match layer.bias {
            // Outputs have it already.
            Bias::Operand(_) => Some(shift.iter().map(|&s| held(s)).collect()),
            Bias::Sum(_, _, old) => {
                let old = eval::constants(self.graph, self.weights, &[old]).ok()?.pop()?;
                Some(old.iter().zip(shift).map(|(b, s)| held(b + s)).collect())
            }
            Bias::None => None,
        }
    }

    /// How the layer's input is read, made for the first of its readers.
    fn input(&mut self, layer: &Layer, all: &[Layer]) -> Result<Option<Input>, EvalError> {
        if self.ask.form != Form::W8A8 {
            return Ok(None);
        }
        if let Some(known) = self.inputs.get(&layer.input) {
            return Ok(Some(known.clone()));
        }
        let readers = all.iter().filter(|l| l.input == layer.input);
        let readers: Vec<(&Layer, Vec<f64>)> =
            readers.map(|l| Ok((l, rows(self.graph, self.weights, l)?))).collect::<Result<_, EvalError>>()?;
        let units: Units = self.streams.quantised(layer.input).unwrap_or_default();
        let held = Held { number: &|x| self.ask.held(x), scale: &|x| self.ask.held_scale(x) };
        let made = input(&units, &self.streams.dims(layer.input), &readers, &held);
        self.record.input(self.graph, layer.input, &made);
        self.inputs.insert(layer.input, made.clone());
        Ok(Some(made))
    }
}
