//! The operations of a function as nodes.

use super::attributes::{Attribute, Element, Elements, TensorType, numbers};
use super::composites::Composite;
use super::container::{Block, Container, Operation};
use super::header::Header;
use super::weights::Source;
use std::collections::HashMap;
use vitc_ir::op::{Generator, PadMode, ReduceKind, Sampling, SliceAxis};
use vitc_ir::packed::unpacked;
use vitc_ir::{BinaryKind, DType, Dim, Graph, Op, Output, Real, Shape, Stage, StoredType, Type, UnaryKind, Value};

/// A parameter is an array of at most this many numbers: two for each dimension, or a size for each part of a split.
const PARAMETERS: usize = 4096;

/// Indices that an f32 weight holds exactly.
const INDEX_LIMIT: u32 = 1 << 24;

/// What a value of the program stands for.
#[derive(Debug, Clone)]
pub(super) enum Bound<'a> {
    /// A value of the graph.
    Value(Value),
    /// A constant.
    Constant(TensorType, Elements<'a>),
    /// An input that is a picture: its values are `[1,3,H,W]` of the graph.
    Picture(Value),
    /// Its pixels `[H,W,3]`, in the type in which they are read.
    Pixels(Value),
}

/// A function as it is read.
pub(super) struct Function<'c, 'a> {
    container: &'c Container<'a>,
    composites: &'c HashMap<&'a str, Composite<'a>>,
    pub(super) file: &'a [u8],
    pub(super) graph: Graph,
    pub(super) sources: &'c mut HashMap<String, Source>,
    /// Leaves of constants, by where their bytes begin, their element type and their shape: numbers of several types may have the same bytes.
    leaves: HashMap<(usize, Element, Vec<usize>), Value>,
}

/// The type of a value of the graph.
fn graph_type(ty: &TensorType) -> Result<Type, String> {
    let dtype = match ty.element {
        Element::Float32 => DType::F32,
        Element::Float16 => DType::F16,
        Element::Signed32 => DType::I32,
        Element::Signed8 => DType::I8,
        Element::Codes { bits: 4, signed: true } => DType::I4,
        Element::Bool => DType::Bool,
        Element::Unsigned8 | Element::Unsigned32 | Element::Signed16 | Element::Codes { .. } => {
            return Err(format!("a value of {:?} is not read", ty.element));
        }
    };
    let dims = ty.dims.iter().map(|d| d.map_or(Dim::Batch(1), Dim::Fixed)).collect();
    Ok(Type::new(dtype, Shape(dims)))
}

/// Whether the shape rules give what the program declares; a declared size that is not known is some multiple of the batch.
fn agrees(found: &Type, declared: &Type) -> bool {
    let size = |(f, d): (&Dim, &Dim)| match (f, d) {
        (Dim::Fixed(f), Dim::Fixed(d)) => f == d,
        (Dim::Batch(_), Dim::Batch(_)) => true,
        (Dim::Fixed(_), Dim::Batch(_)) | (Dim::Batch(_), Dim::Fixed(_)) => false,
    };
    let (f, d) = (&found.shape.0, &declared.shape.0);
    found.dtype == declared.dtype && f.len() == d.len() && f.iter().zip(d).all(size)
}

impl<'c, 'a> Function<'c, 'a> {
    /// The graph of a function; its constants go to `sources`.
    pub(super) fn read(
        container: &'c Container<'a>,
        composites: &'c HashMap<&'a str, Composite<'a>>,
        header: &Header<'a>,
        block: &Block<'a>,
        sources: &'c mut HashMap<String, Source>,
        file: &'a [u8],
    ) -> Result<Graph, String> {
        let graph = Graph::new(header.name, Stage::Target);
        let mut function = Function { container, composites, file, graph, sources, leaves: HashMap::new() };
        let mut arguments = Vec::new();
        for (&name, &ty) in header.inputs.iter().zip(&block.arguments) {
            let picture = container.picture(ty)?;
            let ty = match picture {
                Some([height, width]) => Type::f32(&[1, 3, height, width]),
                None => graph_type(&container.tensor(ty)?)?,
            };
            if name.is_empty() || function.graph.find(name).is_some() {
                return Err(format!("the name {name:?} of an input is empty or taken"));
            }
            let value = function.graph.push_leaf(Op::Input, ty, name).map_err(|e| e.to_string())?;
            arguments.push(if picture.is_some() { Bound::Picture(value) } else { Bound::Value(value) });
        }
        let results = function.block(block, arguments)?;
        for (&name, result) in header.outputs.iter().zip(results) {
            if name.is_empty() || function.graph.outputs.iter().any(|o| o.name == name) {
                return Err(format!("the name {name:?} of an output is empty or taken"));
            }
            function.graph.outputs.push(Output { name: name.to_string(), value: result });
        }
        Ok(function.graph)
    }

