//! Passes on graphs of which they are known to take all.

#![allow(dead_code, reason = "each test file uses a part")]

use vitc_ir::{Graph, Target};
use vitc_passes::{Context, LowerOptions, Observer, Run};

pub(crate) fn deploy(graph: &Graph) -> Run {
    vitc_passes::deploy(graph).unwrap_or_else(|e| panic!("{e}\n{graph}"))
}

pub(crate) fn lower(graph: &Graph, target: &Target, options: &LowerOptions) -> Run {
    lower_observed(graph, target, options, &mut |_, _| ())
}

pub(crate) fn lower_observed(
    graph: &Graph,
    target: &Target,
    options: &LowerOptions,
    observer: &mut Observer<'_>,
) -> Run {
    lower_under(graph, &Context::new(target, options), observer)
}

pub(crate) fn lower_under(graph: &Graph, context: &Context, observer: &mut Observer<'_>) -> Run {
    vitc_passes::lower_observed(graph, context, observer)
        .unwrap_or_else(|e| panic!("{}: {e}\n{graph}", context.target.name()))
}
