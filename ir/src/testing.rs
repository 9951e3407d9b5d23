//! Random graphs, weights and inputs, and the comparison of two graphs: for the tests of this workspace and nothing else.
//!
//! A seed decides everything, on every machine.

mod any;
mod random;

pub use any::{any_graph, spelled_attention};
pub use random::{Options, random_graph};

use crate::eval::{MemoryWeights, run};
use crate::graph::Graph;
use crate::op::Op;
use ndarray::ArrayD;
use std::collections::HashSet;

/// The splitmix64 generator (Steele, Lea and Flood, 2014).
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A generator in the state `seed`.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is at least 1.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// A number from `lo` to `hi`, both included.
    pub fn range(&mut self, lo: usize, hi: usize) -> usize {
        lo + self.below(hi - lo + 1)
    }

    /// True in `percent` of all calls.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of a list.
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// A list in any order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        (1..list.len()).rev().for_each(|i| list.swap(i, self.below(i + 1)));
    }

    /// A number between `lo` and `hi`.
    pub fn uniform(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A standard normal number (the sum of twelve uniform ones, so bounded by 6).
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform(-0.5, 0.5)).sum()
    }
}

/// What the symbolic batch is taken as.
const BATCH: usize = 2;

/// A tensor for every weight of a graph; a key has the same elements in every graph that asks for it in the same shape.
///
/// Running variances (a BatchNorm's, and keys that end in `running_var`) are positive and far from 1. Vectors have elements of either sign and
/// magnitude 0.3 to 1.5, so that a sign that gets lost shows and no fold divides by nearly 0. Anything else is normal, over the root of its
/// fan-in, so that values stay near 1 however deep the graph is.
pub fn random_weights(seed: u64, graph: &Graph) -> MemoryWeights {
    let variances: HashSet<_> = graph
        .nodes()
        .filter(|(_, n)| matches!(n.op, Op::BatchNorm { .. }))
        .filter_map(|(_, n)| match graph.op(n.inputs[4]) {
            Op::Weight { key } => Some(key.as_str()),
            _ => None,
        })
        .collect();
    let tensor = |(key, ty): (&str, &crate::Type)| {
        let rng = &mut Rng::new(key.bytes().fold(seed, |h, b| Rng::new(h ^ u64::from(b)).bits()));
        let (rank, elements) = (ty.shape.rank(), ty.shape.elements());
        let draw = |rng: &mut Rng| match rank {
            _ if variances.contains(key) || key.ends_with("running_var") => {
                if rng.chance(50) {
                    rng.uniform(0.05, 0.4)
                } else {
                    rng.uniform(2.5, 8.0)
                }
            }
            0 | 1 => rng.uniform(0.3, 1.5) * rng.pick(&[-1.0, 1.0]),
            _ => rng.normal() / ((elements / ty.shape.dim(0)) as f64).sqrt(),
        };
        (key.to_string(), (0..elements).map(|_| draw(rng) as f32).collect::<Vec<f32>>())
    };
    graph.weights().map(tensor).collect()
}

/// Standard normal arrays for the inputs of a graph, in order, as f32 holds them.
pub fn random_input(seed: u64, graph: &Graph, batch: usize) -> Vec<ArrayD<f64>> {
    let rng = &mut Rng::new(seed ^ 0x1f0a_7c55);
    graph
        .inputs()
        .map(|(_, node)| ArrayD::from_shape_simple_fn(node.types[0].shape.at(batch), || f64::from(rng.normal() as f32)))
        .collect()
}

/// Evaluate two graphs on the same random weights (of `before`) and inputs and compare their interfaces and their outputs element by element.
///
/// # Panics
/// If the inputs or the outputs differ in number, name or type, an evaluation fails, or outputs differ by more than
/// `tolerance·max(1, max|before|)`; the message holds both graphs.
pub fn assert_same_function(before: &Graph, after: &Graph, seed: u64, tolerance: f64) {
    if let Err(what) = compare(before, after, seed, tolerance) {
        panic!("seed {seed}: {what}\n--- before\n{before}--- after\n{after}");
    }
}

/// [`assert_same_function`] as a question.
///
/// # Errors
/// What differs.
pub fn compare(before: &Graph, after: &Graph, seed: u64, tolerance: f64) -> Result<(), String> {
    same_interface(before, after)?;
    let weights = random_weights(seed, before);
    let inputs = random_input(seed, before, BATCH);
    let outputs = |g: &Graph| run(g, &weights, &inputs, BATCH).map_err(|e| e.to_string());
    for (output, (a, b)) in before.outputs.iter().zip(outputs(before)?.iter().zip(&outputs(after)?)) {
        close(&output.name, a, b, tolerance * largest(a).max(1.0))?;
    }
    Ok(())
}

