//! What a user chooses of an architecture, because no checkpoint tells.

/// An option that keys and shapes do not reveal, with its documented default.
#[derive(Debug)]
pub struct Choice {
    /// Name (`activation`).
    pub name: &'static str,
    /// Accepted values, the default first; a choice with one value takes others of its own form too.
    pub values: &'static [&'static str],
    /// What it decides.
    pub help: &'static str,
}

impl Choice {
    /// Whether the value may be one of this choice's; where values have a form of their own, the architecture reads it.
    pub fn takes(&self, value: &str) -> bool {
        self.values.len() == 1 || self.values.contains(&value)
    }
}

/// Which of several classifier heads makes the logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Head {
    /// All that exist, averaged, as the authors evaluate.
    #[default]
    Average,
    /// The first head (`head`).
    Class,
    /// The distillation head (`dist_head`).
    Distillation,
}

/// What becomes of the scores of a family's own classifiers beside heads that somebody wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FamilyScores {
    /// They are at most read by those heads.
    #[default]
    Dropped,
    /// They are an output too.
    Returned,
    /// The one head that somebody wrote replaces one of two classifiers, and the mean of both is the result.
    Averaged,
}
