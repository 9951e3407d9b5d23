//! The one cost model: what a form of a computation takes on a target, in microseconds.
//!
//! `MACs / rate + kernels × launch + small products × small + bytes / bandwidth`, with the constants in the target's data. A pass that has two
//! exact forms to choose from counts the [`Work`] of both and takes the cheaper one. Bytes are results written and
//! weights read.

use std::ops::AddAssign;
use vitc_ir::Target;

/// What a piece of a graph asks of a machine.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Work {
    /// Multiply-accumulates.
    pub(crate) macs: usize,
    /// Kernels launched.
    pub(crate) kernels: usize,
    /// Small products of batched products with one constant on the left: one per batch item.
    pub(crate) small: usize,
    /// Elements of results written and of weights read.
    pub(crate) elements: usize,
}

impl Work {
    /// One dense convolution kernel: `weights` elements applied at each of `positions`, `outputs` channels written.
    pub(crate) fn convolution(weights: usize, outputs: usize, positions: usize) -> Work {
        Work { macs: weights * positions, kernels: 1, small: 0, elements: weights + outputs * positions }
    }

    /// One kernel that writes `elements` and multiplies nothing.
    pub(crate) fn movement(elements: usize) -> Work {
        Work { kernels: 1, elements, ..Work::default() }
    }

    /// Microseconds on the target, for elements of `bytes` bytes.
    pub(crate) fn microseconds(&self, target: &Target, bytes: usize) -> f64 {
        let cost = &target.cost;
        self.macs as f64 / cost.rate
            + self.kernels as f64 * cost.launch
            + self.small as f64 * cost.small
            + (self.elements * bytes) as f64 / cost.bandwidth
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Work) {
        self.macs += other.macs;
        self.kernels += other.kernels;
        self.small += other.small;
        self.elements += other.elements;
    }
}
