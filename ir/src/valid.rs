//! What every graph satisfies between two passes.
//!
//! Each rule has its own error, which names the node by its path. A graph is valid if
//!
//! 1. each operand exists and stands before its user ([`ValidError::Operand`]);
//! 2. each node's types are those that its shape rule infers, or that its leaf may have ([`ValidError::Type`], [`ValidError::Shape`]);
//!    the rules also see to it that a shape has at most one batch dimension, that only an input's first dimension and what follows from it is
//!    symbolic, and that literals have fewer than 64 elements;
//! 3. paths are unique and not empty ([`ValidError::Path`]);
//! 4. a node's operands have one element type, except the indices of a gather, the places of a grid, the truths of a select and codes
//!    ([`ValidError::Elements`]);
//! 5. what is computed at run time is f32 or f16, or i32 or bool where the operator's facts say so, and nothing else; only a barrier keeps any type.
//!    Codes of a quantised value, i8 and u8, are computed by `Quantize` alone. Other integers index and truths choose: searches and
//!    casts give them, and movement, sums and products pass them on ([`ValidError::Integer`]);
//! 6. a weight's key always has one type ([`ValidError::Weight`]) and equal constants are one node ([`ValidError::Twice`]);
//! 7. there is an output; outputs are computed values, neither constants nor inputs, with unique names that are not empty ([`ValidError::Output`]);
//! 8. every node but an input leads to an output ([`ValidError::Dead`]);
//! 9. every run-time operator is legal at the graph's stage: at `target` there is no operator that exists
//!    only until it is lowered ([`ValidError::Stage`]), and none that the target cannot say ([`ValidError::Target`]).

use crate::facts::Class;
use crate::graph::{Graph, Node};
use crate::id::{NodeId, Value};
use crate::infer::{ShapeError, check_leaf, infer};
use crate::op::Op;
use crate::stage::Stage;
use crate::target::Target;
use crate::ty::{DType, Type};
use std::collections::{HashMap, HashSet};

/// A rule that a graph breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValidError {
    /// An operand is missing or stands behind its user.
    #[error("{path}: operand {operand} is not an output of an earlier node")]
    Operand {
        /// Path of the user.
        path: String,
        /// Which operand, from 0.
        operand: usize,
    },
    /// Stored types differ from inferred ones.
    #[error("{path}: holds {found:?}, the shape rule of {op} gives {inferred:?}")]
    Type {
        /// Path of the node.
        path: String,
        /// The operator's word.
        op: &'static str,
        /// Types as stored.
        found: Vec<Type>,
        /// Types as inferred.
        inferred: Vec<Type>,
    },
    /// Operands that the operator does not take, or a leaf of the wrong type.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A path is empty or taken.
    #[error("path {path:?} of node {node} is empty or belongs to another node too")]
    Path {
        /// The path.
        path: String,
        /// Index of the second node.
        node: u32,
    },
    /// Operands of several element types.
    #[error("{path}: operands have element types {first} and {second}; insert a cast")]
    Elements {
        /// Path of the node.
        path: String,
        /// Element type of the first operand.
        first: DType,
        /// Another one.
        second: DType,
    },
    /// An integer or a truth value that depends on the model's input.
    #[error("{path}: {} {dtype} value is computed at run time; integers are constant indices", article(*dtype))]
    Integer {
        /// Path of the node.
        path: String,
        /// The element type.
        dtype: DType,
    },
    /// A key with two types.
    #[error("weight {key} has the types {first} and {second}")]
    Weight {
        /// The key.
        key: String,
        /// Type of the first leaf.
        first: Type,
        /// Type of a later leaf.
        second: Type,
    },
    /// Two nodes for one constant.
    #[error("{path}: is the same constant as {first}; push constants through the graph, which shares them")]
    Twice {
        /// Path of the second node.
        path: String,
        /// Path of the first.
        first: String,
    },
    /// A result that the artifact's interface cannot have.
    #[error("output {name:?}: {what}")]
    Output {
        /// The output's name, empty if there is no output at all.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A node that no output needs.
    #[error("{path}: no output needs it; prune the graph")]
    Dead {
        /// Path of the node.
        path: String,
    },
    /// An operator that a pass should have removed.
    #[error("{path}: {op} is not legal at stage {stage}")]
    Stage {
        /// Path of the node.
        path: String,
        /// The operator's word.
        op: &'static str,
        /// The stage's word.
        stage: &'static str,
    },
    /// An operator that the target lacks.
    #[error("{path}: {what}")]
    Target {
        /// Path of the node.
        path: String,
        /// What the target says.
        what: String,
    },
}

