//! From a graph to the messages of an ONNX file: everything but the elements of the large constants.
//!
//! Invariant: one run-time node becomes one ONNX node named by its path; the only node added is an `Identity` for a
//! result that no node of its own produces.

use super::builder::{Builder, Streamed};
use super::ops;
use crate::metadata::{Metadata, VERSION};
use crate::onnx::messages as onnx;
use crate::{ExportError, Summary};
use vitc_ir::eval::ConstantStats;
use vitc_ir::target::Format;
use vitc_ir::{Graph, Target, Type, Value, cost};

/// The messages of a file.
pub(super) struct Plan {
    /// The model without its graph.
    pub(super) model: onnx::Model,
    /// The graph, with the small initializers.
    pub(super) graph: onnx::Graph,
    /// The other initializers, in order of first use.
    pub(super) streamed: Vec<Streamed>,
    /// Elements of the float constants.
    pub(super) parameters: u64,
}

impl Plan {
    /// Spell every node of a target-stage graph.
    pub(super) fn new(graph: &Graph, target: &Target, metadata: &Metadata) -> Result<Plan, ExportError> {
        let (Format::Onnx { opset } | Format::TensorRt { opset }) = target.format else {
            return Err(ExportError::Target { name: target.name(), what: "is not an ONNX target".into() });
        };
        let Some(ir_version) = ir_version(opset) else {
            let what = format!("opset {opset} is not supported; choose 11 to 23");
            return Err(ExportError::Target { name: target.name(), what });
        };
        if let Some((path, ty)) = unknown(graph, opset) {
            let what = format!("{path} is {ty}; elements of 4 bits exist from opset 21, this is {opset}");
            return Err(ExportError::Target { name: target.name(), what });
        }
        let mut builder = Builder::new(graph, opset, &metadata.int32);
        for (id, node) in graph.run_time_nodes() {
            let fail = |why| ExportError::NotLowered { op: node.op.word(), path: node.path.clone(), why };
            let spelling = ops::spell(&mut builder, node).map_err(fail)?;
            builder.node(id, node, spelling);
        }
        builder.results();
        let props = metadata.entries().into_iter().map(|(key, value)| onnx::StringStringEntry { key, value });
        let model = onnx::Model {
            ir_version,
            producer_name: "vitc".into(),
            producer_version: VERSION.into(),
            doc_string: metadata.summary(),
            graph: None,
            opset_import: vec![onnx::OperatorSetId { domain: String::new(), version: i64::from(opset) }],
            metadata_props: props.collect(),
        };
        let (graph_message, streamed) = (builder.message, builder.streamed);
        Ok(Plan { model, graph: graph_message, streamed, parameters: cost::parameters(graph) })
    }

    /// What the file holds: `bytes` in all files together, `stats` of the streamed constants.
    pub(super) fn summary(&self, bytes: u64, stats: Vec<ConstantStats>) -> Summary {
        let names = self.streamed.iter().map(|s| s.tensors[0].name.clone());
        let nodes = &self.graph.node;
        Summary {
            nodes: nodes.len(),
            op_counts: crate::count(nodes.iter().map(|n| n.op_type.as_str())),
            parameters: self.parameters,
            bytes,
            constants: names.zip(stats).collect(),
        }
    }
}

/// A constant of an element type that the opset does not have.
fn unknown(graph: &Graph, opset: u32) -> Option<(String, Type)> {
    let narrow = |v: &Value| opset < 21 && graph.ty(*v).dtype.bits() < 8;
    cost::emitted_constants(graph).into_iter().find(narrow).map(|v| (graph.value_name(v), graph.ty(v).clone()))
}

/// Version of the file format that belongs to an opset.
fn ir_version(opset: u32) -> Option<i64> {
    match opset {
        11 => Some(6),
        12..=14 => Some(7),
        15..=18 => Some(8),
        19 | 20 => Some(9),
        21 | 22 => Some(10),
        23 => Some(11),
        _ => None,
    }
}
