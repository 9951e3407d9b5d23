//! How much memory a check may use.

use vitc_ir::{Graph, cost};

/// Copies of the weights that one loaded model holds at its worst: the file's bytes, tract's tensors, its packed tensors.
const COPIES: u64 = 3;

/// Bytes that the system can give without swapping; `None` where it does not tell.
pub(super) fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Bytes of all constants of a graph, as f32, as they stand in a model of it.
pub(super) fn constants(graph: &Graph) -> u64 {
    cost::emitted_constants(graph).iter().map(|&v| graph.shape(v).elements() as u64 * 4).sum()
}

/// Copies of a value while every one is kept: the reference's, and the artifact's with its form in f16.
const KEPT: u64 = 4;

/// Bytes of every value of a run of one image, as f32, on both sides.
pub(super) fn values(graph: &Graph) -> u64 {
    let elements = |n: &vitc_ir::Node| n.types.iter().map(|t| t.shape.elements() as u64).sum::<u64>();
    KEPT * 4 * graph.run_time_nodes().map(|(_, n)| elements(n)).sum::<u64>()
}

/// Bytes that one side needs, given its weights and largest set of live activations.
pub(super) fn one_side(weights: u64, activations: u64) -> u64 {
    COPIES * weights + activations
}
