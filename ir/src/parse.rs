//! Reads the text form of [`crate::print`] back into a graph.
//!
//! `parse(print(g))` is `g` up to ids. Types left of `=` are checked against the shape rules. Blank lines and lines that begin with `#` are
//! skipped, so that tests can be annotated. Any text is safe to parse: numbers stay below 2³⁰ and values below 2⁴⁸ elements, so no
//! size overflows, and memory is bounded by the text's length.

use crate::graph::{Graph, Output, Stage};
use crate::id::Value;
use crate::op::{
    AttentionLayout, BinaryKind, Generator, OffsetOrder, Op, Part, ReduceKind, ResizeMode, SliceAxis, SpectralNorm,
    UnaryKind,
};
use crate::print::{is_bare, layout_word, mode_word, norm_word, order_word, part_word};
use crate::real::Real;
use crate::ty::{DType, Dim, Shape, Type};
use std::collections::{HashMap, HashSet};

/// Text that is not a graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ParseError {
    /// Line of the text, from 1.
    pub line: usize,
    /// What was expected and what was found.
    pub what: String,
}

type Result<T> = std::result::Result<T, ParseError>;

/// Largest number in a shape or an attribute, exclusive: products of two still fit.
const LIMIT: usize = 1 << 30;

/// Read a graph.
///
/// # Errors
/// If the text does not follow the form, a name is undefined or taken, or operands and types do not fit their operator; the error names the line.
pub fn parse(text: &str) -> Result<Graph> {
    let lines = text.lines().enumerate().map(|(i, l)| Cursor { line: i + 1, rest: l.trim() });
    let mut lines = lines.filter(|c| !c.rest.is_empty() && !c.rest.starts_with('#'));
    let end = text.lines().count().max(1);
    let mut graph =
        lines.next().ok_or_else(|| error(end, "expected `graph NAME  stage=…`, found nothing"))?.header()?;

    let mut statements = Vec::new();
    let mut outputs = None;
    for cursor in lines {
        if outputs.is_some() {
            return Err(error(cursor.line, "expected nothing after `outputs`"));
        }
        match cursor.rest.strip_prefix("outputs") {
            Some(rest) if !rest.starts_with(is_bare) => outputs = Some(Cursor { line: cursor.line, rest }),
            _ => statements.push(cursor.statement()?),
        }
    }
    let outputs = outputs.ok_or_else(|| error(end, "expected `outputs NAME=%VALUE, …` at the end"))?;

    let mut builder = Builder { graph: &mut graph, declared: HashSet::new(), defined: HashMap::new() };
    for s in &statements {
        if !builder.declared.insert(s.path.clone()) {
            return Err(error(s.line, format!("%{} is defined twice", s.path)));
        }
    }
    for s in statements {
        builder.define(s)?;
    }
    builder.outputs(outputs)?;
    Ok(graph)
}

fn error(line: usize, what: impl Into<String>) -> ParseError {
    ParseError { line, what: what.into() }
}

/// One line `%path: type = word(operands){attributes}`.
struct Statement<'a> {
    line: usize,
    path: String,
    types: Vec<Type>,
    word: &'a str,
    operands: Vec<Operand>,
    attributes: Attributes<'a>,
}

enum Operand {
    Named { path: String, index: u32 },
    Leaf { op: Op, ty: Type, path: String },
}

// ---- characters to statements ---------------------------------------------------------------------------------------