    /// The graph of a composite's body, with inputs named by their position.
    pub(super) fn body(container: &'c Container<'a>, block: &Block<'a>) -> Result<Graph, String> {
        let (composites, mut sources) = (HashMap::new(), HashMap::new());
        let graph = Graph::new("body", Stage::Target);
        let mut function = Function {
            container,
            composites: &composites,
            file: &[],
            graph,
            sources: &mut sources,
            leaves: HashMap::new(),
        };
        let mut arguments = Vec::new();
        for (i, &ty) in block.arguments.iter().enumerate() {
            let ty = graph_type(&container.tensor(ty)?)?;
            let value = function.graph.push_leaf(Op::Input, ty, &format!("input{i}")).map_err(|e| e.to_string())?;
            arguments.push(Bound::Value(value));
        }
        for result in function.block(block, arguments)? {
            function.graph.outputs.push(Output { name: "output".into(), value: result });
        }
        Ok(function.graph)
    }

    /// A name for a weight: the constant's own, unless another shape of it or another constant of another function has that.
    pub(super) fn free(&self, key: String, source: &Source) -> String {
        let taken = |name: &str| {
            let other = self.sources.get(name).is_some_and(|known| known != source);
            other || self.graph.find(name).is_some() || self.graph.find(&format!("{name}.stored")).is_some()
        };
        let mut name = key.clone();
        let mut number = self.leaves.len();
        while taken(&name) {
            name = format!("{key}_{number}");
            number += 1;
        }
        name
    }

    /// Append the operations of a block; its results.
    fn block(&mut self, block: &Block<'a>, arguments: Vec<Bound<'a>>) -> Result<Vec<Value>, String> {
        let mut bound = arguments;
        // The last operation of a layer bears its name.
        let last: HashMap<usize, usize> = block.operations.iter().enumerate().map(|(i, o)| (o.location, i)).collect();
        for (i, operation) in block.operations.iter().enumerate() {
            let word = self.container.name(operation)?;
            let (layer, short) = (self.container.layer(operation.location), short(word));
            let path = match (layer, last[&operation.location] == i) {
                ("", _) => short.to_string(),
                (layer, true) => layer.to_string(),
                (layer, false) => format!("{layer}.{short}"),
            };
            let mut call = Call { function: self, operation, bound: &bound, path };
            if word == "dataflow.output_v1" {
                if i + 1 != block.operations.len() {
                    return Err("has operations behind its results".into());
                }
                return (0..operation.operands.len()).map(|i| call.value(i)).collect();
            }
            let results = call.results(word).map_err(|what| format!("{} ({word}): {what}", call.path))?;
            if results.len() != operation.results.len() {
                return Err(format!("{word} has {} results", operation.results.len()));
            }
            bound.extend(results);
        }
        Err("does not end with its results".into())
    }
}

/// The operation's name without its group and version.
fn short(word: &str) -> &str {
    let name = word.rsplit('.').next().unwrap_or(word);
    name.rsplit_once("_v").map_or(name, |(name, _)| name)
}

/// One operation with what its operands stand for.
pub(super) struct Call<'b, 'c, 'a> {
    pub(super) function: &'b mut Function<'c, 'a>,
    operation: &'b Operation<'a>,
    bound: &'b [Bound<'a>],
    pub(super) path: String,
}

