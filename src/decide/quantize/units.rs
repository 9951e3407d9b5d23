//! A value over the calibration pictures, with its sizes, and moved.

use crate::decide::step::Units;
use rayon::prelude::*;
use std::sync::Arc;

/// Sizes of a value in a pass, and the value.
#[derive(Clone, Copy)]
pub(super) struct Stream<'a> {
    pub(super) dims: &'a [usize],
    pub(super) units: &'a [Arc<Vec<f32>>],
}

/// A value with a number added to each channel.
pub(super) fn moved(units: &Units, dims: &[usize], axis: usize, by: &[f64]) -> Units {
    let inner = dims[axis + 1..].iter().product::<usize>().max(1);
    let sum = |unit: &Arc<Vec<f32>>| {
        let mut moved = unit.to_vec();
        for (block, &b) in moved.chunks_mut(inner).zip(by.iter().cycle()) {
            block.iter_mut().for_each(|y| *y = (f64::from(*y) + b) as f32);
        }
        Arc::new(moved)
    };
    Arc::new(units.par_iter().map(sum).collect())
}
