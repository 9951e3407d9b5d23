//! What rounding did to the float constants of an artifact: the largest magnitude before and after, and what half precision lost.

use crate::decide::Equalized;
use serde::Serialize;
use std::collections::HashSet;
use vitc_exporters::Summary;
use vitc_ir::{Graph, cost};

/// What rounding did to all float constants together.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Rounding {
    /// Largest |w| before rounding.
    pub max_before: f64,
    /// Largest |w| after rounding.
    pub max_after: f64,
    /// The constant that holds the largest, by its name in the artifact.
    pub largest: String,
    /// Elements that became subnormal in fp16: they keep fewer than eleven bits.
    pub subnormal: u64,
    /// Elements that were not zero and became zero in fp16.
    pub zeroed: u64,
    /// The constants with such elements, most first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub small: Vec<Rounded>,
    /// What powers of two did that moved between layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equalized: Option<Moved>,
}

/// What powers of two did that moved between layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Places between layers, each with one power.
    pub places: usize,
    /// Constants that took one.
    pub constants: usize,
    /// Elements of all constants that would be subnormal in fp16 without.
    pub subnormal_before: u64,
    /// Elements that would be zero.
    pub zeroed_before: u64,
}

/// A constant with elements below the normal numbers of fp16.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rounded {
    /// Name in the artifact.
    pub constant: String,
    /// Elements that became subnormal.
    pub subnormal: u64,
    /// Elements that became zero.
    pub zeroed: u64,
}

impl Rounding {
    /// Of what an exporter wrote.
    pub(super) fn of<'a>(graphs: impl Iterator<Item = &'a Graph>, written: &Summary) -> Rounding {
        let mut whole: HashSet<String> = HashSet::new();
        for graph in graphs {
            let constants = cost::emitted_constants(graph).into_iter().filter(|&v| !graph.ty(v).dtype.is_float());
            whole.extend(constants.map(|v| graph.value_name(v)));
        }
        let mut all = Rounding::default();
        for (name, stats) in written.constants.iter().filter(|(name, _)| !whole.contains(name)) {
            if stats.max_before > all.max_before || all.largest.is_empty() {
                all.max_before = stats.max_before;
                all.largest = name.clone();
            }
            all.max_after = all.max_after.max(stats.max_after);
            all.subnormal += stats.subnormal;
            all.zeroed += stats.flushed;
            if stats.subnormal + stats.flushed > 0 {
                let (subnormal, zeroed) = (stats.subnormal, stats.flushed);
                all.small.push(Rounded { constant: name.clone(), subnormal, zeroed });
            }
        }
        all.small.sort_by_key(|r| std::cmp::Reverse(r.subnormal + r.zeroed));
        all
    }

    /// With what powers of two did.
    pub(super) fn with(mut self, equalized: Option<&Equalized>) -> Rounding {
        let others = |all: u64, own: u64| all.saturating_sub(own);
        self.equalized = equalized.map(|e| Moved {
            places: e.exponents.len(),
            constants: e.constants,
            subnormal_before: others(self.subnormal, e.after.subnormal) + e.before.subnormal,
            zeroed_before: others(self.zeroed, e.after.zeroed) + e.before.zeroed,
        });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitc_ir::eval::ConstantStats;
    use vitc_ir::{DType, Net, Op, Shape, Stage, Type};

    #[test]
    fn integers_do_not_count_and_the_largest_is_named() {
        let mut graph = Graph::new("g", Stage::Paper);
        let input = Type::new(DType::F32, Shape::fixed(&[1, 4]));
        let x = graph.push_leaf(Op::Input, input, "image").expect("a leaf");
        let index = Type::new(DType::I32, Shape::fixed(&[2]));
        let fill = Op::Generate(vitc_ir::Generator::Iota { axis: 0 });
        let index = graph.push_leaf(fill, index, "index").expect("a leaf");
        let y = Net::within(&mut graph, "").push("gather", Op::Gather { axis: 1 }, &[x, index]);
        graph.outputs = vec![vitc_ir::Output { name: "y".into(), value: y }];
        let stats = |max_before, subnormal, flushed| ConstantStats {
            max_before,
            max_after: max_before,
            subnormal,
            flushed,
            bytes: 8,
        };
        let written = Summary {
            nodes: 1,
            op_counts: Vec::new(),
            parameters: 0,
            bytes: 0,
            constants: vec![
                ("index".into(), stats(1e6, 0, 0)),
                ("a".into(), stats(2.0, 1, 0)),
                ("b".into(), stats(3.0, 0, 0)),
                ("c".into(), stats(1.0, 2, 3)),
            ],
        };
        let rounding = Rounding::of(std::iter::once(&graph), &written);
        assert_eq!((rounding.max_before, rounding.largest.as_str()), (3.0, "b"));
        assert_eq!((rounding.subnormal, rounding.zeroed), (3, 3));
        assert_eq!(rounding.small.iter().map(|r| r.constant.as_str()).collect::<Vec<_>>(), ["c", "a"]);
    }
}
