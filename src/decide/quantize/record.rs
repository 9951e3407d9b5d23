//! What was decided, as a plan for the pass, tensors that lie over the checkpoint's, and lines of a report.

use super::fit::{Fitted, Target};
use super::form::Form;
use super::inputs::Input;
use super::layers::{Kind, Layer};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use vitc_ir::packed::packed;
use vitc_ir::{DType, Graph, Stored, StoredType, Value, WeightError, Weights};
use vitc_passes::quantize::{InputPlan, LayerPlan, Plan, WeightForm};

/// Tensors that a decision made, by key.
#[derive(Debug, Clone, Default)]
pub struct Tensors {
    tensors: BTreeMap<String, (StoredType, Vec<u8>)>,
}

impl Tensors {
    fn floats(&mut self, key: String, values: impl IntoIterator<Item = f64>) {
        let bytes = values.into_iter().flat_map(|v| (v as f32).to_le_bytes()).collect();
        self.tensors.insert(key, (StoredType::F32, bytes));
    }

    fn codes(&mut self, key: String, dtype: StoredType, codes: Vec<u8>) {
        self.tensors.insert(key, (dtype, codes));
    }

    /// BLAKE3 of all of them, in the order of their keys.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (key, (_, bytes)) in &self.tensors {
            hasher.update(key.as_bytes()).update(bytes);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// These tensors, and where there is none the other's.
    pub fn over<'a>(&'a self, base: &'a dyn Weights) -> impl Weights + 'a {
        Over { own: self, base }
    }
}

struct Over<'a> {
    own: &'a Tensors,
    base: &'a dyn Weights,
}

impl Weights for Over<'_> {
    fn weight(&self, key: &str, elements: usize) -> Result<Stored<'_>, WeightError> {
        let Some((dtype, bytes)) = self.own.tensors.get(key) else { return self.base.weight(key, elements) };
        if bytes.len() != elements * dtype.bytes() {
            let what = format!("has {} bytes, {elements} elements are asked for", bytes.len());
            return Err(WeightError { key: key.into(), what });
        }
        Ok(Stored { dtype: *dtype, bytes: Cow::Borrowed(bytes) })
    }
}

/// What became of a layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerLine {
    /// Its path.
    pub layer: String,
    /// The form of its weights, `int8 per output`.
    pub form: String,
    /// Weights.
    pub weights: usize,
    /// Signal to noise of the weights, in dB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_snr: Option<f64>,
    /// Largest magnitude of its input over the calibration pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_range: Option<f64>,
    /// Step of its input's codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_scale: Option<f64>,
    /// Whether a shift and a factor per channel stand in front of its input's codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_evened: Option<[bool; 2]>,
    /// Why it is not quantised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A model that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// `w4`, or how many layers of each form, `w4 40, w8 12, float 3`.
    pub layers: String,
    /// Bytes of the layers' weights.
    pub bytes: u64,
    /// Signal to noise on the pictures, in dB.
    pub snr: f64,
    /// Share of pictures that keep their class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
}

/// What was decided.
#[derive(Debug, Clone, Default)]
pub struct Quantised {
    /// For the pass.
    pub plan: Plan,
    /// Codes, scales and so on.
    pub tensors: Tensors,
    /// Every layer.
    pub layers: Vec<LayerLine>,
    /// What was looked at to reach a goal; empty where none was set or the first look reached it.
    pub curve: Vec<Point>,
    /// How many of the pictures' passes it was fitted to, where memory did not allow all.
    pub fitted_to: Option<usize>,
}

/// Decisions as they are made.
pub(super) struct Record {
    made: Quantised,
    /// Keys of weights in their forms.
    keys: HashMap<(Value, Form), String>,
    /// Keys of the scales of inputs, by their number: equal ones are one.
    scales: HashMap<u64, String>,
    /// Layers in order, to name values by.
    names: HashMap<Value, String>,
}

impl Record {
    pub(super) fn new(graph: &Graph) -> Record {
        let names = graph
            .nodes()
            .flat_map(|(id, node)| (0..node.types.len() as u32).map(move |index| Value { node: id, index }));
        let names = names.map(|v| (v, graph.value_name(v))).collect();
        Record { made: Quantised::default(), keys: HashMap::new(), scales: HashMap::new(), names }
    }

    pub(super) fn finish(self) -> Quantised {
        self.made
    }

    /// Whether these weights were recorded.
    pub(super) fn has_weight(&self, weight: Value, form: Form) -> bool {
        self.keys.contains_key(&(weight, form))
    }

    /// A layer that stays as it is.
    pub(super) fn left(&mut self, layer: &Layer, why: &str) {
        self.made.layers.push(LayerLine {
            layer: layer.path.clone(),
            form: "float".into(),
            weights: layer.groups * layer.outputs * layer.terms,
            weight_snr: None,
            input_range: None,
            input_scale: None,
            input_evened: None,
            why: Some(why.into()),
        });
    }

