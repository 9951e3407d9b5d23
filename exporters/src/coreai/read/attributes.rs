//! Types and attributes of the dialect.

use super::container::Container;
use super::cursor::Cursor;
use half::f16;
use std::ops::Range;

/// Values have at most this many elements: products of sizes cannot overflow.
const ELEMENT_LIMIT: usize = 1 << 40;

/// Sizes of at most this many dimensions.
const RANK_LIMIT: u64 = 8;

/// Attributes lie in each other at most this deep.
const DEPTH: usize = 8;

/// An element type that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Element {
    Bool,
    Unsigned8,
    Float32,
    Float16,
    Signed32,
    Unsigned32,
    Signed16,
    Signed8,
    /// Codes of fewer than 8 bits.
    Codes {
        bits: u8,
        signed: bool,
    },
}

impl Element {
    /// Bytes of one element in the attribute table, where codes of few bits have a byte each.
    pub(super) fn bytes(self) -> usize {
        match self {
            Element::Bool | Element::Unsigned8 | Element::Signed8 | Element::Codes { .. } => 1,
            Element::Float16 | Element::Signed16 => 2,
            Element::Float32 | Element::Signed32 | Element::Unsigned32 => 4,
        }
    }
}

impl Element {
    /// Bytes of so many elements in the resource section, where codes of few bits share bytes.
    fn stored(self, count: usize) -> usize {
        match self {
            Element::Codes { bits, .. } => (count * usize::from(bits)).div_ceil(8),
            _ => count * self.bytes(),
        }
    }
}

/// Type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TensorType {
    pub(super) element: Element,
    /// Sizes; `None` for one that is known when the program runs.
    pub(super) dims: Vec<Option<usize>>,
}

impl TensorType {
    /// Sizes and number of elements, if all are known.
    pub(super) fn fixed(&self) -> Result<(Vec<usize>, usize), String> {
        let dims: Option<Vec<usize>> = self.dims.iter().copied().collect();
        let dims = dims.ok_or("a constant has a size that is not known")?;
        let count = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= ELEMENT_LIMIT);
        let count = count.ok_or_else(|| format!("a value of shape {dims:?} is too large"))?;
        Ok((dims, count))
    }
}

