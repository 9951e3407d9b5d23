//! What of a graph breaks the rules that Apple has published for its Neural Engine: the article and code of `ml-ane-transformers` (2022), and the notes for
//! authors of models beside Core AI (2026).
//!
//! Nothing here was seen on a device. A system that meets a broken rule runs that part on GPU or CPU, or slower: the file is as right as before.
//! Where a rule has no figure, the figure here says where it is from. A rule about layers that passes spell so on purpose says why they do.

use serde::Serialize;
use vitc_ir::facts::Class;
use vitc_ir::{DType, Graph, Node, NodeId, Op, Type, Value};

/// Most dimensions of a value.
const RANK: usize = 5;

/// Longest axis (reported by users of the engine, not published).
const AXIS: usize = 16384;

/// Bytes to which the last axis is padded.
const LINE: usize = 64;

/// Bytes that padding may cost a value: a share of the engine's own memory, which is a few MiB (reported).
const PADDING: usize = 1 << 20;

/// Largest side of a kernel: that of Apple's own FastViT. Larger ones should be chains.
const KERNEL: usize = 7;

/// A rule that is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule in a word.
    pub rule: &'static str,
    /// What the rule says.
    pub advice: &'static str,
    /// Paths of the nodes that break it, in order.
    pub nodes: Vec<String>,
}

/// A rule: its word, what it says, and what breaks it.
struct Rule {
    word: &'static str,
    advice: &'static str,
    broken: fn(&Subject<'_>, NodeId, &Node) -> bool,
}

const RULES: [Rule; 13] = [
    Rule { word: "rank", advice: "at most 5 dimensions", broken: |_, _, n| any(n, |t| t.shape.rank() > RANK) },
    Rule {
        word: "fp32",
        advice: "fp32 values leave the engine, with a copy at each end",
        broken: |s, id, n| s.is_wide(id, n),
    },
    Rule {
        word: "integers",
        advice: "whole numbers that are computed at run time leave the engine",
        broken: |_, _, n| any(n, |t| !t.dtype.is_float()),
    },
    Rule {
        word: "shapes",
        advice: "shapes that are known when the file is written",
        broken: |_, _, n| any(n, |t| t.shape.has_batch()),
    },
    Rule {
        word: "length",
        advice: "axes of at most 16384 elements",
        broken: |_, _, n| any(n, |t| t.shape.0.iter().any(|d| d.fixed().is_some_and(|d| d > AXIS))),
    },
    Rule {
        word: "padding",
        advice: "a last axis that fills 64 bytes: it is padded to them, here by more than 1 MiB a value",
        broken: |_, _, n| any(n, |t| padding(t) > PADDING),
    },
    Rule {
        word: "kernels",
        advice: "kernels of at most 7x7, larger ones as chains",
        broken: |s, _, n| matches!(n.op, Op::Conv { .. }) && s.sides(n).is_some_and(|k| k.iter().any(|&k| k > KERNEL)),
    },
    Rule {
        word: "strides",
        advice: "strides with factors 2 and 3, alike where above 2; pools by 1, 2 or 4",
        broken: |_, _, n| strides(&n.op),
    },
    Rule {
        word: "resize",
        advice: "maps enlarged by a whole even factor (reported)",
        broken: |s, _, n| matches!(n.op, Op::Resize { .. }) && !s.doubles(n),
    },
    Rule {
        word: "softmax",
        advice: "softmax over channels or the last axis",
        broken: |_, _, n| matches!(n.op, Op::Softmax { axis } if axis != 1 && axis + 1 != n.types[0].shape.rank()),
    },
    Rule {
        word: "attention",
        advice: "attention head by head: the operator for it is the GPU's",
        broken: |_, _, n| n.op.facts().class == Class::Attention,
    },
    Rule {
        word: "linear",
        advice: "linear layers as 1x1 convolutions; on tokens, which would be turned before and behind each, they stay products",
        broken: |s, _, n| s.is_layer(n),
    },
    Rule {
        word: "transposes",
        advice: "few that move the last axis; norms over channels and attention need theirs",
        broken: |_, _, n| matches!(&n.op, Op::Transpose { perm } if perm.last() != Some(&(perm.len() - 1))),
    },
];

/// The rules that graphs break, one finding for each. Graphs of one model at several sizes are one subject: a node that several have is named once.
/// `ports` says that element types at inputs and outputs are the system's to convert.
pub fn findings(graphs: &[&Graph], ports: bool) -> Vec<Finding> {
    let broken = |rule: &Rule| {
        let mut nodes: Vec<String> = Vec::new();
        for graph in graphs {
            let subject = Subject::of(graph, ports);
            let found = graph.run_time_nodes().filter(|(id, node)| (rule.broken)(&subject, *id, node));
            let known = nodes.len();
            let fresh: Vec<String> =
                found.map(|(_, n)| n.path.clone()).filter(|path| !nodes[..known].contains(path)).collect();
            nodes.extend(fresh);
        }
        Finding { rule: rule.word, advice: rule.advice, nodes }
    };
    RULES.iter().map(broken).filter(|f| !f.nodes.is_empty()).collect()
}

/// A graph that is looked at.
struct Subject<'a> {
    graph: &'a Graph,
    /// It computes in half precision, and its fp32 values are islands.
    half: bool,
    /// Casts at inputs and outputs do not count.
    ports: bool,
}