/// Check every rule. `target` is asked about run-time nodes once the graph is at [`Stage::Target`].
///
/// # Errors
/// The first rule that is broken, nodes in order, then outputs, then what is dead.
pub fn validate(graph: &Graph, target: Option<&Target>) -> Result<(), ValidError> {
    let mut paths = HashSet::new();
    let mut weights: HashMap<&str, &Type> = HashMap::new();
    let mut constants = HashMap::new();
    for (id, node) in graph.nodes() {
        operands(graph, id, node)?;
        types(graph, node)?;
        if node.path.is_empty() || !paths.insert(node.path.as_str()) {
            return Err(ValidError::Path { path: node.path.clone(), node: id.0 });
        }
        let constant = graph.is_constant(id.into());
        if let Some(ty) = node.types.iter().find(|t| !constant && !may_run(&node.op, t.dtype)) {
            return Err(ValidError::Integer { path: node.path.clone(), dtype: ty.dtype });
        }
        if let Op::Weight { key } = &node.op {
            let first = *weights.entry(key).or_insert(&node.types[0]);
            if *first != node.types[0] {
                let (first, second) = (first.clone(), node.types[0].clone());
                return Err(ValidError::Weight { key: key.clone(), first, second });
            }
        }
        if constant {
            if let Some(first) = constants.insert((&node.op, &node.inputs, &node.types), &node.path) {
                return Err(ValidError::Twice { path: node.path.clone(), first: first.clone() });
            }
        } else {
            legal(graph, node, target)?;
        }
    }
    outputs(graph)?;
    let uses = graph.uses();
    let read = |node: NodeId, n: &Node| (0..n.types.len() as u32).any(|index| uses.count(Value { node, index }) > 0);
    match graph.nodes().find(|(id, n)| n.op != Op::Input && !read(*id, n)) {
        Some((_, node)) => Err(ValidError::Dead { path: node.path.clone() }),
        None => Ok(()),
    }
}

/// Whether an operator may compute values of an element type when the model runs.
fn may_run(op: &Op, dtype: DType) -> bool {
    match dtype {
        DType::F32 | DType::F16 => true,
        DType::I32 | DType::Bool => op.facts().integers,
        DType::I8 | DType::U8 => {
            matches!(op.facts().class, Class::Leaf | Class::Cast | Class::Quantisation | Class::Barrier)
        }
        DType::I64 | DType::I4 | DType::U4 => *op == Op::Keep,
    }
}

fn article(dtype: DType) -> &'static str {
    match dtype {
        DType::I32 | DType::I64 | DType::I8 | DType::I4 | DType::F32 | DType::F16 => "an",
        DType::U8 | DType::U4 | DType::Bool => "a",
    }
}

fn operands(graph: &Graph, id: NodeId, node: &Node) -> Result<(), ValidError> {
    let exists = |v: &crate::id::Value| v.node < id && (v.index as usize) < graph.producer(*v).types.len();
    match node.inputs.iter().position(|v| !exists(v)) {
        Some(operand) => Err(ValidError::Operand { path: node.path.clone(), operand }),
        None => Ok(()),
    }
}

fn types(graph: &Graph, node: &Node) -> Result<(), ValidError> {
    if node.op == Op::Input || node.op.is_constant_leaf() {
        let declared = match node.types.as_slice() {
            [ty] if node.inputs.is_empty() => check_leaf(&node.op, ty),
            _ => {
                Err(ShapeError { path: String::new(), op: node.op.word(), what: "has one type and no operands".into() })
            }
        };
        return Ok(declared.map_err(|e| e.at(&node.path))?);
    }
    let operands: Vec<&Type> = node.inputs.iter().map(|&v| graph.ty(v)).collect();
    let inferred = infer(&node.op, &operands).map_err(|e| e.at(&node.path))?;
    if inferred != node.types {
        let (path, op, found) = (node.path.clone(), node.op.word(), node.types.clone());
        return Err(ValidError::Type { path, op, found, inferred });
    }
    // The indices of a gather, the places of a grid and the truths of a select are of their own type, and so are codes.
    let floats = match node.op {
        Op::Gather { .. } | Op::GridSample { .. } | Op::Dequantize | Op::Lookup { .. } => &operands[..1],
        Op::Select => &operands[1..],
        _ => &operands[..],
    };
    match floats.iter().find(|t| t.dtype != floats[0].dtype) {
        Some(t) => Err(ValidError::Elements { path: node.path.clone(), first: floats[0].dtype, second: t.dtype }),
        None => Ok(()),
    }
}

