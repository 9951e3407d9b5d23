//! Checkpoints whose branches were merged before they were saved, FMViT's deploy form and FFNet after the authors' `fuse`, with numbers: merged
//! here, by the definitions, they answer as the training form does and leave the passes nothing to merge.

mod common;

use common::golden::Golden;
use common::merged;
use std::collections::HashMap;
use vitc::arch::{self, BuildOptions, NameTable};
use vitc_ir::eval::MemoryWeights;
use vitc_ir::{Graph, Weights};

/// ε of every BatchNorm of both families.
const EPS: f64 = 1e-5;
/// Merged tensors are rounded to f32 once more.
const ROUNDED: f64 = 1e-5;

/// A state dict in training form.
struct Training<'a>(&'a Golden);

impl Training<'_> {
    fn shape(&self, key: &str) -> &[usize] {
        self.0.tensors.get(key).unwrap_or_else(|| panic!("there is no {key}"))
    }

    fn tensor(&self, key: &str) -> Vec<f64> {
        let stored = self.0.weight(key, self.shape(key).iter().product()).unwrap_or_else(|e| panic!("{e}"));
        let element = |b: &[u8]| f64::from(f32::from_le_bytes(b.try_into().expect("four bytes")));
        stored.bytes.chunks_exact(4).map(element).collect()
    }

    /// A BatchNorm as a factor and an offset per channel.
    fn norm(&self, prefix: &str) -> (Vec<f64>, Vec<f64>) {
        let [gamma, beta, mean, variance] =
            ["weight", "bias", "running_mean", "running_var"].map(|leaf| self.tensor(&format!("{prefix}.{leaf}")));
        let s: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + EPS).sqrt()).collect();
        let t = beta.iter().zip(&mean).zip(&s).map(|((b, m), s)| b - m * s).collect();
        (s, t)
    }
}

/// A kernel `[O,I,k,k]` and its bias, to which branches are added.
struct Sum {
    shape: Vec<usize>,
    w: Vec<f64>,
    b: Vec<f64>,
}

impl Sum {
    fn zeros(shape: &[usize]) -> Sum {
        Sum { shape: shape.to_vec(), w: vec![0.0; shape.iter().product()], b: vec![0.0; shape[0]] }
    }

    /// The convolution `conv` and its BatchNorm: a smaller kernel lies in the middle, a group in its own columns.
    fn add_conv(&mut self, training: &Training, conv: &str, norm: &str) {
        let (shape, w) = (training.shape(conv), training.tensor(conv));
        let (s, t) = training.norm(norm);
        let (inner, k, side) = (shape[1], shape[2], self.shape[2]);
        let per_group = shape[0] * inner / self.shape[1];
        for o in 0..shape[0] {
            let first = o / per_group * inner;
            for (i, u, v) in (0..inner).flat_map(|i| (0..k * k).map(move |at| (i, at / k, at % k))) {
                let middle = (side - k) / 2;
                let to = (o * self.shape[1] + (first + i) % self.shape[1]) * side * side;
                self.w[to + (middle + u) * side + middle + v] += w[(o * inner + i) * k * k + u * k + v] * s[o];
            }
            self.b[o] += t[o];
        }
    }

    /// The BatchNorm of the input itself.
    fn add_norm(&mut self, training: &Training, norm: &str) {
        let (s, t) = training.norm(norm);
        self.add_diagonal(&s);
        self.b.iter_mut().zip(t).for_each(|(b, t)| *b += t);
    }

    fn add_diagonal(&mut self, s: &[f64]) {
        let (inner, area) = (self.shape[1], self.shape[2] * self.shape[3]);
        for (o, s) in s.iter().enumerate() {
            self.w[(o * inner + o % inner) * area + area / 2] += s;
        }
    }
}

/// FMViT: `place.reparam.*` for the branches at `place`.
fn fmvit(training: &Training, place: &str, shape: &[usize]) -> Sum {
    let mut sum = Sum::zeros(shape);
    let has = |key: &str| training.0.tensors.contains_key(key);
    if has(&format!("{place}.conv.weight")) {
        sum.add_conv(training, &format!("{place}.conv.weight"), &format!("{place}.bn"));
    }
    for branch in ["dw7", "dw3", "dw1", "g1", "g2", "g4"].map(|b| format!("{place}.{b}")) {
        if has(&format!("{branch}.conv.weight")) {
            sum.add_conv(training, &format!("{branch}.conv.weight"), &format!("{branch}.bn"));
        }
    }
    if has(&format!("{place}.identity.weight")) {
        sum.add_norm(training, &format!("{place}.identity"));
    }
    sum
}

