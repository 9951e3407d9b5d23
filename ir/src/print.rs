//! The text form of a graph: one line per node that runs, its values named by their path, and below it the constants that it alone reads.
//!
//! ```text
//! graph NAME  stage=deploy
//! %image: f32[1,3,8,8] = input
//! %stem: f32[1,4,4,4] = conv(%image, @w, @bias){stride=2, pad=1}
//!   @w: f32[4,3,3,3] = mul(weight"stem.weight":f32[4,3,3,3], reshape(weight"scale":f32[4]):f32[4,1,1,1])
//!   @bias: f32[4] = neg(weight"shift":f32[4])
//! %p, %p:1: f32[1,1,4,4], f32[1,3,4,4] = split(%stem){axis=1, sizes=[1,3]}
//! %sum: f32[1,3,4,4] = add(%p, 0.5)
//! outputs y=%sum
//! ```
//!
//! - Lines that run stand in the graph's order. [`Graph::listing`] prints them alone.
//! - `%` is a value that depends on the model's input, or on a table that stays in the artifact; `@` is a constant.
//! - Weights, literals, generators and all arithmetic that is read once stand where they are read. A type is written behind an expression
//!   where it does not follow from the operands.
//! - An operand of a line that runs is called after its role, on an indented line. What several lines read has an unindented one before the
//!   first of them and is called after it. Nothing is numbered, and the names of constants in the graph are not part of the text, so an edit
//!   touches the lines it changes and no others.
//! - Sums and products of constants in a row are one with several operands, from left to right. Arithmetic on a BatchNorm's parameters has words
//!   of its own, `bn_scale` and `bn_shift`, and `bn"KEY":f32[C]` is a whole BatchNorm of a checkpoint.
//! - Pairs and pads of equal numbers collapse (`stride=2`, `pad=1`), `groups=1` and false flags are left out, and the shape of `reshape`
//!   and `expand` is the declared one.
//! - A name of other characters than letters, digits and `._-+/` is quoted: `%"odd name"`.
//!
//! [`crate::parse`] reads this form back. Two graphs are equal up to ids and the names of constants if and only if their texts are equal.

mod attributes;
mod constants;
#[cfg(test)]
mod tests;

use crate::batch_norm::{self, PARAMETERS};
use crate::graph::{Graph, Node};
use crate::op::Op;
use crate::parse::is_bare;
use constants::{Constants, Definitions, whole_norm};
use std::fmt::{self, Display, Write};

/// Columns that a constant's line fills before its operands get lines of their own.
const WIDTH: usize = 160;

impl Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self, true)
    }
}

impl Graph {
    /// The text form without the lines of constants: what runs.
    pub fn listing(&self) -> impl Display + '_ {
        Listing(self)
    }
}

struct Listing<'g>(&'g Graph);

impl Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, false)
    }
}

fn write(f: &mut fmt::Formatter<'_>, graph: &Graph, with_constants: bool) -> fmt::Result {
    writeln!(f, "graph {}  stage={}", Name(&graph.name), graph.stage.word())?;
    let mut constants = Constants::of(graph);
    for (id, node) in graph.nodes().filter(|(id, _)| !graph.is_constant((*id).into())) {
        let (shared, own) = constants.read_by(id);
        if with_constants {
            define(f, graph, &constants, &shared, 0)?;
        }
        heading(f, node, '%', &node.path)?;
        let operands: Vec<String> = match (&node.op, &node.inputs[..]) {
            (Op::BatchNorm { .. }, [x, parameters @ ..]) => {
                let whole = batch_norm::whole(graph, parameters, &PARAMETERS).map(|(key, ty)| whole_norm(key, ty));
                let each = || parameters.iter().map(|&v| constants.read(v)).collect();
                [vec![constants.read(*x)], whole.map_or_else(each, |norm| vec![norm])].concat()
            }
            (_, operands) => operands.iter().map(|&v| constants.read(v)).collect(),
        };
        writeln!(f, "{}", call(node.op.word(), &operands, &node.op.attributes()))?;
        if with_constants {
            define(f, graph, &constants, &own, 2)?;
        }
    }
    let returned = constants.returned();
    if with_constants {
        define(f, graph, &constants, &returned, 0)?;
    }
    f.write_str("outputs")?;
    for (i, output) in graph.outputs.iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        write!(f, "{comma} {}={}", Name(&output.name), constants.read(output.value))?;
    }
    writeln!(f)
}

/// Lines of constants.
fn define(
    f: &mut fmt::Formatter<'_>,
    graph: &Graph,
    constants: &Constants,
    definitions: &Definitions,
    indent: usize,
) -> fmt::Result {
    definitions.iter().try_for_each(|(id, name)| {
        write!(f, "{:indent$}", "")?;
        heading(f, graph.node(*id), '@', name)?;
        writeln!(f, "{}", constants.laid_out(*id, indent))
    })
}

/// `%path, %path:1: type, type = `.
fn heading(f: &mut fmt::Formatter<'_>, node: &Node, sign: char, name: &str) -> fmt::Result {
    let outputs = (0..node.types.len() as u32).map(|index| named(sign, name, index));
    write!(f, "{}: {} = ", joined(", ", outputs), joined(", ", &node.types))
}

/// `%name`, `@name:1`.
fn named(sign: char, name: &str, index: u32) -> String {
    if index == 0 { format!("{sign}{}", Name(name)) } else { format!("{sign}{}:{index}", Name(name)) }
}

/// `word(operands){attributes}`.
fn call(word: &str, operands: &[String], attributes: &[String]) -> String {
    let mut text = word.to_string();
    if !operands.is_empty() {
        text += &format!("({})", operands.join(", "));
    }
    if !attributes.is_empty() {
        text += &format!("{{{}}}", attributes.join(", "));
    }
    text
}

fn joined(separator: &str, items: impl IntoIterator<Item = impl Display>) -> String {
    items.into_iter().map(|i| i.to_string()).collect::<Vec<_>>().join(separator)
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
