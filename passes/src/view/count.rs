//! Numbers of elements that may depend on the batch: `n·Bᵖ`.

use vitc_ir::Dim;

/// `n·Bᵖ`; zero has no power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Count {
    n: usize,
    power: u32,
}

impl Count {
    pub(crate) const ZERO: Count = Count { n: 0, power: 0 };
    pub(crate) const ONE: Count = Count { n: 1, power: 0 };

    pub(crate) fn fixed(n: usize) -> Count {
        Count { n, power: 0 }
    }

    pub(crate) fn power(self) -> u32 {
        self.power
    }

    /// The factor of the batch's power.
    pub(crate) fn factor(self) -> usize {
        self.n
    }

    /// The product, if it can be counted.
    pub(crate) fn times(self, other: Count) -> Option<Count> {
        let n = self.n.checked_mul(other.n)?;
        Some(if n == 0 { Count::ZERO } else { Count { n, power: self.power + other.power } })
    }

    /// The quotient, if nothing remains.
    pub(crate) fn over(self, other: Count) -> Option<Count> {
        let divides = other.n != 0 && self.n.is_multiple_of(other.n) && (self.n == 0 || self.power >= other.power);
        divides.then(|| if self.n == 0 { self } else { Count { n: self.n / other.n, power: self.power - other.power } })
    }

    /// The same as the size of an axis.
    pub(crate) fn dim(self) -> Option<Dim> {
        match self.power {
            0 => Some(Dim::Fixed(self.n)),
            1 => Some(Dim::Batch(self.n)),
            _ => None,
        }
    }

    /// The plain number.
    pub(crate) fn plain(self) -> Option<usize> {
        (self.power == 0).then_some(self.n)
    }
}

impl From<Dim> for Count {
    fn from(dim: Dim) -> Count {
        match dim {
            Dim::Fixed(n) => Count::fixed(n),
            Dim::Batch(n) => Count { n, power: 1 },
        }
    }
}

/// The product of several.
pub(crate) fn product(counts: impl IntoIterator<Item = Count>) -> Option<Count> {
    counts.into_iter().try_fold(Count::ONE, Count::times)
}
