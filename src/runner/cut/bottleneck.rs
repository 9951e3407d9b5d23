//! The search for bottlenecks, the same for graphs and files.

use std::collections::HashMap;

/// A part of a model between two values that everything passes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where it starts: a value with its dimensions, or `None` for the model's inputs.
    pub from: Option<(String, Vec<usize>)>,
    /// Where it ends: a value, or `None` for the model's outputs.
    pub to: Option<String>,
}

/// A value through which everything passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bottleneck {
    /// Its name; empty for the end of the model.
    pub name: String,
    /// Its dimensions; `None` for one that depends on the batch.
    pub dims: Vec<Option<usize>>,
    /// Largest number of bytes of f32 values alive at once before it, for a batch of one; 0 where the file does not tell.
    pub peak: usize,
}

/// One step of a model as the search sees it.
pub(super) struct Step {
    /// Results with their bytes.
    pub(super) outputs: Vec<(String, usize)>,
    /// Operands that depend on the input.
    pub(super) inputs: Vec<String>,
    /// Dimensions of the result if it may be a bottleneck.
    pub(super) sum: Option<Vec<Option<usize>>>,
}

/// Bottlenecks in order; the last entry, without a name, carries the peak of what follows.
pub(super) fn search(steps: &[Step], inputs: &[(String, usize)], results: &[String]) -> Vec<Bottleneck> {
    let mut last_use: HashMap<&str, usize> = HashMap::new();
    for (i, step) in steps.iter().enumerate() {
        last_use.extend(step.inputs.iter().map(|name| (name.as_str(), i)));
    }
    last_use.extend(results.iter().map(|name| (name.as_str(), steps.len())));
    let mut alive: HashMap<&str, usize> = inputs.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let (mut peak, mut found) = (0, Vec::new());
    for (i, step) in steps.iter().enumerate() {
        alive.extend(step.outputs.iter().map(|(name, bytes)| (name.as_str(), *bytes)));
        peak = peak.max(alive.values().sum());
        alive.retain(|name, _| last_use.get(name).is_some_and(|&last| last > i));
        if let Some(dims) = &step.sum
            && alive.len() == 1
            && alive.contains_key(step.outputs[0].0.as_str())
        {
            found.push(Bottleneck { name: step.outputs[0].0.clone(), dims: dims.clone(), peak });
            peak = 0;
        }
    }
    found.push(Bottleneck { name: String::new(), dims: Vec::new(), peak });
    found
}