/// The unread part of one line.
struct Cursor<'a> {
    line: usize,
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn fail<T>(&self, expected: &str) -> Result<T> {
        let found = match self.rest.char_indices().nth(24) {
            _ if self.rest.is_empty() => "the end of the line".to_string(),
            Some((cut, _)) => format!("`{}…`", &self.rest[..cut]),
            None => format!("`{}`", self.rest),
        };
        Err(error(self.line, format!("expected {expected}, found {found}")))
    }

    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Take `token` if it comes next, spaces skipped before and after.
    fn eat(&mut self, token: &str) -> bool {
        self.skip();
        let Some(rest) = self.rest.strip_prefix(token) else { return false };
        self.rest = rest;
        self.skip();
        true
    }

    fn expect(&mut self, token: &str) -> Result<()> {
        if self.eat(token) { Ok(()) } else { self.fail(&format!("`{token}`")) }
    }

    fn end(&self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { self.fail("the end of the line") }
    }

    /// The longest run of characters that satisfy `accept`.
    fn run(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let (run, rest) = self.rest.split_at(self.rest.find(|c| !accept(c)).unwrap_or(self.rest.len()));
        self.rest = rest;
        run
    }

    fn word(&mut self, expected: &str) -> Result<&'a str> {
        match self.run(is_bare) {
            "" => self.fail(expected),
            word => Ok(word),
        }
    }

    fn name(&mut self) -> Result<String> {
        if self.rest.starts_with('"') { self.quoted() } else { self.word("a name").map(str::to_string) }
    }

    fn quoted(&mut self) -> Result<String> {
        let Some(rest) = self.rest.strip_prefix('"') else { return self.fail("`\"`") };
        let mut text = String::new();
        let mut chars = rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &rest[at + 1..];
                    return Ok(text);
                }
                '\\' => match chars.next() {
                    Some((_, c @ ('"' | '\\'))) => text.push(c),
                    Some((at, 'u')) => {
                        let code =
                            rest[at + 1..].strip_prefix('{').and_then(|r| r.split_once('}')).map(|(code, _)| code);
                        let c = code.and_then(|code| char::from_u32(u32::from_str_radix(code, 16).ok()?));
                        let (Some(code), Some(c)) = (code, c) else { return self.fail("escapes like `\\u{a}`") };
                        text.push(c);
                        chars.nth(code.len() + 1);
                    }
                    _ => return self.fail("the escapes `\\\"`, `\\\\` and `\\u{…}` only"),
                },
                c => text.push(c),
            }
        }
        self.fail("a closing quote")
    }

    fn number(&mut self) -> Result<usize> {
        let before = self.rest;
        match self.run(|c| c.is_ascii_digit()).parse() {
            Ok(n) if n < LIMIT => Ok(n),
            _ => Cursor { line: self.line, rest: before }.fail("a number below 2^30"),
        }
    }

    /// `one` repeated with commas between, up to `close`.
    fn list<T>(&mut self, close: &str, mut one: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = Vec::new();
        if self.eat(close) {
            return Ok(items);
        }
        loop {
            items.push(one(self)?);
            if self.eat(close) {
                return Ok(items);
            }
            if !self.eat(",") {
                return self.fail(&format!("`,` or `{close}`"));
            }
        }
    }

    fn header(mut self) -> Result<Graph> {
        self.expect("graph")?;
        let name = self.name()?;
        self.expect("stage=")?;
        let stages = [Stage::Paper, Stage::Deploy, Stage::Target];
        let Some(stage) = stages.into_iter().find(|s| self.eat(s.word())) else {
            return self.fail("paper, deploy or target");
        };
        self.end()?;
        Ok(Graph::new(name, stage))
    }

    /// `%path` or `%path:1`.
    fn value(&mut self) -> Result<(String, u32)> {
        self.expect("%")?;
        let path = self.name()?;
        let index = match self.rest.strip_prefix(':') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => {
                self.rest = rest;
                self.number()? as u32
            }
            _ => 0,
        };
        Ok((path, index))
    }

    fn ty(&mut self) -> Result<Type> {
        let Some(dtype) = [DType::F32, DType::F16, DType::I32].into_iter().find(|d| self.eat(d.word())) else {
            return self.fail("a type like f32[1,3]");
        };
        self.expect("[")?;
        let dims = self.list("]", |c| {
            if c.eat("B") {
                return Ok(Dim::Batch(1));
            }
            match c.number()? {
                0 => c.fail("a dimension of at least 1"),
                n if c.eat("B") => Ok(Dim::Batch(n)),
                n => Ok(Dim::Fixed(n)),
            }
        })?;
        Ok(Type::new(dtype, Shape(dims)))
    }

    fn operand(&mut self) -> Result<Operand> {
        if self.rest.starts_with("weight\"") {
            self.expect("weight")?;
            let key = self.quoted()?;
            self.expect(":")?;
            return Ok(Operand::Leaf { ty: self.ty()?, path: key.clone(), op: Op::Weight { key } });
        }
        if self.eat("literal[") {
            let values = self.list("]", |c| {
                let before = c.rest;
                match c.word("a number")?.parse::<f64>() {
                    Ok(x) => Ok(Real(x)),
                    Err(_) => Cursor { line: c.line, rest: before }.fail("a number"),
                }
            })?;
            self.expect(":")?;
            return Ok(Operand::Leaf { ty: self.ty()?, path: "literal".into(), op: Op::Literal { values } });
        }
        if !self.rest.starts_with('%') {
            return self.fail("`%NAME`, `weight\"KEY\":TYPE` or `literal[…]:TYPE`");
        }
        let (path, index) = self.value()?;
        Ok(Operand::Named { path, index })
    }

    fn attribute(&mut self) -> Result<(&'a str, Attribute<'a>)> {
        let key = self.word("an attribute")?;
        if !self.eat("=") {
            return Ok((key, Attribute::Flag));
        }
        let item = |c: &mut Self| match c.run(|c| is_bare(c) || c == ':') {
            "" => c.fail("a value"),
            word => Ok(word),
        };
        let value = if self.eat("[") { Attribute::List(self.list("]", item)?) } else { Attribute::Word(item(self)?) };
        Ok((key, value))
    }

    fn statement(mut self) -> Result<Statement<'a>> {
        let mut names = vec![self.value()?];
        while self.eat(",") {
            names.push(self.value()?);
        }
        self.expect(":")?;
        let mut types = vec![self.ty()?];
        while self.eat(",") {
            types.push(self.ty()?);
        }
        self.expect("=")?;
        let word = self.word("an operator")?;
        let operands = if self.eat("(") { self.list(")", Self::operand)? } else { vec![] };
        let list = if self.eat("{") { self.list("}", Self::attribute)? } else { vec![] };
        self.end()?;

        let path = names[0].0.clone();
        if names.iter().enumerate().any(|(i, (p, index))| *p != path || *index != i as u32)
            || names.len() != types.len()
        {
            let what = format!("expected outputs %{path}, %{path}:1, … and a type for each");
            return Err(error(self.line, what));
        }
        let attributes = Attributes { line: self.line, word, list };
        Ok(Statement { line: self.line, path, types, word, operands, attributes })
    }
}