/// Operands.
impl<'a> Call<'_, '_, 'a> {
    pub(super) fn operand(&self, i: usize) -> Result<&Bound<'a>, String> {
        let id = self.operation.operands.get(i).ok_or_else(|| format!("has no operand {i}"))?;
        self.bound.get(*id).ok_or_else(|| format!("operand {i} is used before it is computed"))
    }

    /// An operand as a value of the graph.
    pub(super) fn value(&mut self, i: usize) -> Result<Value, String> {
        match self.operand(i)?.clone() {
            Bound::Value(value) => Ok(value),
            Bound::Picture(_) | Bound::Pixels(_) => Err(format!("operand {i} is a picture")),
            Bound::Constant(ty, elements) => {
                let (dims, _) = ty.fixed()?;
                self.leaf(&ty, &elements, &dims)
            }
        }
    }

    /// An operand's values, which must stand in the file.
    fn numbers(&self, i: usize) -> Result<(Vec<f64>, usize), String> {
        let Bound::Constant(ty, Elements::Inline { bytes, splat }) = self.operand(i)? else {
            return Err(format!("operand {i} is not a small constant"));
        };
        let (dims, count) = ty.fixed()?;
        if count > PARAMETERS {
            return Err(format!("operand {i} has {count} elements"));
        }
        let values = numbers(ty.element, bytes);
        Ok((if *splat { vec![values[0]; count] } else { values }, dims.len()))
    }

    fn number(&self, i: usize) -> Result<f64, String> {
        match self.numbers(i)? {
            (values, 0) => Ok(values[0]),
            _ => Err(format!("operand {i} is not one number")),
        }
    }

    /// Whole numbers that are not negative.
    fn sizes(&self, i: usize) -> Result<Vec<usize>, String> {
        let (values, rank) = self.numbers(i)?;
        if rank != 1 {
            return Err(format!("operand {i} is not a list"));
        }
        let size = |v: &f64| if *v >= 0.0 { Ok(*v as usize) } else { Err(format!("operand {i} holds {v}")) };
        values.iter().map(size).collect()
    }

    fn pair(&self, i: usize) -> Result<[usize; 2], String> {
        self.sizes(i)?.try_into().map_err(|_| format!("operand {i} has not two elements"))
    }

    /// An axis of a value; negative ones count from the end.
    fn axis(&self, number: f64, rank: usize) -> Result<usize, String> {
        let from_start = if number < 0.0 { number + rank as f64 } else { number };
        match from_start >= 0.0 && from_start < rank as f64 {
            true => Ok(from_start as usize),
            false => Err(format!("axis {number} of {rank}")),
        }
    }

    pub(super) fn axes(&self, i: usize, rank: usize) -> Result<Vec<usize>, String> {
        let mut axes = self.numbers(i)?.0.iter().map(|&a| self.axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
        axes.sort_unstable();
        Ok(axes)
    }

    fn choice(&self, kind: u64) -> Result<u64, String> {
        let mut fields = self.function.container.properties(self.operation)?;
        match self.function.container.attribute(fields.varint()?)? {
            Attribute::Choice(found, value) if found == kind => Ok(value),
            _ => Err("has not the property that it needs".into()),
        }
    }

    pub(super) fn shape(&self, x: Value) -> Shape {
        self.function.graph.shape(x).clone()
    }

    /// The type of a result.
    pub(super) fn declared(&self, i: usize) -> Result<Type, String> {
        let number = self.operation.results.get(i).ok_or("has no result")?;
        graph_type(&self.function.container.tensor(*number)?)
    }

    /// The leaf of a constant in this shape: a literal where it is small, one number where all are equal, else a weight. Weights are f32; another
    /// type is a cast behind it.
    fn leaf(&mut self, ty: &TensorType, elements: &Elements<'a>, dims: &[usize]) -> Result<Value, String> {
        let place = match elements {
            Elements::Inline { bytes, .. } => bytes.as_ptr() as usize,
            Elements::Resource(range) => self.function.file.as_ptr() as usize + range.start,
        };
        let known = (place, ty.element, dims.to_vec());
        if let Some(&value) = self.function.leaves.get(&known) {
            return Ok(value);
        }
        let graph_type =
            graph_type(&TensorType { element: ty.element, dims: dims.iter().map(|&d| Some(d)).collect() })?;
        let count: usize = dims.iter().product();
        let function = &mut *self.function;
        let key = match elements {
            Elements::Resource(range) => function.container.key(range.start).unwrap_or_default().to_string(),
            Elements::Inline { .. } => format!("constant_{}", function.leaves.len()),
        };
        let push =
            |graph: &mut Graph, op: Op, ty: Type, path: &str| graph.push_leaf(op, ty, path).map_err(|e| e.to_string());
        let value = match elements {
            Elements::Inline { bytes, splat: true } => {
                let value = Real(numbers(ty.element, bytes)[0]);
                let op = if count < 64 {
                    Op::Literal { values: vec![value; count] }
                } else {
                    Op::Generate(Generator::Fill { value })
                };
                push(&mut function.graph, op, graph_type, &key)?
            }
            Elements::Inline { bytes, splat: false } if count < 64 => {
                let values = numbers(ty.element, bytes).into_iter().map(Real).collect();
                push(&mut function.graph, Op::Literal { values }, graph_type, &key)?
            }
            _ => {
                let source = source(ty.element, count, elements, function.file)?;
                let stored = Type::new(DType::F32, graph_type.shape.clone());
                let key = function.free(key, &source);
                let weight = Op::Weight { key: key.clone() };
                function.sources.insert(key.clone(), source);
                let path = if graph_type.dtype == DType::F32 { key.clone() } else { format!("{key}.stored") };
                let leaf = push(&mut function.graph, weight, stored, &path)?;
                match graph_type.dtype {
                    DType::F32 => leaf,
                    to => function.graph.push(Op::Cast { to }, &[leaf], &key).map_err(|e| e.to_string())?.into(),
                }
            }
        };
        function.leaves.insert(known, value);
        Ok(value)
    }
}