impl<'a> Subject<'a> {
    fn of(graph: &'a Graph, ports: bool) -> Subject<'a> {
        Subject { graph, half: graph.precision() == DType::F16, ports }
    }

    /// An fp32 value in a program of half precision, computed or read at an input; a program that is fp32 throughout is told of in one sentence elsewhere.
    fn is_wide(&self, id: NodeId, node: &Node) -> bool {
        let result = self.graph.outputs.iter().any(|o| o.value == Value::from(id));
        let port = self.ports && matches!(node.op, Op::Cast { .. }) && result;
        let wide = |v: &Value| self.graph.ty(*v).dtype == DType::F32;
        let at_input = |v: &Value| self.graph.producer(*v).op == Op::Input && wide(v);
        let computed = any(node, |t| t.dtype == DType::F32) && !port;
        self.half && (computed || !self.ports && node.inputs.iter().any(at_input))
    }

    /// Height and width of a convolution's kernel.
    fn sides(&self, node: &Node) -> Option<Vec<usize>> {
        let w = node.inputs.get(1)?;
        self.graph.shape(*w).0.get(2..)?.iter().map(|d| d.fixed()).collect()
    }

    fn doubles(&self, node: &Node) -> bool {
        let from = self.graph.shape(node.inputs[0]);
        let sides = from.0.iter().zip(&node.types[0].shape.0).skip(2);
        let mut sides = sides.map(|(a, b)| (a.fixed().unwrap_or(0), b.fixed().unwrap_or(0)));
        sides.all(|(a, b)| a == b || a > 0 && b % (2 * a) == 0)
    }

    /// A product of tokens with a layer's weights; matrices that formulas give, such as those of transforms, run along positions.
    fn is_layer(&self, node: &Node) -> bool {
        let weights = match node.op {
            Op::Linear | Op::MatMul { .. } => node.inputs[1],
            _ => return false,
        };
        self.graph.is_constant(weights) && self.holds_weight(weights)
    }

    /// Whether a constant is made of trained numbers.
    fn holds_weight(&self, constant: Value) -> bool {
        let (mut open, mut seen) = (vec![constant.node], std::collections::HashSet::new());
        while let Some(id) = open.pop() {
            let node = self.graph.node(id);
            if matches!(node.op, Op::Weight { .. }) {
                return true;
            }
            open.extend(node.inputs.iter().map(|v| v.node).filter(|&id| seen.insert(id)));
        }
        false
    }
}

fn any(node: &Node, wanted: impl Fn(&Type) -> bool) -> bool {
    node.types.iter().any(wanted)
}

/// Bytes by which padding its last axis makes a value larger.
fn padding(ty: &Type) -> usize {
    let Some(last) = ty.shape.0.last().and_then(|d| d.fixed()).filter(|&d| d > 0) else { return 0 };
    let line = ty.dtype.bytes_of(last);
    (line.next_multiple_of(LINE) - line).saturating_mul(ty.shape.elements() / last)
}

/// Strides that the engine does not know.
fn strides(op: &Op) -> bool {
    let plain = |mut n: usize| {
        for factor in [2, 3] {
            while n > 1 && n.is_multiple_of(factor) {
                n /= factor;
            }
        }
        n == 1
    };
    match op {
        Op::Conv { stride, .. } => {
            let [h, w] = *stride;
            !(plain(h) && plain(w)) || h.max(w) > 32 || h.max(w) > 2 && h != w
        }
        Op::AvgPool { stride, .. } => stride.iter().any(|s| ![1, 2, 4].contains(s)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules that the nodes of a graph break, as `word: paths`.
    fn broken(body: &str) -> Vec<String> {
        let text = format!("graph g  stage=target\n{body}");
        let graph = vitc_ir::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let found = findings(&[&graph], false);
        found.iter().map(|f| format!("{}: {}", f.rule, f.nodes.join(" "))).collect()
    }

    #[test]
    fn each_rule_names_what_breaks_it() {
        let w = "cast(weight\"w\":f32[SHAPE]){to=f16}";
        let kernel = |shape: &str| w.replace("SHAPE", shape);
        for (body, expected) in [
            ("%y: f16[1,1,1,1,2,2] = reshape(%x)", "rank: y"),
            ("%y: f16[1,4] = softmax(%x){axis=1}", ""),
            ("%a: f16[1,2,2] = reshape(%x)\n%y: f16[1,2,2] = softmax(%a){axis=0}", "softmax: y"),
            ("%a: f32[1,4] = cast(%x){to=f32}\n%b: f32[1,4] = relu(%a)\n%y: f16[1,4] = cast(%b){to=f16}", "fp32: a b"),
            ("%y: f16[1,20000] = expand(%z)", "length: y"),
            ("%y: f16[1,1024,1024,1] = expand(%v)", "padding: y"),
            (&format!("%y: f16[1,1,1,1] = conv(%v, {}){{stride=1, pad=[4,4,4,4]}}", kernel("1,1,9,9")), "kernels: y"),
            (&format!("%y: f16[1,1,1,1] = conv(%v, {}){{stride=5, pad=0}}", kernel("1,1,1,1")), "strides: y"),
            (&format!("%y: f16[1,1,1,1] = conv(%v, {}){{stride=[2,3], pad=0}}", kernel("1,1,1,1")), "strides: y"),
            (&format!("%y: f16[1,1,1,1] = conv(%v, {}){{stride=4, pad=0}}", kernel("1,1,1,1")), ""),
            ("%y: f16[1,1,3,3] = resize(%v){kernel=linear, coordinates=half_pixel, size=[3,3]}", "resize: y"),
            ("%y: f16[1,1,4,4] = resize(%v){kernel=linear, coordinates=half_pixel, size=[4,4]}", ""),
            (&format!("%y: f16[1,5] = matmul(%x, {})", kernel("4,5")), "linear: y"),
            ("%y: f16[1,4] = matmul(%x, cast(dct_basis{n=4}:f32[4,4]){to=f16})", ""),
            ("%y: f16[4,1] = transpose(%x){perm=[1,0]}", "transposes: y"),
        ] {
            let inputs = "%x: f16[1,4] = input\n%z: f16[1,1] = input\n%v: f16[1,1,1,1] = input";
            let found = broken(&format!("{inputs}\n{body}\noutputs y=%y, z=%z, v=%v, x=%x")).join("; ");
            assert_eq!(found, expected, "{body}");
        }
        assert_eq!(broken("%x: f16[B,4] = input\n%y: f16[B,4] = relu(%x)\noutputs y=%y"), ["shapes: y"]);
    }

    #[test]
    fn graphs_of_one_model_name_a_node_once() {
        let at = |n: usize| {
            let text = format!(
                "graph g  stage=target\n%x: f16[{n},4] = input\n%y: f16[4,{n}] = transpose(%x){{perm=[1,0]}}\noutputs y=%y"
            );
            vitc_ir::parse(&text).unwrap_or_else(|e| panic!("{e}"))
        };
        let found = findings(&[&at(1), &at(2)], false);
        assert_eq!(found.iter().map(|f| (f.rule, f.nodes.len())).collect::<Vec<_>>(), [("transposes", 1)]);
    }
}