// ---- attributes -----------------------------------------------------------------------------------------------------

enum Attribute<'a> {
    Flag,
    Word(&'a str),
    List(Vec<&'a str>),
}

/// Attributes of one line that are not read yet.
struct Attributes<'a> {
    line: usize,
    word: &'a str,
    list: Vec<(&'a str, Attribute<'a>)>,
}

impl<'a> Attributes<'a> {
    fn take(&mut self, key: &str) -> Option<Attribute<'a>> {
        let at = self.list.iter().position(|(k, _)| *k == key)?;
        Some(self.list.remove(at).1)
    }

    fn fail<T>(&self, key: &str, form: &str) -> Result<T> {
        Err(error(self.line, format!("{}: expected the attribute `{key}={form}`", self.word)))
    }

    fn flag(&mut self, key: &str) -> Result<bool> {
        match self.take(key) {
            None => Ok(false),
            Some(Attribute::Flag) => Ok(true),
            Some(_) => Err(error(self.line, format!("{}: expected `{key}` without a value", self.word))),
        }
    }

    fn text(&mut self, key: &str, form: &str) -> Result<&'a str> {
        match self.take(key) {
            Some(Attribute::Word(word)) => Ok(word),
            _ => self.fail(key, form),
        }
    }

    fn number(&mut self, key: &str) -> Result<usize> {
        let text = self.text(key, "NUMBER")?;
        number(text).map_or_else(|| self.fail(key, "NUMBER"), Ok)
    }

    fn number_or(&mut self, key: &str, default: usize) -> Result<usize> {
        if self.list.iter().any(|(k, _)| *k == key) { self.number(key) } else { Ok(default) }
    }

    fn real(&mut self, key: &str) -> Result<Real> {
        let text = self.text(key, "REAL")?;
        text.parse().map_or_else(|_| self.fail(key, "REAL"), |x| Ok(Real(x)))
    }

    fn numbers(&mut self, key: &str) -> Result<Vec<usize>> {
        let Some(Attribute::List(items)) = self.take(key) else { return self.fail(key, "[NUMBER,…]") };
        let numbers: Option<Vec<usize>> = items.into_iter().map(number).collect();
        numbers.map_or_else(|| self.fail(key, "[NUMBER,…]"), Ok)
    }

    /// `N` numbers, or one that stands for all.
    fn sides<const N: usize>(&mut self, key: &str) -> Result<[usize; N]> {
        let numbers: Option<Vec<usize>> = match self.take(key) {
            Some(Attribute::Word(word)) => number(word).map(|n| vec![n; N]),
            Some(Attribute::List(items)) => items.into_iter().map(number).collect(),
            _ => None,
        };
        match numbers.and_then(|n| n.try_into().ok()) {
            Some(numbers) => Ok(numbers),
            None => self.fail(key, &format!("NUMBER or a list of {N}")),
        }
    }

    fn one_of<T: Copy, const N: usize>(&mut self, key: &str, all: [T; N], word: fn(T) -> &'static str) -> Result<T> {
        let words = all.map(word).join("|");
        let text = self.text(key, &words)?;
        all.into_iter().find(|&x| word(x) == text).map_or_else(|| self.fail(key, &words), Ok)
    }

    /// `axisN=start..stop:step` for each cut axis.
    fn cuts(&mut self) -> Result<Vec<SliceAxis>> {
        let cut = |(key, value): &(&str, Attribute)| {
            let axis = number(key.strip_prefix("axis")?)?;
            let Attribute::Word(range) = value else { return None };
            let (start, rest) = range.split_once("..")?;
            let (stop, step) = rest.split_once(':').unwrap_or((rest, "1"));
            Some(SliceAxis { axis, start: number(start)?, stop: number(stop)?, step: number(step)? })
        };
        let cuts: Option<Vec<_>> = self.list.drain(..).map(|a| cut(&a)).collect();
        cuts.map_or_else(|| self.fail("axisN", "START..STOP or START..STOP:STEP"), Ok)
    }

    fn finish(self) -> Result<()> {
        match self.list.first() {
            None => Ok(()),
            Some((key, _)) => Err(error(self.line, format!("{} has no attribute `{key}`", self.word))),
        }
    }
}

