//! Outputs that are probabilities: in half precision they may be what scores within the bound make of them.
//!
//! A softmax or a sigmoid is steep where nothing is sure, and where all is unlikely its results are small: two per cent of the largest probability would be
//! asked of a file that is allowed two per cent of the largest score when it ends one operator earlier. So both are held to the same, and no probability may
//! be further off than [`Probabilities::farthest`]. The scores are taken from the reference's own probabilities, which never makes them larger than they are.

use super::bounds;
use crate::runner::Named;
use crate::signature::{Likelihood, OutputRole};
use vitc_ir::{Class, DType, Graph, Op, UnaryKind, Value};

/// Half of the smallest number that half precision holds, 2⁻²⁴: what rounding takes from a probability, however small it is.
pub(super) const ROUNDING: f64 = 0.5 / (1u32 << 24) as f64;

/// How probabilities came about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Probabilities {
    likelihood: Likelihood,
    /// Where the classes lie.
    axis: usize,
}

/// Of each output: whether the reference answers with probabilities, by its graph, or because its scores are `answered` as such.
pub(super) fn probabilities(
    graph: &Graph,
    roles: &[OutputRole],
    answered: Option<Likelihood>,
) -> Vec<Option<Probabilities>> {
    let of = |(i, output): (usize, Value)| match (roles.get(i), answered) {
        (Some(OutputRole::Scores { .. }), Some(likelihood)) => Some(Probabilities { likelihood, axis: 1 }),
        (Some(OutputRole::Boxes), _) => None,
        _ => made(graph, output),
    };
    graph.outputs.iter().map(|output| output.value).enumerate().map(of).collect()
}

/// The softmax that a value is, or the sigmoid that its elements are wherever they were moved.
fn made(graph: &Graph, value: Value) -> Option<Probabilities> {
    let mut at = value;
    loop {
        let node = graph.producer(at);
        match (&node.op, &node.inputs[..]) {
            (Op::Softmax { axis }, _) if at == value => {
                return Some(Probabilities { likelihood: Likelihood::OneOf, axis: *axis });
            }
            (Op::Unary(UnaryKind::Sigmoid), _) => {
                return Some(Probabilities { likelihood: Likelihood::EachOf, axis: 0 });
            }
            (op, &[operand]) if matches!(op.facts().class, Class::Movement | Class::Cast | Class::Barrier) => {
                at = operand
            }
            _ => return None,
        }
    }
}

impl Probabilities {
    /// Largest error allowed in half precision: `usual`, or where it is more what the scores make of it, if everything that was `got` lies within that.
    pub(super) fn allowed(self, wanted: &Named, got: &[f32], usual: f64) -> f64 {
        let ratio = (self.opposed() * bounds::allowed(DType::F16, self.largest_score(wanted))).exp();
        let mut widest = usual;
        for (&p, &found) in wanted.data.iter().zip(got) {
            let (p, found) = (f64::from(p), f64::from(found));
            let moved = |ratio: f64| p * ratio / (p * ratio + 1.0 - p);
            let least = (moved(1.0 / ratio) - ROUNDING).max(p - self.farthest());
            let most = (moved(ratio) + ROUNDING).min(p + self.farthest());
            if (found - p).abs() > usual && !(least..=most).contains(&found) {
                return usual;
            }
            widest = widest.max(p - least).max(most - p);
        }
        widest
    }

    /// Largest error, whatever the score's. What a sigmoid makes may be a coordinate as well: it is held to what is allowed of values up to 1.
    fn farthest(self) -> f64 {
        match self.likelihood {
            Likelihood::OneOf => 0.1,
            Likelihood::EachOf => bounds::F16,
        }
    }

    /// How often the bound moves the score of one class against those of the others: of classes that exclude each other all of them move.
    fn opposed(self) -> f64 {
        match self.likelihood {
            Likelihood::OneOf => 2.0,
            Likelihood::EachOf => 1.0,
        }
    }

    /// The largest score, at least. Scores of classes that exclude each other may all be shifted: half the distance of the farthest two.
    fn largest_score(self, wanted: &Named) -> f64 {
        if self.likelihood == Likelihood::EachOf {
            return wanted.data.iter().map(|&p| logit(p).abs()).fold(0.0, f64::max);
        }
        let Some([classes, inner @ ..]) = wanted.shape.get(self.axis..) else { return 0.0 };
        let positions: usize = inner.iter().product();
        let blocks = wanted.data.chunks_exact((classes * positions).max(1));
        let rows = blocks.flat_map(|block| (0..positions).map(move |p| block.iter().skip(p).step_by(positions)));
        rows.map(|row| spread(row) / 2.0).fold(0.0, f64::max)
    }
}

/// The score whose sigmoid a probability is, as far as an f32 tells it from 0 and 1.
fn logit(p: f32) -> f64 {
    let [p, rest] = [p, 1.0 - p].map(|p| f64::from(p.max(f32::MIN_POSITIVE)));
    (p / rest).ln().min(f64::from(f32::EPSILON).ln().abs())
}

