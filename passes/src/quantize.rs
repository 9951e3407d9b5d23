//! Weights, and where the plan says so activations, become codes of few bits.
//!
//! ```text
//! Given    a layer y = W·x + b, W constant, and a plan made by looking at numbers
//! Result   W becomes Dequantize(Keep(codes), scale) or Lookup(Keep(codes), table), b the plan's; x goes through
//!          (x − shift)·factor, Quantize, Dequantize, once for all layers that read it so
//! ```
//!
//! Not exact: it is the rounding that was asked for. Codes, scales, tables, biases, shifts and factors are tensors that lie over the checkpoint's, under the
//! names that [`Plan`] gives them; only their shapes are known here.

use crate::pass::{Result, Rewritten};
use crate::pipeline::{Observer, Run, observed};
use std::collections::{BTreeMap, HashMap};
use vitc_ir::{BinaryKind, Builder, Built, Copier, DType, Graph, Op, Shape, ShapeError, Type, Value};

/// What becomes of a layer's weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightForm {
    /// Codes of this type, with a scale of this shape.
    Scaled {
        /// i8 or i4.
        codes: DType,
        /// Sizes of the scale, of the weights' rank.
        scale: Vec<usize>,
    },
    /// Codes of so many bits into a table for each of so many parts of the first axis.
    Table {
        /// Bits of a code.
        bits: usize,
        /// Number of tables.
        parts: usize,
    },
}

/// What becomes of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerPlan {
    /// Which operand the weights are.
    pub slot: usize,
    /// Prefix of the tensors' names: the layer's path, or that of the first layer with the same weights.
    pub key: String,
    /// The form of the weights.
    pub weight: WeightForm,
    /// It reads its other operand quantised.
    pub quantised_input: bool,
    /// It has a bias of so many elements as its third operand, `PATH#bias`.
    pub bias: Option<usize>,
}

/// What becomes of a value that layers read quantised. Tensors: its scale, `VALUE#input_shift`, `VALUE#input_factor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputPlan {
    /// Key of its scale, which values with equal ones share.
    pub scale: String,
    /// Sizes of the shift in front of it.
    pub shift: Option<Vec<usize>>,
    /// Sizes of the factor in front of it.
    pub factor: Option<Vec<usize>>,
}

/// What becomes of a graph: decisions that were made by looking at numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Layers by path.
    pub layers: BTreeMap<String, LayerPlan>,
    /// Values by name.
    pub inputs: BTreeMap<String, InputPlan>,
    /// Sums with a constant, by path, whose constant operand of these sizes becomes `PATH#bias`.
    pub sums: BTreeMap<String, (usize, Vec<usize>)>,
}

/// Apply a plan, observed.
///
/// # Errors
/// If the plan does not fit the graph.
pub fn quantize(graph: &Graph, plan: &Plan, observer: &mut Observer<'_>) -> Result<Run> {
    observed("quantize", graph, observer, |graph| apply(graph, plan))
}

fn apply(graph: &Graph, plan: &Plan) -> Result<Rewritten> {
    let mut copy = Copier::new(graph, graph.stage);
    let mut made = Made::default();
    let mut count = 0;
    for (id, node) in graph.nodes() {
        let mut inputs = copy.inputs(id)?;
        if let Some(layer) = plan.layers.get(&node.path) {
            let (slot, other) = (layer.slot, 1 - layer.slot);
            let weights = graph.shape(node.inputs[slot]).clone();
            inputs[slot] = made.weight(&mut copy.new, layer, weights)?;
            if layer.quantised_input {
                let name = graph.value_name(node.inputs[other]);
                let read = plan.inputs.get(&name).ok_or_else(|| node_unplanned(&copy.new, inputs[other], &name))?;
                inputs[other] = made.input(&mut copy.new, inputs[other], &name, read)?;
            }
            if let Some(size) = layer.bias {
                inputs.truncate(2);
                inputs.push(tensor(&mut copy.new, &format!("{}#bias", node.path), &[size])?);
            }
        } else if let Some((slot, sizes)) = plan.sums.get(&node.path) {
            inputs[*slot] = tensor(&mut copy.new, &format!("{}#bias", node.path), sizes)?;
        } else {
            copy.node(id)?;
            continue;
        }
        count += 1;
        let new = copy.new.push(node.op.clone(), &inputs, &node.path)?;
        copy.set(id.into(), new.into());
    }
    Ok(Rewritten::new(copy.finish()?.pruned(), count))
}