fn number(text: &str) -> Option<usize> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|&n| digits && n < LIMIT)
}

// ---- statements to nodes --------------------------------------------------------------------------------------------

struct Builder<'g> {
    graph: &'g mut Graph,
    /// Paths of all lines; inline leaves keep off them.
    declared: HashSet<String>,
    defined: HashMap<String, crate::id::NodeId>,
}

impl Builder<'_> {
    fn value(&mut self, line: usize, operand: Operand) -> Result<Value> {
        match operand {
            Operand::Named { path, index } => {
                let node =
                    *self.defined.get(&path).ok_or_else(|| error(line, format!("%{path} is not defined above")))?;
                if index as usize >= self.graph.node(node).types.len() {
                    return Err(error(line, format!("%{path} has no output {index}")));
                }
                Ok(Value { node, index })
            }
            Operand::Leaf { op, ty, path } => {
                let free = std::iter::once(path.clone())
                    .chain((2..).map(|i| format!("{path}_{i}")))
                    .find(|p| !self.declared.contains(p))
                    .expect("the naturals do not end");
                self.graph.push_leaf(op, ty, &free).map_err(|e| error(line, e.to_string()))
            }
        }
    }

    fn define(&mut self, s: Statement) -> Result<()> {
        let Statement { line, path, types, word, operands, mut attributes } = s;
        let Some(op) = operator(word, &mut attributes, &types[0].shape)? else {
            let hint = match word {
                "weight" | "literal" => ": weights and literals are written where they are read",
                _ => "",
            };
            return Err(error(line, format!("expected an operator, found `{word}`{hint}")));
        };
        attributes.finish()?;
        let inputs = operands.into_iter().map(|o| self.value(line, o)).collect::<Result<Vec<_>>>()?;
        let nodes = self.graph.len();
        let node = if op == Op::Input || op.is_constant_leaf() {
            if !inputs.is_empty() {
                return Err(error(line, format!("{word} takes no operands")));
            }
            self.graph.push_leaf(op, types[0].clone(), &path).map(|v| v.node)
        } else {
            self.graph.push(op, &inputs, &path)
        }
        .map_err(|e| error(line, e.to_string()))?;
        let made = self.graph.node(node);
        if self.graph.len() == nodes {
            return Err(error(line, format!("%{path} equals %{}: a constant is written once", made.path)));
        }
        if made.types != types {
            let list = |types: &[Type]| types.iter().map(|t| t.to_string()).collect::<Vec<_>>().join(", ");
            let what = format!("%{path} is declared {}, but {word} gives {}", list(&types), list(&made.types));
            return Err(error(line, what));
        }
        self.defined.insert(path, node);
        Ok(())
    }

    fn outputs(&mut self, mut cursor: Cursor) -> Result<()> {
        cursor.skip();
        while !cursor.rest.is_empty() {
            if !self.graph.outputs.is_empty() {
                cursor.expect(",")?;
            }
            let name = cursor.name()?;
            cursor.expect("=")?;
            let operand = cursor.operand()?;
            cursor.skip();
            let value = self.value(cursor.line, operand)?;
            self.graph.outputs.push(Output { name, value });
        }
        Ok(())
    }
}

