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
use crate::op::{AttentionLayout, Generator, OffsetOrder, Op, Part, ResizeMode, SpectralNorm};
use crate::real::Real;
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

/// Characters of names that need no quotes.
pub(crate) fn is_bare(c: char) -> bool {
    c.is_alphanumeric() || "._-+/".contains(c)
}

fn line(f: &mut fmt::Formatter<'_>, graph: &Graph, id: NodeId, node: &Node) -> fmt::Result {
    let outputs = (0..node.types.len() as u32).map(|index| Operand(graph, Value { node: id, index }));
    write!(f, "{}: {} = {}", joined(", ", outputs), joined(", ", &node.types), node.op.word())?;
    if !node.inputs.is_empty() {
        write!(f, "({})", joined(", ", node.inputs.iter().map(|&v| Operand(graph, v))))?;
    }
    let attributes = attributes(&node.op);
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

fn list(key: &str, numbers: &[usize]) -> String {
    format!("{key}=[{}]", joined(",", numbers))
}

/// Numbers along axes: one if they are equal.
fn sides(key: &str, numbers: &[usize]) -> String {
    if numbers.iter().all(|n| *n == numbers[0]) { format!("{key}={}", numbers[0]) } else { list(key, numbers) }
}

fn real(key: &str, value: Real) -> String {
    format!("{key}={value}")
}

fn flags(flags: &[(&str, bool)]) -> impl Iterator<Item = String> {
    flags.iter().filter(|(_, set)| *set).map(|(name, _)| name.to_string())
}

/// Words of the attributes that are neither numbers nor flags.
pub(crate) fn part_word(part: Part) -> &'static str {
    match part {
        Part::Cos => "cos",
        Part::Sin => "sin",
    }
}

pub(crate) fn order_word(order: OffsetOrder) -> &'static str {
    match order {
        OffsetOrder::Absolute => "absolute",
        OffsetOrder::Signed => "signed",
    }
}

pub(crate) fn mode_word(mode: ResizeMode) -> &'static str {
    match mode {
        ResizeMode::Nearest => "nearest",
        ResizeMode::Bilinear => "bilinear",
    }
}

pub(crate) fn layout_word(layout: AttentionLayout) -> &'static str {
    match layout {
        AttentionLayout::Channels => "channels",
        AttentionLayout::Tokens => "tokens",
        AttentionLayout::Heads => "heads",
    }
}

pub(crate) fn norm_word(norm: SpectralNorm) -> &'static str {
    match norm {
        SpectralNorm::Ortho => "ortho",
        SpectralNorm::Backward => "backward",
    }
}

impl Op {
    /// `key=value` and flags, without what the word or the declared type says: `stride=2`, `pad=1`, `groups=48`.
    pub fn attributes(&self) -> Vec<String> {
        attributes(self)
    }
}

fn attributes(op: &Op) -> Vec<String> {
    match op {
        Op::Generate(generator) => match generator {
            Generator::Fill { value } => vec![real("value", *value)],
            Generator::Iota { axis } => vec![format!("axis={axis}")],
            Generator::Eye => vec![],
            Generator::RelativeIndex { query, key, step, order } => vec![
                sides("query", query),
                sides("key", key),
                sides("step", step),
                format!("order={}", order_word(*order)),
            ],
            Generator::DftBasis { n, part } => vec![format!("n={n}"), format!("part={}", part_word(*part))],
            Generator::DctBasis { n } => vec![format!("n={n}")],
            Generator::BandMask { grid } => vec![sides("grid", grid)],
            Generator::LogCoords { window } => vec![sides("window", window)],
            Generator::GridCoords { side } => vec![format!("side={side}")],
        },
        Op::Clip { lo, hi } => vec![real("lo", *lo), real("hi", *hi)],
        Op::Cast { to } => vec![format!("to={to}")],
        Op::Conv { stride, pad, groups } => {
            let mut list = vec![sides("stride", stride), sides("pad", pad)];
            list.extend((*groups != 1).then(|| format!("groups={groups}")));
            list
        }
        Op::MatMul { transpose_a, transpose_b } => {
            flags(&[("transpose_a", *transpose_a), ("transpose_b", *transpose_b)]).collect()
        }
        Op::BatchNorm { eps } => vec![real("eps", *eps)],
        Op::LayerNorm { axes, eps } => vec![list("axes", axes), real("eps", *eps)],
        Op::Softmax { axis } | Op::Concat { axis } => vec![format!("axis={axis}")],
        Op::Gather { axis, kept } => [format!("axis={axis}")].into_iter().chain(flags(&[("kept", *kept)])).collect(),
        Op::Reduce { axes, keep, .. } => std::iter::once(list("axes", axes)).chain(flags(&[("keep", *keep)])).collect(),
        Op::AvgPool { kernel, stride, pad } => {
            vec![sides("kernel", kernel), sides("stride", stride), sides("pad", pad)]
        }
        Op::Transpose { perm } => vec![list("perm", perm)],
        Op::Split { axis, sizes } => vec![format!("axis={axis}"), list("sizes", sizes)],
        Op::Slice { cuts } => cuts
            .iter()
            .map(|c| {
                let step = if c.step == 1 { String::new() } else { format!(":{}", c.step) };
                format!("axis{}={}..{}{step}", c.axis, c.start, c.stop)
            })
            .collect(),
        Op::Pad { before, after } => vec![list("before", before), list("after", after)],
        Op::Resize { mode, size } => vec![format!("mode={}", mode_word(*mode)), sides("size", size)],
        Op::Attention { heads, scale, layout, bias, talking } => {
            [format!("heads={heads}"), real("scale", *scale), format!("layout={}", layout_word(*layout))]
                .into_iter()
                .chain(flags(&[("bias", *bias), ("talking", *talking)]))
                .collect()
        }
        Op::Rfft2 { norm } => vec![format!("norm={}", norm_word(*norm))],
        Op::Irfft2 { norm, width } => vec![format!("norm={}", norm_word(*norm)), format!("width={width}")],
        Op::WindowPartition { window } => vec![sides("window", window)],
        Op::WindowMerge { window, map } => vec![sides("window", window), sides("map", map)],
        Op::Input
        | Op::Weight { .. }
        | Op::Literal { .. }
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Sum
        | Op::Prelu
        | Op::Linear
        | Op::Reshape { .. }
        | Op::Expand { .. }
        | Op::Dct2
        | Op::Idct2 => vec![],
    }
}
