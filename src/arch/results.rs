//! What a model may be asked to return.

use std::fmt;
use std::str::FromStr;

/// What the model returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Results {
    /// Class scores.
    #[default]
    Logits,
    /// The pooled features in front of the classifier, `[B,C]`.
    Features,
    /// The stage maps with the norms on them, for detection and segmentation.
    Pyramid,
    /// Some of them.
    Stages(StageSet),
    /// The maps behind the neck.
    Neck,
    /// Class scores of every pixel of the input.
    Enlarged,
    /// The class of every pixel of the input.
    ClassMap,
    /// Corners of boxes in pixels of the input, and their probabilities.
    Boxes,
}

impl Results {
    /// Whether they are what the whole model ends in: its scores, in one form or another.
    pub fn are_final(self) -> bool {
        match self {
            Results::Logits | Results::Enlarged | Results::ClassMap | Results::Boxes => true,
            Results::Features | Results::Pyramid | Results::Stages(_) | Results::Neck => false,
        }
    }
}

/// Some of a backbone's four stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageSet(u8);

impl StageSet {
    /// All four.
    pub const ALL: StageSet = StageSet(0b1111);
    /// The first alone.
    pub const FIRST: StageSet = StageSet(0b0001);
    /// All but the first.
    pub const FROM_SECOND: StageSet = StageSet(0b1110);

    /// The stages of these indices from 0 on; `None` if there are none, or one is no stage.
    pub fn of(stages: impl IntoIterator<Item = usize>) -> Option<StageSet> {
        let set = stages.into_iter().try_fold(0, |set: u8, i| (i < 4).then(|| set | 1 << i))?;
        (set != 0).then_some(StageSet(set))
    }

    /// Whether the stage of this index is one of them.
    pub fn contains(self, stage: usize) -> bool {
        stage < 4 && self.0 & (1 << stage) != 0
    }

    /// Their indices.
    pub fn indices(self) -> impl Iterator<Item = usize> {
        (0..4).filter(move |&stage| self.contains(stage))
    }
}

impl fmt::Display for StageSet {
    /// `stage2,stage4`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.indices().map(|i| format!("stage{}", i + 1)).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for StageSet {
    type Err = String;

    /// What `Display` writes, in any order.
    fn from_str(text: &str) -> Result<StageSet, String> {
        let index = |word: &str| word.trim().strip_prefix("stage")?.parse::<usize>().ok()?.checked_sub(1);
        let indices: Option<Vec<usize>> = text.split(',').map(index).collect();
        indices.and_then(StageSet::of).ok_or_else(|| format!("{text:?} does not list stages from stage1 to stage4"))
    }
}
