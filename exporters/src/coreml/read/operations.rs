//! Decodes operations, one after the other, into nodes.

use super::super::blob::BlobType;
use super::super::messages::{self, binding, value_type};
use super::values::{Constant, Elements, constant, graph_type, indices, is_text, text, texts, volume};
use super::{PackageWeights, ReadError, Source};
use std::collections::HashMap;
use vitc_ir::op::{AttentionLayout, ReduceKind, ResizeMode, SliceAxis};
use vitc_ir::{BinaryKind, DType, Graph, Op, Output, Real, Shape, StoredType, Type, UnaryKind, Value};

/// What a name of the program stands for.
#[derive(Debug)]
enum Bound {
    /// A value of the graph.
    Value(Value),
    /// A constant, and its leaf once something reads it as a value.
    Constant(Constant, Option<Value>),
    /// An output of `classify`, whose probabilities these are.
    Class(Value),
}

/// The body of the function as it is read.
pub(super) struct Body<'a> {
    graph: &'a mut Graph,
    weights: &'a mut PackageWeights,
    bound: HashMap<String, Bound>,
    classes: Option<Vec<String>>,
    ios: u32,
}

/// The inputs of one operation.
struct Call<'b, 'a> {
    body: &'b mut Body<'a>,
    operation: &'b messages::Operation,
}

fn identifier(name: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '@';
    match !name.is_empty() && name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        true => Ok(name.to_string()),
        false => Err(format!("{name:?} is no name")),
    }
}

impl<'a> Body<'a> {
    pub(super) fn new(graph: &'a mut Graph, weights: &'a mut PackageWeights, ios: u32) -> Self {
        Body { graph, weights, bound: HashMap::new(), classes: None, ios }
    }

    fn bind(&mut self, name: &str, bound: Bound) -> Result<(), String> {
        match self.bound.insert(identifier(name)?, bound) {
            None => Ok(()),
            Some(_) => Err(format!("{name} is defined twice")),
        }
    }

    /// An input of the function.
    pub(super) fn input(&mut self, input: &messages::NamedValueType) -> Result<(), ReadError> {
        let mut add = || {
            let ty = graph_type(input.r#type.as_ref())?;
            let name = identifier(&input.name)?;
            let value = self.graph.push_leaf(Op::Input, ty, &name).map_err(|e| e.to_string())?;
            self.bind(&name, Bound::Value(value))
        };
        add().map_err(|what: String| super::invalid("model.mlmodel", format!("input {:?}: {what}", input.name)))
    }

    /// An operation.
    pub(super) fn operation(&mut self, operation: &messages::Operation) -> Result<(), ReadError> {
        let name = operation.attributes.get("name").and_then(|v| text(v).ok());
        let first = operation.outputs.first().map(|o| o.name.clone()).unwrap_or_default();
        self.decode(operation).map_err(|what| ReadError::Operation {
            operation: name.unwrap_or(first),
            kind: operation.r#type.clone(),
            what,
        })
    }

    /// Labels, if there was a `classify`.
    pub(super) fn classes(&mut self) -> Option<Vec<String>> {
        self.classes.take()
    }

    /// Results of the block. A classifier's two outputs are one result: its probabilities.
    pub(super) fn outputs(&mut self, names: &[String]) -> Result<Vec<Output>, ReadError> {
        let bad = |what: String| super::invalid("model.mlmodel", what);
        let mut outputs = Vec::new();
        for name in names {
            match self.bound.get(name) {
                Some(Bound::Value(value)) => outputs.push(Output { name: name.clone(), value: *value }),
                Some(Bound::Class(value)) => {
                    outputs.retain(|o: &Output| o.value != *value);
                    outputs.push(Output { name: name.clone(), value: *value });
                }
                Some(Bound::Constant(..)) => return Err(bad(format!("the output {name} is a constant"))),
                None => return Err(bad(format!("the output {name} does not exist"))),
            }
        }
        if outputs.is_empty() {
            return Err(bad("the program has no output".into()));
        }
        Ok(outputs)
    }

    fn decode(&mut self, operation: &messages::Operation) -> Result<(), String> {
        if !operation.blocks.is_empty() {
            return Err("nested blocks are not read".into());
        }
        match operation.r#type.as_str() {
            "const" => self.constant(operation),
            "classify" => self.classify(operation),
            "identity" => {
                let x = Call { body: self, operation }.x()?;
                let [output] = operation.outputs.as_slice() else { return Err("has not one result".into()) };
                if *self.graph.ty(x) != graph_type(output.r#type.as_ref())? {
                    return Err("changes the type".into());
                }
                self.bind(&output.name, Bound::Value(x))
            }
            _ => {
                let mut call = Call { body: self, operation };
                let (op, inputs) = call.node()?;
                self.push(op, &inputs, &operation.outputs)
            }
        }
    }

