//! Who reads what: for every value of a graph the operands that it is, and whether the model returns it.

use crate::graph::Graph;
use crate::id::{NodeId, Value};

/// One operand of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// The node that reads.
    pub node: NodeId,
    /// Which of its operands.
    pub slot: usize,
}

/// The readers of every value of a graph, in the graph's order. A node that reads a value twice is there twice.
#[derive(Debug)]
pub struct Uses {
    /// By node: number of its first output.
    first: Vec<u32>,
    /// By output: where its readers begin; they end where the next one's begin.
    start: Vec<u32>,
    readers: Vec<Use>,
    results: Vec<Value>,
}

impl Graph {
    /// Who reads what.
    pub fn uses(&self) -> Uses {
        Uses::of(self)
    }
}

impl Uses {
    fn of(graph: &Graph) -> Uses {
        let mut first = Vec::with_capacity(graph.len());
        let mut values = 0;
        for (_, node) in graph.nodes() {
            first.push(values);
            values += node.types.len() as u32;
        }
        let number = |v: Value| (first[v.node.0 as usize] + v.index) as usize;
        // Counted one place late, summed up, then each output's place moves past its readers as they are filled in.
        let mut start = vec![0u32; values as usize + 2];
        let operands = || graph.nodes().flat_map(|(_, n)| n.inputs.iter().copied());
        operands().for_each(|v| start[number(v) + 2] += 1);
        (1..start.len()).for_each(|i| start[i] += start[i - 1]);
        let mut readers = vec![Use { node: NodeId(0), slot: 0 }; start[values as usize + 1] as usize];
        for (node, operands) in graph.nodes().map(|(id, n)| (id, &n.inputs)) {
            for (slot, &v) in operands.iter().enumerate() {
                let place = &mut start[number(v) + 1];
                readers[*place as usize] = Use { node, slot };
                *place += 1;
            }
        }
        Uses { first, start, readers, results: graph.outputs.iter().map(|o| o.value).collect() }
    }

    /// The operands that a value is.
    pub fn readers(&self, value: Value) -> &[Use] {
        let number = (self.first[value.node.0 as usize] + value.index) as usize;
        &self.readers[self.start[number] as usize..self.start[number + 1] as usize]
    }

    /// Whether the model returns the value.
    pub fn is_result(&self, value: Value) -> bool {
        self.results.contains(&value)
    }

    /// How often a value is read, by nodes or as a result of the model.
    pub fn count(&self, value: Value) -> usize {
        self.readers(value).len() + self.results.iter().filter(|&&v| v == value).count()
    }

    /// Whether a value is read once.
    pub fn once(&self, value: Value) -> bool {
        self.count(value) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    #[test]
    fn readers_are_counted_per_output_and_in_order() {
        let body = "%x: f32[B,4] = input\n%a, %a:1: f32[B,1], f32[B,3] = split(%x){axis=1, sizes=[1,3]}\n\
            %b: f32[B,1] = mul(%a, %a)\n%c: f32[B,3] = add(%a, %a:1)\n%d: f32[B,3] = add(%b, %c)\noutputs c=%c, d=%d";
        let graph = parse(&format!("graph g  stage=paper\n{body}")).unwrap_or_else(|e| panic!("{e}"));
        let uses = graph.uses();
        let at = |path: &str, index| Value { node: graph.find(path).expect("it is there"), index };
        let read = |v: Value| -> Vec<(&str, usize)> {
            uses.readers(v).iter().map(|u| (graph.node(u.node).path.as_str(), u.slot)).collect()
        };
        assert_eq!(read(at("x", 0)), [("a", 0)]);
        assert_eq!(read(at("a", 0)), [("b", 0), ("b", 1), ("c", 0)]);
        assert_eq!(read(at("a", 1)), [("c", 1)]);
        assert_eq!(read(at("d", 0)), []);
        assert!(uses.once(at("a", 1)) && uses.once(at("d", 0)) && !uses.once(at("c", 0)));
        assert_eq!((uses.count(at("a", 0)), uses.count(at("c", 0))), (3, 2));
        assert!(uses.is_result(at("c", 0)) && !uses.is_result(at("b", 0)));
    }
}
