//! How far a graph is on its way to a target.

use crate::word::{Word, words};

/// Which operators are legal, in order: see [`crate::valid`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// As the paper and the checkpoint have it: every branch, BatchNorm and head.
    Paper,
    /// After the exact, target-independent passes: no BatchNorm.
    Deploy,
    /// After a target's lowering: only what the target spells.
    Target,
}

impl Stage {
    /// Word in the text form.
    pub fn word(self) -> &'static str {
        Word::word(self)
    }
}

words! {
    Stage { Paper => "paper", Deploy => "deploy", Target => "target" }
}
