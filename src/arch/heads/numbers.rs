//! What the shapes of a checkpoint say about a part: widths, classes, how many of something there are.

use crate::arch::family::{ArchError, BuildOptions};
use vitc_ir::Net;

/// Most modules that a list of a part is looked through for.
const MOST: usize = 1024;

/// How many consecutive keys here exist, from index 0 on.
pub(super) fn count(net: &Net, options: &BuildOptions, key: impl Fn(usize) -> String) -> usize {
    (0..MOST).take_while(|&i| options.holds(&net.path(key(i)), false)).count()
}

/// The first axis of a stored tensor here: what a layer returns.
pub(super) fn rows(net: &Net, options: &BuildOptions, part: &'static str, key: &str) -> Result<usize, ArchError> {
    axis(net, options, part, key, 0)
}

/// The length of an axis of a stored tensor here.
pub(super) fn axis(
    net: &Net,
    options: &BuildOptions,
    part: &'static str,
    key: &str,
    axis: usize,
) -> Result<usize, ArchError> {
    let path = net.path(key);
    match options.stored(&path).and_then(|shape| shape.get(axis).copied()) {
        Some(n) if n > 0 => Ok(n),
        Some(_) => Err(part_error(part, format!("{path} is empty"))),
        None => Err(part_error(part, format!("{path} is missing, which says how large it is"))),
    }
}

/// The error of a part whose tensors do not tell how it is made.
pub(super) fn part_error(part: &'static str, what: impl Into<String>) -> ArchError {
    ArchError::Part { part, what: what.into() }
}
