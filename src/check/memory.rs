//! How much memory a check may use, and what fits into it.

use crate::runner::Bottleneck;
use vitc_ir::{Graph, Node, cost};

/// Copies of the weights that one loaded model holds at its worst: the file's bytes, tract's tensors, its packed tensors.
const COPIES: u64 = 3;

/// Copies of a value while every one is kept: the reference's, and the artifact's with its form in f16.
const KEPT: u64 = 4;

/// Weights above this many bytes are checked one computation after the other.
const LARGE: u64 = 512 << 20;

/// What a check needs and what there is, in bytes.
pub(super) struct Budget {
    /// All constants, as f32.
    constants: u64,
    /// One of the two computations: its weights and its largest set of live activations.
    pub(super) one: u64,
    /// One that keeps every value.
    pub(super) every: u64,
    pub(super) available: u64,
}

impl Budget {
    /// For a model at batches up to `batch`, within `available`, or what the system can give.
    pub(super) fn new(paper: &Graph, cuts: &[Bottleneck], batch: usize, available: Option<u64>) -> Budget {
        let bytes = |&v| paper.shape(v).elements() as u64 * 4;
        let constants: u64 = cost::emitted_constants(paper).iter().map(bytes).sum();
        let elements = |n: &Node| n.types.iter().map(|t| t.shape.elements() as u64).sum::<u64>();
        let values: u64 = paper.run_time_nodes().map(|(_, n)| elements(n)).sum();
        let peak = cuts.iter().map(|c| (c.peak * batch) as u64).max().unwrap_or(0);
        let available = available.or_else(system).unwrap_or(u64::MAX);
        let weights = COPIES * constants;
        Budget { constants, one: weights + peak, every: weights + KEPT * 4 * values, available }
    }

    /// One computation fits, so that it need not be cut.
    pub(super) fn fits(&self) -> bool {
        self.one <= self.available
    }

    /// Both may be in memory at once.
    pub(super) fn together(&self) -> bool {
        self.both(self.one)
    }

    /// One that keeps every value fits.
    pub(super) fn keeps_every_value(&self) -> bool {
        self.every < self.available
    }

    /// Two that keep every value may be in memory at once.
    pub(super) fn keep_together(&self) -> bool {
        self.both(self.every)
    }

    fn both(&self, each: u64) -> bool {
        self.constants < LARGE && each.saturating_mul(2) < self.available
    }
}

/// Bytes that the system can give without swapping; `None` where it does not tell.
fn system() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
