//! Which built-in architecture the graph of a file looks like: the one whose layers have the same kernels.
//!
//! Both graphs are compared behind the deploy passes, where BatchNorms and branches that an exporter merged are merged in the architecture's too. Only
//! shapes are compared, no numbers and no names, so this is a hint for people and nothing rests on it.

use crate::arch::{self, BuildOptions};
use std::collections::BTreeMap;
use vitc_ir::{Graph, Op};

/// An architecture that a graph looks like.
#[derive(Debug, Clone, PartialEq)]
pub struct Lookalike {
    /// Its name.
    pub name: &'static str,
    /// Layers that both have, of the layers that either has.
    pub alike: [usize; 2],
}

/// Share of alike layers from which a graph looks like an architecture.
const ALIKE: f64 = 0.85;

/// How far the elements of all kernels may differ before branches are merged, as a fraction: other sizes of a family differ by more.
const SIZES: f64 = 0.2;

/// Most layers of a graph that is looked at: every built-in architecture has fewer.
const LARGEST: usize = 2000;

/// How often each kernel `[O,I,h,w]` occurs.
type Kernels = BTreeMap<Vec<usize>, usize>;

/// The architecture that a deploy graph looks like most, if it looks like one.
pub fn lookalike(deploy: &Graph) -> Option<Lookalike> {
    let own = kernels(deploy);
    let (layers, elements) = (own.values().sum::<usize>(), elements(&own));
    if layers == 0 || layers > LARGEST {
        return None;
    }
    let image = deploy.inputs().find_map(|(_, node)| match node.types[0].shape.0[..] {
        [_, channels, height, width] => Some([channels.fixed()?, height.fixed()?, width.fixed()?]),
        _ => None,
    })?;
    let candidates = arch::backbones().filter_map(|backbone| {
        let options = BuildOptions { channels: image[0], ..BuildOptions::new(backbone) };
        let resized = BuildOptions { resolution: [image[1], image[2]], ..options.clone() };
        let paper = resized.build().or_else(|_| options.build()).ok()?.graph;
        let other = self::elements(&kernels(&paper));
        if (other as f64 - elements as f64).abs() > SIZES * elements as f64 {
            return None;
        }
        let theirs = kernels(&vitc_passes::deploy(&paper).ok()?.0);
        let both: usize = own.iter().map(|(kernel, &n)| n.min(theirs.get(kernel).copied().unwrap_or(0))).sum();
        let either = layers + theirs.values().sum::<usize>() - both;
        Some(Lookalike { name: backbone.variant.name, alike: [both, either] })
    });
    let share = |l: &Lookalike| l.alike[0] as f64 / l.alike[1] as f64;
    // Of equals the first: `vitc list` names the plain variant before its relatives.
    let best = candidates.reduce(|a, b| if share(&b) > share(&a) { b } else { a });
    best.filter(|l| share(l) >= ALIKE)
}

fn kernels(graph: &Graph) -> Kernels {
    let mut kernels = Kernels::new();
    for (_, node) in graph.run_time_nodes() {
        let layer = matches!(node.op, Op::Conv { .. } | Op::Linear);
        let weights = node.inputs.get(1).filter(|&&w| layer && graph.is_stored(w));
        if let Some(mut dims) = weights.and_then(|&w| graph.shape(w).as_fixed()) {
            dims.resize(4, 1);
            *kernels.entry(dims).or_default() += 1;
        }
    }
    kernels
}

fn elements(kernels: &Kernels) -> usize {
    kernels.iter().map(|(kernel, n)| n * kernel.iter().product::<usize>()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployed(name: &str, resolution: Option<[usize; 2]>) -> Graph {
        let backbone = arch::find(name).unwrap_or_else(|e| panic!("{e}"));
        let options = BuildOptions::new(backbone);
        let resolution = resolution.unwrap_or(options.resolution);
        let built = BuildOptions { resolution, ..options }.build().unwrap_or_else(|e| panic!("{e}"));
        vitc_passes::deploy(&built.graph).unwrap_or_else(|e| panic!("{e}")).0
    }

    #[test]
    fn a_size_of_a_family_looks_like_itself() {
        for name in ["efficientformerv2-s0", "efficientformerv2-s1", "fastervit-0", "cas-vit-xs"] {
            let found = lookalike(&deployed(name, None)).unwrap_or_else(|| panic!("{name} looks like nothing"));
            assert_eq!((found.name, found.alike[0]), (name, found.alike[1]));
        }
    }

    #[test]
    fn a_part_of_one_looks_like_none() {
        let mut graph = deployed("efficientformerv2-s0", None);
        let half = graph.run_time_nodes().nth(graph.run_time_nodes().count() / 2).map(|(id, _)| id);
        graph.outputs[0].value = half.expect("it has nodes").into();
        assert_eq!(lookalike(&graph.pruned()), None);
    }
}