/// The operator that a line spells, or `None` if there is no such word. `shape` is the declared shape of the first output.
fn operator(word: &str, a: &mut Attributes, shape: &Shape) -> Result<Option<Op>> {
    use {BinaryKind as B, ReduceKind as R, UnaryKind as U};
    let unary =
        [U::Relu, U::Gelu, U::Silu, U::Sigmoid, U::Tanh, U::Erf, U::Sqrt, U::Exp, U::Abs, U::Neg].map(Op::Unary);
    let binary = [B::Add, B::Sub, B::Mul, B::Div, B::Max, B::Min].map(Op::Binary);
    if let Some(op) = unary.into_iter().chain(binary).find(|op| op.word() == word) {
        return Ok(Some(op));
    }
    let op = match word {
        "input" => Op::Input,
        "fill" => Op::Generate(Generator::Fill { value: a.real("value")? }),
        "iota" => Op::Generate(Generator::Iota { axis: a.number("axis")? }),
        "eye" => Op::Generate(Generator::Eye),
        "relative_index" => Op::Generate(Generator::RelativeIndex {
            query: a.sides("query")?,
            key: a.sides("key")?,
            step: a.sides("step")?,
            order: a.one_of("order", [OffsetOrder::Absolute, OffsetOrder::Signed], order_word)?,
        }),
        "dft_basis" => Op::Generate(Generator::DftBasis {
            n: a.number("n")?,
            part: a.one_of("part", [Part::Cos, Part::Sin], part_word)?,
        }),
        "dct_basis" => Op::Generate(Generator::DctBasis { n: a.number("n")? }),
        "band_mask" => Op::Generate(Generator::BandMask { grid: a.sides("grid")? }),
        "log_coords" => Op::Generate(Generator::LogCoords { window: a.sides("window")? }),
        "grid_coords" => Op::Generate(Generator::GridCoords { side: a.number("side")? }),
        "sum" => Op::Sum,
        "clip" => Op::Clip { lo: a.real("lo")?, hi: a.real("hi")? },
        "prelu" => Op::Prelu,
        "cast" => Op::Cast { to: a.one_of("to", [DType::F32, DType::F16, DType::I32], DType::word)? },
        "conv" => Op::Conv { stride: a.sides("stride")?, pad: a.sides("pad")?, groups: a.number_or("groups", 1)? },
        "matmul" => Op::MatMul { transpose_a: a.flag("transpose_a")?, transpose_b: a.flag("transpose_b")? },
        "linear" => Op::Linear,
        "batch_norm" => Op::BatchNorm { eps: a.real("eps")? },
        "layer_norm" => Op::LayerNorm { axes: a.numbers("axes")?, eps: a.real("eps")? },
        "softmax" => Op::Softmax { axis: a.number("axis")? },
        "reduce_sum" | "reduce_mean" | "reduce_max" => {
            let kind = match word {
                "reduce_sum" => R::Sum,
                "reduce_mean" => R::Mean,
                _ => R::Max,
            };
            Op::Reduce { kind, axes: a.numbers("axes")?, keep: a.flag("keep")? }
        }
        "avg_pool" => Op::AvgPool { kernel: a.sides("kernel")?, stride: a.sides("stride")?, pad: a.sides("pad")? },
        "reshape" => Op::Reshape { shape: shape.clone() },
        "transpose" => Op::Transpose { perm: a.numbers("perm")? },
        "concat" => Op::Concat { axis: a.number("axis")? },
        "split" => Op::Split { axis: a.number("axis")?, sizes: a.numbers("sizes")? },
        "slice" => Op::Slice { cuts: a.cuts()? },
        "pad" => Op::Pad { before: a.numbers("before")?, after: a.numbers("after")? },
        "gather" => Op::Gather { axis: a.number("axis")?, kept: a.flag("kept")? },
        "expand" => Op::Expand { shape: shape.clone() },
        "resize" => Op::Resize {
            mode: a.one_of("mode", [ResizeMode::Nearest, ResizeMode::Bilinear], mode_word)?,
            size: a.sides("size")?,
        },
        "attention" => Op::Attention {
            heads: a.number("heads")?,
            scale: a.real("scale")?,
            layout: a.one_of(
                "layout",
                [AttentionLayout::Channels, AttentionLayout::Tokens, AttentionLayout::Heads],
                layout_word,
            )?,
            bias: a.flag("bias")?,
            talking: a.flag("talking")?,
        },
        "rfft2" => Op::Rfft2 { norm: norm(a)? },
        "irfft2" => Op::Irfft2 { norm: norm(a)?, width: a.number("width")? },
        "dct2" => Op::Dct2,
        "idct2" => Op::Idct2,
        "window_partition" => Op::WindowPartition { window: a.sides("window")? },
        "window_merge" => Op::WindowMerge { window: a.sides("window")?, map: a.sides("map")? },
        _ => return Ok(None),
    };
    Ok(Some(op))
}

fn norm(a: &mut Attributes) -> Result<SpectralNorm> {
    a.one_of("norm", [SpectralNorm::Ortho, SpectralNorm::Backward], norm_word)
}

#[cfg(test)]
mod tests;
