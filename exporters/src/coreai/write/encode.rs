//! A program as bytecode: its tables are filled while its operations are encoded, and everything is laid out around the resource section, whose
//! bytes come later.

use super::bytecode::{Bytes, MAGIC, Section, Table, VERSION};
use super::dialect::{self, ENCODING, FIRST_ASSET, OperationName, kind};
use super::program::{
    Attribute, Composite, Element, Elements, GraphOperation, Operation, Program, Region, Setting, Tensor,
};
use std::collections::HashMap;

/// Alignment of constants in the file; readers load it into ordinary memory, which is aligned no better.
pub(super) const ALIGNMENT: u64 = 16;

/// Name of what wrote the file.
const PRODUCER: &str = "vitc";

/// Pixels of 24 bits, red first.
const RGB: u64 = 24;

/// A file without its resources.
pub(super) struct Frame {
    /// What stands in front of the first resource.
    pub(super) before: Vec<u8>,
    /// What stands in front of each resource's bytes: its head and padding.
    pub(super) heads: Vec<Vec<u8>>,
    /// What stands behind the last.
    pub(super) after: Vec<u8>,
}

/// Lay out a file.
pub(super) fn encode(program: &Program) -> Frame {
    let mut encoder = Encoder::default();
    let version = program.graphs.iter().map(|g| newest(&g.region)).max().unwrap_or(FIRST_ASSET);
    let graphs: Vec<Bytes> = program.graphs.iter().map(|g| encoder.graph(g)).collect();
    let asset = encoder.asset(version, &graphs);
    let operations = Bytes::default().flagged(1, false).raw(&asset.0);
    let dialects = encoder.dialects();
    let sizes = encoder.sizes();
    let keys: Vec<u64> = program.blobs.iter().map(|b| encoder.string(&b.key)).collect();

    let mut heads = Vec::with_capacity(program.blobs.len());
    let (mut end, mut directory) = (0, Bytes::default());
    for (blob, key) in program.blobs.iter().zip(keys) {
        let head = Bytes::default().varint(ALIGNMENT).varint(blob.bytes).0;
        let start = (end + head.len() as u64).next_multiple_of(ALIGNMENT);
        let mut padded = Bytes(vec![0; (end % ALIGNMENT) as usize]).raw(&head).padded(ALIGNMENT).0;
        padded.drain(..(end % ALIGNMENT) as usize);
        directory = directory.varint(key).varint(start + blob.bytes - end).byte(0);
        heads.push(padded);
        end = start + blob.bytes;
    }
    let directory = match program.blobs.len() {
        0 => Bytes::default().varint(0),
        n => Bytes::default().varint(0).varint(0).varint(n as u64).raw(&directory.0),
    };
    let entries = |table: &Table<Bytes>| table.entries().iter().flat_map(|e| e.0.iter().copied()).collect::<Vec<u8>>();
    let before = Bytes(MAGIC.to_vec())
        .varint(VERSION)
        .raw(PRODUCER.as_bytes())
        .byte(0)
        .section(Section::Dialects, &dialects)
        .section(Section::AttributeSizes, &sizes)
        .section(Section::Attributes, &Bytes(entries(&encoder.attributes)).raw(&entries(&encoder.types)))
        .section(Section::Operations, &operations)
        .section(Section::ResourceDirectory, &directory);
    let before = match end {
        0 => before.section(Section::Resources, &Bytes::default()),
        end => before.aligned_section(Section::Resources, end, ALIGNMENT),
    };
    let after =
        Bytes::default().section(Section::Strings, &encoder.text()).section(Section::Properties, &encoder.listed());
    Frame { before: before.0, heads, after: after.0 }
}

/// The newest asset version that an operation of the region asks for.
fn newest(region: &Region) -> u32 {
    let own = region.operations.iter().map(|o| o.name.since());
    let inner = region.operations.iter().filter_map(|o| o.decomposition.as_ref()).map(newest);
    own.chain(inner).max().unwrap_or(FIRST_ASSET)
}

/// Number of an element type.
fn element(element: Element) -> u64 {
    match element {
        Element::Bool => 4,
        Element::U8 | Element::Picture => 26,
        Element::F32 => 6,
        Element::F16 => 7,
        Element::I32 => 18,
        Element::I16 => 19,
        Element::I8 => 20,
        Element::I4 => 21,
        Element::U32 => 24,
        Element::U4 => 27,
        Element::U2 => 28,
        Element::U1 => 29,
        Element::U6 => 36,
        Element::U3 => 37,
    }
}

