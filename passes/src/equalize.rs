//! Powers of two move between the layers that make a value and those that read it, so that weights stand where half precision is dense.
//!
//! ```text
//! Given    y = W·x + b, z = V·f(y) + c     f passes factors on: sums with other layers' results, ReLU, movements, pools
//! Result   y = 2ᵏW·x + 2ᵏb, z = 2⁻ᵏV·f(y) + c     for the whole region of values between layers that make and read it
//! ```
//!
//! Exact    a power of two changes no digit of a number, and every operator in a region passes a positive factor on ([`vitc_ir::facts::Facts::factor`]).
//!
//! Which power each region gets is decided by looking at numbers; the regions follow from the graph. A value that the model takes or returns, or that an
//! operator reads which does not pass factors on, belongs to none. Nor is a constant touched that several nodes read, or a single number beside an
//! elementwise operator, by which runtimes recognise activations.

use crate::pass::{Result, Rewritten};
use crate::pipeline::{Observer, Run, observed};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use vitc_ir::facts::Slots;
use vitc_ir::{BinaryKind, Builder, Class, Copier, DType, Graph, Node, NodeId, Op, Uses, Value};

/// Values that carry one factor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Name of the first of its values.
    pub name: String,
    /// The values, in the graph's order.
    pub values: Vec<Value>,
}

/// A constant that takes factors, times 2 to the exponent of one region less that of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taker {
    /// The constant.
    pub constant: Value,
    /// Number of the region whose factor it takes.
    pub makes: Option<usize>,
    /// Number of the region whose factor it takes back.
    pub reads: Option<usize>,
    node: NodeId,
    slot: usize,
}

/// The regions of a graph, and the constants that take their factors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Regions {
    /// Those with a factor of their own.
    pub regions: Vec<Region>,
    /// The constants.
    pub takers: Vec<Taker>,
}

impl Taker {
    /// The exponent of its factor, where each region has the given one.
    pub fn exponent(&self, of: impl Fn(usize) -> i32) -> i32 {
        self.makes.map_or(0, &of) - self.reads.map_or(0, &of)
    }
}

/// Give the regions of these names these exponents of 2, observed.
///
/// # Errors
/// If a constant cannot be scaled.
pub fn equalize(graph: &Graph, exponents: &BTreeMap<String, i32>, observer: &mut Observer<'_>) -> Result<Run> {
    observed("equalize", graph, observer, |graph| apply(graph, exponents))
}

fn apply(graph: &Graph, exponents: &BTreeMap<String, i32>) -> Result<Rewritten> {
    let Regions { regions, takers } = regions(graph);
    let of = |region: usize| exponents.get(&regions[region].name).copied().unwrap_or(0);
    let scaled: HashMap<(NodeId, usize), i32> =
        takers.iter().map(|t| ((t.node, t.slot), t.exponent(of))).filter(|(_, k)| *k != 0).collect();
    let mut copy = Copier::new(graph, graph.stage);
    for (id, node) in graph.nodes() {
        if !(0..node.inputs.len()).any(|slot| scaled.contains_key(&(id, slot))) {
            copy.node(id)?;
            continue;
        }
        let mut inputs = copy.inputs(id)?;
        for (slot, input) in inputs.iter_mut().enumerate() {
            let Some(&k) = scaled.get(&(id, slot)) else { continue };
            let mut net = Builder::within(&mut copy.new, &node.path);
            let factor = net.scalar(2f64.powi(k))?;
            *input = net.binary("equalized", BinaryKind::Mul, *input, factor)?;
        }
        let new = copy.new.push(node.op.clone(), &inputs, &node.path)?;
        for index in 0..node.types.len() as u32 {
            copy.set(Value { node: id, index }, Value { node: new, index });
        }
    }
    Ok(Rewritten::new(copy.finish()?, scaled.len()))
}

/// The regions of a graph.
pub fn regions(graph: &Graph) -> Regions {
    let uses = graph.uses();
    let mut joined = Joined::new(graph);
    let mut taking = Vec::new();
    for (id, node) in graph.run_time_nodes() {
        let roles = Roles::of(graph, &uses, node);
        let results = (0..node.types.len() as u32).map(|index| Value { node: id, index });
        roles.held.iter().chain(&roles.through).for_each(|&v| joined.see(v));
        roles.held.iter().for_each(|&v| joined.fix(v));
        results.clone().for_each(|v| joined.see(v));
        let made = results.reduce(|a, b| joined.join(a, b));
        let read = roles.through.iter().copied().reduce(|a, b| joined.join(a, b));
        match (made, read) {
            (Some(made), _) if roles.fixed => joined.fix(made),
            (Some(made), Some(read)) if !roles.own => drop(joined.join(made, read)),
            _ => {}
        }
        for &(slot, takes) in &roles.constants {
            let (makes, reads) = match takes {
                Takes::Made => (made, None),
                Takes::Read => (read, None),
                Takes::Between => (made, read),
            };
            taking.push(((id, slot), makes, reads));
        }
    }
    graph.outputs.iter().for_each(|o| joined.fix(o.value));
    joined.regions(graph, taking)
}

/// Which factor a constant takes.
#[derive(Debug, Clone, Copy)]
enum Takes {
    /// That of the result.
    Made,
    /// That of the operands.
    Read,
    /// That of the result, and that of the operands back.
    Between,
}

