//! Protobuf's encoding, walked field by field without copying.

use super::error::ReadError;
use prost::bytes::{Buf, Bytes};
use prost::encoding::{WireType, decode_key, decode_varint};

/// One field of a message.
pub(super) enum Field {
    /// A varint.
    Number(u64),
    /// A string, bytes or a message: a view of the buffer.
    Bytes(Bytes),
    /// A 32-bit word.
    Word(u32),
    /// A 64-bit word.
    Long(u64),
}

/// The fields of an encoded message, in order.
pub(super) struct Fields(pub(super) Bytes);

impl Fields {
    /// The next field, with its number.
    ///
    /// # Errors
    /// If the encoding is broken.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Field)>, ReadError> {
        if !self.0.has_remaining() {
            return Ok(None);
        }
        let (number, wire) = decode_key(&mut self.0)?;
        let field = match wire {
            WireType::Varint => Field::Number(decode_varint(&mut self.0)?),
            WireType::LengthDelimited => {
                let length = decode_varint(&mut self.0)?;
                Field::Bytes(self.take(length)?)
            }
            WireType::ThirtyTwoBit => Field::Word(self.take(4)?.get_u32_le()),
            WireType::SixtyFourBit => Field::Long(self.take(8)?.get_u64_le()),
            WireType::StartGroup | WireType::EndGroup => {
                return Err(ReadError::Malformed(format!("field {number} is a group, which ONNX does not use")));
            }
        };
        Ok(Some((number, field)))
    }

    fn take(&mut self, length: u64) -> Result<Bytes, ReadError> {
        match usize::try_from(length) {
            Ok(n) if n <= self.0.remaining() => Ok(self.0.split_to(n)),
            _ => {
                let left = self.0.remaining();
                Err(ReadError::Malformed(format!(
                    "a field of {length} bytes where {left} are left: truncated or damaged"
                )))
            }
        }
    }
}

/// The numbers of a repeated field, packed or one of many.
///
/// # Errors
/// If the encoding is broken.
pub(super) fn numbers(field: Field, all: &mut Vec<u64>) -> Result<(), ReadError> {
    match field {
        Field::Number(n) => all.push(n),
        Field::Bytes(mut packed) => {
            while packed.has_remaining() {
                all.push(decode_varint(&mut packed)?);
            }
        }
        Field::Word(_) | Field::Long(_) => return Err(ReadError::Malformed("a whole number is due".into())),
    }
    Ok(())
}
