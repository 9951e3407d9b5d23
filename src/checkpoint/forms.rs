//! Weights that are stored as factors: pruning masks and weight normalisation.
//!
//! Given    `w_orig`, `w_mask`                       (torch.nn.utils.prune)
//! Result   w = w_orig · w_mask
//! Given    `w_g`, `w_v`, or `parametrizations.w.original0`, `.original1`   (torch.nn.utils.weight_norm)
//! Result   w = w_v · (w_g / ‖w_v‖), the norm over every axis along which w_g has size 1
//!
//! The products are nodes of the graph like any other weight arithmetic; nothing is computed here. Recognition works on upstream's keys before
//! the name table, because tables know `w`, not its factors; the factors then get the canonical name of `w` and the suffix.

use super::contents::Shapes;
use super::error::{CheckpointError, some_of};
use super::names::NameTable;
use super::tensor::TensorInfo;
use std::borrow::Borrow;
use std::collections::BTreeMap;
use vitc_ir::op::ReduceKind;
use vitc_ir::{BinaryKind, Copier, Graph, Net, Op, UnaryKind, Value};

/// How a weight is made of its factors.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// `_orig · _mask`.
    Masked,
    /// `_v · (_g / ‖_v‖)`, the norm over all axes but this one; over all if `None`.
    WeightNorm { kept: Option<usize> },
}

/// The weights of a checkpoint that are stored as factors, by canonical key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forms {
    forms: BTreeMap<String, Form>,
}

/// A factor: the key of the weight it belongs to, and its suffix.
struct Factor {
    base: String,
    suffix: &'static str,
}

/// The factor that an upstream key names, judged by the keys beside it.
fn factor<T>(key: &str, tensors: &BTreeMap<String, T>) -> Option<Factor> {
    if let Some((base, index)) = parametrized(key) {
        let paired =
            tensors.contains_key(&format!("{}{}", key.strip_suffix(index)?, if index == "0" { "1" } else { "0" }));
        return paired.then_some(Factor { base, suffix: if index == "0" { "_g" } else { "_v" } });
    }
    const PAIRS: [(&str, &str); 4] = [("_orig", "_mask"), ("_mask", "_orig"), ("_g", "_v"), ("_v", "_g")];
    PAIRS.into_iter().find_map(|(suffix, other)| {
        let base = key.strip_suffix(suffix)?;
        let whole = tensors.contains_key(&format!("{base}{other}")) && !tensors.contains_key(base);
        whole.then(|| Factor { base: base.to_string(), suffix })
    })
}

/// `m.parametrizations.w.original0` as (`m.w`, `0`).
fn parametrized(key: &str) -> Option<(String, &str)> {
    let (path, leaf) = key.rsplit_once('.')?;
    let index = leaf.strip_prefix("original").filter(|i| ["0", "1"].contains(i))?;
    let (module, weight) = path.rsplit_once('.')?;
    let module = module.strip_suffix("parametrizations")?;
    if !module.is_empty() && !module.ends_with('.') {
        return None;
    }
    Some((format!("{module}{weight}"), index))
}

/// Shapes by key, the factors of a weight replaced by the weight itself.
pub fn merged_shapes<T: Borrow<TensorInfo>>(tensors: &BTreeMap<String, T>) -> Shapes {
    let mut shapes = Shapes::new();
    for (key, tensor) in tensors {
        let shape = &tensor.borrow().shape;
        match factor(key, tensors) {
            None => drop(shapes.insert(key.clone(), shape.clone())),
            // The factor that has the weight's shape stands for it.
            Some(Factor { base, suffix: "_orig" | "_v" }) => drop(shapes.insert(base, shape.clone())),
            Some(_) => {}
        }
    }
    shapes
}

/// The architecture's key for an upstream key that may name a factor.
pub(super) fn canonical(key: &str, tensors: &BTreeMap<String, TensorInfo>, table: &NameTable) -> String {
    match factor(key, tensors) {
        Some(Factor { base, suffix }) => format!("{}{suffix}", table.canonical(&base)),
        None => table.canonical(key),
    }
}

/// The architecture's key for the weight that an upstream key names, or that it is a factor of.
pub(super) fn whole(key: &str, tensors: &BTreeMap<String, TensorInfo>, table: &NameTable) -> String {
    table.canonical(&factor(key, tensors).map_or_else(|| key.to_string(), |factor| factor.base))
}