/// A layer reads a value quantised of which the plan says nothing.
fn node_unplanned(graph: &Graph, value: Value, name: &str) -> ShapeError {
    graph.unfit(value, format!("{name} is read quantised, and the plan does not say how"))
}

/// A tensor of the plan.
fn tensor(graph: &mut Graph, key: &str, sizes: &[usize]) -> Built {
    graph.push_leaf(Op::Weight { key: key.into() }, Type::f32(sizes), key)
}

/// What was made already.
#[derive(Default)]
struct Made {
    weights: HashMap<String, Value>,
    inputs: HashMap<String, Value>,
    scales: HashMap<String, Value>,
}

impl Made {
    fn weight(&mut self, graph: &mut Graph, layer: &LayerPlan, shape: Shape) -> Built {
        if let Some(&made) = self.weights.get(&layer.key) {
            return Ok(made);
        }
        let key = &layer.key;
        let (stored, part) = match &layer.weight {
            WeightForm::Scaled { codes, scale } => {
                let scale = tensor(graph, &format!("{key}#scale"), scale)?;
                (Type::new(*codes, shape), (Op::Dequantize, scale))
            }
            WeightForm::Table { bits, parts } => {
                let table = tensor(graph, &format!("{key}#palette"), &[*parts, 1 << bits])?;
                let bytes = (shape.elements() * bits).div_ceil(8);
                (Type::new(DType::U8, Shape::fixed(&[bytes])), (Op::Lookup { bits: *bits, shape }, table))
            }
        };
        let sizes = stored.shape.at(1);
        let leaf = tensor(graph, &format!("{key}#codes"), &sizes)?;
        let codes = graph.push(Op::Cast { to: stored.dtype }, &[leaf], &format!("{key}.codes"))?.into();
        let codes = graph.push(Op::Keep, &[codes], &format!("{key}.codes.kept"))?.into();
        let (op, other) = part;
        let weight = graph.push(op, &[codes, other], &format!("{key}.w"))?.into();
        self.weights.insert(key.clone(), weight);
        Ok(weight)
    }

    fn input(&mut self, graph: &mut Graph, x: Value, name: &str, plan: &InputPlan) -> Built {
        if let Some(&made) = self.inputs.get(name) {
            return Ok(made);
        }
        let mut net = Builder::within(graph, name);
        let mut value = x;
        let leaf = |net: &mut Builder<'_>, part: &str, sizes: &[usize]| {
            tensor(net.graph(), &format!("{name}#input_{part}"), sizes)
        };
        if let Some(sizes) = &plan.shift {
            let shift = leaf(&mut net, "shift", sizes)?;
            value = net.binary("shifted", BinaryKind::Sub, value, shift)?;
        }
        if let Some(sizes) = &plan.factor {
            let factor = leaf(&mut net, "factor", sizes)?;
            value = net.binary("evened", BinaryKind::Mul, value, factor)?;
        }
        let scale = match self.scales.get(&plan.scale) {
            Some(&known) => known,
            None => tensor(net.graph(), &plan.scale, &[])?,
        };
        self.scales.insert(plan.scale.clone(), scale);
        let codes = net.push("quantised", Op::Quantize { to: DType::I8 }, &[value, scale])?;
        let read = net.push("dequantised", Op::Dequantize, &[codes, scale])?;
        self.inputs.insert(name.into(), read);
        Ok(read)
    }
}
