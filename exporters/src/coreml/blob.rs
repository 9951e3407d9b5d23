//! `weight.bin`, blob storage version 2: the container of an ML Program's large constants.
//!
//! A file is a 64-byte header followed by records. Each record starts at a multiple of 64 with 64 bytes of metadata;
//! its data follow at once. A program refers to a record by the offset of its metadata. Records form a chain without
//! holes: system loaders walk it from offset 64, so the count in the header is exact. The file ends with the last byte
//! of data.
//!
//! | part | fields |
//! |---|---|
//! | header | count u32, version u32 = 2, 56 zeros |
//! | metadata | sentinel u32, element type u32, size u64, data offset u64, padding bits u64, 32 zeros |

use std::io::{self, Write};

/// Everything starts at a multiple of this.
const ALIGN: u64 = 64;
const VERSION: u32 = 2;
const SENTINEL: u32 = 0xDEAD_BEEF;

/// Element types of records; numbered differently from a program's element types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobType {
    /// Half precision.
    Float16,
    /// Single precision.
    Float32,
    /// 32-bit integer, from iOS 18.
    Int32,
    /// 8-bit unsigned integer, from iOS 16.
    Uint8,
    /// 8-bit integer, from iOS 16.
    Int8,
    /// Two's complement in half a byte, from iOS 18; the first in the low bits.
    Int4,
    /// So many bits of 1, 2, 3, 4 and 6, from iOS 18: one behind the other, the first in the low bits.
    Packed(u8),
}

impl BlobType {
    fn code(self) -> u32 {
        match self {
            BlobType::Float16 => 1,
            BlobType::Float32 => 2,
            BlobType::Int32 => 14,
            BlobType::Uint8 => 3,
            BlobType::Int8 => 4,
            BlobType::Int4 => 8,
            BlobType::Packed(1) => 9,
            BlobType::Packed(2) => 10,
            BlobType::Packed(4) => 11,
            BlobType::Packed(3) => 12,
            BlobType::Packed(_) => 13,
        }
    }

    /// Bits of an element.
    fn bits(self) -> u64 {
        match self {
            BlobType::Float32 | BlobType::Int32 => 32,
            BlobType::Float16 => 16,
            BlobType::Uint8 | BlobType::Int8 => 8,
            BlobType::Int4 => 4,
            BlobType::Packed(bits) => u64::from(bits),
        }
    }

    /// Bytes of so many elements; `None` if that is too many for a file.
    pub fn bytes_of(self, elements: usize) -> Option<usize> {
        let bits = (elements as u64).checked_mul(self.bits())?;
        usize::try_from(bits.div_ceil(8)).ok()
    }

    fn from_code(code: u32) -> Option<Self> {
        let packed = [1, 2, 3, 4, 6].map(BlobType::Packed);
        let plain =
            [BlobType::Float16, BlobType::Float32, BlobType::Int32, BlobType::Uint8, BlobType::Int8, BlobType::Int4];
        plain.into_iter().chain(packed).find(|t| t.code() == code)
    }
}

/// Writes records one behind the other, without ever holding one.
#[derive(Debug)]
pub struct BlobWriter<W> {
    out: W,
    /// Bytes written.
    at: u64,
    /// Where the record ends that was begun last.
    end: u64,
    /// Records to come.
    left: u32,
}

impl<W: Write> BlobWriter<W> {
    /// Start a file of exactly `count` records.
    ///
    /// # Errors
    /// If writing fails.
    pub fn new(mut out: W, count: u32) -> io::Result<Self> {
        let mut header = [0; ALIGN as usize];
        header[..4].copy_from_slice(&count.to_le_bytes());
        header[4..8].copy_from_slice(&VERSION.to_le_bytes());
        out.write_all(&header)?;
        Ok(BlobWriter { out, at: ALIGN, end: ALIGN, left: count })
    }

    /// Begin a record of `length` bytes, which [`Self::data`] takes and `elements` fill, and return the offset by which a program refers to it.
    ///
    /// # Errors
    /// If writing fails.
    ///
    /// # Panics
    /// If the file was started for fewer records, or the record before is not complete.
    pub fn record(&mut self, dtype: BlobType, length: u64, elements: u64) -> io::Result<u64> {
        assert_eq!(self.at, self.end, "the record before is complete");
        self.left = self.left.checked_sub(1).expect("the header counts every record");
        let offset = self.at.next_multiple_of(ALIGN);
        self.out.write_all(&[0; ALIGN as usize][..(offset - self.at) as usize])?;
        let mut metadata = [0; ALIGN as usize];
        metadata[..4].copy_from_slice(&SENTINEL.to_le_bytes());
        metadata[4..8].copy_from_slice(&dtype.code().to_le_bytes());
        metadata[8..16].copy_from_slice(&length.to_le_bytes());
        metadata[16..24].copy_from_slice(&(offset + ALIGN).to_le_bytes());
        let padding = (8 * length).saturating_sub(elements * dtype.bits());
        metadata[24..32].copy_from_slice(&padding.to_le_bytes());
        self.out.write_all(&metadata)?;
        self.at = offset + ALIGN;
        self.end = self.at + length;
        Ok(offset)
    }