/// Distance of the largest from the smallest score of a row of classes; those that a mask left out have none.
fn spread<'p>(row: impl Iterator<Item = &'p f32>) -> f64 {
    let scores = row.filter(|&&p| p >= f32::MIN_POSITIVE).map(|&p| f64::from(p).ln());
    let [least, most] = scores.fold([f64::INFINITY, f64::NEG_INFINITY], |[least, most], s| [least.min(s), most.max(s)]);
    (most - least).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::compare::{sigmoid, softmax};
    use vitc_ir::parse;

    const ONE_OF: Probabilities = Probabilities { likelihood: Likelihood::OneOf, axis: 1 };
    const EACH_OF: Probabilities = Probabilities { likelihood: Likelihood::EachOf, axis: 0 };

    /// What is allowed of a row of probabilities where 2 % of the largest are usual.
    fn allowed(how: Probabilities, wanted: &[f32], got: &[f32]) -> f64 {
        let usual = bounds::allowed(DType::F16, wanted.iter().fold(0.0, |m: f64, &p| m.max(f64::from(p))));
        let wanted = Named { name: "p".into(), shape: vec![1, wanted.len()], data: wanted.to_vec() };
        how.allowed(&wanted, got, usual)
    }

    #[test]
    fn a_softmax_may_be_what_scores_within_the_bound_make_of_it() {
        let scores = [4.0f32, 4.2, -6.0, -9.0];
        let wanted = softmax(&scores, 4);
        // Half of the spread is 6.6, of which 2 % are 0.13.
        let moved = |by: f32| softmax(&[scores[0] + by, scores[1] - by, scores[2], scores[3]], 4);
        let error = |got: &[f32]| wanted.iter().zip(got).fold(0.0, |e: f64, (w, g)| e.max(f64::from((w - g).abs())));
        let near = moved(0.1);
        assert!(error(&near) > 0.04 && allowed(ONE_OF, &wanted, &near) >= error(&near));
        let far = moved(0.2);
        assert!(allowed(ONE_OF, &wanted, &far) < 0.012, "one that is too far off takes the wider bound back");
    }

    #[test]
    fn a_class_that_a_mask_left_out_does_not_widen_the_bound() {
        let sure = allowed(ONE_OF, &[0.5, 0.5, 0.0], &[0.52, 0.48, 0.0]);
        assert_eq!(sure, 0.01);
    }

    #[test]
    fn small_sigmoids_are_held_to_their_scores() {
        let scores = [-7.0f32, -20.0, -48.0];
        let of = |by: f32| scores.map(|s| sigmoid(s + by));
        let error = f64::from(of(0.3)[0] - of(0.0)[0]);
        assert!(error > 2e-2 * f64::from(of(0.0)[0]) && allowed(EACH_OF, &of(0.0), &of(0.3)) >= error);
        assert!(allowed(EACH_OF, &of(0.0), &of(1.0)) < error, "2 % of 48 are 0.96");
        assert!(allowed(EACH_OF, &[1e-9, 2e-20], &[0.0, 0.0]) >= 1e-9, "half precision has no such numbers");
    }

    #[test]
    fn no_probability_may_be_far_off() {
        // Scores of -60 leave 1.2 open.
        let wanted = [0.5, sigmoid(-60.0)];
        assert!(allowed(EACH_OF, &wanted, &[0.519, 0.0]) > 0.019);
        assert_eq!(allowed(EACH_OF, &wanted, &[0.522, 0.0]), 0.01);
        let wanted = softmax(&[0.0, 0.0, -60.0], 3);
        assert!(allowed(ONE_OF, &wanted, &[0.59, 0.41, 0.0]) > 0.09);
        assert_eq!(allowed(ONE_OF, &wanted, &[0.62, 0.38, 0.0]), 0.01);
    }

    #[test]
    fn probabilities_are_found_in_the_graph() {
        let text = "graph g  stage=paper
%x: f32[B,4,8] = input
%p: f32[B,4,8] = softmax(%x){axis=2}
%q: f32[B,4,8] = sigmoid(%x)
%r: f32[B,32] = reshape(%q)
%t: f32[B,8,4] = transpose(%p){perm=[0,2,1]}
outputs p=%p, r=%r, t=%t, x=%x";
        let graph = parse(text).unwrap_or_else(|e| panic!("{e}"));
        let roles = [OutputRole::Tensor; 4];
        let last = Probabilities { axis: 2, ..ONE_OF };
        assert_eq!(probabilities(&graph, &roles, None), [Some(last), Some(EACH_OF), None, None]);
        assert_eq!(probabilities(&graph, &[OutputRole::Boxes; 4], None), [None; 4]);
        let roles = [OutputRole::Scores { classes: 8, over: crate::signature::Over::Rows }; 4];
        assert_eq!(probabilities(&graph, &roles, Some(Likelihood::OneOf)), [Some(ONE_OF); 4]);
    }
}
