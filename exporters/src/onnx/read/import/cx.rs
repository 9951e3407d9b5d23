//! The graph while it grows, and how values of the file become values of the graph.

use super::super::tensor::{Elem, Tensor};
use super::known::{Known, Num};
use super::places::LIMIT;
use super::refusal::{Done, Refusal};
use super::value::Val;
use super::weights::FileWeights;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use vitc_ir::{BinaryKind, Class, DType, Dim, Generator, Graph, NodeId, Op, Real, Shape, Type, UnaryKind, Value};

/// Floats of at most so many elements are known; larger arrays stay constants.
const SMALL: usize = 64;
/// Most nodes of all loops and recurrent layers together, once they are written out.
const UNROLLED: usize = 1 << 17;
/// Bytes of all known arrays together, and as many again for each byte of the file.
const HELD: usize = 1 << 28;
const HELD_EACH: usize = 4;
/// What stands for infinity where a constant holds it: the largest number that half precision has.
pub(super) const LARGE: f64 = 65504.0;
/// What counts as infinite: masks are filled with the least float.
pub(super) const HUGE: f64 = 1e30;

/// Whether a value may be infinite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Infinity {
    /// Neither that nor no number, where nothing overflows.
    Never,
    /// An infinite constant went in: a large number in it stands for infinity.
    Stands,
    /// It is an input's, or a quotient's, or a function's that may be.
    Unknown,
}

/// Why a value that is no array cannot be taken for one.
fn no_array(value: &Val) -> Refusal {
    Refusal::new(match value {
        Val::Missing(why) => why.as_str(),
        Val::List(_) => "a sequence stands where an array is due",
        Val::Items(_) => "numbers that count the batch stand there: give the batch a number",
        Val::Absent | Val::Poison | Val::Tensor(_) | Val::Known(_) | Val::Node(..) => "an operand is missing",
    })
}

/// The graph while it grows.
pub(super) struct Cx {
    pub(super) graph: Graph,
    pub(super) weights: FileWeights,
    pub(super) batch: Dim,
    /// Graphs inside each other that are being read.
    pub(super) depth: usize,
    /// Nodes of loops and recurrent layers that were written out.
    unrolled: usize,
    /// Elements of all known arrays, and how many there may be.
    held: [usize; 2],
    notes: Vec<String>,
    said: HashSet<String>,
    constants: HashMap<*const Tensor, Value>,
    /// Constants in which a large number stands for infinity.
    infinite: HashSet<NodeId>,
    /// Least and largest number of inputs of few bits.
    pub(super) given: HashMap<NodeId, [f64; 2]>,
    /// Elements of all constants that were computed.
    made: usize,
}

impl Cx {
    /// Nothing is read yet of a file of so many bytes.
    pub(super) fn new(graph: Graph, batch: Dim, file: usize) -> Cx {
        let room = HELD.saturating_add(file.saturating_mul(HELD_EACH)) / size_of::<Num>();
        Cx {
            graph,
            weights: FileWeights::default(),
            batch,
            depth: 0,
            unrolled: 0,
            held: [0, room],
            notes: Vec::new(),
            said: HashSet::new(),
            constants: HashMap::new(),
            infinite: HashSet::new(),
            given: HashMap::new(),
            made: 0,
        }
    }

    pub(super) fn finish(self) -> (Graph, FileWeights, Vec<String>) {
        (self.graph.pruned(), self.weights, self.notes)
    }

    /// Say something once.
    pub(super) fn note(&mut self, note: String) {
        if self.said.insert(note.clone()) {
            self.notes.push(note);
        }
    }