    /// A layer with its fitted weights; `rows` are what they stand for.
    pub(super) fn layer(
        &mut self,
        graph: &Graph,
        layer: &Layer,
        (form, target): (Form, Target),
        rows: &[f64],
        fitted: &Fitted,
        input: Option<&Input>,
    ) {
        let shape = graph.shape(layer.weight).at(1);
        let key = self.keys.entry((layer.weight, form)).or_insert_with(|| layer.path.clone()).clone();
        let (weight, word) = match target {
            Target::Table { bits, .. } => {
                let codes = packed(&layer.stored(&fitted.codes), bits);
                self.made.tensors.codes(format!("{key}#codes"), StoredType::U8, codes);
                self.made.tensors.floats(format!("{key}#palette"), fitted.scales.iter().copied());
                let parts = fitted.scales.len() >> bits;
                (WeightForm::Table { bits, parts }, format!("{bits}-bit table{}", if parts > 1 { "s" } else { "" }))
            }
            Target::PerOutput { .. } | Target::Blocks { .. } => {
                let blocks = fitted.scales.len() / (layer.groups * layer.outputs);
                let (scale, scales) = spread(layer, &shape, blocks, &fitted.scales);
                self.made.tensors.codes(format!("{key}#codes"), StoredType::I8, layer.stored(&fitted.codes));
                self.made.tensors.floats(format!("{key}#scale"), scales);
                let four = matches!(target, Target::Blocks { .. });
                let codes = if four { DType::I4 } else { DType::I8 };
                let word = if four { "int4 per block" } else { "int8 per output" };
                (WeightForm::Scaled { codes, scale }, word.into())
            }
        };
        let plan = LayerPlan { slot: layer.slot, key, weight, quantised_input: input.is_some(), bias: None };
        self.made.plan.layers.insert(layer.path.clone(), plan);
        let noise: f64 = rows.iter().zip(&fitted.weights).map(|(w, q)| (w - q).powi(2)).sum();
        let signal: f64 = rows.iter().map(|w| w * w).sum();
        self.made.layers.push(LayerLine {
            layer: layer.path.clone(),
            form: word,
            weights: rows.len(),
            weight_snr: Some(10.0 * (signal / noise.max(1e-30)).log10()).filter(|snr| snr.is_finite()),
            input_range: input.map(|i| i.range),
            input_scale: input.map(|i| i.scale),
            input_evened: input.map(|i| [i.shift.is_some(), i.factor.is_some()]),
            why: None,
        });
    }

    /// Something that the line of the last layer says beside its form.
    pub(super) fn remark(&mut self, remark: &str) {
        if let Some(line) = self.made.layers.last_mut() {
            line.form += remark;
        }
    }

    /// Layers that have the weights of one that was recorded.
    pub(super) fn share(&mut self, layers: &[Layer], form: Form) {
        for layer in layers {
            let Some(key) = self.keys.get(&(layer.weight, form)) else { continue };
            let Some(first) = self.made.plan.layers.get(key).cloned() else { continue };
            self.made.plan.layers.entry(layer.path.clone()).or_insert(LayerPlan { bias: None, ..first });
        }
    }

    /// A layer's bias.
    pub(super) fn bias(&mut self, path: &str, bias: &[f64]) {
        if let Some(layer) = self.made.plan.layers.get_mut(path) {
            layer.bias = Some(bias.len());
            self.made.tensors.floats(format!("{path}#bias"), bias.iter().copied());
        }
    }

    /// The constant of a sum.
    pub(super) fn sum(&mut self, path: &str, slot: usize, sizes: Vec<usize>, bias: &[f64]) {
        self.made.plan.sums.insert(path.into(), (slot, sizes));
        self.made.tensors.floats(format!("{path}#bias"), bias.iter().copied());
    }

    /// How a value is read.
    pub(super) fn input(&mut self, graph: &Graph, value: Value, input: &Input) {
        let name = self.names.get(&value).cloned().unwrap_or_default();
        // From the channels' axis on.
        let behind = graph.shape(value).rank().saturating_sub(input.axis + 1);
        let sizes = |channels: usize| std::iter::once(channels).chain(std::iter::repeat_n(1, behind)).collect();
        let own = format!("{name}#input_scale");
        let scale = self.scales.entry(input.scale.to_bits()).or_insert(own).clone();
        let plan = InputPlan {
            scale: scale.clone(),
            shift: input.shift.as_ref().map(|s| sizes(s.len())),
            factor: input.factor.as_ref().map(|f| sizes(f.len())),
        };
        let tensors = &mut self.made.tensors;
        tensors.floats(scale, [input.scale]);
        if let Some(shift) = &input.shift {
            tensors.floats(format!("{name}#input_shift"), shift.iter().copied());
        }
        if let Some(factor) = &input.factor {
            tensors.floats(format!("{name}#input_factor"), factor.iter().map(|f| 1.0 / f));
        }
        self.made.plan.inputs.insert(name, plan);
    }
}

/// Sizes of a scale of so many blocks for each output, and its elements in that order.
fn spread(layer: &Layer, shape: &[usize], blocks: usize, scales: &[f64]) -> (Vec<usize>, Vec<f64>) {
    let (rank, outputs) = (shape.len(), layer.groups * layer.outputs);
    let axis = layer.output_axis(rank);
    let mut sizes = vec![1; rank];
    sizes[axis] = outputs;
    if blocks == 1 {
        return (sizes, scales.to_vec());
    }
    let inner = match layer.kind {
        Kind::Conv { .. } => 1,
        Kind::Rows | Kind::Columns => 2 * rank - 3 - axis,
    };
    sizes[inner] = blocks;
    let across = (0..blocks).flat_map(|b| (0..outputs).map(move |o| scales[o * blocks + b]));
    (sizes, if inner < axis { across.collect() } else { scales.to_vec() })
}
