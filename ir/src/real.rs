//! A real number inside an operator: compared and hashed by its bits, so that operators can be hash-consed.

use std::fmt;
use std::hash::{Hash, Hasher};

/// An f64 with bitwise equality. Positive and negative zero are different numbers here.
#[derive(Clone, Copy)]
pub struct Real(pub f64);

impl PartialEq for Real {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Real {}

impl Hash for Real {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl fmt::Debug for Real {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Shortest text that reads back as the same number.
impl fmt::Display for Real {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 != 0.0 && self.0.is_finite() && (self.0.abs() < 1e-4 || self.0.abs() >= 1e16) {
            write!(f, "{:e}", self.0)
        } else {
            write!(f, "{}", self.0)
        }
    }
}

impl From<f64> for Real {
    fn from(x: f64) -> Self {
        Real(x)
    }
}