/// Whether two graphs are one function, for graphs of which nothing is known: outputs may differ by `tolerance·max(1, max|before|)`, and by what a
/// change of the inputs by the share `tolerance` makes. False if the first graph has no value on the random inputs, or none that f32 would hold.
///
/// # Errors
/// The interface or the output that differs.
pub fn same_function(before: &Graph, after: &Graph, seed: u64, tolerance: f64) -> Result<bool, String> {
    same_interface(before, after)?;
    let weights = random_weights(seed, before);
    let inputs = random_input(seed, before, BATCH);
    let outputs = |g: &Graph, inputs: &[ArrayD<f64>]| run(g, &weights, inputs, BATCH).map_err(|e| e.to_string());
    let Ok(old) = outputs(before, &inputs) else { return Ok(false) };
    if old.iter().flatten().any(|y| y.is_nan() || y.abs() > 1e30) {
        return Ok(false);
    }
    let rng = &mut Rng::new(seed ^ 0x005e_a51d);
    let moved: Vec<ArrayD<f64>> =
        inputs.iter().map(|x| x.mapv(|x| x * (1.0 + tolerance * rng.uniform(-1.0, 1.0)))).collect();
    let (moved, new) = (outputs(before, &moved)?, outputs(after, &inputs)?);
    for (i, output) in before.outputs.iter().enumerate() {
        let bound = tolerance * largest(&old[i]).max(1.0) + distance(&old[i], &moved[i]);
        close(&output.name, &old[i], &new[i], bound)?;
    }
    Ok(true)
}

fn same_interface(before: &Graph, after: &Graph) -> Result<(), String> {
    let interface = |g: &Graph| {
        let inputs: Vec<_> = g.inputs().map(|(_, n)| (n.path.clone(), n.types[0].clone())).collect();
        let outputs: Vec<_> = g.outputs.iter().map(|o| (o.name.clone(), g.ty(o.value).clone())).collect();
        (inputs, outputs)
    };
    let (old, new) = (interface(before), interface(after));
    if old == new { Ok(()) } else { Err(format!("the interface was {old:?} and is {new:?}")) }
}

fn largest(a: &ArrayD<f64>) -> f64 {
    a.iter().fold(0.0, |m: f64, x| m.max(x.abs()))
}

/// Largest difference of two elements, NaN if one is NaN.
fn distance(a: &ArrayD<f64>, b: &ArrayD<f64>) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |m: f64, e| if e > m || e.is_nan() { e } else { m })
}

fn close(name: &str, a: &ArrayD<f64>, b: &ArrayD<f64>, bound: f64) -> Result<(), String> {
    let error = distance(a, b);
    let close = error <= bound; // false for a NaN
    if close {
        return Ok(());
    }
    Err(format!("output {name} differs by {error:e}, its largest element is {:e}", largest(a)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    #[test]
    fn random_graphs_are_finite_and_not_constant() {
        for seed in 0..1000 {
            let graph = random_graph(seed, Options::default());
            let weights = random_weights(seed, &graph);
            let outputs = run(&graph, &weights, &random_input(seed, &graph, BATCH), BATCH).unwrap();
            let others = run(&graph, &weights, &random_input(seed + 1, &graph, BATCH), BATCH).unwrap();
            for (y, z) in outputs.iter().zip(&others) {
                assert!(y.iter().all(|v| v.abs() < 1e4), "{graph}");
                assert!(y != z, "{graph}");
            }
        }
    }

    #[test]
    fn a_change_of_the_function_is_seen() {
        let graph = |body: &str| {
            parse(&format!("graph g  stage=paper\n%x: f32[B,3] = input\n%y: f32[B,3] = {body}\noutputs y=%y")).unwrap()
        };
        let before = graph("mul(%x, literal[2]:f32[])");
        assert_eq!(compare(&before, &graph("add(%x, %x)"), 1, 0.0), Ok(()));
        for body in ["mul(%x, literal[2.001]:f32[])", "sub(%x, literal[NaN]:f32[])", "mul(%x, weight\"w\":f32[3])"] {
            assert!(compare(&before, &graph(body), 1, 1e-5).is_err(), "{body}");
        }
        let nothing = graph("div(%x, sub(%x, %x))");
        assert_eq!(same_function(&nothing, &before, 1, 1e-9), Ok(false), "not a number");
        assert_eq!(same_function(&before, &graph("add(%x, %x)"), 1, 1e-9), Ok(true));
        assert!(same_function(&before, &graph("mul(%x, %x)"), 1, 1e-9).is_err());
        let mut renamed = before.clone();
        renamed.outputs[0].name = "z".into();
        assert!(compare(&before, &renamed, 1, 1e-5).unwrap_err().starts_with("the interface was"));
    }
}
