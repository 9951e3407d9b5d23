//! One walk over the graph: every layer that has a form is fitted when it is reached.

use super::ask::{Ask, Forms};
use super::fit::{Fitted, fit};
use super::form::Form;
use super::held::Held;
use super::inputs::{Input, input};
use super::layers::{Bias, Kind, Layer};
use super::record::{Quantised, Record};
use super::streams::{Streams, runs};
use super::units::{Stream, moved};
use crate::decide::step::{self, Constants, Step, Units};
use crate::numbers::{best, decibels};
use std::collections::HashMap;
use std::sync::Arc;
use vitc_ir::eval::{self, EvalError};
use vitc_ir::{Graph, NodeId, Value, Weights};

/// What is quantised.
pub(super) struct Job<'a> {
    pub(super) graph: &'a Graph,
    pub(super) ask: &'a Ask,
    pub(super) weights: &'a dyn Weights,
    /// Layers that may have a form.
    pub(super) wanted: Vec<Layer>,
    /// Layers that stay as they are, and why.
    pub(super) left: Vec<(Layer, &'static str)>,
    /// Hears what is done.
    pub(super) told: &'a dyn Fn(&str),
}

impl Job<'_> {
    /// The constants that a node reads, by operand.
    pub(super) fn constants(&self, id: NodeId) -> Result<Constants, EvalError> {
        step::constants(self.graph, self.weights, id)
    }
}

/// What a layer does when it has its form: enough to do so by itself.
pub(super) struct Effect {
    pub(super) constants: Constants,
    /// Added to its result along an axis.
    pub(super) added: Option<(usize, Vec<f64>)>,
    /// How it reads its input.
    pub(super) input: Option<Input>,
}

/// What a walk gave.
pub(super) struct Outcome {
    pub(super) quantised: Quantised,
    /// Least signal to noise of an output, in dB.
    pub(super) snr: f64,
    /// Share of passes' rows that keep their class.
    pub(super) agreement: Option<f64>,
    pub(super) effects: HashMap<NodeId, Effect>,
}

/// Why a layer stays: it loses too much.
const LOSES: &str = "it loses most";

/// What the line of a layer says whose input stays as it is.
const WEIGHTS_ONLY: &str = ", its input as it is: a convolution in groups";

/// Walk with these forms.
///
/// # Errors
/// If a weight is missing or a value cannot be computed.
pub(super) fn walk(job: &Job<'_>, pictures: &Units, forms: &Forms) -> Result<Outcome, EvalError> {
    let mut record = Record::new(job.graph);
    job.left.iter().for_each(|(layer, why)| record.left(layer, why));
    let layers: HashMap<NodeId, (&Layer, Form)> =
        job.wanted.iter().filter_map(|l| Some((l.id, (l, job.ask.own(*forms.get(&l.id)?, l))))).collect();
    job.wanted.iter().filter(|l| !forms.contains_key(&l.id)).for_each(|l| record.left(l, LOSES));
    let streams = Streams::new(job.graph, pictures);
    let (inputs, biases, shared, effects) = Default::default();
    let mut walk = Walk { job, streams, layers, record, inputs, biases, shared, effects };
    let nodes: Vec<NodeId> = job.graph.run_time_nodes().filter(|(_, n)| runs(&n.op)).map(|(id, _)| id).collect();
    for (at, &id) in nodes.iter().enumerate() {
        (job.told)(&format!("fitting to the calibration pictures: {} of {} nodes", at + 1, nodes.len()));
        match walk.layers.get(&id).copied() {
            Some((layer, form)) => walk.layer(layer, form)?,
            None => walk.other(id)?,
        }
    }
    let (snr, agreement) = walk.fidelity();
    Ok(Outcome { quantised: walk.record.finish(), snr, agreement, effects: walk.effects })
}

