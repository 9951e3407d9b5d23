//! A constant of a file: its elements as they lie there, little-endian, whatever field they were written into.

use super::error::ReadError;
use super::wire::{Field, Fields, numbers};
use half::{bf16, f16};
use prost::bytes::{Buf, Bytes};

/// Most elements of a tensor.
const ELEMENTS: usize = 1 << 48;

/// Element type of a value of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Elem {
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// bfloat16.
    BF16,
    /// 64-bit float.
    F64,
    /// Signed integer of so many bits.
    Int(u8),
    /// Unsigned integer of so many bits.
    Uint(u8),
    /// Truth value.
    Bool,
    /// What vitc does not compute with: its code.
    Other(i32),
}

impl Elem {
    /// The element type of ONNX' code.
    pub fn of(code: i32) -> Elem {
        match code {
            1 => Elem::F32,
            2 => Elem::Uint(8),
            3 => Elem::Int(8),
            4 => Elem::Uint(16),
            5 => Elem::Int(16),
            6 => Elem::Int(32),
            7 => Elem::Int(64),
            9 => Elem::Bool,
            10 => Elem::F16,
            11 => Elem::F64,
            12 => Elem::Uint(32),
            13 => Elem::Uint(64),
            16 => Elem::BF16,
            21 => Elem::Uint(4),
            22 => Elem::Int(4),
            25 => Elem::Uint(2),
            26 => Elem::Int(2),
            other => Elem::Other(other),
        }
    }

    /// ONNX' code.
    pub fn code(self) -> i32 {
        match self {
            Elem::F32 => 1,
            Elem::F16 => 10,
            Elem::BF16 => 16,
            Elem::F64 => 11,
            Elem::Bool => 9,
            Elem::Int(bits) => match bits {
                2 => 26,
                4 => 22,
                8 => 3,
                16 => 5,
                32 => 6,
                _ => 7,
            },
            Elem::Uint(bits) => match bits {
                2 => 25,
                4 => 21,
                8 => 2,
                16 => 4,
                32 => 12,
                _ => 13,
            },
            Elem::Other(code) => code,
        }
    }

    /// Bits of one element, if vitc reads it.
    pub fn bits(self) -> Option<usize> {
        match self {
            Elem::F32 => Some(32),
            Elem::F16 | Elem::BF16 => Some(16),
            Elem::F64 => Some(64),
            Elem::Bool => Some(8),
            Elem::Int(bits) | Elem::Uint(bits) => Some(usize::from(bits)),
            Elem::Other(_) => None,
        }
    }

    /// True for numbers with a fraction.
    pub fn is_float(self) -> bool {
        matches!(self, Elem::F32 | Elem::F16 | Elem::BF16 | Elem::F64)
    }

    /// The least and the largest whole number of the type; zeros if it has none.
    pub fn range(self) -> [f64; 2] {
        match self {
            Elem::Int(bits) => [-2f64.powi(i32::from(bits) - 1), 2f64.powi(i32::from(bits) - 1) - 1.0],
            Elem::Uint(bits) => [0.0, 2f64.powi(i32::from(bits)) - 1.0],
            Elem::F32 | Elem::F16 | Elem::BF16 | Elem::F64 | Elem::Bool | Elem::Other(_) => [0.0; 2],
        }
    }

    /// True for whole numbers.
    pub fn is_int(self) -> bool {
        matches!(self, Elem::Int(_) | Elem::Uint(_))
    }

    /// As people write it.
    pub fn word(self) -> String {
        match self {
            Elem::F32 => "f32".into(),
            Elem::F16 => "f16".into(),
            Elem::BF16 => "bf16".into(),
            Elem::F64 => "f64".into(),
            Elem::Bool => "bool".into(),
            Elem::Int(bits) => format!("i{bits}"),
            Elem::Uint(bits) => format!("u{bits}"),
            Elem::Other(8) => "string".into(),
            Elem::Other(code) => format!("type {code}"),
        }
    }
}

/// Where elements lie.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Elements {
    /// Here.
    Here(Bytes),
    /// In a data file.
    External {
        /// The file, as the model names it.
        location: String,
        /// First byte.
        offset: u64,
        /// Number of bytes; what the shape needs if the file does not say.
        length: Option<u64>,
    },
}