#[derive(Default)]
struct Encoder {
    strings: Table<String>,
    operations: Table<OperationName>,
    attributes: Table<Bytes>,
    types: Table<Bytes>,
    properties: Table<Bytes>,
    locations: HashMap<String, u64>,
}

/// Attributes and types: each returns its number.
impl Encoder {
    fn string(&mut self, text: &str) -> u64 {
        self.strings.number(text.to_string())
    }

    fn attribute(&mut self, what: u64, body: impl FnOnce(&mut Self, Bytes) -> Bytes) -> u64 {
        let bytes = body(self, Bytes::default().varint(what));
        self.attributes.number(bytes)
    }

    fn text_attribute(&mut self, text: &str) -> u64 {
        self.attribute(kind::STRING, |e, b| b.varint(e.string(text)))
    }

    /// An integer of `width` bits; a flag has one.
    fn integer(&mut self, value: i64, width: u64, unsigned: bool) -> u64 {
        self.attribute(kind::INTEGER, |_, b| {
            let head = b.varint(width).byte(u8::from(unsigned));
            if width <= 8 { head.byte(value as u8) } else { head.svarint(value) }
        })
    }

    fn flag(&mut self, value: bool) -> u64 {
        self.integer(i64::from(value), 1, true)
    }

    fn float(&mut self, value: f32) -> u64 {
        self.attribute(kind::FLOAT, |_, b| b.varint(32).svarint(i64::from(value.to_bits())))
    }

    fn array(&mut self, items: &[u64]) -> u64 {
        self.attribute(kind::ARRAY, |_, b| b.list(items))
    }

    /// A name and what it names.
    fn named(&mut self, name: &str, items: &[u64]) -> u64 {
        self.attribute(kind::NAMED, |e, b| b.varint(e.string(name)).list(items))
    }

    fn tensor(&mut self, ty: &Tensor) -> u64 {
        if ty.element == Element::Picture {
            let format = self.attribute(kind::PIXEL_FORMAT, |_, b| b.varint(RGB));
            let head = Bytes::default().varint(kind::IMAGE_TYPE).varint(format);
            return self.types.number(ty.dims.iter().fold(head, |b, &d| b.varint(d as u64)));
        }
        let element = self.types.number(Bytes::default().varint(element(ty.element)));
        let head = Bytes::default().varint(kind::TENSOR_TYPE).varint(ty.rank() as u64);
        let bytes = ty.dims.iter().fold(head, |b, &d| b.svarint(d)).varint(element);
        self.types.number(bytes)
    }

    fn tensors(&mut self, types: &[Tensor]) -> Vec<u64> {
        types.iter().map(|t| self.tensor(t)).collect()
    }

    /// Results stand before operands.
    fn function_type(&mut self, arguments: &[Tensor], results: &[Tensor]) -> u64 {
        let (arguments, results) = (self.tensors(arguments), self.tensors(results));
        self.types.number(Bytes::default().varint(kind::FUNCTION_TYPE).list(&results).list(&arguments))
    }

    /// The names of arguments or results; an empty name says nothing.
    fn names<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> u64 {
        let mut lists = Vec::new();
        for name in names {
            let entries = match name {
                "" => vec![],
                name => {
                    let text = self.text_attribute(name);
                    vec![self.named("aicode.name", &[text])]
                }
            };
            lists.push(self.array(&entries));
        }
        self.array(&lists)
    }

    /// Where an operation comes from: the layer stands for the source file, `-` for none.
    fn location(&mut self, layer: &str) -> u64 {
        if let Some(&known) = self.locations.get(layer) {
            return known;
        }
        let name = if layer.is_empty() { "-" } else { layer };
        let file = self.attribute(kind::FILE, |e, b| {
            let empty = e.string("");
            b.varint(e.string(name)).varint(empty).varint(empty)
        });
        let unit = self.attribute(kind::UNIT, |_, b| b);
        let source = self.attribute(kind::SOURCE, |_, b| b.varint(file).varint(0).varint(0).varint(0).varint(0));
        let location = self.attribute(kind::LOCATION, |_, b| b.varint(source).varint(unit).list(&[]).list(&[]));
        self.locations.insert(layer.to_string(), location);
        location
    }

