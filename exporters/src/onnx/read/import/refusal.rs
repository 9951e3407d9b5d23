//! Why one node is not taken.

use vitc_ir::ShapeError;

/// Why one node is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Why, as a clause.
    pub(super) why: String,
    /// What has to be known is computed when the model runs: the way to it says more.
    pub(super) computed: bool,
}

impl Refusal {
    pub(super) fn new(why: impl Into<String>) -> Refusal {
        Refusal { why: why.into(), computed: false }
    }

    /// What has to be known is computed when the model runs.
    pub(super) fn computed(why: impl Into<String>) -> Refusal {
        Refusal { why: why.into(), computed: true }
    }
}

/// What an operator gives, or why it is not taken.
pub(super) type Done<T = Vec<super::value::Val>> = Result<T, Refusal>;

impl From<String> for Refusal {
    fn from(why: String) -> Refusal {
        Refusal::new(why)
    }
}

impl From<&str> for Refusal {
    fn from(why: &str) -> Refusal {
        Refusal::new(why)
    }
}

impl From<ShapeError> for Refusal {
    fn from(error: ShapeError) -> Refusal {
        Refusal::new(error.to_string())
    }
}

impl From<super::known::Unknown> for Refusal {
    fn from(why: super::known::Unknown) -> Refusal {
        match why {
            super::known::Unknown::Batch => {
                "depends on the batch in a way that only a number can decide: give the batch a number".into()
            }
            super::known::Unknown::Range => "divides by zero, or leaves the range of its numbers".into(),
        }
    }
}
