//! Random graphs that hold a Given: what the proof of a rule runs on.

use super::attributes::operator;
use super::term::{Chain, Element, Free, Given, Group, Item, Number, Rule, ShapePattern, Term, TermId, Var};
use std::collections::BTreeMap;
use std::sync::Arc;
use vitc_ir::testing::Rng;
use vitc_ir::{BinaryKind, DType, Dim, Graph, Op, Output, Real, Shape, Stage, Type, UnaryKind, Value};

/// A graph that holds a Given.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) graph: Graph,
    pub(crate) root: Value,
    /// Values inside, and whether something else may read them.
    pub(crate) inner: Vec<(Value, bool)>,
}

/// How the Given is written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As the rule has it.
    Plain,
    /// Sums and products in random order, brackets and inversions.
    Shuffled,
}

/// A Given with random shapes and attributes, or `None` if they did not fit. The same seed makes the same shapes in both forms.
pub(crate) fn instance(rule: &Rule, given: &Given, seed: u64, form: Form) -> Option<Instance> {
    let rng = &mut Rng::new(seed);
    let batch = if seed.is_multiple_of(2) { Dim::Batch(1) } else { Dim::Fixed(2) };
    let base = (0..rng.range(1, 4)).map(|i| if i == 0 { batch } else { Dim::Fixed(rng.range(1, 4)) }).collect();
    let mut writer = Writer {
        rule,
        given,
        graph: Graph::new("instance", Stage::Paper),
        rng,
        order: (form == Form::Shuffled).then(|| Rng::new(seed ^ 0x5eed)),
        base: Shape(base),
        weights: (seed / 4).is_multiple_of(3),
        front: 0,
        alike: None,
        sizes: vec![1],
        words: BTreeMap::new(),
        free: BTreeMap::new(),
        built: BTreeMap::new(),
    };
    writer.front = writer.rng.range(0, writer.base.rank());
    writer.alike = writer.rng.chance(50).then(|| writer.constant_shape());
    let root = writer.term(given.root)?;
    if writer.graph.is_constant(root) {
        return None;
    }
    let inner = writer.built.iter().filter(|(term, v)| **term != given.root && !writer.graph.is_constant(**v));
    let mut inner: Vec<_> = inner.filter_map(|(&term, &v)| Some((v, shared(&given.terms[term])?))).collect();
    inner.sort();
    let mut graph = writer.graph;
    // In half of the graphs something reads the root, so that the root may become an input.
    let read = (seed / 2).is_multiple_of(2);
    let value = if read { graph.push(Op::Unary(UnaryKind::Neg), &[root], "reader").ok()?.into() } else { root };
    graph.outputs.push(Output { name: "y".to_string(), value });
    Some(Instance { graph, root, inner })
}

fn shared(term: &Term) -> Option<bool> {
    match term {
        Term::Apply(apply) => Some(apply.inner.shared),
        Term::Chain(chain) => Some(chain.inner.shared),
        Term::Free(_) | Term::Number(_) => None,
    }
}

struct Writer<'a> {
    rule: &'a Rule,
    given: &'a Given,
    graph: Graph,
    rng: &'a mut Rng,
    /// Decides the order of sums and products, if it is random.
    order: Option<Rng>,
    /// The shape that most values have or broadcast to.
    base: Shape,
    /// Whether all operands but the first are mostly constant.
    weights: bool,
    /// How many of its axes stand for the dots of an open shape.
    front: usize,
    /// The shape that most constants have, in half of the instances.
    alike: Option<Shape>,
    /// Sizes that occur.
    sizes: Vec<usize>,
    words: BTreeMap<Var, String>,
    /// In order: a random one of them must be the same one in both forms.
    free: BTreeMap<Var, Value>,
    built: BTreeMap<TermId, Value>,
}

