//! Which transforms are dense: one cost model, one budget.
//!
//! ```text
//! cost = MACs / rate + products × launch + small products × small + bytes / bandwidth
//! ```
//!
//! summed over all transforms of one size, whose bases are shared and stored once. A product from the left runs as one small product per
//! channel and image; without that term dense would lose at 7x7 and 8x8 on a CPU, where it is twice as fast. A symbolic batch counts as 8. In a
//! graph all bases together stay below half of the weights: sizes become separable, largest bases first, until they do.

use crate::{LowerOptions, Spectral};
use std::collections::BTreeMap;
use vitc_ir::target::ProductForm;
use vitc_ir::{Graph, Shape, Target, cost};

/// The batch that a symbolic one counts as.
const BATCH: usize = 8;

/// Which bases a transform needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Fourier,
    Cosine,
}

/// One transform of a graph.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) kind: Kind,
    /// Height and width of the map.
    pub(super) grid: [usize; 2],
    pub(super) inverse: bool,
    /// The axes in front of the map.
    pub(super) lead: Shape,
}

/// What is counted of a transform in one form, for one execution.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Work {
    macs: f64,
    products: f64,
    small: f64,
    /// Elements read and written at run time.
    moved: f64,
}

impl Work {
    /// A product of `n` maps: `macs` and elements `moved` per map; `left` if the constant stands on the left.
    fn product(self, n: f64, macs: usize, moved: usize, left: bool) -> Work {
        Work {
            macs: self.macs + n * macs as f64,
            products: self.products + 1.0,
            small: self.small + if left { n } else { 0.0 },
            moved: self.moved + n * moved as f64,
        }
    }
}

impl Site {
    fn work(&self, dense: bool, target: &Target) -> Work {
        let ([h, w], n) = (self.grid, self.lead.at(BATCH).iter().product::<usize>() as f64);
        let none = Work::default();
        let hw = h * w;
        if self.kind == Kind::Cosine {
            return if dense {
                none.product(n, hw * hw, 2 * hw, false)
            } else {
                none.product(n, hw * w, 2 * hw, false).product(n, hw * h, 2 * hw, true)
            };
        }
        let columns = self.columns(dense, target);
        let bins = 2 * h * columns;
        // The products of spectra that are left apart double what enters the way back.
        let entering = if self.inverse && target.spectral.product == ProductForm::Outer { 2 * bins } else { bins };
        if dense {
            return none.product(n, hw * entering, hw + entering, false);
        }
        none.product(n, 2 * hw * columns, hw + bins, false).product(n, 2 * h * entering, bins + entering, true)
    }

    /// Stored columns of the half spectrum.
    fn columns(&self, dense: bool, target: &Target) -> usize {
        let multiple = if dense { 1 } else { target.spectral.column_multiple };
        (self.grid[1] / 2 + 1).next_multiple_of(multiple)
    }

    /// Elements of the bases of this direction.
    fn basis(&self, dense: bool, target: &Target) -> u64 {
        let [h, w] = self.grid;
        let twice = if self.inverse && target.spectral.product == ProductForm::Outer { 2 } else { 1 };
        let columns = self.columns(dense, target);
        let elements = match (self.kind, dense) {
            (Kind::Cosine, true) => h * w * h * w,
            (Kind::Cosine, false) => h * h + w * w,
            (Kind::Fourier, true) => twice * h * w * 2 * h * columns,
            (Kind::Fourier, false) => 2 * w * columns + twice * 4 * h * h,
        };
        elements as u64
    }
}

/// The transforms of one size in one form.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    microseconds: f64,
    /// Elements of all bases.
    basis: u64,
}

fn estimate(sites: &[Site], dense: bool, target: &Target, options: &LowerOptions) -> Estimate {
    let bytes = options.precision.bytes() as f64;
    let c = &target.cost;
    let time = |s: &Site| {
        let work = s.work(dense, target);
        work.macs / c.rate + work.products * c.launch + work.small * c.small + work.moved * bytes / c.bandwidth
    };
    let direction = |inverse: bool| sites.iter().find(|s| s.inverse == inverse).map_or(0, |s| s.basis(dense, target));
    let basis = direction(false) + direction(true);
    let microseconds = sites.iter().map(time).sum::<f64>() + basis as f64 * bytes / c.bandwidth;
    Estimate { microseconds, basis }
}

/// The form of every size.
#[derive(Debug)]
pub(super) struct Forms {
    dense: BTreeMap<(Kind, [usize; 2]), bool>,
    /// Sizes that the budget made separable.
    pub(super) notes: Vec<String>,
}

impl Forms {
    /// What the options demand, or the cheaper form within the budget.
    pub(super) fn choose(graph: &Graph, target: &Target, options: &LowerOptions) -> Forms {
        let mut sites: BTreeMap<(Kind, [usize; 2]), Vec<Site>> = BTreeMap::new();
        for site in graph.run_time_nodes().filter_map(|(_, node)| Site::of(graph, node)) {
            sites.entry((site.kind, site.grid)).or_default().push(site);
        }
        let estimates = |dense: bool| -> BTreeMap<_, _> {
            sites.iter().map(|(&key, s)| (key, estimate(s, dense, target, options))).collect()
        };
        let (dense, separable) = (estimates(true), estimates(false));
        let mut forms = Forms { dense: BTreeMap::new(), notes: Vec::new() };
        for key in sites.keys() {
            let cheaper = dense[key].microseconds < separable[key].microseconds;
            let chosen = match options.spectral {
                Spectral::Auto => cheaper,
                Spectral::Dense => true,
                Spectral::Separable => false,
            };
            forms.dense.insert(*key, chosen);
        }
        let budget = cost::parameters(graph) / 2;
        while options.spectral == Spectral::Auto {
            let stored = |(key, &is_dense): (_, &bool)| if is_dense { dense[key].basis } else { separable[key].basis };
            let total: u64 = forms.dense.iter().map(stored).sum();
            let largest = forms.dense.iter().filter(|&(_, &d)| d).map(|(key, _)| *key).max_by_key(|k| dense[k].basis);
            let Some(key) = largest.filter(|_| total > budget) else { break };
            forms.dense.insert(key, false);
            let [h, w] = key.1;
            forms.notes.push(format!(
                "{h}x{w} stays separable: bases of {} elements would exceed half of the model's weights",
                dense[&key].basis
            ));
        }
        forms
    }

    /// Whether a transform is one product over the whole map.
    pub(super) fn is_dense(&self, site: &Site) -> bool {
        self.dense[&(site.kind, site.grid)]
    }
}
