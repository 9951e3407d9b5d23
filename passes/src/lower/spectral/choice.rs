//! Which transforms are dense: one cost model, one budget.
//!
//! The cost ([`vitc_ir::cost`]) is summed over all transforms of one size, whose bases are shared and stored once. A product from the left runs as one small product per
//! channel and image; without that term dense would lose at 7x7 and 8x8 on a CPU, where it is twice as fast. In a
//! graph all bases together stay below half of the weights: sizes become separable, largest bases first, until they do.

use crate::note::Note;
use crate::pass::{LowerOptions, Spectral};
use std::collections::BTreeMap;
use vitc_ir::cost::{self, Price, Work};
use vitc_ir::target::ProductForm;
use vitc_ir::{Graph, Shape, Target};

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

impl Site {
    /// What the products take, without reading their bases.
    fn work(&self, dense: bool, target: &Target, price: &Price) -> Work {
        let ([h, w], n) = (self.grid, price.elements(&self.lead));
        let hw = h * w;
        // A product of each of the n maps with a basis on the right, or one small product per map with a basis on the left.
        let right =
            |macs: usize, written: usize| Work { macs: n * macs, kernels: 1, results: n * written, ..Work::default() };
        let left = |macs: usize, written: usize| Work { small: n, ..right(macs, written) };
        let sum = |mut a: Work, b: Work| {
            a += b;
            a
        };
        let columns = self.columns(dense, target);
        let bins = 2 * h * columns;
        // The products of spectra that are left apart double what enters the way back.
        let entering = if self.inverse && target.spectral.product == ProductForm::Outer { 2 * bins } else { bins };
        let written = if self.inverse { hw } else { bins };
        match (self.kind, dense) {
            (Kind::Cosine, true) => right(hw * hw, hw),
            (Kind::Cosine, false) => sum(right(hw * w, hw), left(hw * h, hw)),
            (Kind::Fourier, true) => right(hw * entering, written),
            (Kind::Fourier, false) => sum(right(2 * hw * columns, written), left(2 * h * entering, bins)),
        }
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

fn estimate(sites: &[Site], dense: bool, target: &Target, price: &Price) -> Estimate {
    let direction = |inverse: bool| sites.iter().find(|s| s.inverse == inverse).map_or(0, |s| s.basis(dense, target));
    let basis = direction(false) + direction(true);
    let mut work = Work { weights: basis as usize, ..Work::default() };
    for site in sites {
        work += site.work(dense, target, price);
    }
    Estimate { microseconds: price.of(&work), basis }
}

/// The form of every size.
#[derive(Debug)]
pub(super) struct Forms {
    dense: BTreeMap<(Kind, [usize; 2]), bool>,
    /// Sizes that the budget made separable.
    pub(super) notes: Vec<Note>,
}

impl Forms {
    /// What the options demand, or the cheaper form within the budget.
    pub(super) fn choose(graph: &Graph, target: &Target, options: &LowerOptions) -> Forms {
        let price = Price::new(graph, target, options.precision);
        let mut sites: BTreeMap<(Kind, [usize; 2]), Vec<Site>> = BTreeMap::new();
        for site in graph.run_time_nodes().filter_map(|(_, node)| Site::of(graph, node)) {
            sites.entry((site.kind, site.grid)).or_default().push(site);
        }
        let estimates = |dense: bool| -> BTreeMap<_, _> {
            sites.iter().map(|(&key, s)| (key, estimate(s, dense, target, &price))).collect()
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
        loop {
            let stored = |(key, &is_dense): (_, &bool)| if is_dense { dense[key].basis } else { separable[key].basis };
            let total: u64 = forms.dense.iter().map(stored).sum();
            let largest = forms.dense.iter().filter(|&(_, &d)| d).map(|(key, _)| *key).max_by_key(|k| dense[k].basis);
            let Some(key) = largest.filter(|_| options.spectral == Spectral::Auto && total > budget) else { break };
            forms.dense.insert(key, false);
            forms.notes.push(Note::StaysSeparable { grid: key.1, elements: dense[&key].basis });
        }
        forms
    }

    /// Whether a transform is one product over the whole map.
    pub(super) fn is_dense(&self, site: &Site) -> bool {
        self.dense[&(site.kind, site.grid)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitc_ir::parse;

    const TARGETS: [fn() -> Target; 3] = [|| Target::onnx(17), || Target::tensorrt(17), || Target::coreml(15)];

    /// A transform and back of every size, in a model of `weights` trained elements.
    fn graph(batch: &str, weights: usize, sizes: &[(usize, usize)]) -> Graph {
        let mut text = String::from("graph g  stage=deploy\n");
        let mut outputs = Vec::new();
        for (i, (side, channels)) in sizes.iter().enumerate() {
            let (map, k) = (format!("f32[{batch},{channels},{side},{side}]"), side / 2 + 1);
            let half = format!("f32[{batch},{channels},{side},{k}]");
            text += &format!(
                "%x{i}: {map} = input\n%z{i}, %z{i}:1: {half}, {half} = rfft2(%x{i}){{norm=ortho}}\n\
                %y{i}: {map} = irfft2(%z{i}, %z{i}:1){{norm=ortho, width={side}}}\n"
            );
            outputs.push(format!("y{i}=%y{i}"));
        }
        let row = format!("f32[{batch},{weights}]");
        text += &format!("%r: {row} = input\n%w: {row} = mul(%r, weight\"w\":f32[{weights}])\n");
        text += &format!("outputs w=%w, {}", outputs.join(", "));
        parse(&text).unwrap_or_else(|e| panic!("{e}"))
    }

    /// AFFNet-ET's maps at 256 and 224 pixels.
    const MAPS: [(usize, usize); 6] = [(32, 64), (28, 64), (16, 104), (14, 104), (8, 144), (7, 144)];

    fn dense_sides(target: &Target, batch: &str, weights: usize) -> Vec<usize> {
        let forms = Forms::choose(&graph(batch, weights, &MAPS), target, &LowerOptions::new(F32, F32));
        forms.dense.iter().filter(|&(_, &d)| d).map(|(key, _)| key.1[0]).collect()
    }

    const F32: vitc_ir::DType = vitc_ir::DType::F32;

    #[test]
    fn auto_takes_the_cheaper_form_of_every_size() {
        for target in TARGETS.map(|t| t()) {
            for batch in ["1", "8", "B"] {
                for map in MAPS {
                    let graph = graph(batch, 1 << 29, &[map]);
                    let options = LowerOptions::new(F32, F32);
                    let sites: Vec<Site> = graph.nodes().filter_map(|(_, n)| Site::of(&graph, n)).collect();
                    let cost = |dense| estimate(&sites, dense, &target, &Price::new(&graph, &target, F32)).microseconds;
                    let forms = Forms::choose(&graph, &target, &options);
                    assert_eq!(
                        forms.is_dense(&sites[0]),
                        cost(true) < cost(false),
                        "{} {batch} {map:?}",
                        target.name()
                    );
                }
            }
        }
    }

    /// On the CPU dense was measured faster up to 8x8 and slower from 16x16, at batch 1 and 8; on TensorRT kernels count.
    #[test]
    fn the_choice_is_the_measured_one() {
        for batch in ["1", "8", "B"] {
            assert_eq!(dense_sides(&Target::onnx(17), batch, 1 << 29), [7, 8], "batch {batch}");
        }
        let sides = dense_sides(&Target::tensorrt(17), "1", 1 << 29);
        assert!([7, 8, 14, 16].iter().all(|side| sides.contains(side)), "{sides:?}");
    }

    #[test]
    fn bases_stay_below_half_of_the_weights_unless_forced() {
        let target = Target::tensorrt(17);
        for weights in [1 << 10, 1 << 16, 1 << 20, 1 << 24] {
            let graph = graph("1", weights, &MAPS);
            let total = |forms: &Forms| -> u64 {
                let sites = graph.nodes().filter_map(|(_, n)| Site::of(&graph, n));
                sites.map(|s| s.basis(forms.is_dense(&s), &target)).sum()
            };
            let separable = LowerOptions { spectral: Spectral::Separable, ..LowerOptions::new(F32, F32) };
            let least = total(&Forms::choose(&graph, &target, &separable));
            let auto = Forms::choose(&graph, &target, &LowerOptions::new(F32, F32));
            assert!(total(&auto) <= least.max(weights as u64 / 2), "{weights}: {}", total(&auto));
            let dense = LowerOptions { spectral: Spectral::Dense, ..separable };
            assert!(Forms::choose(&graph, &target, &dense).dense.values().all(|&d| d));
        }
    }
}