    /// The next bytes of the record.
    ///
    /// # Errors
    /// If writing fails.
    ///
    /// # Panics
    /// If the record was begun for fewer.
    pub fn data(&mut self, piece: &[u8]) -> io::Result<()> {
        self.at += piece.len() as u64;
        assert!(self.at <= self.end, "the metadata say how long the record is");
        self.out.write_all(piece)
    }

    /// End the file: number of bytes written.
    ///
    /// # Errors
    /// If writing fails.
    ///
    /// # Panics
    /// If the file was started for more records, or the last one is not complete.
    pub fn finish(mut self) -> io::Result<u64> {
        assert_eq!((self.left, self.at), (0, self.end), "the header counts every record");
        self.out.flush()?;
        Ok(self.at)
    }
}

/// A record that was found in a file: where its data lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Element type.
    pub dtype: BlobType,
    /// First byte of the data.
    pub start: usize,
    /// Number of bytes.
    pub len: usize,
}

/// Look up the record whose metadata lie at `offset`. All of it is checked against the file's length.
///
/// # Errors
/// What is wrong with the file at that place.
pub fn record(file: &[u8], offset: u64) -> Result<Record, String> {
    let u32_at = |at: u64| file.get(at as usize..)?.first_chunk().map(|b| u32::from_le_bytes(*b));
    let u64_at = |at: u64| file.get(at as usize..)?.first_chunk().map(|b| u64::from_le_bytes(*b));
    match u32_at(4) {
        Some(VERSION) => {}
        Some(v) => return Err(format!("blob storage version {v} instead of {VERSION}")),
        None => return Err(format!("{} bytes are too few for a header", file.len())),
    }
    if offset < ALIGN
        || !offset.is_multiple_of(ALIGN)
        || offset.checked_add(ALIGN).is_none_or(|e| e > file.len() as u64)
    {
        return Err(format!("no record can lie at offset {offset} of {} bytes", file.len()));
    }
    let (Some(sentinel), Some(code), Some(len), Some(start), Some(padding)) =
        (u32_at(offset), u32_at(offset + 4), u64_at(offset + 8), u64_at(offset + 16), u64_at(offset + 24))
    else {
        return Err(format!("the record at offset {offset} is cut off"));
    };
    if sentinel != SENTINEL {
        return Err(format!(
            "no record at offset {offset}: found {sentinel:#010x} instead of the mark {SENTINEL:#010x}"
        ));
    }
    let dtype =
        BlobType::from_code(code).ok_or_else(|| format!("the record at offset {offset} has element type {code}"))?;
    if padding >= 8 || padding != 0 && dtype.bits() >= 8 {
        return Err(format!("the record at offset {offset} has {padding} padding bits; only packed types have any"));
    }
    let end = start.checked_add(len).filter(|&e| e <= file.len() as u64);
    if start != offset + ALIGN || end.is_none() {
        return Err(format!(
            "the record at offset {offset} claims {len} bytes at {start}, the file has {}",
            file.len()
        ));
    }
    Ok(Record { dtype, start: start as usize, len: len as usize })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_as_documented() {
        let mut out = Vec::new();
        let mut w = BlobWriter::new(&mut out, 2).unwrap();
        assert_eq!(w.record(BlobType::Float16, 4, 2).unwrap(), 64);
        w.data(&[1, 2, 3]).unwrap();
        w.data(&[4]).unwrap();
        assert_eq!(w.record(BlobType::Float32, 64, 16).unwrap(), 192);
        w.data(&[9; 64]).unwrap();
        assert_eq!(w.finish().unwrap(), 192 + 64 + 64);
        assert_eq!(out.len(), 320);
        assert_eq!(out[..8], [2, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(out[64..88], [0xEF, 0xBE, 0xAD, 0xDE, 1, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 128, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(out[128..132], [1, 2, 3, 4]);
        assert!(out[132..192].iter().all(|&b| b == 0));
        assert_eq!(record(&out, 192).unwrap(), Record { dtype: BlobType::Float32, start: 256, len: 64 });
    }

    /// Every byte of the metadata counts, and no corruption leads outside the file.
    #[test]
    fn corruption_is_an_error_or_stays_inside() {
        let mut file = Vec::new();
        let mut w = BlobWriter::new(&mut file, 1).unwrap();
        w.record(BlobType::Float32, 8, 2).unwrap();
        w.data(&[7; 8]).unwrap();
        w.finish().unwrap();
        for at in 64..96 {
            for bit in 0..8 {
                let mut bad = file.clone();
                bad[at] ^= 1 << bit;
                if let Ok(r) = record(&bad, 64) {
                    assert!(r.start + r.len <= bad.len());
                }
            }
        }
        for cut in 0..file.len() {
            assert!(record(&file[..cut], 64).is_err());
        }
        for offset in [0, 1, 63, 65, 128, u64::MAX, u64::MAX - 63] {
            assert!(record(&file, offset).is_err());
        }
    }
}