/// What the operands of a node do with factors.
#[derive(Default)]
struct Roles {
    /// Values whose factor is passed on.
    through: Vec<Value>,
    /// Values that stay as they are.
    held: Vec<Value>,
    /// Constants that take a factor.
    constants: Vec<(usize, Takes)>,
    /// The result's factor is not that of the operands.
    own: bool,
    /// The result stays as it is.
    fixed: bool,
}

impl Roles {
    fn of(graph: &Graph, uses: &Uses, node: &Node) -> Roles {
        let is_constant = |slot: usize| graph.is_constant(node.inputs[slot]);
        let floats: Vec<usize> =
            (0..node.inputs.len()).filter(|&s| graph.ty(node.inputs[s]).dtype.is_float()).collect();
        let (constants, values): (Vec<usize>, Vec<usize>) = floats.into_iter().partition(|&s| is_constant(s));
        let sets = node.op.facts().factor;
        let takes = |slot: usize| may_take(graph, uses, node, slot);
        let usable = |set: &Slots| constants.iter().all(|&s| !set.contains(s) || takes(s));
        let through = sets.into_iter().find(|set| values.iter().any(|&s| set.contains(s)) && usable(set));
        let own = sets.into_iter().find(|set| {
            let made = constants.iter().any(|&s| set.contains(s)) && !values.iter().any(|&s| set.contains(s));
            made && usable(set) && !values.is_empty()
        });
        let within = |set: Option<Slots>, slot: usize| set.is_some_and(|set| set.contains(slot));
        let (passed, held): (Vec<usize>, Vec<usize>) = values.into_iter().partition(|&s| within(through, s));
        let taking = constants.into_iter().filter_map(|slot| match (within(through, slot), within(own, slot)) {
            (true, true) => Some((slot, Takes::Made)),
            (true, false) => Some((slot, Takes::Read)),
            (false, true) => Some((slot, Takes::Between)),
            (false, false) => None,
        });
        let value = |slot: usize| node.inputs[slot];
        Roles {
            constants: taking.collect(),
            through: passed.into_iter().map(value).collect(),
            held: held.into_iter().map(value).collect(),
            own: own.is_some(),
            fixed: through.is_none() && own.is_none(),
        }
    }
}

/// Whether a constant operand may be multiplied.
fn may_take(graph: &Graph, uses: &Uses, node: &Node, slot: usize) -> bool {
    let constant = node.inputs[slot];
    let layer = matches!(node.op.facts().class, Class::Contraction | Class::Normalisation);
    let many = graph.shape(constant).as_fixed().is_some_and(|dims| layer || dims.iter().product::<usize>() > 1);
    many && uses.once(constant) && graph.ty(constant).dtype == DType::F32
}

/// A constant operand, and values whose factor it takes and takes back.
type Taking = ((NodeId, usize), Option<Value>, Option<Value>);

/// Values that carry the same factor, joined step by step.
struct Joined {
    parent: HashMap<Value, Value>,
    /// Values as they were first met.
    seen: Vec<Value>,
    fixed: Vec<Value>,
}

impl Joined {
    fn new(graph: &Graph) -> Joined {
        let mut joined = Joined { parent: HashMap::new(), seen: Vec::new(), fixed: Vec::new() };
        let kept =
            graph.nodes().filter(|(_, node)| node.op == Op::Keep).flat_map(|(id, node)| [id.into(), node.inputs[0]]);
        for v in graph.inputs().map(|(id, _)| id.into()).chain(kept) {
            joined.see(v);
            joined.fix(v);
        }
        joined
    }

    fn see(&mut self, v: Value) {
        if let Entry::Vacant(entry) = self.parent.entry(v) {
            entry.insert(v);
            self.seen.push(v);
        }
    }

    fn fix(&mut self, v: Value) {
        self.fixed.push(v);
    }

    fn root(&mut self, v: Value) -> Value {
        let mut root = v;
        while let Some(&up) = self.parent.get(&root).filter(|&&up| up != root) {
            root = up;
        }
        // Whoever asks next has a short way.
        let mut at = v;
        while let Some(up) = self.parent.insert(at, root).filter(|&up| up != root) {
            at = up;
        }
        root
    }

    fn join(&mut self, a: Value, b: Value) -> Value {
        let (a, b) = (self.root(a), self.root(b));
        self.parent.insert(a, b);
        b
    }

    /// The regions in which a constant takes a factor.
    fn regions(mut self, graph: &Graph, taking: Vec<Taking>) -> Regions {
        let fixed: HashSet<Value> = std::mem::take(&mut self.fixed).into_iter().map(|v| self.root(v)).collect();
        let mut numbers: HashMap<Value, usize> = HashMap::new();
        let mut found = Regions::default();
        for ((node, slot), makes, reads) in taking {
            let mut number = |v: Option<Value>| {
                let root = self.root(v?);
                let next = numbers.len();
                (!fixed.contains(&root)).then(|| *numbers.entry(root).or_insert(next))
            };
            let (makes, reads) = (number(makes), number(reads));
            if makes != reads {
                found.takers.push(Taker { constant: graph.node(node).inputs[slot], makes, reads, node, slot });
            }
        }
        let mut values: Vec<Vec<Value>> = vec![Vec::new(); numbers.len()];
        for v in std::mem::take(&mut self.seen) {
            if let Some(&number) = numbers.get(&self.root(v)) {
                values[number].push(v);
            }
        }
        let region = |values: Vec<Value>| Region {
            name: values.first().map_or_else(String::new, |&v| graph.value_name(v)),
            values,
        };
        found.regions = values.into_iter().map(region).collect();
        found
    }
}
