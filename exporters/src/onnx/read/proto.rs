//! The messages of an ONNX file, as far as they mean something: field numbers are those of `onnx.proto`.
//!
//! Decoded here rather than by derived messages so that tensors stay views of the file, old and new spellings of a field are one, and every count has a
//! limit.

use super::error::{ITEM_LIMIT, ReadError};
use super::sparse;
use super::tensor::{Elem, Tensor, entry, text};
use super::wire::{Field, Fields, numbers};
use prost::bytes::{Buf, Bytes};
use std::sync::Arc;

/// Most nodes, tensors or attributes of a file, and most nodes after functions are inlined.
pub(super) const NODES: usize = 1 << 20;
/// Most graphs inside each other.
const DEPTH: usize = 64;
/// Bytes of the longest name.
const NAME: usize = 1 << 16;

/// `ModelProto`.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) producer: String,
    pub(super) metadata: Vec<(String, String)>,
    pub(super) imports: Vec<(String, i64)>,
    pub(super) graph: GraphMessage,
    pub(super) functions: Vec<Function>,
}

/// `GraphProto`. Types of inner values are hints that are not needed.
#[derive(Debug, Default, Clone)]
pub(super) struct GraphMessage {
    pub(super) nodes: Vec<NodeMessage>,
    pub(super) constants: Vec<Arc<Tensor>>,
    pub(super) inputs: Vec<PortInfo>,
    pub(super) outputs: Vec<PortInfo>,
}

/// `NodeProto`.
#[derive(Debug, Default, Clone)]
pub(super) struct NodeMessage {
    pub(super) name: String,
    pub(super) domain: String,
    pub(super) op: String,
    pub(super) overload: String,
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    pub(super) attributes: Attributes,
}

/// `FunctionProto`.
#[derive(Debug, Default)]
pub(super) struct Function {
    pub(super) domain: String,
    pub(super) name: String,
    pub(super) overload: String,
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    /// Those with defaults.
    pub(super) attributes: Attributes,
    pub(super) imports: Vec<(String, i64)>,
    pub(super) nodes: Vec<NodeMessage>,
}

/// Attributes by name.
pub type Attributes = Vec<(String, Attribute)>;

/// What an attribute holds.
#[derive(Debug, Clone)]
pub enum Attribute {
    /// A float.
    Float(f32),
    /// A whole number.
    Int(i64),
    /// A text.
    Text(String),
    /// A constant.
    Tensor(Arc<Tensor>),
    /// Floats.
    Floats(Vec<f32>),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// Texts.
    Texts(Vec<String>),
    /// A graph.
    Graph(Arc<Body>),
    /// The attribute of this name of the function's caller.
    Reference(String),
    /// Anything else, which no operator that vitc takes has.
    Other,
}

/// A graph inside a node.
#[derive(Debug, Clone)]
pub struct Body(pub(super) GraphMessage);

/// One dimension of a declared type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortSize {
    /// A number.
    Fixed(usize),
    /// A symbol; empty if it has no name.
    Symbol(String),
}

/// `ValueInfoProto`: a name and what is declared of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortInfo {
    /// Name.
    pub name: String,
    /// Element type; `None` if it is no tensor.
    pub elem: Option<Elem>,
    /// Dimensions; `None` if not even their number is declared.
    pub dims: Option<Vec<PortSize>>,
}

impl File {
    /// Decode a file.
    ///
    /// # Errors
    /// If the encoding is broken, or a count is beyond its limit.
    pub(super) fn decode(bytes: Bytes) -> Result<File, ReadError> {
        let (mut file, mut version, mut graph) = (File::default(), String::new(), None);
        let mut fields = Fields(bytes);
        while let Some((number, field)) = fields.next()? {
            let Field::Bytes(b) = field else { continue };
            match number {
                2 => file.producer = short(&b)?,
                3 => version = short(&b)?,
                7 => graph = Some(b),
                8 => file.imports.push(import(b)?),
                14 => file.metadata.push(entry(limited(b)?)?),
                25 => file.functions.push(Function::decode(b)?),
                _ => {}
            }
            limit(file.metadata.len() + file.functions.len() + file.imports.len(), "entries of the model")?;
        }
        file.graph = GraphMessage::decode(graph.ok_or(ReadError::NoGraph)?, 0)?;
        if !version.is_empty() {
            file.producer = format!("{} {version}", file.producer);
        }
        Ok(file)
    }
}