/// Where the elements of a weight are; integers go as f32, which holds indices below 2^24 exactly.
fn source(element: Element, count: usize, elements: &Elements<'_>, file: &[u8]) -> Result<Source, String> {
    let bytes = match elements {
        Elements::Inline { bytes, .. } => bytes,
        Elements::Resource(range) => file.get(range.clone()).ok_or("lies outside the file")?,
    };
    let dtype = match element {
        Element::Float16 => StoredType::F16,
        Element::Float32 => StoredType::F32,
        Element::Signed32 => {
            let indices = bytes.as_chunks::<4>().0.iter().map(|&c| i32::from_le_bytes(c));
            if indices.clone().any(|i| i.unsigned_abs() > INDEX_LIMIT) {
                return Err("an index is too large".into());
            }
            let bytes = indices.flat_map(|i| (i as f32).to_le_bytes()).collect();
            return Ok(Source::Held { bytes, dtype: StoredType::F32 });
        }
        Element::Signed8 => StoredType::I8,
        Element::Codes { bits: 4, signed: true } => {
            let bytes = match elements {
                // Inline codes have a byte each.
                Elements::Inline { bytes, .. } => bytes.to_vec(),
                Elements::Resource(_) => unpacked(bytes, 4, 2 * bytes.len()),
            };
            let bytes = bytes.into_iter().take(count).map(|b| ((b << 4) as i8 >> 4) as u8).collect();
            return Ok(Source::Held { bytes, dtype: StoredType::I8 });
        }
        Element::Bool | Element::Unsigned8 | Element::Unsigned32 | Element::Signed16 | Element::Codes { .. } => {
            return Err(format!("weights of {element:?} are not read"));
        }
    };
    Ok(match elements {
        Elements::Inline { bytes, .. } => Source::Held { bytes: bytes.to_vec(), dtype },
        Elements::Resource(range) => Source::Mapped { start: range.start, len: range.len(), dtype },
    })
}

