//! Which variant of a family a checkpoint is of, or nearest to.

use super::family::{Backbone, BuildOptions, Family, Variant};
use super::fused::folded;
use crate::checkpoint::Shapes;
use vitc_ir::Graph;

impl Family {
    /// The variant nearest to the checkpoint, and whether the checkpoint holds every key and shape of it. See [`Likeness`].
    pub fn closest_variant(&'static self, tensors: &Shapes) -> (&'static Variant, bool) {
        self.closest_variant_at(tensors, None).unwrap_or((&self.variants[0], false))
    }

    /// The same among the variants that take images of this size; `None` if none does.
    pub fn closest_variant_at(
        &'static self,
        tensors: &Shapes,
        size: Option<[usize; 2]>,
    ) -> Option<(&'static Variant, bool)> {
        let scored = self.variants.iter().filter_map(|variant| {
            let graph = self.published(variant, tensors, size)?;
            Some((variant, Likeness::of(&graph, tensors)))
        });
        let best = scored.reduce(|best, next| if next.1 > best.1 { next } else { best });
        best.map(|(variant, likeness)| (variant, likeness.whole))
    }

    /// Whether a checkpoint of the variant `held` is one of `asked` too: it holds every key and shape, and what only the former reads the family
    /// can leave unused. Variants that do different things with the same tensors share their checkpoints.
    pub fn serves(&'static self, held: &'static Variant, asked: &'static Variant, tensors: &Shapes) -> bool {
        let wanted = |variant| Some(shapes(&self.published(variant, tensors, None)?));
        let (Some(held), Some(asked)) = (wanted(held), wanted(asked)) else { return false };
        asked.iter().all(|(key, shape)| tensors.get(key).is_some_and(|stored| units(stored) == units(shape)))
            && held.keys().all(|key| asked.contains_key(key) || (self.leftover)(key))
    }

    /// The graph of a variant as it is published, at the likeliest resolution of the checkpoint's tables; `None` if it cannot be built there.
    fn published(
        &'static self,
        variant: &'static Variant,
        tensors: &Shapes,
        size: Option<[usize; 2]>,
    ) -> Option<Graph> {
        let mut options =
            BuildOptions { tensors: Some(tensors), ..BuildOptions::new(Backbone { family: self, variant }) };
        let tables = (self.position_tables)(tensors).map(|tables| tables.sizes[0]);
        options.resolution = size.or(tables).unwrap_or(options.resolution);
        let graph = options.build().ok()?.graph;
        Some(folded(&graph, tensors).unwrap_or(graph))
    }
}

/// Keys and shapes of a graph's weights.
fn shapes(graph: &Graph) -> Shapes {
    graph.weights().map(|(key, ty)| (key.to_string(), ty.shape.at(1))).collect()
}

/// The axes of a shape that are longer than one: a 1x1 convolution and a linear layer hold the same weights.
fn units(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&d| d != 1).collect()
}

/// How alike a variant and a checkpoint are; of several that are stored whole, a deeper one holds a shallower one's tensors and is more alike.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
struct Likeness {
    /// Every key is stored in its shape.
    whole: bool,
    /// Common keys over all keys of both, each weighted by its widths: stored over asked for, and the eighth power of the inverse where the
    /// stored width is the larger, since pruning only takes away.
    share: f64,
}

impl Likeness {
    fn of(graph: &Graph, tensors: &Shapes) -> Likeness {
        let (mut asked, mut common, mut same, mut share) = (0usize, 0usize, 0usize, 0.0);
        for (key, ty) in graph.weights() {
            asked += 1;
            let Some(stored) = tensors.get(key) else { continue };
            let (wanted, stored) = (units(&ty.shape.at(1)), units(stored));
            common += 1;
            same += usize::from(wanted == stored);
            let ratios = stored.iter().zip(&wanted).map(|(&s, &w)| s as f64 / w.max(1) as f64);
            share += ratios.map(|r| if r > 1.0 { r.powi(-8) } else { r }).product::<f64>();
        }
        let union = (asked + tensors.len() - common).max(1) as f64;
        Likeness { whole: same == asked, share: share / union }
    }
}
