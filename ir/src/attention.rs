//! The bias of an attention whose sets read it in turn: `[S,H|1,Nq,Nk]`, of which set number s reads row s mod S.

use crate::ty::{Dim, Shape};

/// How often so many sets read all rows of a bias in turn; `None` if it is added to scores `[sets,H,Nq,Nk]` as it is, since it has a row for each of them, or
/// one for all.
pub fn bias_turns(bias: &Shape, sets: Dim) -> Option<Dim> {
    match bias.0[..] {
        [Dim::Fixed(n), _, _, _] if n > 1 && bias.0[0] != sets => sets.divided(n),
        _ => None,
    }
}