impl Writer<'_> {
    fn term(&mut self, term: TermId) -> Option<Value> {
        if let Some(&value) = self.built.get(&term) {
            return Some(value);
        }
        let given = self.given;
        let value = match &given.terms[term] {
            Term::Free(free) => self.free(free)?,
            Term::Number(number) => self.number(number)?,
            Term::Apply(apply) => {
                let operands: Vec<Value> = apply.operands.iter().map(|&t| self.term(t)).collect::<Option<_>>()?;
                let first = operands.first().map_or(Shape::default(), |&v| self.graph.shape(v).clone());
                let mut attributes = Vec::new();
                for (key, item) in &apply.attributes {
                    attributes.push((key.as_str(), Arc::from(self.item(item, key, &first)?)));
                }
                let op = operator(&apply.word, &attributes).ok()?;
                self.graph.push(op, &operands, &apply.word).ok()?.into()
            }
            Term::Chain(chain) => self.chain(chain)?,
        };
        self.built.insert(term, value);
        Some(value)
    }

    fn leaf(&mut self, op: Op, ty: Type, name: &str) -> Option<Value> {
        self.sizes.extend(ty.shape.0.iter().filter_map(|d| d.fixed()));
        self.graph.push_leaf(op, ty, name).ok()
    }

    /// A number of no dimensions, or of one.
    fn number(&mut self, number: &Number) -> Option<Value> {
        let value = match number {
            Number::Fixed(x) => Real(*x),
            Number::Word(var) => {
                let drawn = Real(self.rng.pick(&[1e-5, 1e-3, 0.5, 2.0])).to_string();
                Real(self.words.entry(*var).or_insert(drawn).parse().ok()?)
            }
        };
        self.literal(value)
    }

    fn literal(&mut self, value: Real) -> Option<Value> {
        let dims = self.rng.pick(&[&[][..], &[], &[1]]);
        self.leaf(Op::Literal { values: vec![value] }, Type::f32(dims), "number")
    }

    // ---- free values ----

    fn free(&mut self, free: &Free) -> Option<Value> {
        if let Some(&value) = self.free.get(&free.var) {
            return Some(value);
        }
        let constant = free.constant || self.rng.chance(if self.weights && !self.free.is_empty() { 90 } else { 5 });
        let name = &self.rule.values[free.var];
        let alike = self.alike.clone().filter(|_| self.rng.chance(90));
        let value = if !constant && free.shape.is_none() && !self.free.is_empty() && self.rng.chance(10) {
            // Two names for one value.
            self.rng.pick(&self.free.values().copied().collect::<Vec<_>>())
        } else {
            let shape = match &free.shape {
                Some(pattern) => self.patterned(pattern, constant)?,
                None if constant => alike.unwrap_or_else(|| self.constant_shape()),
                None => self.input_shape(),
            };
            let ty = Type::new(DType::F32, shape);
            match constant {
                true => self.leaf(Op::Weight { key: name.clone() }, ty, name)?,
                false => self.leaf(Op::Input, ty, name)?,
            }
        };
        self.free.insert(free.var, value);
        Some(value)
    }

    /// The base shape, or one that broadcasts to it, or its axes in another order.
    fn input_shape(&mut self) -> Shape {
        let mut dims = self.base.0.clone();
        match self.rng.below(10) {
            0 | 1 => dims[1..].iter_mut().for_each(|d| *d = if self.rng.chance(50) { Dim::Fixed(1) } else { *d }),
            2 => dims[1..].reverse(),
            3 => dims.push(Dim::Fixed(self.rng.range(1, 3))),
            _ => {}
        }
        Shape(dims)
    }

    /// A shape of which the base shape has much: what broadcasts to it, vectors, matrices and kernels beside it.
    fn constant_shape(&mut self) -> Shape {
        let sizes: Vec<usize> = self.base.0[1..].iter().map(|d| d.at(1)).collect();
        let any = |rng: &mut Rng| if rng.chance(70) { rng.pick(&self.sizes) } else { rng.range(1, 3) };
        let dims: Vec<usize> = match self.rng.below(6) {
            0 => vec![],
            1 => {
                let from = self.rng.below(sizes.len() + 1);
                let ones = sizes[from..].iter().map(|&n| if self.rng.chance(40) { 1 } else { n });
                ones.collect()
            }
            2 => [&[1], &sizes[..]].concat(),
            _ => (0..self.rng.pick(&[1, 1, 2, 2, 3, 4])).map(|_| any(self.rng)).collect(),
        };
        Shape::fixed(&dims)
    }

    fn patterned(&mut self, pattern: &ShapePattern, constant: bool) -> Option<Shape> {
        let batch = self.base.0[0];
        let mut dims = if pattern.open { self.base.0[..self.front].to_vec() } else { Vec::new() };
        if constant {
            dims.iter_mut().filter(|d| **d == batch).for_each(|d| *d = Dim::Fixed(1));
        }
        for item in &pattern.dims {
            let first = dims.is_empty() && !constant;
            let drawn = if first { batch.to_string() } else { self.rng.range(1, 4).to_string() };
            let text = match item {
                Item::Text(text) => text.clone(),
                Item::Word(var) => self.words.entry(*var).or_insert(drawn).clone(),
                Item::List(_) | Item::Compute(..) => return None,
            };
            let is_batch = first && text == batch.to_string();
            dims.push(if is_batch { batch } else { Dim::Fixed(text.parse().ok()?) });
        }
        Some(Shape(dims))
    }

    // ---- attributes ----

    /// A value for an attribute of an operator whose first operand has this shape.
    fn item(&mut self, item: &Item, key: &str, first: &Shape) -> Option<String> {
        match item {
            Item::Text(text) => Some(text.clone()),
            Item::Word(var) => {
                if let Some(text) = self.words.get(var) {
                    return Some(text.clone());
                }
                let text = self.drawn(key, first)?;
                self.words.insert(*var, text.clone());
                Some(text)
            }
            Item::List(items) => {
                let key = match key {
                    "axes" => "axis",
                    other => other.strip_suffix('s').unwrap_or(other),
                };
                let items: Option<Vec<String>> = items.iter().map(|item| self.item(item, key, first)).collect();
                Some(format!("[{}]", items?.join(",")))
            }
            Item::Compute(..) => None,
        }
    }

    fn drawn(&mut self, key: &str, first: &Shape) -> Option<String> {
        let rank = first.rank();
        let written =
            |numbers: Vec<usize>| format!("[{}]", numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(","));
        Some(match key {
            "axis" if rank > 0 => self.rng.below(rank).to_string(),
            "axes" => written((0..rank).filter(|_| self.rng.chance(40)).collect()),
            "perm" => written(self.shuffled((0..rank).collect())),
            "eps" | "lo" | "scale" => Real(self.rng.pick(&[1e-5, 1e-3, 0.5])).to_string(),
            "hi" => Real(self.rng.pick(&[1.0, 6.0])).to_string(),
            "size" | "kernel" | "stride" | "groups" | "heads" => self.rng.range(1, 4).to_string(),
            "pad" => self.rng.below(2).to_string(),
            "sizes" => {
                let size = first.0.get(rank.checked_sub(1)?)?.fixed()?;
                let cut = self.rng.range(1, size);
                written([cut, size - cut].into_iter().filter(|&n| n > 0).collect())
            }
            "shape" => self.regrouped(first),
            _ => return None,
        })
    }

    fn shuffled<T>(&mut self, mut list: Vec<T>) -> Vec<T> {
        (1..list.len()).rev().for_each(|i| list.swap(i, self.rng.below(i + 1)));
        list
    }

    /// As many elements: two neighbours joined, an axis of 1 put in, axes behind the batch in another order, or the same shape.
    fn regrouped(&mut self, shape: &Shape) -> String {
        let mut dims = shape.0.clone();
        let inner = dims.len().saturating_sub(1);
        match self.rng.below(4) {
            0 if inner >= 2 => {
                let last = dims.pop().map_or(1, |d| d.at(1));
                let at = dims.len() - 1;
                dims[at] = dims[at].times(last);
            }
            1 => dims.push(Dim::Fixed(1)),
            2 if inner >= 1 => dims[1..].reverse(),
            _ => {}
        }
        Shape(dims).to_string()
    }

    // ---- sums and products ----

    fn chain(&mut self, chain: &Chain) -> Option<Value> {
        let mut parts = Vec::new();
        for &Element { term, inverse } in &chain.elements {
            let flip = self.order.as_mut().is_some_and(|order| order.chance(50));
            match &self.given.terms[term] {
                // A number may be written as the inverse of its inverse.
                Term::Number(Number::Fixed(x)) if flip && chain.group.identity().is_some() => {
                    self.number(&Number::Fixed(*x))?;
                    parts.push((self.literal(Real(chain.group.inverse(*x)))?, !inverse));
                }
                _ => parts.push((self.term(term)?, inverse)),
            }
        }
        while parts.len() > 1 {
            let [at, other] = self.two(parts.len());
            let second = parts.remove(other);
            let first = parts[at];
            parts[at] = self.combined(chain.group, first, second)?;
        }
        match parts[..] {
            [(value, false)] => Some(value),
            [(value, true)] => self.inverted(chain.group, value),
            _ => None,
        }
    }

    /// Which two of so many parts come together next, the first before the other.
    fn two(&mut self, n: usize) -> [usize; 2] {
        let Some(order) = &mut self.order else { return [0, 1] };
        let at = order.below(n - 1);
        [at, order.range(at + 1, n - 1)]
    }

    fn combined(&mut self, group: Group, a: (Value, bool), b: (Value, bool)) -> Option<(Value, bool)> {
        let swap = a.1 == b.1 && self.order.as_mut().is_some_and(|order| order.chance(50));
        let (a, b) = if swap || (a.1 && !b.1) { (b, a) } else { (a, b) };
        let kind = match (group, a.1 != b.1) {
            (Group::Sum, false) => BinaryKind::Add,
            (Group::Sum, true) => BinaryKind::Sub,
            (Group::Product, false) => BinaryKind::Mul,
            (Group::Product, true) => BinaryKind::Div,
            (Group::Max, _) => BinaryKind::Max,
            (Group::Min, _) => BinaryKind::Min,
        };
        let value = self.graph.push(Op::Binary(kind), &[a.0, b.0], "chain").ok()?.into();
        Some((value, a.1 && b.1))
    }

    fn inverted(&mut self, group: Group, value: Value) -> Option<Value> {
        let node = match group {
            Group::Product => {
                let one = self.literal(Real(1.0))?;
                self.graph.push(Op::Binary(BinaryKind::Div), &[one, value], "chain")
            }
            _ => self.graph.push(Op::Unary(UnaryKind::Neg), &[value], "chain"),
        };
        Some(node.ok()?.into())
    }
}