/// What an operation computes.
impl<'a> Call<'_, '_, 'a> {
    /// Append a node; its results must be what the program declares.
    pub(super) fn push(&mut self, op: Op, inputs: &[Value]) -> Result<Vec<Bound<'a>>, String> {
        let node = self.function.graph.push(op, inputs, &self.path).map_err(|e| e.to_string())?;
        let types = self.function.graph.node(node).types.clone();
        let count = types.len();
        for (i, found) in types.iter().enumerate().take(self.operation.results.len()) {
            let declared = self.declared(i)?;
            if !agrees(found, &declared) {
                return Err(format!("declares {declared}, but computes {found}"));
            }
        }
        Ok((0..count as u32).map(|index| Bound::Value(Value { node, index })).collect())
    }

    /// A node in front of the one that has the operation's results.
    pub(super) fn before(&mut self, op: Op, inputs: &[Value]) -> Result<Value, String> {
        let path = format!("{}.part", self.path);
        Ok(self.function.graph.push(op, inputs, &path).map_err(|e| e.to_string())?.into())
    }

    fn literal(&mut self, like: Value, value: f64) -> Result<Value, String> {
        let ty = Type::new(self.function.graph.ty(like).dtype, Shape::default());
        let path = format!("{}.number", self.path);
        self.function.graph.push_leaf(Op::literal(&[value]), ty, &path).map_err(|e| e.to_string())
    }

    fn unary(&mut self, kind: UnaryKind) -> Result<Vec<Bound<'a>>, String> {
        let x = self.value(0)?;
        self.push(Op::Unary(kind), &[x])
    }

    fn binary(&mut self, kind: BinaryKind, broadcast: bool) -> Result<Vec<Bound<'a>>, String> {
        let [a, b] = [self.value(0)?, self.value(1)?];
        if !broadcast && self.shape(a) != self.shape(b) {
            return Err("its operands have two shapes".into());
        }
        self.push(Op::Binary(kind), &[a, b])
    }

    fn reduce(&mut self, kind: ReduceKind) -> Result<Vec<Bound<'a>>, String> {
        let x = self.value(0)?;
        let axes = self.axes(1, self.shape(x).rank())?;
        self.push(Op::Reduce { kind, axes, keep: true }, &[x])
    }

    fn results(&mut self, word: &str) -> Result<Vec<Bound<'a>>, String> {
        if let Some(kind) = unary(word) {
            return self.unary(kind);
        }
        if let Some((kind, broadcast)) = binary(word) {
            return self.binary(kind, broadcast);
        }
        if let Some(kind) = reduction(word) {
            return self.reduce(kind);
        }
        match word {
            "primitive.constant_v1" => self.constant(),
            "dataflow.invoke_v1" => self.invoke(),
            "primitive.gelu_v1" => match self.choice(19)? {
                0 => self.unary(UnaryKind::Gelu),
                1 => self.unary(UnaryKind::GeluTanh),
                other => Err(format!("the approximation {other} is not read")),
            },
            "primitive.rsqrt_v1" => self.rsqrt(),
            "primitive.image_to_tensor_v1" => match *self.operand(0)? {
                Bound::Picture(value) => Ok(vec![Bound::Pixels(value)]),
                _ => Err("does not read a picture".into()),
            },
            "primitive.cast_v1" => self.cast(),
            "primitive.where_v1" | "broadcasting_where_v1" => {
                let all = [self.value(0)?, self.value(1)?, self.value(2)?];
                if word == "primitive.where_v1" && all.iter().any(|&v| self.shape(v) != self.shape(all[0])) {
                    return Err("its operands have several shapes".into());
                }
                self.push(Op::Select, &all)
            }
            "primitive.batch_matmul_v1" | "broadcasting_batch_matmul_v1" => {
                let [a, b] = [self.value(0)?, self.value(1)?];
                self.push(Op::MatMul { transpose_a: false, transpose_b: false }, &[a, b])
            }
            "primitive.conv2d_v1" => self.conv2d(),
            "primitive.conv_transpose2d_v1" => self.conv_transpose2d(),
            "argmax_v1" => self.argmax(),
            "primitive.sum_pool_2d_v1" => self.sum_pool(),
            "softmax_v1" => {
                let x = self.value(0)?;
                let axis = self.axis(self.number(1)?, self.shape(x).rank())?;
                self.push(Op::Softmax { axis }, &[x])
            }
            "primitive.max_pool_2d_v1" => self.max_pool(),
            "primitive.pad_v1" => self.pad(),
            "primitive.reshape_v2" => self.reshape(),
            "primitive.transpose_v1" => {
                let (x, perm) = (self.value(0)?, self.sizes(1)?);
                self.push(Op::Transpose { perm }, &[x])
            }
            "primitive.concat_v1" => {
                let values =
                    (1..self.operation.operands.len()).map(|i| self.value(i)).collect::<Result<Vec<_>, _>>()?;
                let first = values.first().ok_or("joins nothing")?;
                let axis = self.axis(self.number(0)?, self.shape(*first).rank())?;
                self.push(Op::Concat { axis }, &values)
            }
            "primitive.split_v1" => {
                let (x, sizes) = (self.value(0)?, self.sizes(1)?);
                let axis = self.axis(self.number(2)?, self.shape(x).rank())?;
                self.push(Op::Split { axis, sizes }, &[x])
            }
            "primitive.slice_v1" => self.slice(),
            "primitive.gather_nd_v1" => self.gather(),
            "primitive.argsort_v1" => self.order(),
            "primitive.gather_along_axis_v1" => self.ordered(),
            "primitive.interpolate_v1" => self.interpolate(),
            "primitive.blockwise_shift_scale_v2" => self.scaled(),
            "primitive.lut_to_dense_v1" => self.lut_to_dense(),
            "quantize_v2" => self.quantize(),
            "dequantize_v2" => self.dequantize(),
            other => Err(format!("{other} is not read")),
        }
    }

    fn constant(&mut self) -> Result<Vec<Bound<'a>>, String> {
        let container = self.function.container;
        let [ty] = self.operation.results[..] else { return Err("has not one result".into()) };
        let ty = container.tensor(ty)?;
        let elements = container.elements(container.properties(self.operation)?.varint()?, &ty)?;
        Ok(vec![Bound::Constant(ty, elements)])
    }

    /// A composite's body, in place of the call.
    fn invoke(&mut self) -> Result<Vec<Bound<'a>>, String> {
        let mut fields = self.function.container.properties(self.operation)?;
        fields.varint()?;
        let name = match self.function.container.attribute(fields.varint()?)? {
            Attribute::Symbol(names) if names.len() == 1 => names[0],
            _ => return Err("calls nothing".into()),
        };
        let composite =
            self.function.composites.get(name).ok_or_else(|| format!("calls {name}, which is no composite"))?;
        let mut inputs = (0..self.operation.operands.len()).map(|i| self.value(i)).collect::<Result<Vec<_>, _>>()?;
        // The operator's bias is one for all images.
        if let Some(mask) = inputs.get_mut(3) {
            let shape = Shape(self.shape(*mask).0.split_off(1));
            *mask = self.before(Op::Reshape { shape }, &[*mask])?;
        }
        let op = composite.op(&inputs, &self.function.graph)?;
        self.push(op, &inputs)
    }

    /// Pixels in a type that computes are the picture's values in another order.
    fn cast(&mut self) -> Result<Vec<Bound<'a>>, String> {
        let to = self.declared(0)?.dtype;
        let Bound::Pixels(picture) = *self.operand(0)? else {
            let x = self.value(0)?;
            return self.push(Op::Cast { to }, &[x]);
        };
        let dims = self.shape(picture);
        let rows = self.before(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[picture])?;
        let shape = Shape(vec![dims.0[2], dims.0[3], Dim::Fixed(3)]);
        if to == DType::F32 {
            return self.push(Op::Reshape { shape }, &[rows]);
        }
        let pixels = self.before(Op::Reshape { shape }, &[rows])?;
        self.push(Op::Cast { to }, &[pixels])
    }

    fn rsqrt(&mut self) -> Result<Vec<Bound<'a>>, String> {
        let x = self.value(0)?;
        let one = self.literal(x, 1.0)?;
        let root = self.before(Op::Unary(UnaryKind::Sqrt), &[x])?;
        self.push(Op::Binary(BinaryKind::Div), &[one, root])
    }

    fn conv2d(&mut self) -> Result<Vec<Bound<'a>>, String> {
        let [x, w] = [self.value(0)?, self.value(1)?];
        let (stride, dilation, groups) = (self.pair(2)?, self.pair(3)?, self.number(4)?);
        if groups < 1.0 || stride.contains(&0) || dilation.contains(&0) {
            return Err("has no groups, no stride or no dilation".into());
        }
        self.push(Op::Conv { stride, pad: [0; 4], dilation, groups: groups as usize }, &[x, w])
    }

    fn conv_transpose2d(&mut self) -> Result<Vec<Bound<'a>>, String> {
        let [x, w] = [self.value(0)?, self.value(1)?];
        let [stride, padding, dilation, output_pad] = [self.pair(2)?, self.pair(3)?, self.pair(4)?, self.pair(5)?];
        let groups = self.number(6)?;
        if groups < 1.0 || stride.contains(&0) || dilation.contains(&0) {
            return Err("has no groups, no stride or no dilation".into());
        }
        let pad = [padding[0], padding[1], padding[0], padding[1]];
        let op = Op::ConvTranspose { stride, pad, output_pad, dilation, groups: groups as usize };
        self.push(op, &[x, w])
    }

    /// The index without a sign is the one with a sign: no axis is longer than that holds.
    fn argmax(&mut self) -> Result<Vec<Bound<'a>>, String> {
        let x = self.value(0)?;
        let axis = self.axis(self.number(1)?, self.shape(x).rank())?;
        let index = self.before(Op::ArgMax { axis, keep: true }, &[x])?;
        let container = self.function.container;
        let [ty] = self.operation.results[..] else { return Err("has not one result".into()) };
        let ty = container.tensor(ty)?;
        let signed = TensorType { element: Element::Signed32, dims: ty.dims };
        if ty.element != Element::Unsigned32 || !agrees(self.function.graph.ty(index), &graph_type(&signed)?) {
            return Err("does not declare an index for each line".into());
        }
        Ok(vec![Bound::Value(index)])
    }

    fn max_pool(&mut self) -> Result<Vec<Bound<'a>>, String> {
        let x = self.value(0)?;
        let [kernel, stride, dilation] = [self.pair(1)?, self.pair(2)?, self.pair(3)?];
        if [kernel, stride, dilation].iter().any(|list| list.contains(&0)) || self.number(4)? != 0.0 {
            return Err("has no kernel, no stride or no dilation, or reads beyond the map".into());
        }
        self.push(Op::MaxPool { kernel, stride, pad: [0; 4], dilation }, &[x])
    }

    /// An average of windows, times their size.
    fn sum_pool(&mut self) -> Result<Vec<Bound<'a>>, String> {
        let x = self.value(0)?;
        let (kernel, stride, dilation) = (self.pair(1)?, self.pair(2)?, self.pair(3)?);
        if dilation != [1, 1] || kernel.contains(&0) || stride.contains(&0) {
            return Err("has a dilation, no kernel or no stride".into());
        }
        let count = self.literal(x, (kernel[0] * kernel[1]) as f64)?;
        let average = self.before(Op::AvgPool { kernel, stride, pad: [0; 4] }, &[x])?;
        self.push(Op::Binary(BinaryKind::Mul), &[average, count])
    }

    fn pad(&mut self) -> Result<Vec<Bound<'a>>, String> {
        let (x, around) = (self.value(0)?, self.sizes(1)?);
        let mode = match self.choice(17)? {
            1 => PadMode::Constant(Real(self.number(2)?)),
            2 => PadMode::Reflect,
            3 => PadMode::Edge,
            other => return Err(format!("the padding {other} is not read")),
        };
        let (pairs, rest) = around.as_chunks::<2>();
        if !rest.is_empty() || pairs.len() != self.shape(x).rank() {
            return Err("has not two amounts per axis".into());
        }
        let (before, after) = pairs.iter().map(|&[b, a]| (b, a)).unzip();
        self.push(Op::Pad { before, after, mode }, &[x])
    }

    /// A size of −1 is what remains: a multiple of the batch.
    fn reshape(&mut self) -> Result<Vec<Bound<'a>>, String> {
        let x = self.value(0)?;
        let (numbers, rank) = self.numbers(1)?;
        let known: usize = numbers.iter().filter(|n| **n >= 0.0).map(|&n| n as usize).product();
        let elements = self.shape(x).elements();
        if rank != 1 || numbers.iter().filter(|n| **n < 0.0).count() > 1 {
            return Err("its shape is no list, or leaves several sizes open".into());
        }
        let rest = elements.checked_div(known).unwrap_or(0);
        let batch = self.shape(x).has_batch();
        let size = |n: f64| match (n < 0.0, batch) {
            (true, true) => Dim::Batch(rest),
            (true, false) => Dim::Fixed(rest),
            (false, _) => Dim::Fixed(n as usize),
        };
        let shape = Shape(numbers.into_iter().map(size).collect());
        self.push(Op::Reshape { shape }, &[x])
    }

    fn slice(&mut self) -> Result<Vec<Bound<'a>>, String> {
        let (x, starts, steps) = (self.value(0)?, self.sizes(1)?, self.sizes(3)?);
        let stops = self.sizes(2)?;
        let shape = self.shape(x);
        if [starts.len(), stops.len(), steps.len()] != [shape.rank(); 3] {
            return Err("has not one range per axis".into());
        }
        let mut cuts = Vec::new();
        for (axis, size) in shape.0.iter().enumerate() {
            let (start, stop, step) = (starts[axis], stops[axis], steps[axis]);
            match size.fixed() {
                Some(size) if (start, step) == (0, 1) && stop >= size => {}
                Some(size) => cuts.push(SliceAxis { axis, start, stop: stop.min(size), step }),
                None if (start, stop, step) == (0, i32::MAX as usize, 1) => {}
                None => return Err("cuts the batch".into()),
            }
        }
        self.push(Op::Slice { cuts }, &[x])
    }

    /// The places of all elements along an axis, in their order.
    fn order(&mut self) -> Result<Vec<Bound<'a>>, String> {
        let x = self.value(0)?;
        let axis = self.axis(self.number(1)?, self.shape(x).rank())?;
        let k = self.shape(x).0[axis].fixed().ok_or("sorts the batch")?;
        if self.number(3)? == 0.0 {
            return Err("leaves the order of equal elements open".into());
        }
        let largest = self.number(2)? != 0.0;
        let node = self.before(Op::TopK { axis, k, largest }, &[x])?.node;
        let places = Value { node, index: 1 };
        match agrees(self.function.graph.ty(places), &self.declared(0)?) {
            true => Ok(vec![Bound::Value(places)]),
            false => Err("does not declare a place for each element".into()),
        }
    }

    /// Elements at the first of the places that an order gives: of the sorted ones the first.
    fn ordered(&mut self) -> Result<Vec<Bound<'a>>, String> {
        let [x, places] = [self.value(0)?, self.value(1)?];
        let along = self.axis(self.number(2)?, self.shape(x).rank())?;
        let graph = &self.function.graph;
        let (order, cuts) = match graph.op(places) {
            Op::Slice { cuts } => (graph.producer(places).inputs[0], cuts.clone()),
            _ => (places, Vec::new()),
        };
        let sorted = matches!(graph.op(order), Op::TopK { axis, .. } if *axis == along && order.index == 1);
        if !sorted || graph.producer(order).inputs[0] != x {
            return Err("takes elements at other places than those of its own order".into());
        }
        let values = Value { node: order.node, index: 0 };
        if cuts.is_empty() { Ok(vec![Bound::Value(values)]) } else { self.push(Op::Slice { cuts }, &[values]) }
    }

    /// Rows of the first axis at indices `[…,1]`.
    fn gather(&mut self) -> Result<Vec<Bound<'a>>, String> {
        let x = self.value(0)?;
        let Bound::Constant(ty, elements) = self.operand(1)?.clone() else {
            let indices = self.value(1)?;
            let mut shape = self.shape(indices).clone();
            if shape.0.pop() != Some(Dim::Fixed(1)) {
                return Err("its indices are not of one axis".into());
            }
            let indices = self.before(Op::Reshape { shape }, &[indices])?;
            return self.push(Op::Gather { axis: 0 }, &[x, indices]);
        };
        let (mut dims, _) = ty.fixed()?;
        if dims.pop() != Some(1) {
            return Err("its indices are not of one axis".into());
        }
        let indices = self.leaf(&ty, &elements, &dims)?;
        self.push(Op::Gather { axis: 0 }, &[x, indices])
    }

    /// Output index i reads at `(i + ½ − offset)/scale − ½`.
    fn interpolate(&mut self) -> Result<Vec<Bound<'a>>, String> {
        let (x, to) = (self.value(0)?, self.sizes(1)?);
        let (scale, offset) = (self.numbers(2)?.0, self.numbers(3)?.0);
        let from = self.shape(x).as_fixed().filter(|f| f.len() == 4).ok_or("is not of one map")?;
        let four = [to.len(), scale.len(), offset.len()] == [4; 3];
        if !four || to[..2] != from[..2] || from[2..].iter().chain(&to[2..]).any(|&s| s == 0 || s > 1 << 16) {
            return Err("is not of height and width".into());
        }
        let reads = |axis: usize, i: usize| (i as f64 + 0.5 - offset[axis]) / scale[axis] - 0.5;
        let linear = self.choice(43)? == 0;
        for axis in [2, 3] {
            let (old, new) = (from[axis] as f64, to[axis] as f64);
            let fits = |i: usize| match linear {
                true => (reads(axis, i) - ((i as f64 + 0.5) * old / new - 0.5)).abs() < 1e-3 / new,
                false => reads(axis, i).round_ties_even() as usize == i * from[axis] / to[axis],
            };
            if !(0..to[axis]).all(fits) {
                return Err("reads between other samples than a resize that is known".into());
            }
        }
        let sampling = if linear { Sampling::LINEAR } else { Sampling::NEAREST };
        self.push(Op::Resize { sampling, size: [to[2], to[3]], scale: None }, &[x])
    }
}