/// A constant of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its name; empty in an attribute.
    pub name: String,
    /// Its shape.
    pub dims: Vec<usize>,
    /// Its element type.
    pub elem: Elem,
    pub(super) elements: Elements,
}

impl Tensor {
    /// A constant of these bytes, which are as many as its shape says.
    pub(super) fn of(name: String, dims: Vec<usize>, elem: Elem, bytes: Bytes) -> Tensor {
        Tensor { name, dims, elem, elements: Elements::Here(bytes) }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that its elements take.
    pub(super) fn bytes_due(&self) -> Option<usize> {
        self.len().checked_mul(self.elem.bits()?).map(|bits| bits.div_ceil(8))
    }

    /// The elements, little-endian, if they do not lie in a data file any more.
    pub fn bytes(&self) -> Option<&Bytes> {
        match &self.elements {
            Elements::Here(bytes) => Some(bytes),
            Elements::External { .. } => None,
        }
    }

    /// The elements as floats, as far as the tensor is one.
    pub fn floats(&self) -> Option<Vec<f64>> {
        let bytes = self.bytes()?;
        Some(match self.elem {
            Elem::F32 => bytes.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect(),
            Elem::F64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect(),
            Elem::F16 => bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f64()).collect(),
            Elem::BF16 => bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f64()).collect(),
            Elem::Int(_) | Elem::Uint(_) | Elem::Bool | Elem::Other(_) => return None,
        })
    }

    /// The elements as whole numbers, as far as the tensor holds such; above 2^63 − 1 there is none.
    pub(super) fn ints(&self) -> Option<Vec<i64>> {
        let bytes = self.bytes()?;
        let small = |bits: usize, signed: bool| {
            let per = 8 / bits;
            let one = |i: usize| {
                let raw = i64::from(bytes[i / per]) >> (i % per * bits) & ((1 << bits) - 1);
                if signed && raw >= 1 << (bits - 1) { raw - (1 << bits) } else { raw }
            };
            (0..self.len()).map(one).collect()
        };
        Some(match self.elem {
            Elem::Bool => bytes.iter().map(|&b| i64::from(b != 0)).collect(),
            Elem::Int(8) => bytes.iter().map(|&b| i64::from(b as i8)).collect(),
            Elem::Uint(8) => bytes.iter().map(|&b| i64::from(b)).collect(),
            Elem::Int(16) => bytes.as_chunks().0.iter().map(|&b| i64::from(i16::from_le_bytes(b))).collect(),
            Elem::Uint(16) => bytes.as_chunks().0.iter().map(|&b| i64::from(u16::from_le_bytes(b))).collect(),
            Elem::Int(32) => bytes.as_chunks().0.iter().map(|&b| i64::from(i32::from_le_bytes(b))).collect(),
            Elem::Uint(32) => bytes.as_chunks().0.iter().map(|&b| i64::from(u32::from_le_bytes(b))).collect(),
            Elem::Int(64) => bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b)).collect(),
            Elem::Uint(64) => {
                let all = bytes.as_chunks().0.iter().map(|&b| i64::try_from(u64::from_le_bytes(b)).ok());
                return all.collect();
            }
            Elem::Int(bits @ (2 | 4)) => small(usize::from(bits), true),
            Elem::Uint(bits @ (2 | 4)) => small(usize::from(bits), false),
            _ => return None,
        })
    }

    /// Decode a `TensorProto`.
    ///
    /// # Errors
    /// If the encoding is broken, or the elements are not as many as the shape says.
    pub(super) fn decode(message: Bytes) -> Result<Tensor, ReadError> {
        let mut parts = Parts::default();
        let mut fields = Fields(message);
        while let Some((number, field)) = fields.next()? {
            parts.take(number, field)?;
        }
        parts.tensor()
    }
}

/// The fields of a `TensorProto`.
#[derive(Default)]
struct Parts {
    name: String,
    dims: Vec<u64>,
    code: i32,
    raw: Option<Bytes>,
    /// Little-endian words of `float_data` or `double_data`.
    words: Vec<Bytes>,
    loose: Vec<u8>,
    whole: Vec<u64>,
    segment: bool,
    external: bool,
    entries: Vec<(String, String)>,
}