    fn composite(&mut self, composite: &Composite) -> u64 {
        let inputs = self.texts(&composite.inputs);
        let outputs = self.texts(&composite.outputs);
        let mut settings = Vec::new();
        for (key, setting) in &composite.settings {
            let value = match setting {
                Setting::Flag(flag) => self.integer(i64::from(*flag), 1, false),
                Setting::Integer(n) => self.integer(*n, 64, false),
                Setting::Float(x) => self.float(*x),
                Setting::Integers(list) => {
                    let items: Vec<u64> = list.iter().map(|&n| self.integer(n, 64, false)).collect();
                    self.array(&items)
                }
            };
            settings.push(self.named(key, &[value]));
        }
        let settings = self.attribute(kind::DICTIONARY, |_, b| b.list(&settings));
        let parts = [("input_names", inputs), ("op_attrs", settings), ("output_names", outputs)];
        let parts = parts.map(|(name, value)| self.named(name, &[value]));
        self.named(composite.name, &parts)
    }

    fn texts(&mut self, texts: &[&str]) -> u64 {
        let items: Vec<u64> = texts.iter().map(|t| self.text_attribute(t)).collect();
        self.array(&items)
    }
}

/// Operations.
impl Encoder {
    /// What an operation says besides operands and results: its fields in alphabetical order.
    fn properties(&mut self, attribute: &Attribute) -> Option<u64> {
        let fields = match attribute {
            Attribute::Nothing => return None,
            Attribute::Constant(Elements::Inline { bytes, splat }) => {
                vec![self.attribute(kind::DENSE_ELEMENTS, |_, b| {
                    b.byte(u8::from(*splat)).varint(bytes.len() as u64).raw(bytes)
                })]
            }
            Attribute::Constant(Elements::Resource(number)) => {
                vec![self.attribute(kind::DENSE_RESOURCE, |_, b| b.varint(*number as u64))]
            }
            Attribute::Padding(mode) => vec![self.attribute(kind::PADDING_MODE, |_, b| b.varint(*mode as u64))],
            Attribute::Gelu { tanh } => vec![self.attribute(kind::APPROXIMATION, |_, b| b.varint(u64::from(*tanh)))],
            Attribute::Interpolation(mode) => {
                vec![self.attribute(kind::INTERPOLATION, |_, b| b.varint(*mode as u64))]
            }
            Attribute::Callee(name) => {
                let none = self.array(&[]);
                let symbol = self.attribute(kind::SYMBOL, |e, b| b.list(&[e.string(name)]));
                let ty = self.types.number(Bytes::default().varint(kind::SYMBOL_TYPE));
                vec![none, self.attribute(kind::PARAMETER, |_, b| b.varint(symbol).varint(ty)), none]
            }
        };
        let bytes = fields.into_iter().fold(Bytes::default(), Bytes::varint);
        Some(self.properties.number(bytes))
    }

    /// An operation: its name, a mask of what follows, its location, and what follows.
    fn operation(
        &mut self,
        name: OperationName,
        location: u64,
        properties: Option<u64>,
        results: &[Tensor],
        operands: &[u64],
        region: Option<Bytes>,
    ) -> Bytes {
        let results = self.tensors(results);
        let parts = [(0x40, properties.is_some()), (0x02, !results.is_empty()), (0x04, !operands.is_empty())];
        let region_bit = (0x10, region.is_some());
        let mask = parts.iter().chain([&region_bit]).filter(|(_, there)| *there).map(|(bit, _)| bit).sum();
        let mut bytes = Bytes::default().varint(self.operations.number(name)).byte(mask).varint(location);
        if let Some(properties) = properties {
            bytes = bytes.varint(properties);
        }
        for list in [&results[..], operands] {
            if !list.is_empty() {
                bytes = bytes.list(list);
            }
        }
        match region {
            Some(region) => bytes.flagged(1, true).section(Section::Operations, &region),
            None => bytes,
        }
    }

    fn inner(&mut self, operation: &Operation) -> Bytes {
        let properties = self.properties(&operation.attribute);
        let region = operation.decomposition.as_ref().map(|r| self.region(r));
        let operands: Vec<u64> = operation.operands.iter().map(|id| u64::from(id.0)).collect();
        let location = self.location(&operation.layer);
        self.operation(operation.name, location, properties, &operation.results, &operands, region)
    }

