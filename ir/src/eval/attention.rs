//! Multi-head attention from its formula.

use super::normal::softmax_rows;
use super::product::{Matrix, gemm};
use super::tensor::Tensor;
use crate::op::AttentionLayout;

/// Heads and scale of an attention, and where its channels lie.
pub(super) struct Heads {
    /// Number of heads.
    pub(super) heads: usize,
    /// Factor of the scores.
    pub(super) scale: f64,
    /// Where channels lie.
    pub(super) layout: AttentionLayout,
    /// A bias follows v.
    pub(super) bias: bool,
    /// Four talking-head operands follow.
    pub(super) talking: bool,
}

impl Heads {
    /// Channels and tokens of an operand.
    fn sizes(&self, t: &Tensor) -> (usize, usize) {
        match self.layout {
            AttentionLayout::Channels => (t.dims[1], t.dims[2..].iter().product()),
            AttentionLayout::Tokens => (t.dims[2], t.dims[1]),
            AttentionLayout::Heads => (t.dims[1] * t.dims[3], t.dims[2]),
        }
    }

    /// The `[tokens, d]` matrix of head `h` of image `image`.
    fn head<'t>(&self, t: &'t Tensor, image: usize, h: usize) -> Matrix<'t> {
        let (channels, tokens) = self.sizes(t);
        let (data, d) = (&t.data[image * channels * tokens..], channels / self.heads);
        match self.layout {
            AttentionLayout::Channels => Matrix::rows(&data[h * d * tokens..], tokens).t(),
            AttentionLayout::Tokens => Matrix::rows(&data[h * d..], channels),
            AttentionLayout::Heads => Matrix::rows(&data[h * tokens * d..], d),
        }
    }

    /// The result, with q's layout and tokens and v's channels.
    pub(super) fn attend(&self, inputs: &[&Tensor]) -> Vec<f64> {
        let (q, k, v) = (inputs[0], inputs[1], inputs[2]);
        let ((cq, nq), (_, nk), (cv, _)) = (self.sizes(q), self.sizes(k), self.sizes(v));
        let (images, d, dv) = (q.dims[0], cq / self.heads, cv / self.heads);
        let plane = nq * nk;
        let mut result = vec![0.0; images * cv * nq];
        for image in 0..images {
            let mut scores = vec![0.0; self.heads * plane];
            for (h, a) in scores.chunks_exact_mut(plane).enumerate() {
                gemm(nq, nk, d, self.head(q, image, h), self.head(k, image, h).t(), a, nk);
                a.iter_mut().for_each(|a| *a *= self.scale);
                if self.bias {
                    let bias = inputs[3];
                    let (sets, own) = bias.dims.split_at(bias.dims.len() - 3);
                    let set = sets.first().map_or(0, |&sets| image % sets);
                    let row = set * own[0] + if own[0] == 1 { 0 } else { h };
                    a.iter_mut().zip(&bias.data[row * plane..]).for_each(|(a, b)| *a += b);
                }
            }
            let talk = &inputs[3 + usize::from(self.bias)..];
            if self.talking {
                scores = self.mix(&scores, talk[0], talk[1], plane);
            }
            softmax_rows(&mut scores, nk);
            if self.talking {
                scores = self.mix(&scores, talk[2], talk[3], plane);
            }
            let out = &mut result[image * cv * nq..][..cv * nq];
            for (h, p) in scores.chunks_exact(plane).enumerate() {
                let (p, values) = (Matrix::rows(p, nk), self.head(v, image, h));
                match self.layout {
                    AttentionLayout::Channels => gemm(dv, nq, nk, values.t(), p.t(), &mut out[h * dv * nq..], nq),
                    AttentionLayout::Tokens => gemm(nq, dv, nk, p, values, &mut out[h * dv..], cv),
                    AttentionLayout::Heads => gemm(nq, dv, nk, p, values, &mut out[h * nq * dv..], dv),
                }
            }
        }
        result
    }

    /// `A_h ← Σ_g w[h,g]·A_g + b[h]`.
    fn mix(&self, a: &[f64], w: &Tensor, b: &Tensor, plane: usize) -> Vec<f64> {
        let mut mixed = vec![0.0; a.len()];
        gemm(
            self.heads,
            plane,
            self.heads,
            Matrix::rows(&w.data, self.heads),
            Matrix::rows(a, plane),
            &mut mixed,
            plane,
        );
        for (row, b) in mixed.chunks_exact_mut(plane).zip(b.data.iter()) {
            row.iter_mut().for_each(|x| *x += b);
        }
        mixed
    }
}