impl Parts {
    fn take(&mut self, number: u32, field: Field) -> Result<(), ReadError> {
        match (number, field) {
            (1, field) => numbers(field, &mut self.dims)?,
            (2, Field::Number(code)) => self.code = code as i32,
            (3, _) => self.segment = true,
            (4 | 10, Field::Bytes(packed)) => self.words.push(packed),
            (4, Field::Word(word)) => self.loose.extend(word.to_le_bytes()),
            (10, Field::Long(word)) => self.loose.extend(word.to_le_bytes()),
            (5 | 7 | 11, field) => numbers(field, &mut self.whole)?,
            (8, Field::Bytes(b)) => self.name = text(&b),
            (9, Field::Bytes(b)) => self.raw = Some(b),
            (13, Field::Bytes(b)) => self.entries.push(entry(b)?),
            (14, Field::Number(place)) => self.external = place == 1,
            _ => {}
        }
        Ok(())
    }

    fn tensor(mut self) -> Result<Tensor, ReadError> {
        let name = std::mem::take(&mut self.name);
        let fail = |what: String| ReadError::Malformed(format!("tensor {name:?} {what}"));
        if self.segment {
            return Err(fail("is one segment of several, which nobody writes".into()));
        }
        let mut dims = Vec::with_capacity(self.dims.len());
        let mut elements = 1usize;
        for &d in &self.dims {
            let size = usize::try_from(d as i64).ok().filter(|&d| d < 1 << 31);
            let size = size.ok_or_else(|| fail(format!("has a dimension of {}; 0 to 2^31 - 1 can be", d as i64)))?;
            elements = elements
                .checked_mul(size.max(1))
                .filter(|&n| n < ELEMENTS)
                .ok_or_else(|| fail("has more than 2^48 elements".into()))?;
            dims.push(size);
        }
        let elem = Elem::of(self.code);
        let count: usize = dims.iter().product();
        let due = elem.bits().and_then(|bits| count.checked_mul(bits)).map(|bits| bits.div_ceil(8));
        let elements =
            if self.external { self.elsewhere().map_err(fail)? } else { Elements::Here(self.here(elem, count)) };
        if let (Elements::Here(bytes), Some(due)) = (&elements, due)
            && bytes.len() != due
        {
            return Err(fail(format!("of shape {dims:?} holds {} bytes where {due} are due", bytes.len())));
        }
        Ok(Tensor { name, dims, elem, elements })
    }

    /// Elements that this message holds, as bytes.
    fn here(self, elem: Elem, count: usize) -> Bytes {
        if let Some(raw) = self.raw {
            return raw;
        }
        match (&self.words[..], elem) {
            ([one], _) if self.loose.is_empty() && self.whole.is_empty() => return one.clone(),
            ([_, ..], _) => {
                let mut all: Vec<u8> = self.words.iter().flat_map(|b| b.iter().copied()).collect();
                all.extend(self.loose);
                return all.into();
            }
            _ if !self.loose.is_empty() => return self.loose.into(),
            _ => {}
        }
        let bytes = match elem.bits() {
            Some(bits @ 1..8) => count.div_ceil(8 / bits).min(self.whole.len()),
            _ => self.whole.len(),
        };
        let width = elem.bits().map_or(0, |bits| bits.div_ceil(8));
        self.whole[..bytes].iter().flat_map(|v| v.to_le_bytes().into_iter().take(width)).collect::<Vec<u8>>().into()
    }

    fn elsewhere(&self) -> Result<Elements, String> {
        let said = |key: &str| self.entries.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
        let number = |key: &str| match said(key) {
            Some(v) => v.parse::<u64>().map(Some).map_err(|_| format!("says {v:?} for its {key}")),
            None => Ok(None),
        };
        let location = said("location").ok_or("lies in a data file that it does not name")?.to_string();
        Ok(Elements::External { location, offset: number("offset")?.unwrap_or(0), length: number("length")? })
    }
}

/// Text, whatever its bytes are.
pub(super) fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes.chunk()).into_owned()
}

/// A `StringStringEntryProto`.
pub(super) fn entry(message: Bytes) -> Result<(String, String), ReadError> {
    let (mut key, mut value) = (String::new(), String::new());
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes(b)) => key = text(&b),
            (2, Field::Bytes(b)) => value = text(&b),
            _ => {}
        }
    }
    Ok((key, value))
}
