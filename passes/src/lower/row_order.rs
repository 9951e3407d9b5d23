//! In which order the rows of a token tensor lie, compared with the order that the architecture gave them.
//!
//! A token value `[k·B, n, C]` has k·n rows per image; row `set·n + token` is its row-major index. A lowering that
//! keeps them in another order carries an [`Order`]: which row each position holds. Constants that belong to tokens
//! follow by a gather over the order, which is itself a constant.

use crate::algebra::inverse;
use vitc_ir::{Builder, Built, DType, Generator, Op, Shape, Type, Value};

/// A permutation as a view of row-major indices whose axes are permuted: what windows, rasters and sequences differ by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Digits {
    pub(crate) dims: Vec<usize>,
    pub(crate) perm: Vec<usize>,
}

impl Digits {
    /// `indices()[p]`: the row-major index under `dims` of element p of the permuted view.
    fn indices(&self) -> Vec<usize> {
        let mut strides = vec![1; self.dims.len()];
        for a in (1..self.dims.len()).rev() {
            strides[a - 1] = strides[a] * self.dims[a];
        }
        let mut indices = vec![0];
        for &a in &self.perm {
            let along = |i: &usize| (0..self.dims[a]).map(|d| i + d * strides[a]).collect::<Vec<_>>();
            indices = indices.iter().flat_map(along).collect();
        }
        indices
    }

    fn inverse(&self) -> Digits {
        let dims: Vec<usize> = self.perm.iter().map(|&a| self.dims[a]).collect();
        Digits { dims, perm: inverse(&self.perm) }
    }

    /// The same as an i32 constant `[n]`.
    fn constant(&self, net: &mut Builder) -> Built {
        let n: usize = self.dims.iter().product();
        let rows = Type::new(DType::I32, Shape::fixed(&[n]));
        let iota = net.generate("rows", Generator::Iota { axis: 0 }, rows)?;
        let view = net.reshape("digits", iota, Shape::fixed(&self.dims))?;
        let moved = net.transpose("digits", view, &self.perm)?;
        net.reshape("rows", moved, Shape::fixed(&[n]))
    }
}

/// Which row each position holds.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// Applied to a position one after the other.
    steps: Vec<Digits>,
    rows: Vec<usize>,
}

impl PartialEq for Order {
    fn eq(&self, other: &Order) -> bool {
        self.rows == other.rows
    }
}

impl Order {
    /// Token by token, all sets of a token side by side.
    pub(crate) fn sequence_first(sets: usize, tokens: usize) -> Order {
        let step = Digits { dims: vec![sets, tokens], perm: vec![1, 0] };
        Order { rows: step.indices(), steps: vec![step] }
    }

    /// The order of the same rows after the architecture merged windows into `maps` maps per image.
    pub(crate) fn merged(&self, maps: usize, [h, w]: [usize; 2], map: [usize; 2]) -> Order {
        let rows = vec![maps, map[0] / h, h, map[1] / w, w];
        self.then(Digits { dims: rows, perm: vec![0, 1, 3, 2, 4] })
    }

    /// The order of the same rows after the architecture cut `maps` maps per image into windows.
    pub(crate) fn partitioned(&self, maps: usize, [h, w]: [usize; 2], map: [usize; 2]) -> Order {
        let windows = vec![maps, map[0] / h, map[1] / w, h, w];
        self.then(Digits { dims: windows, perm: vec![0, 1, 3, 2, 4] })
    }

    /// The order of the same rows after the architecture moved row p of its own to place `step[p]`.
    pub(crate) fn then(&self, step: Digits) -> Order {
        let renamed = step.indices();
        let rows = self.rows.iter().map(|&r| renamed[r]).collect();
        Order { rows, steps: self.steps.iter().cloned().chain([step]).collect() }
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether positions are the tokens in the architecture's order, each with the same sequence of sets behind it.
    pub(crate) fn keeps_tokens(&self, sets: usize, tokens: usize) -> bool {
        (0..self.len()).all(|p| self.rows[p] == self.rows[p % sets] / tokens * tokens + p / sets)
    }

    /// The order of sets, of an order that keeps tokens or has one set.
    pub(crate) fn sets(&self, sets: usize, tokens: usize) -> Vec<usize> {
        self.rows[..sets].iter().map(|r| r / tokens).collect()
    }

    /// The row of each position as an i32 constant, or `None` if position p holds row p.
    pub(crate) fn index(&self, net: &mut Builder) -> Built<Option<Value>> {
        if self.rows.is_sorted() { Ok(None) } else { chain(net, &self.steps).map(Some) }
    }

    /// The position in `self` of what lies at each position of `to`, as an i32 constant.
    pub(crate) fn positions(&self, net: &mut Builder, to: &Order) -> Built {
        let back = self.steps.iter().rev().map(Digits::inverse);
        let steps: Vec<Digits> = to.steps.iter().cloned().chain(back).collect();
        chain(net, &steps)
    }
}

fn chain(net: &mut Builder, steps: &[Digits]) -> Built {
    // An order starts from a sequence, so there is a first step.
    let mut index = steps[0].constant(net)?;
    for step in &steps[1..] {
        let renamed = step.constant(net)?;
        index = net.push("order", Op::Gather { axis: 0 }, &[renamed, index])?;
    }
    Ok(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitc_ir::eval::{MemoryWeights, constant};
    use vitc_ir::net::paper;

    fn numbers(build: impl FnOnce(&mut Builder) -> Built<Option<Value>>) -> Option<Vec<usize>> {
        let mut graph = paper("order");
        let index = build(&mut Builder::new(&mut graph)).expect("it is built")?;
        let array = constant(&graph, &MemoryWeights::new(), index).unwrap_or_else(|e| panic!("{e}"));
        Some(array.iter().map(|&x| x as usize).collect())
    }

    #[test]
    fn windows_to_raster_and_back() {
        let start = Order::sequence_first(6, 4);
        assert_eq!(start.rows[..7], [0, 4, 8, 12, 16, 20, 1]);
        let raster = start.merged(1, [2, 2], [4, 6]);
        assert_eq!(raster.rows[..7], [0, 2, 4, 12, 14, 16, 1]);
        assert_eq!(raster.partitioned(1, [2, 2], [4, 6]), start);
        assert!(start.keeps_tokens(6, 4) && !raster.keeps_tokens(6, 4));
        assert_eq!(start.sets(6, 4), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn constants_are_the_orders() {
        let start = Order::sequence_first(6, 4);
        let swapped = start.merged(1, [2, 2], [4, 6]).partitioned(1, [2, 2], [6, 4]);
        for order in [&start, &swapped] {
            assert_eq!(numbers(|net| order.index(net)), Some(order.rows.clone()));
        }
        let positions = numbers(|net| swapped.positions(net, &start).map(Some)).expect("an index");
        let found: Vec<usize> = positions.iter().map(|&p| swapped.rows[p]).collect();
        assert_eq!(found, start.rows);
        assert_eq!(numbers(|net| Order::sequence_first(1, 5).index(net)), None);
    }
}
