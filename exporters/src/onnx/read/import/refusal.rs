//! Why one node is not taken.

use vitc_ir::ShapeError;

/// Why, as a clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) String);

/// What an operator gives, or why it is not taken.
pub(super) type Done<T = Vec<super::value::Val>> = Result<T, Refusal>;

impl From<String> for Refusal {
    fn from(why: String) -> Refusal {
        Refusal(why)
    }
}

impl From<&str> for Refusal {
    fn from(why: &str) -> Refusal {
        Refusal(why.into())
    }
}

impl From<ShapeError> for Refusal {
    fn from(error: ShapeError) -> Refusal {
        Refusal(error.to_string())
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
