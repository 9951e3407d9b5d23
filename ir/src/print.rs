//! The text form of a graph: flat SSA, one line per node, values named by their path.
//!
//! ```text
//! graph NAME  stage=paper
//! %image: f32[1,3,8,8] = input
//! %stem: f32[1,4,4,4] = conv(%image, weight"stem.weight":f32[4,3,3,3]){stride=2, pad=1}
//! %p, %p:1: f32[1,1,4,4], f32[1,3,4,4] = split(%stem){axis=1, sizes=[1,3]}
//! %sum: f32[1,3,4,4] = add(%p, literal[0.5]:f32[])
//! outputs y=%sum
//! ```
//!
//! - Lines stand in the graph's order and nothing is numbered, so an edit touches the lines it changes and no others.
//! - Weights and literals stand where they are read, with their type; their own paths are not part of the text.
//! - Pairs and pads of equal numbers collapse (`stride=2`, `pad=1`), `groups=1` and false flags are left out, and the shape of `reshape`
//!   and `expand` is the declared one.
//! - A name of other characters than letters, digits and `._-+/` is quoted: `%"odd name"`.
//!
//! [`crate::parse`] reads this form back. Two graphs are equal up to ids if and only if their texts are equal.

use crate::graph::{Graph, Node};
use crate::id::{NodeId, Value};
use crate::op::{Op, SliceAxis};
use crate::parse::is_bare;
use crate::real::Real;
use crate::words::{self, Visitor, Word};
use std::convert::Infallible;
use std::fmt::{self, Display, Write};

impl Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "graph {}  stage={}", Name(&self.name), self.stage.word())?;
        for (id, node) in self.nodes().filter(|(_, n)| !is_inline(&n.op)) {
            line(f, self, id, node)?;
        }
        f.write_str("outputs")?;
        for (i, output) in self.outputs.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma} {}={}", Name(&output.name), Operand(self, output.value))?;
        }
        writeln!(f)
    }
}

/// True for leaves that are written where they are read.
fn is_inline(op: &Op) -> bool {
    matches!(op, Op::Weight { .. } | Op::Literal { .. })
}

fn line(f: &mut fmt::Formatter<'_>, graph: &Graph, id: NodeId, node: &Node) -> fmt::Result {
    let outputs = (0..node.types.len() as u32).map(|index| Operand(graph, Value { node: id, index }));
    write!(f, "{}: {} = {}", joined(", ", outputs), joined(", ", &node.types), node.op.word())?;
    if !node.inputs.is_empty() {
        write!(f, "({})", joined(", ", node.inputs.iter().map(|&v| Operand(graph, v))))?;
    }
    let attributes = node.op.attributes();
    if !attributes.is_empty() {
        write!(f, "{{{}}}", attributes.join(", "))?;
    }
    writeln!(f)
}

fn joined(separator: &str, items: impl IntoIterator<Item = impl Display>) -> String {
    items.into_iter().map(|i| i.to_string()).collect::<Vec<_>>().join(separator)
}

/// A value where it is read: its name, or the whole leaf.
struct Operand<'a>(&'a Graph, Value);

impl Display for Operand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Operand(graph, value) = *self;
        match &graph.producer(value).op {
            Op::Weight { key } => write!(f, "weight{}:{}", Quoted(key), graph.ty(value)),
            Op::Literal { values } => write!(f, "literal[{}]:{}", joined(",", values), graph.ty(value)),
            _ if value.index == 0 => write!(f, "%{}", Name(&graph.producer(value).path)),
            _ => write!(f, "%{}:{}", Name(&graph.producer(value).path), value.index),
        }
    }
}

/// A name, in quotes where it needs them.
struct Name<'a>(&'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_empty() && self.0.chars().all(is_bare) { f.write_str(self.0) } else { Quoted(self.0).fmt(f) }
    }
}

/// A string in quotes; quote, backslash and control characters are escaped.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{{{:x}}}", c as u32)?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

impl Op {
    /// `key=value` and flags, without what the word or the declared type says: `stride=2`, `pad=1`, `groups=48`.
    pub fn attributes(&self) -> Vec<String> {
        let mut list = Written(Vec::new());
        let Ok(()) = words::attributes(&mut self.clone(), &mut list);
        list.0
    }
}

/// Attributes as text.
struct Written(Vec<String>);

impl Written {
    fn add(&mut self, key: &str, value: impl Display) -> Result<(), Infallible> {
        self.0.push(format!("{key}={value}"));
        Ok(())
    }
}

impl Visitor for Written {
    type Error = Infallible;

    fn number(&mut self, key: &'static str, value: &mut usize) -> Result<(), Infallible> {
        self.add(key, value)
    }

    fn number_or(&mut self, key: &'static str, usual: usize, value: &mut usize) -> Result<(), Infallible> {
        if *value == usual { Ok(()) } else { self.add(key, value) }
    }

    fn real(&mut self, key: &'static str, value: &mut Real) -> Result<(), Infallible> {
        self.add(key, value)
    }

    fn flag(&mut self, key: &'static str, value: &mut bool) -> Result<(), Infallible> {
        self.0.extend(value.then(|| key.to_string()));
        Ok(())
    }

    fn numbers(&mut self, key: &'static str, values: &mut Vec<usize>) -> Result<(), Infallible> {
        self.add(key, format_args!("[{}]", joined(",", values.iter())))
    }

    fn sides(&mut self, key: &'static str, values: &mut [usize]) -> Result<(), Infallible> {
        match values {
            [first, others @ ..] if others.iter().all(|n| n == first) => self.add(key, first),
            _ => self.add(key, format_args!("[{}]", joined(",", values.iter()))),
        }
    }

    fn word<T: Word>(&mut self, key: &'static str, value: &mut T) -> Result<(), Infallible> {
        self.add(key, value.word())
    }

    fn cuts(&mut self, cuts: &mut Vec<SliceAxis>) -> Result<(), Infallible> {
        self.0.extend(cuts.iter().map(|c| {
            let step = if c.step == 1 { String::new() } else { format!(":{}", c.step) };
            format!("axis{}={}..{}{step}", c.axis, c.start, c.stop)
        }));
        Ok(())
    }
}