/// FFNet: plain tensors at `place`.
fn ffnet(training: &Training, place: &str, shape: &[usize]) -> Sum {
    let mut sum = Sum::zeros(shape);
    let has = |key: &str| training.0.tensors.contains_key(key);
    if has(&format!("{place}.conv.bn.weight")) && place.ends_with("proj.1") {
        // y + W(s∘y + t)
        let (s, t) = training.norm(&format!("{place}.conv.bn"));
        let w = training.tensor(&format!("{place}.conv.c.weight"));
        for (o, row) in w.chunks_exact(shape[1]).enumerate() {
            sum.w[o * shape[1]..][..shape[1]].iter_mut().zip(row).zip(&s).for_each(|((to, w), s)| *to += w * s);
            sum.b[o] = row.iter().zip(&t).map(|(w, t)| w * t).sum();
        }
        sum.add_diagonal(&vec![1.0; shape[0]]);
        return sum;
    }
    for branch in [place.to_string(), format!("{place}.conv"), format!("{place}.conv1")] {
        if has(&format!("{branch}.c.weight")) {
            sum.add_conv(training, &format!("{branch}.c.weight"), &format!("{branch}.bn"));
        }
    }
    sum
}

type Merge = fn(&Training, &str, &[usize]) -> Sum;

/// The merged tensors; `suffix` is what the family puts between a place and `.weight`.
fn merged_weights(golden: &Golden, suffix: &str, merge: Merge) -> HashMap<String, Vec<f32>> {
    let training = Training(golden);
    let rounded = |v: &[f64]| v.iter().map(|&x| x as f32).collect::<Vec<f32>>();
    let mut weights = HashMap::new();
    for (key, shape) in merged(&golden.tensors) {
        if golden.tensors.contains_key(&key) {
            if !key.ends_with("num_batches_tracked") {
                weights.insert(key.clone(), rounded(&training.tensor(&key)));
            }
        } else if let Some(place) = key.strip_suffix(&format!("{suffix}.weight")) {
            let sum = merge(&training, place, &shape);
            weights.insert(key.clone(), rounded(&sum.w));
            weights.insert(format!("{place}{suffix}.bias"), rounded(&sum.b));
        }
    }
    if suffix == ".reparam" {
        // The last BatchNorm goes through the mean into the classifier.
        let (s, t) = training.norm("norm");
        let (mut w, mut b) = (training.tensor("head.weight"), training.tensor("head.bias"));
        for (row, b) in w.chunks_exact_mut(s.len()).zip(&mut b) {
            *b += row.iter().zip(&t).map(|(w, t)| w * t).sum::<f64>();
            row.iter_mut().zip(&s).for_each(|(w, s)| *w *= s);
        }
        weights.insert("head.weight".into(), rounded(&w));
        weights.insert("head.bias".into(), rounded(&b));
    }
    weights
}

/// The merged checkpoint's graphs answer as the training form; returns the rewrites of `merge_branches` in the first deploy run.
fn agrees(data: &str, model: &str, suffix: &str, merge: Merge) -> (usize, Graph) {
    let golden = Golden::load(data, &NameTable::IDENTITY);
    let weights: MemoryWeights = merged_weights(&golden, suffix, merge).into_iter().collect();
    let shapes = merged(&golden.tensors);
    let backbone = arch::find(model).unwrap_or_else(|e| panic!("{e}"));
    let options = BuildOptions { tensors: Some(&shapes), ..BuildOptions::new(backbone) };
    let paper = options.build().unwrap_or_else(|e| panic!("{e}")).graph;
    let (deployed, report) = vitc_passes::deploy(&paper).expect("passes run");
    for graph in [&paper, &deployed] {
        let error = golden.error_with(graph, &weights);
        assert!(error <= ROUNDED * golden.largest().max(1.0), "{model}, {}: {error:e}", graph.stage.word());
    }
    let (_, again) = vitc_passes::deploy(&deployed).expect("passes run");
    assert!(again.iter().all(|r| r.count == 0), "{model}: {again:?}");
    (report.iter().filter(|r| r.pass == "merge_branches").map(|r| r.count).sum(), paper)
}

/// What is left of the sums are the skips around the depthwise mixers: the deploy form keeps them, vitc takes them into the centre tap.
#[test]
fn fmvits_deploy_form() {
    let (merged, paper) = agrees("fmvit/fmvit_t", "fmvit-t", ".reparam", fmvit);
    let skips = paper.nodes().filter(|(_, n)| n.path.ends_with("token_mixer.skip")).count();
    assert!(skips > 0);
    assert_eq!(merged, skips);
}

#[test]
fn ffnet_after_the_authors_fuse() {
    let (merged, _) = agrees("ffnet/ffnet_1", "ffnet-1", "", ffnet);
    assert_eq!(merged, 0);
}