struct Walk<'a> {
    job: &'a Job<'a>,
    streams: Streams<'a>,
    layers: HashMap<NodeId, (&'a Layer, Form)>,
    record: Record,
    inputs: HashMap<Value, Input>,
    /// Constants of sums that a layer's bias replaced, by path.
    biases: HashMap<String, (usize, Arc<Vec<f64>>)>,
    /// Weights that several layers have, as fitted for the first in each form.
    shared: HashMap<(Value, Form), Fitted>,
    effects: HashMap<NodeId, Effect>,
}

impl Walk<'_> {
    /// A node that has no form.
    fn other(&mut self, id: NodeId) -> Result<(), EvalError> {
        let step = Step::new(self.job.graph, id, self.job.constants(id)?);
        let exact = self.streams.exact_results(id, &step)?;
        let quantised = match self.biases.remove(&self.job.graph.node(id).path) {
            Some((slot, bias)) => {
                let mut changed = step.constants().clone();
                changed.insert(slot, bias);
                self.streams.quantised_results(id, &Step::new(self.job.graph, id, changed), None)?
            }
            None if self.streams.is_shared(id) => exact.clone(),
            None => self.streams.quantised_results(id, &step, None)?,
        };
        self.streams.advance(id, exact, quantised);
        Ok(())
    }

    fn layer(&mut self, layer: &Layer, form: Form) -> Result<(), EvalError> {
        let (job, id) = (self.job, layer.id);
        let step = Step::new(job.graph, id, job.constants(id)?);
        let exact = self.streams.exact_results(id, &step)?;
        let rows = step.constants().get(&layer.slot).map(|stored| layer.rows(stored)).unwrap_or_default();
        let input = self.input(layer, form)?;
        let x = self.streams.quantised(layer.input).unwrap_or_default();
        let (x_dims, y_dims) = (self.streams.dims(layer.input), self.streams.dims(id.into()));
        let x = input.as_ref().map_or(x.clone(), |i| i.read(&x, &x_dims));
        let absorbed = input.as_ref().map_or_else(|| rows.clone(), |i| i.absorbed(layer, rows.clone()));
        let target = job.ask.target(form, layer, job.graph.shape(layer.weight).rank());
        let fitted = match self.shared.get(&(layer.weight, form)) {
            Some(fitted) => Fitted { shift: None, ..fitted.clone() },
            None => {
                let streams = [Stream { dims: &x_dims, units: &x }, Stream { dims: &y_dims, units: &exact[0] }];
                let held = Held { number: &|x| job.ask.held(x), scale: &|x| job.ask.held_scale(x) };
                fit(layer, &absorbed, target, Some(streams), &held)
            }
        };
        if layer.shared {
            self.shared.insert((layer.weight, form), fitted.clone());
        }
        self.record.layer(job.graph, layer, (form, target), &absorbed, &fitted, input.as_ref());
        if job.ask.forms.iter().any(|&asked| asked != form && job.ask.own(asked, layer) == form) {
            self.record.remark(WEIGHTS_ONLY);
        }
        let mut constants = step.constants().clone();
        constants.insert(layer.slot, Arc::new(layer.stored(&fitted.weights)));
        let axis = if matches!(layer.kind, Kind::Conv { .. }) { 1 } else { y_dims.len() - 1 };
        let (behind, by_itself) = self.bias(layer, &fitted, &mut constants)?;
        let step = Step::new(job.graph, id, constants);
        let other = input.is_some().then_some((1 - layer.slot, &x));
        let mut results = self.streams.quantised_results(id, &step, other)?;
        if let (Some(by), [y]) = (&behind, &mut results[..]) {
            *y = moved(y, &y_dims, axis, by);
        }
        let added = behind.or(by_itself).map(|by| (axis, by));
        if job.ask.goal.is_set() {
            self.effects.insert(id, Effect { constants: step.constants().clone(), added, input });
        }
        self.streams.advance(id, exact, results);
        Ok(())
    }

    /// Give a layer the bias with which the mean of each output is right: among its constants or behind its result. What a sum behind it adds instead is
    /// remembered, and given as the second.
    #[expect(clippy::type_complexity, reason = "two of a kind")]
    fn bias(
        &mut self,
        layer: &Layer,
        fitted: &Fitted,
        constants: &mut Constants,
    ) -> Result<(Option<Vec<f64>>, Option<Vec<f64>>), EvalError> {
        let Some(shift) = fitted.shift.as_ref().filter(|_| !layer.shared) else { return Ok((None, None)) };
        let held = |x: f64| f64::from(x as f32);
        match &layer.bias {
            // Outputs have the old one already.
            Bias::Operand(old) => {
                let bias: Vec<f64> = shift.iter().map(|&s| held(s)).collect();
                self.record.bias(&layer.path, &bias);
                if old.is_none() {
                    return Ok((Some(bias), None));
                }
                constants.insert(2, Arc::new(bias));
                Ok((None, None))
            }
            Bias::Sum(path, slot, old) => {
                let (graph, value) = (self.job.graph, *old);
                let old = eval::constants(graph, self.job.weights, &[value])?.pop().unwrap_or_default();
                let bias: Vec<f64> = old.iter().zip(shift).map(|(b, s)| held(b + s)).collect();
                self.record.sum(path, *slot, graph.shape(value).at(1), &bias);
                self.biases.insert(path.clone(), (*slot, Arc::new(bias)));
                Ok((None, Some(shift.clone())))
            }
            Bias::None => Ok((None, None)),
        }
    }

    /// How the layer's input is read, made for the first of its readers.
    fn input(&mut self, layer: &Layer, form: Form) -> Result<Option<Input>, EvalError> {
        if form != Form::W8A8 {
            return Ok(None);
        }
        if let Some(known) = self.inputs.get(&layer.input) {
            return Ok(Some(known.clone()));
        }
        let job = self.job;
        let reads = |l: &&Layer| l.input == layer.input && matches!(self.layers.get(&l.id), Some((_, Form::W8A8)));
        let readers = job.wanted.iter().filter(reads);
        let readers: Vec<(&Layer, Vec<f64>)> =
            readers.map(|l| Ok((l, l.weights(job.graph, job.weights)?))).collect::<Result<_, EvalError>>()?;
        let units: Units = self.streams.quantised(layer.input).unwrap_or_default();
        let held = Held { number: &|x| job.ask.held(x), scale: &|x| job.ask.held_scale(x) };
        let made = input(&units, &self.streams.dims(layer.input), &readers, &held);
        self.record.input(job.graph, layer.input, &made);
        self.inputs.insert(layer.input, made.clone());
        Ok(Some(made))
    }

    /// Least signal to noise of an output, and share of kept classes at the end.
    fn fidelity(&self) -> (f64, Option<f64>) {
        let (mut snr, mut kept, mut rows) = (f64::INFINITY, 0, 0);
        for (index, output) in self.job.graph.outputs.iter().enumerate() {
            let Some([exact, quantised]) = self.streams.both(output.value) else { continue };
            let (mut signal, mut noise) = (0.0, 0.0);
            for (a, b) in exact.iter().zip(quantised.iter()) {
                signal += a.iter().map(|&a| f64::from(a).powi(2)).sum::<f64>();
                noise += a.iter().zip(b.iter()).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>();
                if let (0, Some(classes)) = (index, self.job.ask.classes.filter(|&n| n > 0)) {
                    for (a, b) in a.chunks_exact(classes).zip(b.chunks_exact(classes)) {
                        rows += 1;
                        kept += usize::from(best(a) == best(b));
                    }
                }
            }
            let level = decibels([signal, noise]);
            snr = if level.is_nan() { f64::NEG_INFINITY } else { snr.min(level) };
        }
        (snr, (rows > 0).then(|| f64::from(kept as u32) / f64::from(rows)))
    }
}