/// Operations of one operand, element by element.
fn unary(word: &str) -> Option<UnaryKind> {
    Some(match word {
        "primitive.abs_v1" => UnaryKind::Abs,
        "primitive.exp_v1" => UnaryKind::Exp,
        "primitive.sqrt_v1" => UnaryKind::Sqrt,
        "primitive.log_v1" => UnaryKind::Log,
        "primitive.sin_v1" => UnaryKind::Sin,
        "primitive.cos_v1" => UnaryKind::Cos,
        "primitive.round_v1" => UnaryKind::Round,
        "primitive.erf_v1" => UnaryKind::Erf,
        "primitive.tanh_v1" => UnaryKind::Tanh,
        "relu_v1" => UnaryKind::Relu,
        "sigmoid_v1" => UnaryKind::Sigmoid,
        _ => return None,
    })
}

/// Operations of two operands, element by element, and whether one may be smaller.
fn binary(word: &str) -> Option<(BinaryKind, bool)> {
    Some(match word {
        "primitive.add_v1" => (BinaryKind::Add, false),
        "primitive.sub_v1" => (BinaryKind::Sub, false),
        "primitive.mul_v1" => (BinaryKind::Mul, false),
        "primitive.divide_v1" => (BinaryKind::Div, false),
        "primitive.maximum_v1" => (BinaryKind::Max, false),
        "primitive.minimum_v1" => (BinaryKind::Min, false),
        "primitive.pow_v1" => (BinaryKind::Pow, false),
        "primitive.floor_divide_v1" => (BinaryKind::Quotient, false),
        "broadcasting_floor_divide_v1" => (BinaryKind::Quotient, true),
        "broadcasting_pow_v1" => (BinaryKind::Pow, true),
        "broadcasting_add_v1" => (BinaryKind::Add, true),
        "broadcasting_sub_v1" => (BinaryKind::Sub, true),
        "broadcasting_mul_v1" => (BinaryKind::Mul, true),
        "broadcasting_divide_v1" => (BinaryKind::Div, true),
        "broadcasting_maximum_v1" => (BinaryKind::Max, true),
        "broadcasting_minimum_v1" => (BinaryKind::Min, true),
        _ => return None,
    })
}

/// Reductions over listed axes.
fn reduction(word: &str) -> Option<ReduceKind> {
    Some(match word {
        "reduce_sum_v1" => ReduceKind::Sum,
        "reduce_mean_v1" => ReduceKind::Mean,
        "reduce_min_v1" => ReduceKind::Min,
        "reduce_product_v1" => ReduceKind::Prod,
        "reduce_max_v1" => ReduceKind::Max,
        _ => return None,
    })
}