/// Tensors under one spelling of factors: `KEY_g` and `KEY_v`, `KEY_orig` and `KEY_mask`.
pub fn respelled(tensors: &BTreeMap<String, TensorInfo>) -> BTreeMap<String, TensorInfo> {
    tensors.iter().map(|(key, tensor)| (canonical(key, tensors, &NameTable::IDENTITY), tensor.clone())).collect()
}

/// Refuses parametrizations that are not weight normalisation.
pub(super) fn check_parametrizations(tensors: &BTreeMap<String, TensorInfo>) -> Result<(), CheckpointError> {
    let unknown = |key: &&String| key.split('.').any(|s| s == "parametrizations") && factor(key, tensors).is_none();
    let unknown: Vec<&str> = tensors.keys().filter(unknown).map(String::as_str).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(CheckpointError::new(
        "the checkpoint stores parametrized weights of an unknown kind",
        some_of(unknown.into_iter(), 4),
        "pruning masks and weight normalisation are multiplied out; other parametrizations compute with code that is not in the file",
        "before saving, call torch.nn.utils.parametrize.remove_parametrizations(module, 'weight') on these modules",
    ))
}

impl Forms {
    /// The weights among `tensors` (upstream's keys) that are stored as factors.
    pub fn of(tensors: &BTreeMap<String, TensorInfo>, table: &NameTable) -> Forms {
        let mut forms = BTreeMap::new();
        for (key, tensor) in tensors {
            let Some(Factor { base, suffix }) = factor(key, tensors) else { continue };
            let form = match suffix {
                "_mask" => Form::Masked,
                // `[C,1,1,1]` keeps axis 0, a scalar none; one norm for one channel is the norm over everything.
                "_g" => Form::WeightNorm { kept: tensor.shape.iter().position(|&d| d > 1) },
                _ => continue,
            };
            forms.insert(table.canonical(&base), form);
        }
        Forms { forms }
    }

    /// With those of other tensors.
    pub fn and(mut self, others: Forms) -> Forms {
        self.forms.extend(others.forms);
        self
    }

    /// Number of weights of a graph that are stored as factors.
    pub fn count(&self, graph: &Graph) -> usize {
        graph.weights().filter(|(key, _)| self.forms.contains_key(*key)).count()
    }

    /// The same graph, asking for the stored factors and multiplying them.
    pub fn multiplied_out(&self, graph: &Graph) -> Graph {
        const IN_ORDER: &str = "nodes are visited in order, and each weight stands for a value of its type";
        let mut copier = Copier::new(graph, graph.stage);
        for (id, node) in graph.nodes() {
            let form = match &node.op {
                Op::Weight { key } => self.forms.get(key).map(|form| (key, form)),
                _ => None,
            };
            match form.zip(node.types[0].shape.as_fixed()) {
                Some(((key, form), dims)) => {
                    let product = form.product(&mut copier.new, key, &dims);
                    copier.set(id.into(), product);
                }
                None => drop(copier.node(id).expect(IN_ORDER)),
            }
        }
        copier.finish().expect(IN_ORDER)
    }
}

impl Form {
    fn product(&self, graph: &mut Graph, key: &str, dims: &[usize]) -> Value {
        let mut net = Net::within(graph, "");
        let mut leaf = |suffix: &str, dims: &[usize]| net.weight(format!("{key}{suffix}"), dims);
        match *self {
            Form::Masked => {
                let (weight, mask) = (leaf("_orig", dims), leaf("_mask", dims));
                net.binary(key, BinaryKind::Mul, weight, mask)
            }
            Form::WeightNorm { kept } => {
                let axes: Vec<usize> = (0..dims.len()).filter(|&axis| Some(axis) != kept).collect();
                let norms: Vec<usize> =
                    dims.iter().enumerate().map(|(i, &d)| if Some(i) == kept { d } else { 1 }).collect();
                let (g, v) = (leaf("_g", &norms), leaf("_v", dims));
                let mut at = net.at(key);
                let squares = at.mul(v, v);
                let sum = at.push("sum", Op::Reduce { kind: ReduceKind::Sum, axes, keep: true }, &[squares]);
                let norm = at.unary("norm", UnaryKind::Sqrt, sum);
                let scale = at.div(g, norm);
                net.binary(key, BinaryKind::Mul, v, scale)
            }
        }
    }
}