/// What an attribute says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Attribute<'a> {
    Text(&'a str),
    Integer(i64),
    Float(f32),
    Type(usize),
    List(Vec<Attribute<'a>>),
    Named(&'a str, Vec<Attribute<'a>>),
    Dictionary(Vec<Attribute<'a>>),
    /// Names of a graph.
    Symbol(Vec<&'a str>),
    /// A choice of a kind.
    Choice(u64, u64),
    Other,
}

/// The elements of a constant.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Elements<'a> {
    /// All of them, or one that all are.
    Inline { bytes: &'a [u8], splat: bool },
    /// A range of the file.
    Resource(Range<usize>),
}

impl<'a> Container<'a> {
    fn type_entry(&self, number: usize) -> Result<Cursor<'a>, String> {
        self.types.get(number).map(|b| Cursor::new(b)).ok_or_else(|| "a type is missing".into())
    }

    fn attribute_entry(&self, number: u64) -> Result<Cursor<'a>, String> {
        let entry = usize::try_from(number).ok().and_then(|n| self.attributes.get(n));
        entry.map(|b| Cursor::new(b)).ok_or_else(|| "an attribute is missing".into())
    }

    /// The type of an array.
    pub(super) fn tensor(&self, number: usize) -> Result<TensorType, String> {
        let mut entry = self.type_entry(number)?;
        match entry.varint()? {
            2 => {}
            other => return Err(format!("a type of kind {other} is not read")),
        }
        let rank = entry.varint()?;
        if rank > RANK_LIMIT {
            return Err(format!("a value of {rank} dimensions"));
        }
        let size = |d: i64| match d {
            i64::MIN => Ok(None),
            d => match usize::try_from(d) {
                Ok(d) if d <= i32::MAX as usize => Ok(Some(d)),
                _ => Err(format!("a size of {d}")),
            },
        };
        let dims = (0..rank).map(|_| size(entry.svarint()?)).collect::<Result<Vec<_>, _>>()?;
        let element = usize::try_from(entry.varint()?).map_err(|_| "a type is missing")?;
        let element = match self.type_entry(element)?.varint()? {
            4 => Element::Bool,
            26 => Element::Unsigned8,
            6 => Element::Float32,
            7 => Element::Float16,
            18 => Element::Signed32,
            19 => Element::Signed16,
            20 => Element::Signed8,
            21 => Element::Codes { bits: 4, signed: true },
            27 => Element::Codes { bits: 4, signed: false },
            28 => Element::Codes { bits: 2, signed: false },
            29 => Element::Codes { bits: 1, signed: false },
            36 => Element::Codes { bits: 6, signed: false },
            37 => Element::Codes { bits: 3, signed: false },
            24 => Element::Unsigned32,
            other => return Err(format!("elements of kind {other} are not read")),
        };
        let ty = TensorType { element, dims };
        let known: Vec<Option<usize>> = ty.dims.iter().map(|d| Some(d.unwrap_or(1))).collect();
        TensorType { element, dims: known }.fixed()?;
        Ok(ty)
    }

    /// Height and width, if the type is that of a picture.
    pub(super) fn picture(&self, number: usize) -> Result<Option<[usize; 2]>, String> {
        let mut entry = self.type_entry(number)?;
        if entry.varint()? != 39 {
            return Ok(None);
        }
        let mut format = self.attribute_entry(entry.varint()?)?;
        if (format.varint()?, format.varint()?) != (27, 24) {
            return Err("a picture of other than 24-bit RGB pixels is not read".into());
        }
        let mut side = || match entry.varint()? {
            side @ 1..=65536 => Ok(side as usize),
            side => Err(format!("a picture with a side of {side}")),
        };
        Ok(Some([side()?, side()?]))
    }

    /// Numbers of the result types and the operand types of a function type.
    pub(super) fn function(&self, number: usize) -> Result<[Vec<usize>; 2], String> {
        let mut entry = self.type_entry(number)?;
        if entry.varint()? != 30 {
            return Err("its type is not a function's".into());
        }
        let mut list = || entry.list()?.into_iter().map(|n| usize::try_from(n).map_err(|e| e.to_string())).collect();
        let results: Result<_, String> = list();
        Ok([results?, list()?])
    }

    /// An attribute with those in it.
    pub(super) fn attribute(&self, number: u64) -> Result<Attribute<'a>, String> {
        self.nested(number, DEPTH)
    }

    fn nested(&self, number: u64, depth: usize) -> Result<Attribute<'a>, String> {
        let depth = depth.checked_sub(1).ok_or("attributes lie in each other too deep")?;
        let mut entry = self.attribute_entry(number)?;
        let list = |entry: &mut Cursor<'a>| -> Result<Vec<_>, String> {
            entry.list()?.into_iter().map(|n| self.nested(n, depth)).collect()
        };
        Ok(match entry.varint()? {
            1 => Attribute::Text(self.string(entry.varint()?)?),
            2 => Attribute::Integer(integer(&mut entry)?),
            3 => {
                let (width, bits) = (entry.varint()?, entry.svarint()?);
                match (width, u32::try_from(bits)) {
                    (32, Ok(bits)) => Attribute::Float(f32::from_bits(bits)),
                    _ => return Err(format!("a float of {width} bits is not read")),
                }
            }
            4 => Attribute::Type(usize::try_from(entry.varint()?).map_err(|e| e.to_string())?),
            5 => Attribute::List(list(&mut entry)?),
            9 => {
                let name = self.string(entry.varint()?)?;
                Attribute::Named(name, list(&mut entry)?)
            }
            14 => {
                let names = entry.list()?;
                Attribute::Symbol(names.into_iter().map(|n| self.string(n)).collect::<Result<_, _>>()?)
            }
            16 => self.nested(entry.varint()?, depth)?,
            45 => Attribute::Dictionary(list(&mut entry)?),
            kind @ (17 | 19 | 43) => Attribute::Choice(kind, entry.varint()?),
            _ => Attribute::Other,
        })
    }

    /// The elements of a constant of this type, exactly as many as it has.
    pub(super) fn elements(&self, number: u64, ty: &TensorType) -> Result<Elements<'a>, String> {
        let (_, count) = ty.fixed()?;
        let size = ty.element.bytes();
        let mut entry = self.attribute_entry(number)?;
        match entry.varint()? {
            6 => {
                let splat = entry.byte()? == 1;
                let length = entry.varint()?;
                let bytes = entry.take(length)?;
                let wanted = if splat { size } else { count * size };
                match bytes.len() == wanted {
                    true => Ok(Elements::Inline { bytes, splat }),
                    false => Err(format!("has {} bytes instead of {wanted}", bytes.len())),
                }
            }
            7 => {
                let resource = usize::try_from(entry.varint()?).ok().and_then(|n| self.resources.get(n));
                let (key, range) = resource.ok_or("refers to a resource that does not exist")?;
                let wanted = ty.element.stored(count);
                match range.len() == wanted {
                    true => Ok(Elements::Resource(range.clone())),
                    false => Err(format!("the resource {key} has {} bytes instead of {wanted}", range.len())),
                }
            }
            other => Err(format!("a constant of kind {other} is not read")),
        }
    }

    /// The key of a resource whose bytes begin there.
    pub(super) fn key(&self, start: usize) -> Option<&'a str> {
        self.resources.iter().find(|(_, range)| range.start == start).map(|(key, _)| *key)
    }

    /// The source file that a location names; empty if it names none.
    pub(super) fn layer(&self, location: usize) -> &'a str {
        let follow = |number: u64, kind: u64| -> Option<Cursor<'a>> {
            let mut entry = self.attribute_entry(number).ok()?;
            (entry.varint().ok()? == kind).then_some(entry)
        };
        let name = || {
            let mut location = follow(location as u64, 40)?;
            let mut source = follow(location.varint().ok()?, 31)?;
            let mut file = follow(source.varint().ok()?, 30)?;
            self.string(file.varint().ok()?).ok()
        };
        name().filter(|&n| n != "-").unwrap_or_default()
    }
}