    /// A region of one block: number of blocks, number of values, the block.
    fn region(&mut self, region: &Region) -> Bytes {
        let location = self.location("");
        let types = self.tensors(&region.arguments);
        let operations: Vec<Bytes> = region.operations.iter().map(|o| self.inner(o)).collect();
        let mut bytes = Bytes::default().varint(1).varint(region.values() as u64);
        bytes = bytes.flagged(operations.len() as u64, !types.is_empty());
        if !types.is_empty() {
            bytes = bytes.varint(types.len() as u64);
            for ty in types {
                bytes = bytes.flagged(ty, true).varint(location);
            }
            bytes = bytes.byte(0);
        }
        operations.iter().fold(bytes, |bytes, o| bytes.raw(&o.0))
    }

    fn graph(&mut self, graph: &GraphOperation) -> Bytes {
        let region = &graph.region;
        let results: Vec<Tensor> = graph.outputs.iter().map(|(_, v)| region.ty(*v).clone()).collect();
        let private = graph.composite.is_some();
        let ty = self.function_type(&region.arguments, &results);
        let declared = match &graph.composite {
            Some(composite) => Bytes::default().flagged(self.composite(composite), true),
            None => Bytes::default().varint(0),
        };
        let input_names = self.names(graph.input_names.iter().map(String::as_str));
        let output_names = self.names(graph.outputs.iter().map(|(name, _)| name.as_str()));
        let [no, private] = [false, private].map(|f| self.flag(f));
        let ty = self.attribute(kind::TYPE, |_, b| b.varint(ty));
        let (name, none) = (self.text_attribute(&graph.name), self.array(&[]));
        let properties = Bytes::default().varint(input_names).raw(&declared.0).varint(no).varint(ty).varint(private);
        // A composite must not be inlined, or nobody finds it.
        let properties = properties.varint(name).varint(private).varint(none).varint(output_names);
        let properties = self.properties.number(properties);
        let (location, region) = (self.location(""), self.region(region));
        self.operation(OperationName::Graph, location, Some(properties), &[], &[], Some(region))
    }

    /// The operation that holds the graphs.
    fn asset(&mut self, version: u32, graphs: &[Bytes]) -> Bytes {
        let version = self.integer(i64::from(version), 32, true);
        let properties = self.properties.number(Bytes::default().varint(0).flagged(version, true));
        let head = Bytes::default().varint(1).varint(0).flagged(graphs.len() as u64, false);
        let region = graphs.iter().fold(head, |bytes, g| bytes.raw(&g.0));
        let location = self.location("");
        self.operation(OperationName::Asset, location, Some(properties), &[], &[], Some(region))
    }
}

/// Sections.
impl Encoder {
    /// The one dialect, its version, and the names of its operations.
    fn dialects(&mut self) -> Bytes {
        let version = Bytes::default().varint(ENCODING);
        let name = self.string(dialect::NAME);
        let count = self.operations.len();
        let head = Bytes::default().varint(1).flagged(name, true).section(Section::DialectVersion, &version);
        let names: Vec<u64> = self.operations.entries().to_vec().iter().map(|o| self.string(o.text())).collect();
        names.iter().fold(head.varint(count).varint(0).varint(count), |b, &n| b.flagged(n, true))
    }

    /// The sizes of attributes and types, all in the dialect's own encoding.
    fn sizes(&self) -> Bytes {
        let tables = [&self.attributes, &self.types];
        let head = tables.iter().fold(Bytes::default(), |b, t| b.varint(t.len()));
        tables.iter().filter(|t| t.len() > 0).fold(head, |bytes, table| {
            let bytes = bytes.varint(0).varint(table.len());
            table.entries().iter().fold(bytes, |b, entry| b.flagged(entry.0.len() as u64, true))
        })
    }

    /// All strings, each ended by a zero; their sizes stand in reverse order.
    fn text(&self) -> Bytes {
        let strings = self.strings.entries();
        let head = Bytes::default().varint(strings.len() as u64);
        let sized = strings.iter().rev().fold(head, |b, s| b.varint(s.len() as u64 + 1));
        strings.iter().fold(sized, |b, s| b.raw(s.as_bytes()).byte(0))
    }

    fn listed(&self) -> Bytes {
        let head = Bytes::default().varint(self.properties.len());
        self.properties.entries().iter().fold(head, |b, p| b.varint(p.0.len() as u64).raw(&p.0))
    }
}