impl GraphMessage {
    fn decode(bytes: Bytes, depth: usize) -> Result<GraphMessage, ReadError> {
        if depth > DEPTH {
            return Err(ReadError::Malformed(format!("more than {DEPTH} graphs inside each other")));
        }
        let mut graph = GraphMessage::default();
        let mut fields = Fields(bytes);
        while let Some((number, field)) = fields.next()? {
            let Field::Bytes(b) = field else { continue };
            match number {
                1 => graph.nodes.push(NodeMessage::decode(b, depth)?),
                5 => graph.constants.push(Arc::new(Tensor::decode(b)?)),
                11 => graph.inputs.push(PortInfo::decode(b)?),
                12 => graph.outputs.push(PortInfo::decode(b)?),
                15 => graph.constants.push(Arc::new(sparse::dense(b)?)),
                _ => {}
            }
            limit(graph.nodes.len(), "nodes")?;
            limit(graph.constants.len() + graph.inputs.len() + graph.outputs.len(), "tensors")?;
        }
        Ok(graph)
    }
}

impl NodeMessage {
    fn decode(bytes: Bytes, depth: usize) -> Result<NodeMessage, ReadError> {
        let mut node = NodeMessage::default();
        let mut fields = Fields(bytes);
        while let Some((number, field)) = fields.next()? {
            let Field::Bytes(b) = field else { continue };
            match number {
                1 => node.inputs.push(short(&b)?),
                2 => node.outputs.push(short(&b)?),
                3 => node.name = short(&b)?,
                4 => node.op = short(&b)?,
                5 => node.attributes.push(attribute(b, depth)?),
                7 => node.domain = domain(short(&b)?),
                8 => node.overload = short(&b)?,
                _ => {}
            }
            limit((node.attributes.len() + node.inputs.len() + node.outputs.len()) << 4, "attributes of a node")?;
        }
        Ok(node)
    }
}

impl Function {
    fn decode(bytes: Bytes) -> Result<Function, ReadError> {
        let mut function = Function::default();
        let mut fields = Fields(bytes);
        while let Some((number, field)) = fields.next()? {
            let Field::Bytes(b) = field else { continue };
            match number {
                1 => function.name = short(&b)?,
                4 => function.inputs.push(short(&b)?),
                5 => function.outputs.push(short(&b)?),
                7 => function.nodes.push(NodeMessage::decode(b, 0)?),
                9 => function.imports.push(import(b)?),
                10 => function.domain = domain(short(&b)?),
                11 => function.attributes.push(attribute(b, 0)?),
                13 => function.overload = short(&b)?,
                _ => {}
            }
            limit(function.nodes.len() + function.inputs.len() + function.outputs.len(), "nodes of a function")?;
        }
        Ok(function)
    }
}