    fn constant(&mut self, operation: &messages::Operation) -> Result<(), String> {
        let val = operation.attributes.get("val").ok_or("has no val")?;
        let [output] = operation.outputs.as_slice() else { return Err("has not one result".into()) };
        if output.r#type != val.r#type {
            return Err("declares another type than its value has".into());
        }
        let value = constant(val, self.weights.bytes())?;
        self.bind(&output.name, Bound::Constant(value, None))
    }

    fn classify(&mut self, operation: &messages::Operation) -> Result<(), String> {
        let labels = match operation.inputs.get("classes").map(|a| a.arguments.as_slice()) {
            Some([messages::Binding { kind: Some(binding::Kind::Value(v)) }]) => texts(v)?,
            _ => return Err("has no list of classes in place".into()),
        };
        let scores = Call { body: self, operation }.value("probabilities")?;
        let ty = self.graph.ty(scores);
        if *ty != Type::f32(&[1, labels.len()]) {
            return Err(format!("{} labels for probabilities {ty}", labels.len()));
        }
        let [label, probabilities] = operation.outputs.as_slice() else { return Err("has not two results".into()) };
        let dictionary = matches!(
            probabilities.r#type.as_ref().and_then(|t| t.kind.as_ref()),
            Some(value_type::Kind::Dictionary(d)) if is_text(d.key_type.as_ref())
        );
        if !is_text(label.r#type.as_ref()) || !dictionary || self.classes.is_some() {
            return Err("its results are not one label and one dictionary".into());
        }
        self.classes = Some(labels);
        self.bind(&label.name, Bound::Class(scores))?;
        self.bind(&probabilities.name, Bound::Class(scores))
    }

    /// Append a node whose results must be what the program declares.
    fn push(&mut self, op: Op, inputs: &[Value], outputs: &[messages::NamedValueType]) -> Result<(), String> {
        let declared: Vec<Type> = outputs.iter().map(|o| graph_type(o.r#type.as_ref())).collect::<Result<_, _>>()?;
        let first = outputs.first().ok_or("has no result")?;
        // A node that exists already is returned for a constant one, so its types are compared, not its identity.
        let path = identifier(&first.name)?;
        let node = self.graph.push(op, inputs, &path).map_err(|e| e.to_string())?;
        if self.graph.node(node).types != declared {
            let found: Vec<String> = self.graph.node(node).types.iter().map(Type::to_string).collect();
            let said: Vec<String> = declared.iter().map(Type::to_string).collect();
            return Err(format!("declares {}, but computes {}", said.join(", "), found.join(", ")));
        }
        for (index, output) in outputs.iter().enumerate() {
            self.bind(&output.name, Bound::Value(Value { node, index: index as u32 }))?;
        }
        Ok(())
    }

    /// The leaf of a constant: a literal where it is small, else a weight. Weights are f32; another type is a cast
    /// behind it.
    fn leaf(&mut self, name: &str) -> Result<Value, String> {
        let constant = match self.bound.get(name) {
            Some(Bound::Value(value)) => return Ok(*value),
            Some(Bound::Constant(_, Some(value))) => return Ok(*value),
            Some(Bound::Constant(constant, None)) => constant,
            Some(Bound::Class(_)) => return Err(format!("{name} is a label, not a value")),
            None => return Err(format!("{name} is used before it is defined")),
        };
        let dtype = constant.dtype.ok_or_else(|| format!("{name} is not a number"))?;
        let shape = Shape::fixed(&constant.dims);
        let value = if let Some(values) = constant.literal() {
            self.graph.push_leaf(Op::Literal { values }, Type::new(dtype, shape), name).map_err(|e| e.to_string())?
        } else {
            let source = match constant.elements {
                Elements::Blob { start, len, dtype: BlobType::Float16 } => {
                    Source::Mapped { start, len, dtype: StoredType::F16 }
                }
                Elements::Blob { start, len, dtype: BlobType::Float32 } => {
                    Source::Mapped { start, len, dtype: StoredType::F32 }
                }
                Elements::Blob { start, len, dtype: BlobType::Int32 } => {
                    let data = self.weights.bytes().get(start..start + len).ok_or("lies outside weight.bin")?;
                    let bytes = indices(data.as_chunks::<4>().0.iter().map(|&w| i32::from_le_bytes(w)))?;
                    Source::Held { bytes, dtype: StoredType::F32 }
                }
                _ => {
                    let (bytes, dtype) = constant.stored()?;
                    Source::Held { bytes, dtype }
                }
            };
            // A dot stands in no name of a program, so these paths are free.
            let path = if dtype == DType::F32 { name.to_string() } else { format!("{name}.stored") };
            let weight = Op::Weight { key: name.to_string() };
            let weight =
                self.graph.push_leaf(weight, Type::new(DType::F32, shape), &path).map_err(|e| e.to_string())?;
            self.weights.sources.insert(name.to_string(), source);
            match dtype {
                DType::F32 => weight,
                to => self.graph.push(Op::Cast { to }, &[weight], name).map_err(|e| e.to_string())?.into(),
            }
        };
        if let Some(Bound::Constant(_, leaf)) = self.bound.get_mut(name) {
            *leaf = Some(value);
        }
        Ok(value)
    }
}

impl Call<'_, '_> {
    /// Names bound to an input.
    fn names(&self, input: &str) -> Result<Vec<String>, String> {
        let argument = self.operation.inputs.get(input).ok_or_else(|| format!("the input {input} is missing"))?;
        let name = |b: &messages::Binding| match &b.kind {
            Some(binding::Kind::Name(name)) => Ok(name.clone()),
            Some(binding::Kind::Value(_)) | None => Err(format!("the input {input} is not bound to a name")),
        };
        argument.arguments.iter().map(name).collect()
    }

    fn name(&self, input: &str) -> Result<String, String> {
        let names = self.names(input)?;
        <[String; 1]>::try_from(names).map(|[n]| n).map_err(|n| format!("the input {input} has {} values", n.len()))
    }

    fn has(&self, input: &str) -> bool {
        self.operation.inputs.contains_key(input)
    }

    fn value(&mut self, input: &str) -> Result<Value, String> {
        let name = self.name(input)?;
        self.body.leaf(&name)
    }

    fn x(&mut self) -> Result<Value, String> {
        self.value("x")
    }

    fn parameter(&self, input: &str) -> Result<&Constant, String> {
        match self.body.bound.get(&self.name(input)?) {
            Some(Bound::Constant(constant, _)) => Ok(constant),
            _ => Err(format!("the input {input} is not a constant")),
        }
    }

    fn flag(&self, input: &str) -> Result<bool, String> {
        match (&self.parameter(input)?.elements, self.parameter(input)?.dims.is_empty()) {
            (Elements::Bools(b), true) => Ok(b[0]),
            _ => Err(format!("the input {input} is not one truth value")),
        }
    }

    fn must(&self, input: &str, wanted: bool) -> Result<(), String> {
        match self.flag(input)? == wanted {
            true => Ok(()),
            false => Err(format!("{input} = {} is not read", !wanted)),
        }
    }

    /// A truth value per axis; all false if there is none.
    fn mask(&self, input: &str, rank: usize) -> Result<Vec<bool>, String> {
        if !self.has(input) {
            return Ok(vec![false; rank]);
        }
        match &self.parameter(input)?.elements {
            Elements::Bools(b) if b.len() == rank => Ok(b.clone()),
            _ => Err(format!("the input {input} has not one truth value per axis")),
        }
    }

    fn number(&self, input: &str) -> Result<f64, String> {
        match (&self.parameter(input)?.elements, self.parameter(input)?.dims.is_empty()) {
            (Elements::Floats(f), true) => Ok(f[0]),
            (Elements::Ints(i), true) => Ok(f64::from(i[0])),
            _ => Err(format!("the input {input} is not one number")),
        }
    }

    fn integer(&self, input: &str) -> Result<i32, String> {
        match (&self.parameter(input)?.elements, self.parameter(input)?.dims.is_empty()) {
            (Elements::Ints(i), true) => Ok(i[0]),
            _ => Err(format!("the input {input} is not one integer")),
        }
    }

    /// A vector of integers that are not negative.
    fn sizes(&self, input: &str) -> Result<Vec<usize>, String> {
        let constant = self.parameter(input)?;
        let (Elements::Ints(ints), 1) = (&constant.elements, constant.dims.len()) else {
            return Err(format!("the input {input} is not a vector of integers"));
        };
        let size = |&i: &i32| usize::try_from(i).map_err(|_| format!("{input} holds {i}"));
        ints.iter().map(size).collect()
    }

    fn sizes_of<const N: usize>(&self, input: &str) -> Result<[usize; N], String> {
        let sizes = self.sizes(input)?;
        sizes.try_into().map_err(|s: Vec<usize>| format!("{input} has {} elements instead of {N}", s.len()))
    }

    fn word(&self, input: &str) -> Result<&str, String> {
        match &self.parameter(input)?.elements {
            Elements::Text(text) => Ok(text),
            _ => Err(format!("the input {input} is not a string")),
        }
    }

    fn expect(&self, input: &str, wanted: &str) -> Result<(), String> {
        match self.word(input)? {
            found if found == wanted => Ok(()),
            found => Err(format!("{input} = {found} is not read")),
        }
    }

    fn rank(&self, x: Value) -> usize {
        self.body.graph.shape(x).rank()
    }

    /// An axis of a value of this rank; negative ones count from the end.
    fn resolve(&self, axis: i64, rank: usize) -> Result<usize, String> {
        let from_start = if axis < 0 { axis + rank as i64 } else { axis };
        usize::try_from(from_start).ok().filter(|&a| a < rank).ok_or_else(|| format!("axis {axis} of {rank}"))
    }

    fn axis(&self, rank: usize) -> Result<usize, String> {
        self.resolve(i64::from(self.integer("axis")?), rank)
    }

    fn axes(&self, rank: usize) -> Result<Vec<usize>, String> {
        let constant = self.parameter("axes")?;
        let Elements::Ints(ints) = &constant.elements else { return Err("axes are not integers".into()) };
        ints.iter().map(|&a| self.resolve(i64::from(a), rank)).collect()
    }

    /// Padding of a window operation on a map, as top, left, bottom, right.
    fn window_pad(&self) -> Result<[usize; 4], String> {
        let given: [usize; 4] = self.sizes_of("pad")?;
        match self.word("pad_type")? {
            "custom" => Ok([given[0], given[2], given[1], given[3]]),
            "valid" => Ok([0; 4]),
            other => Err(format!("pad_type {other} is not read")),
        }
    }

    /// The operator and operands of an operation.
    fn node(&mut self) -> Result<(Op, Vec<Value>), String> {
        let kind = self.operation.r#type.as_str();
        let unary = |kind| Some(Op::Unary(kind));
        let pointwise = match kind {
            "relu" => unary(UnaryKind::Relu),
            "silu" => unary(UnaryKind::Silu),
            "sigmoid" => unary(UnaryKind::Sigmoid),
            "tanh" => unary(UnaryKind::Tanh),
            "erf" => unary(UnaryKind::Erf),
            "sqrt" => unary(UnaryKind::Sqrt),
            "exp" => unary(UnaryKind::Exp),
            "abs" => unary(UnaryKind::Abs),
            "gelu" => {
                self.expect("mode", "EXACT")?;
                unary(UnaryKind::Gelu)
            }
            "clip" => Some(Op::Clip { lo: Real(self.number("alpha")?), hi: Real(self.number("beta")?) }),
            _ => None,
        };
        if let Some(op) = pointwise {
            return Ok((op, vec![self.x()?]));
        }
        let two = match kind {
            "add" => Some(BinaryKind::Add),
            "sub" => Some(BinaryKind::Sub),
            "mul" => Some(BinaryKind::Mul),
            "real_div" => Some(BinaryKind::Div),
            "maximum" => Some(BinaryKind::Max),
            "minimum" => Some(BinaryKind::Min),
            _ => None,
        };
        if let Some(kind) = two {
            return Ok((Op::Binary(kind), vec![self.x()?, self.value("y")?]));
        }
        match kind {
            "concat" => return self.concat(),
            "scaled_dot_product_attention" => return self.attention(),
            _ => {}
        }
        let x = self.x()?;
        let rank = self.rank(x);
        let map = |call: &Self| match rank {
            4 => Ok(()),
            _ => Err(format!("takes a map [B,C,H,W], found {}", call.body.graph.ty(x))),
        };
        let op = match kind {
            "prelu" => return Ok((Op::Prelu, vec![x, self.value("alpha")?])),
            "cast" => Op::Cast {
                to: match self.word("dtype")? {
                    "fp16" => DType::F16,
                    "fp32" => DType::F32,
                    "int32" => DType::I32,
                    other => return Err(format!("to {other} is not read")),
                },
            },
            "conv" => {
                map(self)?;
                if self.sizes("dilations")? != [1, 1] {
                    return Err("dilations are not read".into());
                }
                let groups = usize::try_from(self.integer("groups")?).map_err(|_| "has negative groups")?;
                let op = Op::Conv { stride: self.sizes_of("strides")?, pad: self.window_pad()?, groups };
                let mut inputs = vec![x, self.value("weight")?];
                if self.has("bias") {
                    inputs.push(self.value("bias")?);
                }
                return Ok((op, inputs));
            }
            "matmul" => {
                let op = Op::MatMul { transpose_a: self.flag("transpose_x")?, transpose_b: self.flag("transpose_y")? };
                return Ok((op, vec![x, self.value("y")?]));
            }
            "linear" => {
                let mut inputs = vec![x, self.value("weight")?];
                if self.has("bias") {
                    inputs.push(self.value("bias")?);
                }
                return Ok((Op::Linear, inputs));
            }
            "layer_norm" => {
                let op = Op::LayerNorm { axes: self.axes(rank)?, eps: Real(self.number("epsilon")?) };
                let mut inputs = vec![x];
                if self.has("gamma") || self.has("beta") {
                    inputs.extend([self.value("gamma")?, self.value("beta")?]);
                }
                return Ok((op, inputs));
            }
            "softmax" => Op::Softmax { axis: self.axis(rank)? },
            "reduce_sum" | "reduce_mean" | "reduce_max" => {
                let kind = match kind {
                    "reduce_sum" => ReduceKind::Sum,
                    "reduce_mean" => ReduceKind::Mean,
                    _ => ReduceKind::Max,
                };
                let axes = self.axes(rank)?;
                if axes.is_empty() {
                    return Err("reduces no axis".into());
                }
                Op::Reduce { kind, axes, keep: self.flag("keep_dims")? }
            }
            "avg_pool" => {
                map(self)?;
                self.must("exclude_padding_from_average", true)?;
                self.must("ceil_mode", false)?;
                let (kernel, stride) = (self.sizes_of("kernel_sizes")?, self.sizes_of("strides")?);
                Op::AvgPool { kernel, stride, pad: self.window_pad()? }
            }
            "reshape" => {
                let dims = self.sizes("shape")?;
                volume(&dims)?;
                Op::Reshape { shape: Shape::fixed(&dims) }
            }
            "transpose" => Op::Transpose { perm: self.sizes("perm")? },
            "split" => Op::Split { axis: self.axis(rank)?, sizes: self.sizes("split_sizes")? },
            "slice_by_index" => self.slice(x)?,
            "pad" => self.pad(rank)?,
            "gather" => {
                if self.body.ios >= 16 && self.integer("batch_dims")? != 0 {
                    return Err("batch_dims are not read".into());
                }
                // A program's tables stay tables here too.
                return Ok((Op::Gather { axis: self.axis(rank)?, kept: true }, vec![x, self.value("indices")?]));
            }
            "tile" => self.tile(x)?,
            "upsample_nearest_neighbor" | "upsample_bilinear" => {
                map(self)?;
                let mode = match kind {
                    "upsample_bilinear" => {
                        self.must("align_corners", false)?;
                        if self.has("half_pixel_centers") {
                            self.must("half_pixel_centers", true)?;
                        }
                        ResizeMode::Bilinear
                    }
                    _ => ResizeMode::Nearest,
                };
                let scaled = |axis: usize, input: &str| {
                    let size = self.body.graph.shape(x).dim(axis) as f64 * self.number(input)?;
                    match size >= 1.0 && size.fract() == 0.0 && size <= f64::from(i32::MAX) {
                        true => Ok(size as usize),
                        false => Err(format!("{input} makes a size of {size}")),
                    }
                };
                Op::Resize { mode, size: [scaled(2, "scale_factor_height")?, scaled(3, "scale_factor_width")?] }
            }
            "resize_nearest_neighbor" | "resize_bilinear" => {
                map(self)?;
                let mode = match kind {
                    "resize_bilinear" => {
                        self.expect("sampling_mode", "UNALIGN_CORNERS")?;
                        ResizeMode::Bilinear
                    }
                    _ => ResizeMode::Nearest,
                };
                let size = |input| usize::try_from(self.integer(input)?).map_err(|_| format!("{input} is negative"));
                Op::Resize { mode, size: [size("target_size_height")?, size("target_size_width")?] }
            }
            _ => return Err("vitc does not read this operation".into()),
        };
        Ok((op, vec![x]))
    }

    fn concat(&mut self) -> Result<(Op, Vec<Value>), String> {
        self.must("interleave", false)?;
        let names = self.names("values")?;
        let values = names.iter().map(|n| self.body.leaf(n)).collect::<Result<Vec<_>, _>>()?;
        let first = *values.first().ok_or("joins nothing")?;
        Ok((Op::Concat { axis: self.axis(self.rank(first))? }, values))
    }

    /// `softmax(query·keyᵀ/√E + attn_mask)·value` on `[B,heads,N,E]`; the mask is a number per head and pair.
    fn attention(&mut self) -> Result<(Op, Vec<Value>), String> {
        if self.body.ios < 18 {
            return Err("exists from iOS 18 on".into());
        }
        let mut inputs = vec![self.value("query")?, self.value("key")?, self.value("value")?];
        let [_, heads, _, width] = self.body.graph.shape(inputs[0]).at(1)[..] else {
            return Err(format!("takes a query [B,heads,N,E], found {}", self.body.graph.ty(inputs[0])));
        };
        let bias = self.has("attn_mask");
        if bias {
            inputs.push(self.value("attn_mask")?);
        }
        let scale = Real((width as f64).powf(-0.5));
        Ok((Op::Attention { heads, scale, layout: AttentionLayout::Heads, bias, talking: false }, inputs))
    }

    /// `begin`, `end` and `stride` per axis; a set mask means from the start, or to the end.
    fn slice(&self, x: Value) -> Result<Op, String> {
        let dims = self.body.graph.shape(x).at(1);
        let (begin, end, stride) = (self.sizes("begin")?, self.sizes("end")?, self.sizes("stride")?);
        if [&begin, &end, &stride].iter().any(|v| v.len() != dims.len()) {
            return Err(format!("cuts {} axes of {}", begin.len(), dims.len()));
        }
        let (from_start, to_end) = (self.mask("begin_mask", dims.len())?, self.mask("end_mask", dims.len())?);
        if self.mask("squeeze_mask", dims.len())?.contains(&true) {
            return Err("squeeze_mask is not read".into());
        }
        let cut = |axis: usize| SliceAxis {
            axis,
            start: if from_start[axis] { 0 } else { begin[axis] },
            stop: if to_end[axis] { dims[axis] } else { end[axis] },
            step: stride[axis],
        };
        let whole = |c: &SliceAxis| c.start == 0 && c.stop == dims[c.axis] && c.step == 1;
        Ok(Op::Slice { cuts: (0..dims.len()).map(cut).filter(|c| !whole(c)).collect() })
    }

    /// Pairs before, after for the last axes.
    fn pad(&self, rank: usize) -> Result<Op, String> {
        self.expect("mode", "constant")?;
        if self.number("constant_val")? != 0.0 {
            return Err("pads with something else than zero".into());
        }
        let pairs = self.sizes("pad")?;
        if !pairs.len().is_multiple_of(2) || pairs.len() / 2 > rank {
            return Err(format!("{} pads for {rank} axes", pairs.len()));
        }
        let mut before = vec![0; rank - pairs.len() / 2];
        let mut after = before.clone();
        before.extend(pairs.iter().step_by(2));
        after.extend(pairs.iter().skip(1).step_by(2));
        Ok(Op::Pad { before, after })
    }

    fn tile(&self, x: Value) -> Result<Op, String> {
        let (dims, reps) = (self.body.graph.shape(x).at(1), self.sizes("reps")?);
        if reps.len() != dims.len() || reps.contains(&0) || dims.iter().zip(&reps).any(|(&d, &r)| d != 1 && r != 1) {
            return Err(format!("repeats {reps:?} of {dims:?}: only axes of size 1 are read"));
        }
        let shape: Vec<usize> = dims.iter().zip(&reps).map(|(d, r)| d * r).collect();
        volume(&shape)?;
        Ok(Op::Expand { shape: Shape::fixed(&shape) })
    }
}