    /// The path of a node that the file calls so: `/blocks.0/attn/MatMul` is `blocks.0.attn.MatMul`.
    pub(super) fn path(&self, name: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '_' };
        let parts = name.split('/').filter(|p| !p.is_empty()).map(|p| p.chars().map(plain).collect::<String>());
        let path = parts.collect::<Vec<_>>().join(".");
        if path.is_empty() { "node".into() } else { path }
    }

    // ---- ports ----

    /// An input of the model. Pixels and other small whole numbers are taken as floats, which hold them exactly; bytes can be bytes again in what is
    /// written, so whoever writes says what becomes of them.
    pub(super) fn input(&mut self, name: &str, elem: Elem, shape: &Shape) -> Done<Val> {
        match elem {
            Elem::F32 | Elem::F16 | Elem::BF16 | Elem::Uint(8) | Elem::Int(8) => {}
            Elem::F64 => self.note(format!("input {name} of fp64 is taken in fp32")),
            Elem::Uint(16) | Elem::Int(16) => self.note(format!("input {name} of {} is taken in fp32", elem.word())),
            Elem::Uint(32) => self.note(format!("input {name} of uint32 is taken as whole numbers with a sign")),
            Elem::Int(32 | 64) | Elem::Bool => {}
            other => {
                return Err(
                    format!("holds {}; vitc takes floats, whole numbers of 32 bits and truths", other.word()).into()
                );
            }
        }
        let dtype = match elem {
            Elem::Int(32 | 64) | Elem::Uint(32) => DType::I32,
            Elem::Bool => DType::Bool,
            _ => DType::F32,
        };
        let value = self.graph.push_leaf(Op::Input, Type::new(dtype, shape.clone()), name)?;
        if let Elem::Uint(8 | 16) | Elem::Int(8 | 16) = elem {
            self.given.insert(value.node, elem.range());
        }
        Ok(Val::Node(value, elem))
    }

    /// What an output of the model holds. An input, a constant and a second name of a value are passed on by an operator of their own.
    pub(super) fn output(&mut self, value: &Val, name: &str) -> Done<(Value, Elem)> {
        let elem = self.elem(value)?;
        let mut inner = self.value(value, &format!("{name}.constant"))?;
        let wanted = match elem {
            Elem::Int(32 | 64) | Elem::Uint(32) => DType::I32,
            Elem::Bool => DType::Bool,
            _ => DType::F32,
        };
        if self.graph.ty(inner).dtype != wanted && !self.graph.is_constant(inner) {
            let path = format!("{}.{wanted}", self.path(name));
            inner = self.push(Op::Cast { to: wanted }, &[inner], &path)?;
        }
        let dtype = self.graph.ty(inner).dtype;
        if elem == Elem::Uint(32) {
            self.note(format!("output {name} of uint32 is returned as whole numbers with a sign"));
        } else if !elem.is_float() && !matches!(elem, Elem::Uint(8) | Elem::Int(8)) && dtype == DType::F32 {
            self.note(format!("output {name} of {} is returned in fp32", elem.word()));
        }
        let constant = self.graph.is_constant(inner);
        let plain =
            !constant && *self.graph.op(inner) != Op::Input && self.graph.outputs.iter().all(|o| o.value != inner);
        if plain {
            return Ok((inner, elem));
        }
        let dims = self.shape(inner);
        let path = self.path(name);
        // What passes a value on works along an axis of known size.
        let axis = dims.iter().position(|d| d.fixed().is_some());
        let wide = match axis {
            Some(_) => inner,
            None => self.reshape(inner, [&dims[..], &[Dim::Fixed(1)]].concat(), &format!("{path}.wide"))?,
        };
        let kept = if constant { self.push(Op::Keep, &[wide], &format!("{name}.kept"))? } else { wide };
        let axis = axis.unwrap_or(dims.len());
        let passed = self.push(Op::Concat { axis }, &[kept], &format!("{path}.output"))?;
        Ok((self.reshape(passed, dims, &format!("{path}.narrow"))?, elem))
    }

    // ---- what is known ----

    /// Dimensions of an array.
    pub(super) fn dims(&self, value: &Val) -> Done<Vec<Dim>> {
        let fixed = |dims: &[usize]| dims.iter().map(|&d| Dim::Fixed(d)).collect();
        match value {
            Val::Tensor(t) => Ok(fixed(&t.dims)),
            Val::Known(k) => Ok(fixed(&k.dims)),
            Val::Node(v, _) => Ok(self.graph.shape(*v).0.clone()),
            Val::Missing(_) | Val::List(_) | Val::Items(_) | Val::Absent | Val::Poison => Err(no_array(value)),
        }
    }

    /// Dimensions that do not depend on the batch.
    pub(super) fn fixed(&self, value: &Val) -> Done<Vec<usize>> {
        self.dims(value)?.iter().map(|&d| self.size(d)).collect()
    }

    /// A dimension that does not depend on the batch.
    pub(super) fn size(&self, dim: Dim) -> Done<usize> {
        dim.fixed().ok_or_else(|| "works along the batch: give the batch a number".into())
    }

    /// The element type of an array.
    pub(super) fn elem(&self, value: &Val) -> Done<Elem> {
        value.elem().ok_or_else(|| "an operand is missing or a sequence".into())
    }

    /// The numbers, if they are known: whole ones of any count, floats of a few.
    pub(super) fn known(&self, value: &Val) -> Option<Arc<Known>> {
        match value {
            Val::Known(known) => Some(known.clone()),
            Val::Tensor(t) if t.elem.is_float() && t.len() <= SMALL => self.read(t),
            Val::Tensor(t) if !t.elem.is_float() && t.len() <= LIMIT => self.read(t),
            _ => None,
        }
    }

    /// The numbers of a constant of any type and up to [`LIMIT`] elements.
    pub(super) fn constant(&self, value: &Val) -> Option<Arc<Known>> {
        match value {
            Val::Known(known) => Some(known.clone()),
            Val::Tensor(t) if t.len() <= LIMIT => self.read(t),
            Val::Node(v, elem) if self.graph.is_constant(*v) && self.graph.shape(*v).elements() <= LIMIT => {
                let array = vitc_ir::eval::constant(&self.graph, &self.weights, *v).ok()?;
                let num = |&x: &f64| if elem.is_float() { Num::float(x) } else { Num::int(x as i64) };
                Some(Arc::new(Known::new(*elem, array.shape().to_vec(), array.iter().map(num).collect())))
            }
            _ => None,
        }
    }

    fn read(&self, tensor: &Tensor) -> Option<Arc<Known>> {
        let data = match tensor.elem.is_float() {
            true => tensor.floats()?.into_iter().map(Num::float).collect(),
            false => tensor.ints()?.into_iter().map(Num::int).collect(),
        };
        Some(Arc::new(Known::new(tensor.elem, tensor.dims.clone(), data)))
    }

    /// Whole numbers that decide a shape or an attribute.
    pub(super) fn numbers(&self, value: &Val, what: &str) -> Done<Vec<Num>> {
        let known = match value {
            Val::Node(v, _) if !self.graph.is_constant(*v) => None,
            value => self.constant(value),
        };
        known.map(|k| k.data.clone()).ok_or_else(|| Refusal::computed(format!("the image decides its {what}")))
    }

    /// [`Cx::numbers`] that do not depend on the batch.
    pub(super) fn ints(&self, value: &Val, what: &str) -> Done<Vec<i64>> {
        let plain = |n: Num| match n {
            Num::Float { a: 0.0, c } if c.fract() == 0.0 => Ok(c as i64),
            n => {
                n.plain().ok_or_else(|| Refusal::new(format!("the batch decides its {what}: give the batch a number")))
            }
        };
        self.numbers(value, what)?.into_iter().map(plain).collect()
    }

    /// Floats that are known.
    pub(super) fn reals(&self, value: &Val, what: &str) -> Done<Vec<f64>> {
        let known = self.constant(value).and_then(|k| k.reals());
        known.ok_or_else(|| Refusal::computed(format!("the image or the batch decides its {what}")))
    }

    // ---- values of the graph ----

    /// The value of the graph that an array is.
    pub(super) fn value(&mut self, value: &Val, path: &str) -> Done<Value> {
        match value {
            Val::Node(v, _) => Ok(*v),
            Val::Tensor(t) => self.tensor(t, path),
            Val::Known(k) => self.spell(&k.clone(), path),
            Val::Missing(_) | Val::List(_) | Val::Items(_) | Val::Absent | Val::Poison => Err(no_array(value)),
        }
    }

    /// A constant of the file: a view of it, or a number written out.
    fn tensor(&mut self, tensor: &Arc<Tensor>, path: &str) -> Done<Value> {
        if let Some(&value) = self.constants.get(&Arc::as_ptr(tensor)) {
            return Ok(value);
        }
        let known = || {
            self.read(tensor).ok_or_else(|| Refusal::new(format!("a constant of {} stands there", tensor.elem.word())))
        };
        let value = if tensor.is_empty() {
            return Err("a constant without elements stands there".into());
        } else if !tensor.elem.is_float() || tensor.len() == 1 || tensor.len() <= LIMIT && self.is_wild(tensor) {
            self.spell(&*known()?, path)?
        } else {
            let key = self.key(if tensor.name.is_empty() { path } else { &tensor.name });
            self.weights.view(key.clone(), tensor.clone());
            if tensor.elem == Elem::F64 {
                self.note("constants of fp64 are rounded to fp32".into());
            }
            let key = Op::Weight { key };
            self.graph.push_leaf(key, Type::f32(&tensor.dims), path)?
        };
        self.constants.insert(Arc::as_ptr(tensor), value);
        Ok(value)
    }

    /// Small whole numbers of the file as floats: a view of it.
    pub(super) fn codes(&mut self, tensor: &Arc<Tensor>, path: &str) -> Done<Value> {
        let key = self.key(if tensor.name.is_empty() { path } else { &tensor.name });
        self.weights.view(key.clone(), tensor.clone());
        Ok(self.graph.push_leaf(Op::Weight { key }, Type::f32(&tensor.dims), path)?)
    }

    /// Whether a constant holds what no file of half precision can.
    fn is_wild(&self, tensor: &Tensor) -> bool {
        tensor.floats().is_some_and(|all| all.iter().any(|x| x.abs() >= HUGE))
    }

    /// A key that is free.
    fn key(&self, name: &str) -> String {
        let key = self.path(name);
        if !self.weights.holds(&key) {
            return key;
        }
        (2..).map(|i| format!("{key}_{i}")).find(|k| !self.weights.holds(k)).unwrap_or(key)
    }

    /// Whether a value may be infinite where the inputs of its layers are finite.
    pub(super) fn infinity(&self, value: Value) -> Infinity {
        let (mut seen, mut open, mut found) = (HashSet::new(), vec![value.node], Infinity::Never);
        while let Some(id) = open.pop() {
            if self.infinite.contains(&id) {
                return Infinity::Stands;
            }
            let node = self.graph.node(id);
            if !seen.insert(id) {
                continue;
            }
            if self.graph.is_constant(id.into()) {
                open.extend(node.inputs.iter().map(|v| v.node));
                continue;
            }
            let (class, open_ends) =
                (node.op.facts().class, [UnaryKind::Exp, UnaryKind::Log, UnaryKind::Sqrt].map(Op::Unary));
            let open_ended =
                matches!(node.op, Op::Binary(BinaryKind::Div | BinaryKind::Pow)) || open_ends.contains(&node.op);
            if node.op == Op::Input || open_ended {
                found = Infinity::Unknown;
            }
            let passes = matches!(class, Class::Elementwise | Class::Cast | Class::Movement | Class::Sampling);
            if passes || matches!(node.op, Op::Reduce { .. }) {
                open.extend(node.inputs.iter().map(|v| v.node));
            }
        }
        found
    }

    /// Known numbers as a constant.
    pub(super) fn spell(&mut self, known: &Known, path: &str) -> Done<Value> {
        let value = self.spelled(known, path)?;
        if known.elem.is_float() && known.reals().is_some_and(|all| all.iter().any(|x| x.is_infinite())) {
            self.infinite.insert(value.node);
        }
        Ok(value)
    }

    fn spelled(&mut self, known: &Known, path: &str) -> Done<Value> {
        let data =
            known.reals().ok_or("a number that depends on the batch is computed with: give the batch a number")?;
        if data.is_empty() {
            return Err("a constant without elements stands there".into());
        }
        let wild = known.elem.is_float() && data.iter().any(|x| x.abs() >= HUGE);
        if wild {
            self.note(format!("constants beyond {LARGE}, as masks hold them, stand as {LARGE}"));
        }
        if data.iter().any(|x| x.is_nan()) {
            return Err("a constant holds what is no number".into());
        }
        let data: Vec<f64> = data.into_iter().map(|x| if wild { x.clamp(-LARGE, LARGE) } else { x }).collect();
        let dtype = match known.elem {
            Elem::Bool => DType::Bool,
            elem if elem.is_float() => DType::F32,
            _ => DType::I32,
        };
        if dtype == DType::I32 && data.iter().any(|&x| x < f64::from(i32::MIN) || x > f64::from(i32::MAX)) {
            return Err("a whole number beyond 32 bits is computed with".into());
        }
        let ty = Type::new(dtype, Shape::fixed(&known.dims));
        if data.len() > 1 && data.iter().all(|x| x.to_bits() == data[0].to_bits()) {
            return Ok(self.graph.push_leaf(Op::Generate(Generator::Fill { value: Real(data[0]) }), ty, path)?);
        }
        if data.len() < SMALL {
            return Ok(self.graph.push_leaf(Op::literal(&data), ty, path)?);
        }
        if dtype == DType::I32 && data.iter().any(|x| x.abs() > f64::from(1 << 24)) {
            return Err("a table of whole numbers beyond 2^24 is computed with".into());
        }
        let stored = self.made(data.iter().map(|&x| x as f32).collect(), &known.dims, path)?;
        match dtype {
            DType::F32 => Ok(stored),
            to => self.push(Op::Cast { to }, &[stored], &format!("{path}.index")),
        }
    }

    /// Numbers that were computed, as a weight.
    pub(super) fn made(&mut self, data: Vec<f32>, dims: &[usize], path: &str) -> Done<Value> {
        self.budget(data.len())?;
        let key = self.key(&format!("known.{path}"));
        self.weights.made(key.clone(), data);
        Ok(self.graph.push_leaf(Op::Weight { key }, Type::f32(dims), path)?)
    }

    /// Nodes that are written out have a limit together.
    pub(super) fn unroll(&mut self, nodes: usize) -> Done<()> {
        self.unrolled = self.unrolled.saturating_add(nodes);
        match self.unrolled > UNROLLED {
            true => Err(format!("has more than {UNROLLED} nodes once it is written out").into()),
            false => Ok(()),
        }
    }

    /// A known array that nobody reads any more.
    pub(super) fn release(&mut self, value: &Val) {
        if let Val::Known(known) = value
            && Arc::strong_count(known) == 1
        {
            self.held[0] = self.held[0].saturating_sub(known.data.len());
        }
    }

    /// Known arrays that are still to be read have a limit together.
    pub(super) fn hold(&mut self, value: &Val) -> Done<()> {
        match value {
            // One that nobody else holds is new.
            Val::Known(known) if Arc::strong_count(known) == 1 => self.held[0] += known.data.len(),
            Val::Items(items) if Arc::strong_count(items) == 1 => self.held[0] += items.rest.data.len(),
            Val::List(list) => list.iter().try_for_each(|v| self.hold(v))?,
            _ => {}
        }
        if self.held[0] > self.held[1] {
            Err("the arrays that are known are too large together".into())
        } else {
            Ok(())
        }
    }

    /// Constants that are computed have a limit together.
    fn budget(&mut self, elements: usize) -> Done<()> {
        self.made += elements;
        if self.made > 1 << 26 { Err("the constants that are computed are too large together".into()) } else { Ok(()) }
    }

    /// A float scalar.
    pub(super) fn scalar(&mut self, x: f64, path: &str) -> Done<Value> {
        Ok(self.graph.push_leaf(Op::literal(&[x]), Type::f32(&[]), path)?)
    }

    /// Append an operator and return its first result.
    pub(super) fn push(&mut self, op: Op, inputs: &[Value], path: &str) -> Done<Value> {
        if let Some(value) = self.once(&op, inputs, path)? {
            return Ok(value);
        }
        let behind: Vec<Option<Value>> = inputs.iter().map(|&v| self.vector_behind(v)).collect();
        let each = matches!(op.facts().class, Class::Elementwise | Class::Cast);
        if !each || behind.iter().all(Option::is_none) {
            return Ok(self.graph.push(op, inputs, path)?.into());
        }
        // What is computed of scalars alone is a scalar again, behind everything that reads it.
        let scalar = inputs.iter().all(|&v| self.graph.shape(v).rank() == 0);
        let wide: Vec<Value> = behind.iter().zip(inputs).map(|(vector, &v)| vector.unwrap_or(v)).collect();
        if !scalar {
            return Ok(self.graph.push(op, &wide, path)?.into());
        }
        let vector = self.graph.push(op, &wide, &format!("{path}.vector"))?.into();
        self.reshape(vector, Vec::new(), path)
    }

    /// The vector of one behind a scalar that is computed: phones have no scalars.
    pub(super) fn vector_behind(&self, scalar: Value) -> Option<Value> {
        let (Op::Reshape { shape }, [vector]) = (self.graph.op(scalar), &self.graph.producer(scalar).inputs[..]) else {
            return None;
        };
        (shape.rank() == 0 && self.shape(*vector) == [Dim::Fixed(1)]).then_some(*vector)
    }

    /// A matrix product, its operands turned first where flagged: not every target turns them itself.
    pub(super) fn product(&mut self, operands: [Value; 2], turned: [bool; 2], path: &str) -> Done<Value> {
        let mut pair = operands;
        for (i, (value, name)) in pair.iter_mut().zip(["a", "b"]).enumerate() {
            let rank = self.graph.shape(*value).rank();
            if turned[i] && rank >= 2 {
                let mut perm: Vec<usize> = (0..rank).collect();
                perm.swap(rank - 2, rank - 1);
                *value = self.push(Op::Transpose { perm }, &[*value], &format!("{path}.{name}.turned"))?;
            }
        }
        self.push(Op::MatMul { transpose_a: false, transpose_b: false }, &pair, path)
    }

    /// Parts of these sizes along an axis.
    pub(super) fn split(&mut self, x: Value, axis: usize, sizes: Vec<usize>, path: &str) -> Done<Vec<Value>> {
        let count = sizes.len() as u32;
        let node = self.push(Op::Split { axis, sizes }, &[x], path)?.node;
        Ok((0..count).map(|index| Value { node, index }).collect())
    }

    /// f(x).
    pub(super) fn unary(&mut self, kind: UnaryKind, x: Value, path: &str) -> Done<Value> {
        self.push(Op::Unary(kind), &[x], path)
    }

    /// f(x, y), broadcast.
    pub(super) fn binary(&mut self, kind: BinaryKind, x: Value, y: Value, path: &str) -> Done<Value> {
        self.push(Op::Binary(kind), &[x, y], path)
    }

    /// f(x, a number).
    pub(super) fn with(&mut self, kind: BinaryKind, x: Value, y: f64, path: &str) -> Done<Value> {
        let y = self.scalar(y, &format!("{path}.number"))?;
        self.binary(kind, x, y, path)
    }

    /// Dimensions of a value of the graph.
    pub(super) fn shape(&self, value: Value) -> Vec<Dim> {
        self.graph.shape(value).0.clone()
    }

    /// Sizes of a value of the graph that do not depend on the batch.
    pub(super) fn sizes(&self, value: Value) -> Done<Vec<usize>> {
        self.graph.shape(value).0.iter().map(|&d| self.size(d)).collect()
    }

    /// The same elements under another shape.
    pub(super) fn reshape(&mut self, value: Value, dims: Vec<Dim>, path: &str) -> Done<Value> {
        let shape = Shape(dims);
        if *self.graph.shape(value) == shape { Ok(value) } else { self.push(Op::Reshape { shape }, &[value], path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_for_all_nodes_together() {
        let mut cx = Cx::new(Graph::new("g", vitc_ir::Stage::Paper), Dim::Fixed(1), 0);
        let large = || Val::known(Known::new(Elem::Int(64), vec![LIMIT], vec![Num::int(1); LIMIT]));
        assert!(cx.hold(&large()).is_ok() && cx.hold(&large()).is_ok() && cx.hold(&large()).is_err());
        let mut cx = Cx::new(Graph::new("g", vitc_ir::Stage::Paper), Dim::Fixed(1), 0);
        let shared = large();
        let _other = shared.clone();
        assert!((0..9).all(|_| cx.hold(&shared).is_ok()), "nobody made it");
        let free = (0..9).all(|_| {
            let array = large();
            let fits = cx.hold(&array).is_ok();
            cx.release(&array);
            fits
        });
        assert!(free, "what is read no more leaves its place");
        assert!(cx.unroll(UNROLLED / 2).is_ok() && cx.unroll(UNROLLED).is_err());
    }
}
