//! Positions as affine functions of an iteration index.
//!
//! An expression is evaluated over an iteration space, a list of sizes. Where an operand's element lies is `offset +
//! Σ coefs[j]·i[j]`, a position in the operand's row-major order. Transposing, slicing, broadcasting and most
//! reshapes keep that form, so they cost nothing.

/// `offset + Σ coefs[j]·i[j]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Affine {
    /// Value at the origin.
    pub(super) offset: usize,
    /// Step per iteration axis.
    pub(super) coefs: Vec<usize>,
}

/// Why a position cannot be expressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// It is not affine: the operand has to be computed whole.
    Opaque,
    /// It is affine once iteration axis `axis` is split in two, the second of size `inner`.
    Refine {
        /// The axis to split.
        axis: usize,
        /// Size of the faster part.
        inner: usize,
    },
}

/// Distance in row-major order of neighbours along each axis.
pub(super) fn row_major(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for a in (1..dims.len()).rev() {
        strides[a - 1] = strides[a] * dims[a];
    }
    strides
}

impl Affine {
    /// `offset`, everywhere.
    pub(super) fn constant(offset: usize, rank: usize) -> Self {
        Affine { offset, coefs: vec![0; rank] }
    }

    /// The iteration index' own position in row-major order.
    pub(super) fn identity(space: &[usize]) -> Self {
        Affine { offset: 0, coefs: row_major(space) }
    }

    /// `self + factor · other`.
    pub(super) fn plus(mut self, factor: usize, other: &Affine) -> Self {
        self.offset += factor * other.offset;
        for (a, b) in self.coefs.iter_mut().zip(&other.coefs) {
            *a += factor * b;
        }
        self
    }

    /// Position in row-major order of the element whose index along axis a is `forms[a]`.
    pub(super) fn flatten<'f>(forms: impl Iterator<Item = &'f Affine>, dims: &[usize], rank: usize) -> Self {
        let strides = row_major(dims);
        forms.zip(strides).fold(Affine::constant(0, rank), |sum, (form, stride)| sum.plus(stride, form))
    }

    /// The index along each axis of an array of sizes `dims`, of which `self` is the row-major position.
    pub(super) fn unflatten(&self, dims: &[usize], space: &[usize]) -> Result<Vec<Affine>, Stop> {
        let strides = row_major(dims);
        let digit = |a: usize| Affine::constant(self.offset / strides[a] % dims[a], space.len());
        let mut forms: Vec<Affine> = (0..dims.len()).map(digit).collect();
        for (j, &coef) in self.coefs.iter().enumerate() {
            if coef == 0 || space[j] <= 1 {
                continue;
            }
            let a = (0..dims.len()).find(|&a| dims[a] > 1 && strides[a] <= coef).ok_or(Stop::Opaque)?;
            let step = coef / strides[a];
            if coef % strides[a] != 0 || step >= dims[a] {
                return Err(Stop::Opaque);
            }
            let capacity = dims[a] / step;
            if space[j] > capacity {
                let even = dims[a].is_multiple_of(step) && space[j].is_multiple_of(capacity);
                return Err(if even { Stop::Refine { axis: j, inner: capacity } } else { Stop::Opaque });
            }
            forms[a].coefs[j] = step;
        }
        // No digit may carry into the next axis anywhere in the space.
        let largest = |f: &Affine| {
            f.offset + f.coefs.iter().zip(space).map(|(&c, &n)| if c == 0 { 0 } else { c * (n - 1) }).sum::<usize>()
        };
        if forms.iter().zip(dims).all(|(f, &n)| largest(f) < n) { Ok(forms) } else { Err(Stop::Opaque) }
    }
}
