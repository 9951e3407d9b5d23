//! Buffers that a model computes by itself and a checkpoint holds all the same: they must be those that the model would compute.
//!
//! An index or a table of coordinates that differs shows that the checkpoint was trained with other geometry than the graph has: the weights
//! fit, and the function is another. So a difference stops the export.

use super::account::printable;
use super::request::ModelError;
use crate::arch::Family;
use crate::checkpoint::{NameTable, Selected};
use crate::message;
use crate::message::{Message, Setting};
use std::collections::BTreeSet;
use vitc_ir::{Graph, Op, Weights, eval};

/// Elements beyond which a buffer is not compared: reading it would take longer than the rest.
const LARGEST: usize = 1 << 20;
/// Largest difference of coordinates that are the same.
const TOLERANCE: f64 = 1e-4;

/// Compare what the checkpoint holds of the family's buffers with what the graph generates beside the weights of the same module.
pub(super) fn compare(
    selected: &Selected,
    table: &NameTable,
    family: &Family,
    graph: &Graph,
    weights: &dyn Weights,
) -> Result<(), ModelError> {
    let generated: Vec<_> = graph.nodes().filter(|(_, node)| matches!(node.op, Op::Generate(_))).collect();
    let mut seen = BTreeSet::new();
    for (upstream, tensor) in &selected.tensors {
        let key = selected.canonical(upstream, table);
        let Some((module, leaf)) = key.rsplit_once('.') else { continue };
        let small = (2..=LARGEST).contains(&tensor.elements());
        // Modules of one kind differ alike: one of each shape is enough.
        if !small || !(family.leftover)(&key) || !seen.insert((leaf.to_string(), tensor.shape.clone())) {
            continue;
        }
        let inside = |path: &str| path.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'));
        let alike = generated
            .iter()
            .filter(|(_, node)| inside(&node.path) && node.types[0].shape.elements() == tensor.elements());
        let candidates: Vec<_> = alike.map(|(id, _)| (*id).into()).collect();
        let (Some(stored), false) = (selected.any_numbers(tensor), candidates.is_empty()) else { continue };
        let computed =
            eval::constants(graph, weights, &candidates).map_err(|e| ModelError::Other(e.to_string().into()))?;
        let same = |values: &[f64]| values.iter().zip(&stored).all(|(a, b)| (a - b).abs() <= TOLERANCE);
        if !computed.iter().any(|values| same(values)) {
            return Err(differs(selected, upstream));
        }
    }
    Ok(())
}

fn differs(selected: &Selected, upstream: &str) -> ModelError {
    let what: Message = "a buffer in the checkpoint is not the one that the model computes".into();
    let place = format!("\n  where: {}", printable(&selected.file_name(upstream)));
    let why = "\n  why: the model was trained with another geometry (window, offsets, size of pretraining), which only this buffer shows\n  to do: \
               name the ";
    ModelError::Other(message!(
        what,
        place,
        why,
        Setting::Model,
        " and the ",
        Setting::Resolution,
        " that were trained, or export the model to ONNX from its own code"
    ))
}