impl PortInfo {
    fn decode(bytes: Bytes) -> Result<PortInfo, ReadError> {
        let mut port = PortInfo { name: String::new(), elem: None, dims: None };
        let mut fields = Fields(bytes);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Bytes(b)) => port.name = short(&b)?,
                (2, Field::Bytes(ty)) => {
                    let mut ty = Fields(ty);
                    while let Some((number, field)) = ty.next()? {
                        if let (1, Field::Bytes(tensor)) = (number, field) {
                            port.tensor(tensor)?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(port)
    }

    fn tensor(&mut self, tensor: Bytes) -> Result<(), ReadError> {
        let mut fields = Fields(tensor);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Number(code)) => self.elem = Some(Elem::of(code as i32)),
                (2, Field::Bytes(shape)) => {
                    let (mut dims, mut shape) = (Vec::new(), Fields(shape));
                    while let Some((number, field)) = shape.next()? {
                        if let (1, Field::Bytes(dim)) = (number, field) {
                            dims.push(size(dim)?);
                        }
                        limit(dims.len() << 10, "dimensions of a value")?;
                    }
                    self.dims = Some(dims);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A dimension; a number below 1 is a symbol without a name.
fn size(dim: Bytes) -> Result<PortSize, ReadError> {
    let mut size = PortSize::Symbol(String::new());
    let mut fields = Fields(dim);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Number(n)) => {
                size = match usize::try_from(n as i64) {
                    Ok(n) if n > 0 => PortSize::Fixed(n),
                    _ => PortSize::Symbol(String::new()),
                }
            }
            (2, Field::Bytes(b)) if !b.is_empty() => size = PortSize::Symbol(short(&b)?),
            _ => {}
        }
    }
    Ok(size)
}

/// An `AttributeProto`. Old writers leave its type out: what is set counts.
fn attribute(bytes: Bytes, depth: usize) -> Result<(String, Attribute), ReadError> {
    let (mut name, mut kind, mut single) = (String::new(), 0, None);
    let (mut floats, mut ints, mut texts, mut reference) = (Vec::new(), Vec::new(), Vec::new(), None);
    let mut fields = Fields(bytes);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes(b)) => name = short(&b)?,
            (2, Field::Word(w)) => single = Some(Attribute::Float(f32::from_bits(w))),
            (3, Field::Number(n)) => single = Some(Attribute::Int(n as i64)),
            (4, Field::Bytes(b)) => single = Some(Attribute::Text(short(&b)?)),
            (5, Field::Bytes(b)) => single = Some(Attribute::Tensor(Arc::new(Tensor::decode(b)?))),
            (6, Field::Bytes(b)) => {
                single = Some(Attribute::Graph(Arc::new(Body(GraphMessage::decode(b, depth + 1)?))))
            }
            (7, Field::Word(w)) => floats.push(f32::from_bits(w)),
            (7, Field::Bytes(mut b)) => {
                while b.remaining() >= 4 {
                    floats.push(b.get_f32_le());
                }
            }
            (8, field) => numbers(field, &mut ints)?,
            (9, Field::Bytes(b)) => texts.push(short(&b)?),
            (22, Field::Bytes(b)) => single = Some(Attribute::Tensor(Arc::new(sparse::dense(b)?))),
            (10 | 11 | 14 | 15 | 23, _) => single = Some(Attribute::Other),
            (20, Field::Number(n)) => kind = n,
            (21, Field::Bytes(b)) if !b.is_empty() => reference = Some(short(&b)?),
            _ => {}
        }
        limit(texts.len(), "texts of an attribute")?;
    }
    let value = match (reference, kind) {
        (Some(of), _) => Attribute::Reference(of),
        (None, 6) => Attribute::Floats(floats),
        (None, 7) => Attribute::Ints(ints.into_iter().map(|n| n as i64).collect()),
        (None, 8) => Attribute::Texts(texts),
        // A writer may leave out what is zero.
        (None, 1) => single.unwrap_or(Attribute::Float(0.0)),
        (None, 2) => single.unwrap_or(Attribute::Int(0)),
        (None, 3) => single.unwrap_or(Attribute::Text(String::new())),
        (None, _) => match single {
            Some(value) => value,
            None if !floats.is_empty() => Attribute::Floats(floats),
            None if !texts.is_empty() => Attribute::Texts(texts),
            None => Attribute::Ints(ints.into_iter().map(|n| n as i64).collect()),
        },
    };
    // What was sparse is dense from here on.
    let name = if name == "sparse_value" { "value".into() } else { name };
    Ok((name, value))
}

/// An operator set and its version.
fn import(bytes: Bytes) -> Result<(String, i64), ReadError> {
    let (mut name, mut version) = (String::new(), 0);
    let mut fields = Fields(bytes);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes(b)) => name = domain(short(&b)?),
            (2, Field::Number(n)) => version = n as i64,
            _ => {}
        }
    }
    Ok((name, version))
}

/// The standard operators have two names.
fn domain(name: String) -> String {
    if name == "ai.onnx" { String::new() } else { name }
}

fn short(bytes: &Bytes) -> Result<String, ReadError> {
    if bytes.len() > NAME {
        return Err(ReadError::Malformed(format!("a name of {} bytes; {NAME} can be", bytes.len())));
    }
    Ok(text(bytes))
}

fn limited(bytes: Bytes) -> Result<Bytes, ReadError> {
    if bytes.len() > ITEM_LIMIT { Err(ReadError::TooLarge { what: "an entry", bytes: bytes.len() }) } else { Ok(bytes) }
}

fn limit(count: usize, what: &str) -> Result<(), ReadError> {
    if count > NODES { Err(ReadError::Malformed(format!("too many {what}"))) } else { Ok(()) }
}