/// An integer of any width, its sign extended.
fn integer(entry: &mut Cursor<'_>) -> Result<i64, String> {
    let (width, unsigned) = (entry.varint()?, entry.byte()? == 1);
    let value = if width <= 8 { i64::from(entry.byte()?) } else { entry.svarint()? };
    match width {
        1..=63 if !unsigned && width > 1 => Ok(value << (64 - width) >> (64 - width)),
        1..=64 => Ok(value),
        _ => Err(format!("an integer of {width} bits")),
    }
}

/// The numbers of inline elements.
pub(super) fn numbers(element: Element, bytes: &[u8]) -> Vec<f64> {
    let word = |c: &[u8; 4]| *c;
    match element {
        Element::Bool | Element::Unsigned8 => bytes.iter().map(|&b| f64::from(b)).collect(),
        Element::Signed8 | Element::Codes { signed: true, .. } => bytes.iter().map(|&b| f64::from(b as i8)).collect(),
        Element::Codes { signed: false, .. } => bytes.iter().map(|&b| f64::from(b)).collect(),
        Element::Signed16 => bytes.as_chunks::<2>().0.iter().map(|&c| f64::from(i16::from_le_bytes(c))).collect(),
        Element::Float16 => bytes.as_chunks::<2>().0.iter().map(|&c| f16::from_le_bytes(c).to_f64()).collect(),
        Element::Float32 => bytes.as_chunks::<4>().0.iter().map(|c| f64::from(f32::from_le_bytes(word(c)))).collect(),
        Element::Signed32 => bytes.as_chunks::<4>().0.iter().map(|c| f64::from(i32::from_le_bytes(word(c)))).collect(),
        Element::Unsigned32 => {
            bytes.as_chunks::<4>().0.iter().map(|c| f64::from(u32::from_le_bytes(word(c)))).collect()
        }
    }
}