fn legal(graph: &Graph, node: &Node, target: Option<&Target>) -> Result<(), ValidError> {
    if graph.stage > node.op.facts().until {
        let (path, op, stage) = (node.path.clone(), node.op.word(), graph.stage.word());
        return Err(ValidError::Stage { path, op, stage });
    }
    match target {
        Some(target) if graph.stage == Stage::Target && node.op != Op::Input => {
            target.allows(graph, node).map_err(|what| ValidError::Target { path: node.path.clone(), what })
        }
        _ => Ok(()),
    }
}

fn outputs(graph: &Graph) -> Result<(), ValidError> {
    let fail = |name: &str, what| Err(ValidError::Output { name: name.to_string(), what });
    if graph.outputs.is_empty() {
        return fail("", "the graph has none");
    }
    let mut names = HashSet::new();
    for output in &graph.outputs {
        let (name, v) = (output.name.as_str(), output.value);
        if name.is_empty() || !names.insert(name) {
            return fail(name, "the name is empty or taken");
        }
        if v.node.0 as usize >= graph.len() || v.index as usize >= graph.producer(v).types.len() {
            return fail(name, "its value does not exist");
        }
        if graph.is_stored(v) || *graph.op(graph.stored(v)) == Op::Input {
            return fail(name, "its value is not computed from an input");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Output;
    use crate::id::Value;
    use crate::parse;

    fn graph(stage: &str, body: &str) -> Graph {
        parse(&format!("graph g  stage={stage}\n%x: f32[B,2,4,4] = input\n{body}")).unwrap_or_else(|e| panic!("{e}"))
    }

    fn relu() -> Graph {
        graph("paper", "%y: f32[B,2,4,4] = relu(%x)\n%z: f32[B,2,4,4] = abs(%y)\noutputs y=%z")
    }

    /// What the validator says about a graph after one node was changed by force.
    fn broken(mut graph: Graph, node: usize, change: impl FnOnce(&mut Node)) -> ValidError {
        assert_eq!(validate(&graph, None), Ok(()));
        change(&mut graph.nodes_mut()[node]);
        validate(&graph, None).unwrap_err()
    }

    fn said(stage: &str, body: &str, target: Option<&Target>) -> String {
        validate(&graph(stage, body), target).unwrap_err().to_string()
    }

    #[test]
    fn operands_stand_before_users() {
        for v in [
            Value { node: NodeId(2), index: 0 },
            Value { node: NodeId(1), index: 0 },
            Value { node: NodeId(0), index: 1 },
        ] {
            let error = broken(relu(), 1, |n| n.inputs = [v].into());
            assert_eq!(error, ValidError::Operand { path: "y".into(), operand: 0 });
        }
    }

    #[test]
    fn types_are_the_inferred_ones() {
        let error = broken(relu(), 1, |n| n.body_mut().types[0] = Type::f32(&[1, 2, 4, 4]));
        assert!(matches!(error, ValidError::Type { .. }), "{error}");
        let error = broken(relu(), 2, |n| n.body_mut().op = Op::Softmax { axis: 4 });
        assert_eq!(error.to_string(), "z: softmax: has that axis, found f32[B,2,4,4]");
        let error = broken(relu(), 0, |n| n.body_mut().op = Op::Literal { values: vec![] });
        assert!(matches!(error, ValidError::Shape(_)), "{error}");
        let error = broken(relu(), 0, |n| n.body_mut().types.clear());
        assert_eq!(error.to_string(), "x: input: has one type and no operands");
    }

    #[test]
    fn literals_are_small_and_shapes_have_one_batch() {
        let body = "%y: f32[B,2,4,4] = add(%x, literal[1]:f32[1])\noutputs y=%y";
        let error = broken(graph("paper", body), 1, |n| {
            n.body_mut().op = Op::literal(&[0.5; 64]);
            n.body_mut().types[0] = Type::f32(&[64]);
        });
        assert_eq!(error.to_string(), "y.b: literal: 64 elements for f32[64]; literals have fewer than 64");
        let error = broken(relu(), 1, |n| {
            n.body_mut().op = Op::Reshape { shape: crate::Shape(vec![crate::Dim::Batch(4), crate::Dim::Batch(8)]) }
        });
        assert!(error.to_string().contains("keeps one batch dimension"), "{error}");
    }

    #[test]
    fn paths_are_unique_and_not_empty() {
        for path in ["", "y"] {
            let error = broken(relu(), 2, |n| n.body_mut().path = path.into());
            assert_eq!(error, ValidError::Path { path: path.into(), node: 2 });
        }
    }

    #[test]
    fn element_types_agree() {
        let body = "%y: f16[B,2,4,4] = cast(%x){to=f16}\n\
            %z: f16[B,2,4,4] = layer_norm(%y, weight\"g\":f32[2], weight\"b\":f32[2]){axes=[1], eps=1e-5}\noutputs y=%z";
        assert_eq!(said("paper", body, None), "z: operands have element types f16 and f32; insert a cast");
        let body = "%i: i32[B,2,4,4] = cast(%x){to=i32}\n%y: i32[B,2,4,4] = div(%i, %i)\noutputs y=%y";
        assert_eq!(said("paper", body, None), "y: an i32 value is computed at run time; integers are constant indices");
    }

    #[test]
    fn constants_are_one_node_each() {
        let body = "%a: f32[B,2,4,4] = mul(%x, weight\"w\":f32[2,1,1])\n\
            %y: f32[B,2,4,4] = mul(%a, weight\"v\":f32[2,1,1])\noutputs y=%y";
        let error = broken(graph("paper", body), 3, |n| n.body_mut().op = Op::Weight { key: "w".into() });
        assert_eq!(error, ValidError::Twice { path: "v".into(), first: "w".into() });
        let body = body.replace("\"v\":f32[2,1,1]", "\"w\":f32[1]");
        assert_eq!(said("paper", &body, None), "weight w has the types f32[2,1,1] and f32[1]");
    }

    #[test]
    fn outputs_are_named_computed_values() {
        assert_eq!(said("paper", "outputs", None), "output \"\": the graph has none");
        assert_eq!(said("paper", "outputs y=%x", None), "output \"y\": its value is not computed from an input");
        let body = "outputs y=weight\"w\":f32[1]";
        assert_eq!(said("paper", body, None), "output \"y\": its value is not computed from an input");
        let body = "%y: f32[B,2,4,4] = relu(%x)\noutputs y=%y, y=%y";
        assert_eq!(said("paper", body, None), "output \"y\": the name is empty or taken");
        let mut graph = relu();
        graph.outputs.push(Output { name: "far".into(), value: NodeId(7).into() });
        assert_eq!(validate(&graph, None).unwrap_err().to_string(), "output \"far\": its value does not exist");
    }

    #[test]
    fn nothing_is_dead() {
        let body = "%y: f32[B,2,4,4] = relu(%x)\n%z: f32[B,2,4,4] = abs(%x)\noutputs y=%y";
        assert_eq!(said("paper", body, None), "z: no output needs it; prune the graph");
        assert_eq!(validate(&graph("paper", body).pruned(), None), Ok(()));
    }

    #[test]
    fn stages_and_targets_limit_operators() {
        let bn = "%y: f32[B,2,4,4] = batch_norm(%x, weight\"g\":f32[2], weight\"b\":f32[2], weight\"m\":f32[2], \
            weight\"v\":f32[2]){eps=1e-5}\noutputs y=%y";
        assert_eq!(validate(&graph("paper", bn), None), Ok(()));
        assert_eq!(validate(&graph("target", bn), Some(&Target::onnx(17))), Ok(()));
        assert_eq!(said("target", bn, Some(&Target::tensorrt(17))), "y: tensorrt-onnx has no batch_norm");
        let dct = "%y: f32[B,2,4,4] = dct2(%x)\noutputs y=%y";
        assert_eq!(validate(&graph("deploy", dct), None), Ok(()));
        assert_eq!(said("target", dct, None), "y: dct2 is not legal at stage target");
        let gelu = "%y: f32[B,2,4,4] = gelu(%x)\noutputs y=%y";
        assert_eq!(said("target", gelu, Some(&Target::onnx(17))), "y: onnx has no gelu");
        assert_eq!(validate(&graph("target", gelu), Some(&Target::onnx(20))), Ok(()));
        assert_eq!(validate(&graph("deploy", gelu), Some(&Target::onnx(17))), Ok(()));
    }
}
